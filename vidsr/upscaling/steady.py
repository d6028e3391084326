"""Video that holds still: each large picture with what its neighbours show of the same place.

Where things went is found on the small pictures, and so is how well they agree there; what the network has invented
differently in each large one is averaged out where they do. In numpy on the host; `steady_device` does it on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidsr.frame import Frame, Plane
from vidsr.upscaling.motion import BLOCK, Field, Floats, box, find, gather

REACH = 1  # frames on either side
SHARE = 256 * 0.3  # of 256, at the full strength: of each neighbour; a little more is left to the frame itself
LIMIT = 96  # codes of 8 bit that a neighbour may differ by and count whole
TWIN = 0.25  # of the difference to the other neighbour, at most: then the two show one drawing, the other a second
AGREE, TEXTURE = 4.0, 0.5  # codes that small pictures may differ by where they are flat, and for each code of slope

Made = tuple[Frame, Frame]  # a small picture and what became of it


class Steadier:
    """Blends by `strength` from above 0 to 1."""

    def __init__(self, strength: float) -> None:
        self._share = strength * SHARE

    def __call__(self, window: Sequence[Made]) -> Frame:
        """The large picture in the middle of three, which are of one shot, or itself again, and of one size."""
        small, large = window[REACH]
        others = _of_one_drawing(small, [window[k] for k in (REACH - 1, REACH + 1) if window[k][1] is not large])
        if not others:
            return large
        return replace(large, planes=self.blend(small, large, others))

    def blend(self, small: Frame, large: Frame, others: Sequence[Made]) -> tuple[Plane, ...]:
        """The planes of `large` blended with those of `others`, one or two."""
        blended = list(large.planes)
        num = len(blended) - large.format.alpha  # a matte has no texture that could crawl
        fields = [self._field(small, source) for source, _ in others]
        for place in range(num):
            planes = [made.planes[place] for _, made in others]
            blended[place] = self._blended(large, list(zip(planes, fields, strict=True)), place)
        return tuple(blended)

    def _field(self, small: Frame, other: Frame) -> tuple[Field, Floats]:
        """The motion to the other picture, and how much of it to take at each pixel of the small one, of 256."""
        picture = _codes(small)
        field = find(picture, _codes(other))
        return field, (agreement(picture, field) * self._share).astype(np.float32)

    def _blended(self, large: Frame, others: Sequence[tuple[Plane, tuple[Field, Floats]]], place: int) -> Plane:
        own, bits = large.planes[place], large.format.bits
        wide = np.int16 if bits <= 8 else np.int32
        limit, codes = LIMIT << (bits - 8), own.astype(wide)
        total = np.full_like(codes, 128)
        for plane, (field, weights) in others:
            change = _moved(plane, field, weights.shape).astype(wide)
            np.subtract(change, codes, out=change)
            np.clip(change, -limit, limit, out=change)
            np.multiply(change, _enlarged(weights, own.shape).astype(wide), out=change)
            np.add(total, change, out=total)
        blended: Plane = np.add(codes, total >> 8).astype(own.dtype)
        return blended


def agreement(picture: Floats, field: Field) -> Floats:
    """(H, W), from 0 to 1: how well `picture` and the one that `field` leads to agree at each pixel."""
    down, right = np.gradient(picture) if min(picture.shape) > 1 else (np.zeros_like(picture),) * 2
    least = AGREE + TEXTURE * box(np.hypot(down, right))
    found: Floats = (1 - (box(np.abs(field.residual)) / least) ** 2).clip(0, 1)
    return found


def _of_one_drawing(small: Frame, others: list[Made]) -> list[Made]:
    """The neighbour that shows the same drawing, where only one does, as in film of 12 pictures in 24; else both."""
    if len(others) < 2:
        return others
    own = _codes(small)
    changes = [float(np.abs(_codes(source) - own).mean()) for source, _ in others]
    twin = changes.index(min(changes))
    return [others[twin]] if changes[twin] < TWIN * changes[1 - twin] else others


def _codes(frame: Frame) -> Floats:
    """The first plane, in codes of 8 bit."""
    return frame.planes[0].astype(np.float32) / np.float32(1 << (frame.format.bits - 8))


def _enlarged(weights: Floats, shape: tuple[int, ...]) -> Floats:
    height, width = shape
    return np.asarray(Image.fromarray(weights).resize((width, height), Image.Resampling.BILINEAR))


def _moved(plane: Plane, field: Field, small: tuple[int, ...]) -> Plane:
    """What stands at each pixel's place in the other picture, block by block and by whole pixels of the large one."""
    ratio = np.array(plane.shape) / np.array(small)
    block = (max(round(BLOCK * ratio[0]), 1), max(round(BLOCK * ratio[1]), 1))
    rows, columns = (-(-side // one) for side, one in zip(plane.shape, block, strict=True))
    down = nearest(rows, block[0], BLOCK * ratio[0], field.shift.shape[0])
    right = nearest(columns, block[1], BLOCK * ratio[1], field.shift.shape[1])
    shift = np.rint(field.shift[down[:, None], right[None]] * ratio.astype(np.float32)).astype(np.intp)
    edge = (int(np.abs(shift).max()) + max(block)) if shift.size else 0
    padded = np.pad(plane, edge, mode="edge")
    blocks = gather(padded, edge, shift, block)  # type: ignore[type-var]  # of one of the two types
    whole = blocks.swapaxes(1, 2).reshape(rows * block[0], columns * block[1])
    found: Plane = whole[: plane.shape[0], : plane.shape[1]]
    return found


def nearest(num: int, block: int, step: float, most: int) -> NDArray[np.intp]:
    """Which small block lies behind the middle of each large one."""
    return np.minimum(((np.arange(num) + 0.5) * block / step).astype(np.intp), most - 1)
