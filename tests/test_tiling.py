from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from vidsr.tiling import Span, plan

SHAPES = [(1, 1), (7, 300), (136, 320), (97, 101), (270, 480), (720, 1280), (1081, 1923)]


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("halo", [2, 9, 40])
@pytest.mark.parametrize("max_pixels", [1, 7000, 20_000, 200_000, None])
def test_every_pixel_is_kept_once_and_sees_its_halo(height: int, width: int, halo: int, max_pixels: int | None) -> None:
    kept = np.zeros((height, width), np.uint8)
    tiles = plan(height, width, max_pixels, halo)
    for tile in tiles:
        kept[tile.rows.first : tile.rows.last, tile.columns.first : tile.columns.last] += 1
        for span, size in ((tile.rows, height), (tile.columns, width)):
            assert span.first < span.last
            assert span.start == 0 or span.start <= span.first - halo
            assert span.stop == size or span.stop >= span.last + halo
            assert 0 <= span.start <= span.first < span.last <= span.stop <= size
    assert (kept == 1).all()


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_one_shape_within_the_limit(height: int, width: int) -> None:
    tiles = plan(height, width, 20_000, 40)
    shapes = Counter((t.rows.stop - t.rows.start, t.columns.stop - t.columns.start) for t in tiles)
    assert len(shapes) == 1
    rows, columns = next(iter(shapes))
    assert rows * columns <= 20_000


def test_borders_are_not_extended() -> None:
    spans = sorted({(tile.columns.start, tile.columns.stop) for tile in plan(100, 1000, 40_000, 10)})
    assert spans[0][0] == 0
    assert spans[-1][1] == 1000


def test_a_picture_that_fits_is_one_tile() -> None:
    (tile,) = plan(136, 320, 136 * 320, 40)
    assert tile.rows == Span(0, 136, 0, 136)
    assert len(plan(136, 320, 136 * 320 - 1, 40)) == 2


def test_no_division_does_less_work() -> None:
    """Against every way of cutting into equal tiles, by brute force."""
    height, width, limit, halo = 200, 310, 9000, 12

    def work(rows: int, columns: int) -> tuple[int, int]:
        tall, wide = (-(-(s + 2 * halo * (n - 1)) // n) for s, n in ((height, rows), (width, columns)))
        return rows * columns * tall * wide, tall * wide

    least = min(
        area for area, tile in itertools.starmap(work, itertools.product(range(1, 60), repeat=2)) if tile <= limit
    )
    tiles = plan(height, width, limit, halo)
    first = tiles[0]
    area = (first.rows.stop - first.rows.start) * (first.columns.stop - first.columns.start) * len(tiles)
    assert area == least


@pytest.mark.parametrize("multiple", [2, 8])
def test_sides_and_starts_are_multiples(multiple: int) -> None:
    for tile in plan(136, 320, 9000, 9, multiple):
        for span in (tile.rows, tile.columns):
            assert span.start % multiple == span.stop % multiple == span.first % multiple == 0


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, -1), (9, 8)])
def test_impossible_sides(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        plan(height, width, 100, 2, 8)
