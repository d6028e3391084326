"""Blocks of a plane moved by parts of a sample and sharpened, at once, out of each sample and the four beside it.

Between three samples of a column or a row lies the parabola through them (Lagrange), which blurs nothing; taking off a
share of their second difference sharpens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidsr.upscaling.motion import Array, Floats

Wide = NDArray[np.int16] | NDArray[np.int32]


def taps(step: Floats, crisp: Floats) -> Floats:
    """How much of the difference to the sample before, and to the one behind, is added; down, and to the right.

    Args:
        step: where blocks are taken from, (rows, columns, 2), down and right in samples, up to 1.
        crisp: how much each is sharpened, (rows, columns): of the difference to the mean of the four beside a sample.

    Returns:
        (2, 2, rows, columns): by direction, then before and behind.
    """
    steps, soft = np.moveaxis(step, -1, 0), crisp * np.float32(0.25)
    found: Floats = np.stack(beside(steps, soft), 1).astype(np.float32)
    return found


def beside(step: Array, soft: Array) -> list[Any]:
    """The taps of the sample before and of the one behind: Lagrange's, less what sharpens."""
    return [step * (step - 1) / 2 - soft, step * (step + 1) / 2 - soft]


def filtered(plane: Wide, made: Floats, block: tuple[int, int], top: int) -> Wide:
    """(H, W) codes up to `top` after the taps of each of its blocks; its edges repeat."""
    (height, width), found = plane.shape, np.empty_like(plane)
    tall, wide = block
    for number, first in enumerate(range(0, height, tall)):
        last = min(first + tall, height)
        rows = plane[np.arange(first - 1, last + 1).clip(0, height - 1)].astype(np.float32)
        down, right, own = rows[1:] - rows[:-1], np.zeros((last - first, width + 1), np.float32), rows[1:-1]
        np.subtract(own[:, 1:], own[:, :-1], out=right[:, 1:-1])
        above, below, left, beside = (np.repeat(one, wide)[:width] for one in made[:, :, number].reshape(4, -1))
        change = down[1:] * below
        change -= down[:-1] * above
        change += right[:, 1:] * beside
        change -= right[:, :-1] * left
        change += own + np.float32(0.5)
        found[first:last] = np.clip(change, 0, top, out=change)
    return found
