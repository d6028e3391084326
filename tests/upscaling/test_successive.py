"""Of a picture only what has changed is drawn again, and the bits are those of the whole."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from vidsr.backends.base import HostBackend
from vidsr.backends.nearest import NearestBackend
from vidsr.backends.openvino import OpenVINOBackend
from vidsr.backends.selection import open_backend
from vidsr.frame import Canvas, Colour, Frame, Matrix, PixelFormat
from vidsr.models import registry
from vidsr.models.foreign import ForeignConfig
from vidsr.tiling import Tile
from vidsr.upscaling import successive
from vidsr.upscaling.changes import changed
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.host import HostRenderer
from vidsr.upscaling.successive import Successive
from vidsr.upscaling.upscaler import Upscaler

HALO = 5


@pytest.fixture(autouse=True)
def calls_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small pictures have parts."""
    monkeypatch.setattr(successive, "CALL", 0)


def picture(seed: int, height: int = 90, width: int = 130) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, height, width), np.float32)


def altered(before: np.ndarray, *places: tuple[int, int]) -> np.ndarray:
    """Another value at each (row, column)."""
    now = before.copy()
    for row, column in places:
        now[0, row % 3, row, column] += 0.25
    return now


def kept(tiles: tuple[Tile, ...], height: int, width: int) -> np.ndarray:
    """How many of the tiles keep each pixel."""
    counts = np.zeros((height, width), int)
    for tile in tiles:
        counts[tile.placed(1)] += 1
    return counts


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("num", [1, 2, 5, 40])
def test_tiles_hold_whatever_a_change_reaches(num: int, multiple: int) -> None:
    rng = np.random.default_rng(num)
    for height, width in ((96, 136), (20, 8), (200, 96)):
        places = [(int(rng.integers(height)), int(rng.integers(width))) for _ in range(num)]
        before = picture(num, height, width)
        tiles = changed(before, altered(before, *places), HALO, multiple)
        counts = kept(tiles, height, width)
        for row, column in places:
            reached = counts[max(0, row - HALO) : row + HALO + 1, max(0, column - HALO) : column + HALO + 1]
            assert reached.min() == 1
        assert counts.max() == 1
        for tile in tiles:
            for span, side in ((tile.rows, height), (tile.columns, width)):
                assert (span.start % multiple, span.stop % multiple) == (0, 0)
                assert span.start == max(0, span.first - math.ceil(HALO / multiple) * multiple)
                assert span.stop == min(side, span.last + math.ceil(HALO / multiple) * multiple)


def test_far_changes_are_tiles_of_their_own_where_calls_are_cheap() -> None:
    before = picture(0)
    now = altered(before, (3, 4), (85, 120))
    tiles = changed(before, now, HALO)
    assert [(tile.rows.first, tile.columns.first) for tile in tiles] == [(0, 0), (80, 112)]
    assert sum(math.prod(tile.shape) for tile in tiles) < 90 * 130 / 8
    assert len(changed(before, now, HALO, call=1e6)) == 1
    assert changed(before, before.copy(), HALO) == ()
    assert [tile.shape for tile in changed(before, picture(1), HALO)] == [(90, 130)]


class Counted(NearestBackend):
    """Counts the pixels that it is given; with `other` it sums in another order for parts."""

    def __init__(self, *, other: bool = False) -> None:
        super().__init__(2)
        self.pixels, self.other = list[int](), other

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.pixels.append(batch[0, 0].size)
        return super().run(batch)

    def run_once(self, batch: np.ndarray) -> np.ndarray:
        return self.run(batch) + np.float32(1e-6 * self.other)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("model", ["tiny-video", "fast-video"])
