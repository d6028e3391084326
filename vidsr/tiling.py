"""Cutting a picture into overlapping tiles that a network can take one by one. Pure arithmetic, no torch.

The convolutions of a network pad with zeros at the picture's border. A tile that ends at that border is therefore not
extended there, and everywhere else it is extended by the network's halo: what is kept of the tiles then equals the
result for the whole picture.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import EllipsisType

Place = tuple[EllipsisType | slice, ...]  # an index of arrays


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis, in input pixels: it reads [start, stop) and its result is kept in [first, last)."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tile:
    """The rows and columns of a tile, and where they lie in arrays (..., H, W)."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of what it reads."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def read(self) -> Place:
        """Of the picture: what goes into the network."""
        return (..., *(slice(span.start, span.stop) for span in (self.rows, self.columns)))

    def kept(self, scale: int) -> Place:
        """Of the network's result, `scale` times as large: what is right."""
        spans = ((span.first - span.start, span.last - span.start) for span in (self.rows, self.columns))
        return (..., *(slice(first * scale, last * scale) for first, last in spans))

    def placed(self, scale: int) -> Place:
        """Of the large picture: where that belongs."""
        return (..., *(slice(span.first * scale, span.last * scale) for span in (self.rows, self.columns)))


@lru_cache(maxsize=32)
def plan(height: int, width: int, max_pixels: int | None, halo: int, multiple: int = 1) -> tuple[Tile, ...]:
    """Tiles of at most `max_pixels` that cover a picture exactly once, with as little repeated work as possible.

    All tiles have the same shape, so that a runtime compiles only one. Sides and starts are multiples of `multiple`, as
    `height` and `width` must be. Where even the smallest tile (two halos and one multiple wide) holds more than
    `max_pixels`, it is used all the same.

    Raises:
        ValueError: sides that are not positive multiples.
    """
    if height < 1 or width < 1 or height % multiple or width % multiple:
        raise ValueError(f"expected sides that are positive multiples of {multiple}, got {height} x {width}")
    halo = -(-halo // multiple) * multiple
    if max_pixels is None:
        max_pixels = height * width
    rows, columns = _best(_choices(height, halo, multiple), _choices(width, halo, multiple), max_pixels)
    spans = product(_spans(height, *rows, halo), _spans(width, *columns, halo))
    return tuple(Tile(*pair) for pair in spans)


def _choices(size: int, halo: int, multiple: int) -> list[tuple[int, int]]:
    """(number of tiles, their length) for every number that is worth while: each gives shorter tiles than the last."""
    choices = [(1, size)]
    while True:
        num = choices[-1][0] + 1
        total = size + 2 * halo * (num - 1)
        length = -(-total // (num * multiple)) * multiple
        length = max(length, 2 * halo + multiple)
        if length >= choices[-1][1]:
            return choices
        choices.append((num, length))


def _best(
    rows: list[tuple[int, int]], columns: list[tuple[int, int]], max_pixels: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The pair of choices with the least area in all, among those whose tiles hold at most `max_pixels`."""
    pairs = []
    for row in rows:
        first = bisect_left(columns, -(max_pixels // row[1]), key=lambda column: -column[1])
        if first < len(columns):  # more and narrower columns would only repeat more
            pairs.append((row, columns[first]))
    if not pairs:
        return rows[-1], columns[-1]
    return min(pairs, key=lambda pair: (pair[0][0] * pair[0][1] * pair[1][0] * pair[1][1], pair[0][0] * pair[1][0]))


def _spans(size: int, num: int, length: int, halo: int) -> list[Span]:
    """`num` tiles of `length` over `size`; the last ones are moved back to end at the border."""
    starts = [min(index * (length - 2 * halo), size - length) for index in range(num)]
    borders = [0, *(start + halo for start in starts[1:]), size]
    return [Span(start, start + length, *borders[i : i + 2]) for i, start in enumerate(starts)]
