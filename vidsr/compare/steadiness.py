"""How unsteady pictures are, without an original: what changes in them along the motion, and not in their source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vidsr.compare.measure import UNSTEADY
from vidsr.compare.picture import Picture, Pixels, View, resized
from vidsr.upscaling.agreement import AGREE, agreement, tolerance
from vidsr.upscaling.motion import BLOCK, Floats, find, wide

TRUSTED = 0.5  # agreement of the two small pictures from which a place counts
LUMA = (0.2126, 0.7152, 0.0722)  # BT.709
SLIP, SLOPE = 1, 1  # pixels; square codes a pixel that slopes must be well above
TAPS = 4  # of the cubic that finds what stands between pixels
Both = tuple[Pixels, Pixels]  # of two frames that follow each other, in either order


class Ruler:
    """Measures pairs of large pictures of one shot by the motion between the two small ones they were made of.

    Args:
        small: what the motion is found on.
        plain: large pictures whose change is that of the source; by default the small ones, enlarged by a cubic.
    """

    def __init__(self, small: Both, plain: Both | None = None) -> None:
        first, second = (_luma(one) for one in small)
        self._field = find(first, second)
        self._small, self._plain = small, plain
        self._trust = agreement(np.abs(self._field.residual), tolerance([first], AGREE)) > TRUSTED
        self._changes: dict[int, Floats] = {}  # of the source, by how many times as large

    def __call__(self, large: Both) -> float | None:
        """By how many codes of 255 a pixel changes along the motion, on average, more than that of the source does.

        Below 0 it changes less. Only pixels count where the small pictures agree along the motion; None: there is none.
        """
        height, width = self._small[0].shape[:2]
        times = max(min(large[0].shape[0] // height, large[0].shape[1] // width), 1)
        counted = self._counted(times)
        if not counted.any():
            return None
        if times not in self._changes:
            self._changes[times] = self._change(self._plain or self._small, times)
        more = self._change(large, times) - self._changes[times]
        return float(more[counted].mean(dtype=np.float64))

    def _change(self, pictures: Both, times: int) -> Floats:
        """Of each pixel along the motion, at `times` the small size."""
        height, width = self._small[0].shape[:2]
        first, second = (_luma(resized(one, (width * times, height * times))) for one in pictures)
        return _slipped(first, _moved(second, self._field.shift * times, BLOCK * times), BLOCK * times)

    def _counted(self, times: int) -> NDArray[np.bool_]:
        """Where the motion is believed, and leads to a place inside the picture."""
        height, width = self._trust.shape
        down, right = (wide(self._field.shift[..., k], BLOCK)[:height, :width] for k in (0, 1))
        y, x = down + np.arange(height)[:, None], right + np.arange(width)
        inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
        return wide(self._trust & inside, times)


def figures(ruler: Ruler, pictures: Sequence[Picture]) -> dict[str, dict[str, float]]:
    """By label, of those pictures that have one beside them, and where there is something to measure."""
    pairs = {one.label: (one.pixels, one.beside) for one in pictures if one.beside is not None}
    found = {label: ruler(pair) for label, pair in pairs.items()}
    return {label: {UNSTEADY: value} for label, value in found.items() if value is not None}


def unsteadiness(views: Sequence[View]) -> dict[str, float]:
    """The mean over the moments where it could be measured, by label."""
    found: dict[str, list[float]] = {}
    for view in views:
        for label, values in view.figures.items():
            if UNSTEADY in values:
                found.setdefault(label, []).append(values[UNSTEADY])
    return {label: math.fsum(values) / len(values) for label, values in found.items()}


def with_unsteadiness(means: Mapping[str, Mapping[str, float]], views: Sequence[View]) -> dict[str, dict[str, float]]:
    """`means`, by label and measure, and beside them `unsteadiness`."""
    found = unsteadiness(views)
    labels = dict.fromkeys((*means, *found))
    return {label: {**means.get(label, {}), **({UNSTEADY: found[label]} if label in found else {})} for label in labels}


def _luma(pixels: Pixels) -> Floats:
    found: Floats = pixels.astype(np.float32) @ np.array(LUMA, np.float32)
    return found


def _moved(picture: Floats, shift: Floats, block: int) -> Floats:
    """What stands in `picture` where each block of it is led by its shift, by a cubic between pixels."""
    rows, columns = shift.shape[:2]
    whole = np.floor(shift).astype(np.intp)
    edge = block + TAPS
    far = (rows * block + edge - picture.shape[0], columns * block + edge - picture.shape[1])
    windows = sliding_window_view(
        np.pad(picture, ((edge, far[0]), (edge, far[1])), mode="edge"), (block + TAPS - 1, block + TAPS - 1)
    )
    down = np.arange(rows)[:, None] * block + whole[..., 0] + edge - 1
    right = np.arange(columns)[None] * block + whole[..., 1] + edge - 1
    found = windows[down.clip(0, windows.shape[0] - 1), right.clip(0, windows.shape[1] - 1)]
    down_taps, right_taps = (_taps(shift[..., k] - whole[..., k])[..., None, None] for k in (0, 1))
    lines = sum(found[:, :, k : k + block] * down_taps[k] for k in range(TAPS))
    blocks = sum(lines[..., k : k + block] * right_taps[k] for k in range(TAPS))
    large: Floats = blocks.swapaxes(1, 2).reshape(rows * block, columns * block)
    return large[: picture.shape[0], : picture.shape[1]]


def _slipped(first: Floats, moved: Floats, block: int) -> Floats:
    """How far both differ, less what a slip of each block by up to a pixel explains (Lucas and Kanade 1981).

    Motion that is found on small pictures is as inexact, and would count the more the sharper the large ones are.
    """
    height, width = first.shape
    room = ((0, -height % block), (0, -width % block))
    change, middle = np.pad(moved - first, room), np.pad((first + moved) / 2, room, mode="edge")
    down, right = (np.gradient(middle, axis=k).astype(np.float32) for k in (0, 1))
    pairs = ((down, down), (right, right), (down, right), (down, change), (right, change))
    yy, xx, xy, ty, tx = (_sums(a * b, block) for a, b in pairs)
    yy, xx = yy + SLOPE * block**2, xx + SLOPE * block**2
    scale = 1 / (yy * xx - xy * xy)
    steps = ((xy * tx - xx * ty) * scale, (xy * ty - yy * tx) * scale)
    step_down, step_right = (wide(one.clip(-SLIP, SLIP), block) for one in steps)
    before, after = np.abs(change), np.abs(change + down * step_down + right * step_right)
    found: Floats = np.where(wide(_sums(after, block) < _sums(before, block), block), after, before)
    return found[:height, :width]


def _sums(values: Floats, block: int) -> Floats:
    """Over each block."""
    height, width = values.shape
    found: Floats = values.reshape(height // block, block, width // block, block).sum((1, 3), dtype=np.float32)
    return found


def _taps(part: Floats) -> Floats:
    """(4, ...): the weights of a pixel before, two beside and one behind a place between two pixels (Keys 1981)."""
    t = part.astype(np.float32)
    before, behind = -0.5 * t * (1 - t) ** 2, -0.5 * t**2 * (1 - t)
    first = 1 - 2.5 * t**2 + 1.5 * t**3
    return np.stack([before, first, 1 - before - first - behind, behind])
