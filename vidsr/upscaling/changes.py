"""Which parts of a picture a network has to see again, since the picture before it was another there. A leaf.

What a network draws at a place depends on the pixels around it, no farther off than its halo. Where none of them has
changed, what it drew of the picture before is right to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidsr.tiling import Span, Tile

CELL = 16  # pixels: borders of parts lie on multiples of it, so that runtimes meet few shapes, each of which costs time

Floats = NDArray[np.float32]
Grid = NDArray[np.bool_]
Corner = tuple[int, int]  # row and column of a cell
Cells = Any  # numbers of cells, one or an array
Work = Callable[[Cells, Cells], Cells]  # of so many rows and columns


def changed(before: Floats, now: Floats, halo: int, multiple: int = 1, *, call: float = 0) -> tuple[Tile, ...]:
    """Tiles of (1, C, H, W) `now` that hold all whose result is another than that of `before`, of the same shape.

    Each takes a call, which costs as much as `call` pixels; all of it is as little as cuts from side to side make it.
    Sides and starts are multiples of `multiple`, or end where the picture does.
    """
    cell = math.lcm(CELL, multiple)
    halo = -(-halo // multiple) * multiple
    needed = _cells((before != now).any((0, 1)), cell, halo)

    def work(rows: Cells, columns: Cells) -> Cells:
        return (rows * cell + 2 * halo) * (columns * cell + 2 * halo) + call

    def span(first: int, last: int, side: int) -> Span:
        first, last = first * cell, min(last * cell, side)
        return Span(max(first - halo, 0), min(last + halo, side), first, last)

    return tuple(Tile(*map(span, low, high, now.shape[2:])) for low, high in _cut(needed, work))


def _cells(differs: Grid, cell: int, halo: int) -> Grid:
    """Of (H, W) pixels: in which cells, the last of them cut off, there is one or not farther away than `halo`."""
    sums = np.zeros([side + 1 for side in differs.shape], np.int32)
    np.cumsum(np.cumsum(differs, 0, np.int32), 1, out=sums[1:, 1:])
    for axis, side in enumerate(differs.shape):
        firsts = np.arange(0, side, cell)
        lasts = np.minimum(firsts + cell + halo, side)
        sums = sums.take(lasts, axis) - sums.take(np.maximum(firsts - halo, 0), axis)
    return sums > 0


def _cut(needed: Grid, work: Work, row: int = 0, column: int = 0) -> list[tuple[Corner, Corner]]:
    """Rectangles of cells, from and to (row, column), that hold all that are needed: cut where that is less work."""
    rows, columns = np.flatnonzero(needed.any(1)), np.flatnonzero(needed.any(0))
    if not len(rows):
        return []
    needed = needed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = needed.shape
    row, column = row + int(rows[0]), column + int(columns[0])
    across, along = _cuts(needed, work), _cuts(needed.T, work)
    if min(across.min(initial=np.inf), along.min(initial=np.inf)) >= work(height, width):
        return [((row, column), (row + height, column + width))]
    if across.min(initial=np.inf) <= along.min(initial=np.inf):
        place = int(across.argmin()) + 1
        return _cut(needed[:place], work, row, column) + _cut(needed[place:], work, row + place, column)
    place = int(along.argmin()) + 1
    return _cut(needed[:, :place], work, row, column) + _cut(needed[:, place:], work, row, column + place)


def _cuts(needed: Grid, work: Work) -> NDArray[np.float64]:
    """The work of what is needed on either side of a cut, for each between two rows; the first and last are needed."""
    above, below = (_boxes(part) for part in (needed, needed[::-1]))
    works: Cells = work(*above[:, :-1]) + work(*below[:, -2::-1])
    return np.asarray(works, np.float64)


def _boxes(needed: Grid) -> NDArray[np.int64]:
    """(2, rows) height and width of what is needed in the first row, in the first two, and so on."""
    so_far = np.logical_or.accumulate(needed, 0)
    last = np.maximum.accumulate(np.where(needed.any(1), np.arange(len(needed)), 0))
    return np.stack([last + 1, needed.shape[1] - so_far[:, ::-1].argmax(1) - so_far.argmax(1)])