def test_bits_are_those_of_the_whole(name: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = registry.load(model, 2)
    backend, _ = open_backend(name, loaded, precision="fp32")
    assert isinstance(backend, HostBackend)
    enlarger, shapes, real = Enlarger(loaded, backend), list[tuple[int, ...]](), backend.run_once
    monkeypatch.setattr(backend, "run_once", lambda batch: shapes.append(batch.shape[2:]) or real(batch))
    before, enlarge = picture(1), Successive(enlarger)
    for one in (before, altered(before, (40, 60)), altered(before, (40, 60), (2, 3), (80, 125)), picture(2)):
        assert np.array_equal(enlarge(one.copy()), enlarger(one.copy()))
    enlarger.close()
    assert len(shapes) == 1 + 1 + 2  # a trial, one place, two more
    assert max(map(math.prod, shapes)) < 90 * 130 / 3


def test_whole_numbers_and_networks_of_others_are_drawn_whole() -> None:
    """OpenVINO rounds codes otherwise by a graph for any shape; the halo of others' networks is only measured."""
    before = picture(1)
    for precision, foreign in (("fp32", False), ("int8", False), ("fp32", True)):
        backend, model = Counted(), registry.load("bicubic", 2)
        backend.precision = precision
        model = replace(model, config=ForeignConfig("SPAN", 2, 1, 1)) if foreign else model
        enlarge = Successive(Enlarger(model, backend))
        for one in (before, altered(before, (40, 60))):
            enlarge(one.copy())
        assert (backend.pixels[-1] == before[0, 0].size) == (precision == "int8" or foreign)


def test_nothing_is_kept_after_a_film() -> None:
    renderer = HostRenderer(Enlarger(registry.load("bicubic", 2), Counted()))
    frame = Frame((np.zeros((8, 8), np.uint8),), PixelFormat("grey"), Colour(), 0, Fraction(1))
    renderer.start((frame,), Canvas((16, 16), frame.format, frame.colour)).wait()
    large = weakref.ref(renderer._colours._large)
    assert large() is not None
    renderer.forget()
    assert large() is None


def test_what_sums_otherwise_in_parts_draws_wholes() -> None:
    backend = Counted(other=True)
    enlarge = Successive(Enlarger(registry.load("bicubic", 2), backend))
    before = picture(1)
    for one in (before, altered(before, (40, 60)), altered(before, (41, 60))):
        assert np.array_equal(enlarge(one.copy()), NearestBackend(2)(one))
    assert [size == before[0, 0].size for size in backend.pixels] == [True, False, True, True]


def test_a_picture_is_drawn_whole_where_nothing_can_be_taken_over() -> None:
    before = picture(1)
    now, model = altered(before, (40, 60)), registry.load("bicubic", 2)

    def most(enlarge: Successive, *, forget: bool = False, elsewhere: bool = False) -> int:
        """Pixels in a call for the second picture."""
        enlarge(before.copy())
        if forget:
            enlarge.forget()
        if elsewhere:
            enlarge.enlarger.backend = Counted()
        counted = enlarge.enlarger.backend
        assert isinstance(counted, Counted)
        counted.pixels.clear()
        assert np.array_equal(enlarge(now.copy()), NearestBackend(2)(now))
        return max(counted.pixels)

    whole, elsewhere = now[0, 0].size, Counted()
    elsewhere.unit = "GPU"
    assert most(Successive(Enlarger(model, Counted()))) < whole / 4
    assert most(Successive(Enlarger(model, Counted()), reuse=False)) == whole
    assert most(Successive(Enlarger(model, Counted())), forget=True) == whole
    assert most(Successive(Enlarger(model, Counted())), elsewhere=True) == whole
    assert most(Successive(Enlarger(model, elsewhere))) == whole


def test_a_backend_that_takes_over_in_the_middle_draws_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Counted(), Counted()
    enlarger = Enlarger(registry.load("bicubic", 2), first)
    enlarge, before = Successive(enlarger), picture(1)
    enlarge(before.copy())

    def gives_up(batch: np.ndarray) -> np.ndarray:
        enlarger.backend = second
        return first.run(batch)

    monkeypatch.setattr(first, "run_once", gives_up)
    now = altered(before, (40, 60))
    assert np.array_equal(enlarge(now.copy()), NearestBackend(2)(now))
    assert second.pixels[-1] == now[0, 0].size


@pytest.mark.parametrize("layout", ["yuv420p", "yuv420p10le", "yuva444p", "gray", "gbrp"])
@pytest.mark.parametrize("steady", [0.0, 1.0])
def test_films_are_the_same_with_and_without(layout: str, steady: float, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, real = list[int](), OpenVINOBackend.run_once
    monkeypatch.setattr(OpenVINOBackend, "run_once", lambda self, batch: parts.append(batch.size) or real(self, batch))
    format = PixelFormat.parse(layout)
    rng = np.random.default_rng(3)
    colour = Colour(Matrix.RGB, full_range=True) if layout == "gbrp" else Colour()
    still = [rng.integers(0, 1 << format.bits, s).astype(format.dtype) for s in format.plane_shapes(208, 144)]
    clip = []
    for pts in range(6):
        planes = [plane.copy() for plane in still]
        for plane in planes if pts != 4 else ():
            plane[8 + pts : 14 + pts, 20:30] ^= 1
        clip.append(Frame(tuple(planes), format, colour, pts, Fraction(1, 24), 1))
    made = []
    for reuse in (True, False):
        with Upscaler(
            "tiny-video", scale=2, backend="openvino", precision="fp32", reuse=reuse, steady=steady
        ) as upscaler:
            made.append([frame.planes for frame in upscaler.stream(clip)])
        assert bool(parts) == reuse
        parts.clear()
    for ours, plain in zip(*made, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, plain, strict=True))
