"""Where the parts of a small picture are in its neighbour: block matching to whole pixels, then one step to fractions.

Blocks are found from coarse to fine by the sum of absolute differences, and what is left by least squares on the
picture's slopes (Lucas and Kanade 1981); a median over the blocks around takes strays away. numpy alone, in one thread:
the same result whatever computes the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vidsr.upscaling.moved import Moved, Whole

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
Array = TypeVar("Array", Floats, "Tensor")  # for formulas that hold on the host and on a device
Value = TypeVar("Value", bound=np.generic)

BLOCK = 8  # pixels
SEARCH = 4  # quarter-size pixels that the coarsest search goes each way
CROSS = ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0))  # places of the last refinement; fractions reach the corners
AROUND = (*CROSS, (-1, -1), (-1, 1), (1, -1), (1, 1))  # of the one before
REACH = 4 * SEARCH + 4  # pixels that a block may be found away
STAY = 0.5  # codes a pixel by which another place must fit better than the same one
BAD = 6.0  # codes a pixel that a block may differ by and still be believed by half
ALONE = 0.8  # of what the blocks around leave of a block's difference: less shows that it moves on its own
STRAY = 0.6  # of what their median leaves: a block that leaves less has not gone astray
SLOPE = 1.0  # square codes a pixel: fractions are found where slopes are well above it


@dataclass(frozen=True)
class Field:
    """Of each block, row by row: (rows, columns, 2), down and right in pixels; what stands at p stands at p + shift.

    `residual`, (H, W), is what is left of the difference between the two pictures along the motion, in codes.
    """

    shift: Floats
    residual: Floats


def find(picture: Floats, other: Floats) -> Field:
    """The motion from `picture` to `other`, both (H, W) of code values."""
    height, width = picture.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    fine = np.pad(picture, ((0, rows * BLOCK - height), (0, columns * BLOCK - width)), mode="edge")
    moved = np.pad(other, ((0, rows * BLOCK - height), (0, columns * BLOCK - width)), mode="edge")
    half, moved_half = _halved(fine), _halved(moved)
    start = _coarse(_halved(half), _halved(moved_half))
    start = _refined(half, moved_half, 2 * start, BLOCK // 2, AROUND)
    found = _fractions(fine, moved, _refined(fine, moved, 2 * start, BLOCK, CROSS))
    shift, residual = _without_strays(fine, moved, *found)
    return Field(shift, residual[:height, :width])


def _halved(picture: Floats) -> Floats:
    return _pairs(picture) * np.float32(0.25)


def _pairs(values: Floats) -> Floats:
    """The sum of every two by two, in the last two dimensions."""
    rows = values[..., ::2, :] + values[..., 1::2, :]
    found: Floats = rows[..., ::2] + rows[..., 1::2]
    return found


def _sums(values: Floats, block: int) -> Floats:
    """Over each block."""
    height, width = values.shape
    rows = values.reshape(height // block, block, width).sum(1, dtype=np.float32)
    found: Floats = rows.reshape(height // block, width // block, block).sum(2, dtype=np.float32)
    return found


def _coarse(picture: Floats, other: Floats) -> Whole:
    """The best of all places within `SEARCH` of each block of two by two pixels, by a window of six by six."""
    height, width = picture.shape
    places = sliding_window_view(np.pad(other, SEARCH, mode="edge"), (height, width))
    steps = np.array(sorted(product(range(-SEARCH, SEARCH + 1), repeat=2), key=lambda d: d[0] ** 2 + d[1] ** 2))
    best: Floats | None = None
    found = np.zeros((height // 2, width // 2, 2), np.intp)
    for some in np.split(steps, 2 * SEARCH + 1):  # all at once would take too much memory
        moved = np.abs(places[some[:, 0] + SEARCH, some[:, 1] + SEARCH] - picture)
        errors = box(_pairs(moved))
        if best is None:
            errors[0] -= STAY * 4
        nearest = errors.argmin(0)
        error = np.take_along_axis(errors, nearest[None], 0)[0]
        better = np.ones_like(error, bool) if best is None else error < best
        best = error if best is None else np.where(better, error, best)
        found[better] = some[nearest[better]]
    return found


def box(values: Floats) -> Floats:
    """The mean of each value and its eight neighbours in the last two dimensions; edges repeat."""
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(1, 1)] * 2, mode="edge")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    found: Floats = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) * np.float32(1 / 9)
    return found


def _refined(picture: Floats, other: Floats, start: Whole, block: int, around: Sequence[tuple[int, int]]) -> Whole:
    """The best of the places around `start`, and of the same place."""
    moved = Moved(other, REACH, (block, block))
    best = _differences(picture, other, block) - np.float32(STAY * block * block)
    found = np.zeros_like(start)
    for step in around:
        place = start + np.array(step)
        error = _differences(picture, moved(place), block)
        better = error < best
        np.copyto(best, error, where=better)
        found[better] = place[better]
    return found


def _differences(picture: Floats, other: Floats, block: int) -> Floats:
    """Of each block the sum of absolute differences."""
    apart = picture - other
    return _sums(np.abs(apart, out=apart), block)


def _fractions(picture: Floats, other: Floats, whole: Whole) -> tuple[Floats, Floats]:
    """`whole` with the fraction that least squares find, and what is left then."""
    change, down, right = _change(picture, other, whole)
    trust: Floats = np.float32(1) / (1 + (_sums(np.abs(change), BLOCK) / np.float32(BAD * BLOCK * BLOCK)) ** 2)
    places = whole.astype(np.float32)
    yy, xx, xy = (_sums(a * b, BLOCK) * trust for a, b in ((down, down), (right, right), (down, right)))
    ty, tx = (_sums(a * change, BLOCK) * trust for a in (down, right))
    by, bx = yy * places[..., 0] + xy * places[..., 1] - ty, xy * places[..., 0] + xx * places[..., 1] - tx
    own = _solved(places, yy, xx, xy, by, bx)
    step = _solved(places, *(box(one) for one in (yy, xx, xy, by, bx)))  # with the blocks around
    left, left_own = (_along(change, down, right, one) for one in (step, own))
    return _better(places + own, left_own, places + step, left, ALONE)


def _better(own: Floats, left_own: Floats, shift: Floats, left: Floats, share: float) -> tuple[Floats, Floats]:
    """Of each block `shift` and what it leaves, or its `own` where that leaves less than this share of it."""
    alone = _sums(np.abs(left_own), BLOCK) < share * _sums(np.abs(left), BLOCK)
    return np.where(alone[..., None], own, shift), np.where(wide(alone, BLOCK), left_own, left)


def _without_strays(picture: Floats, other: Floats, own: Floats, left_own: Floats) -> tuple[Floats, Floats]:
    """The median of each block's shift and the eight around it, or its own if that fits far better; what is left."""
    padded = np.pad(own, ((1, 1), (1, 1), (0, 0)), mode="edge")
    median: Floats = np.median(sliding_window_view(padded, (3, 3), axis=(0, 1)), axis=(-2, -1))
    return _better(own, left_own, median, _residual(picture, other, median), STRAY)


def _residual(picture: Floats, other: Floats, shift: Floats) -> Floats:
    whole = np.rint(shift)
    return _along(*_change(picture, other, whole.astype(np.intp)), shift - whole)


def _change(picture: Floats, other: Floats, whole: Whole) -> tuple[Floats, Floats, Floats]:
    """How `other`, moved by whole pixels, differs, and the slopes of what lies between the two."""
    moved = Moved(other, REACH, (BLOCK, BLOCK))(whole)
    between = (picture + moved) * np.float32(0.5)
    return moved - picture, _slope(between, 0), _slope(between, 1)


def _along(change: Floats, down: Floats, right: Floats, step: Floats) -> Floats:
    """What is left of the change a fraction of a pixel farther."""
    found: Floats = change + down * wide(step[..., 0], BLOCK) + right * wide(step[..., 1], BLOCK)
    return found


def _solved(whole: Floats, *sums: Floats) -> Floats:
    """How far from the whole pixels least squares put each block, up to one."""
    return (np.stack(solved(whole, *sums), -1) - whole).clip(-1, 1).astype(np.float32)


def solved(whole: Array, yy: Array, xx: Array, xy: Array, by: Array, bx: Array) -> list[Any]:
    """How far down and right least squares put each block; where it has no slopes, at its whole pixels."""
    least = SLOPE * BLOCK * BLOCK
    yy, xx, by, bx = yy + least, xx + least, by + least * whole[..., 0], bx + least * whole[..., 1]
    scale = 1 / (yy * xx - xy * xy)
    return [(xx * by - xy * bx) * scale, (yy * bx - xy * by) * scale]


def wide(values: NDArray[Value], block: int) -> NDArray[Value]:
    """(rows, columns) of blocks -> (rows * block, columns * block): the same for each of its pixels."""
    return np.repeat(np.repeat(values, block, 0), block, 1)


def _slope(picture: Floats, axis: int) -> Floats:
    """Half the difference of the two neighbours."""
    padded = np.pad(picture, [(1, 1) if k == axis else (0, 0) for k in range(2)], mode="edge")
    found: Floats = (padded[2:] - padded[:-2] if axis == 0 else padded[:, 2:] - padded[:, :-2]) * np.float32(0.5)
    return found
