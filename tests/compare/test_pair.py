"""Two films side by side, and their distances to a reference."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.clips import damage, make_clip
from tests.numbered import Planes, draw_number
from train.metrics import psnr
from vidsr.compare.measure import Meter
from vidsr.compare.pair import APART, HEAT_PEAK, compare, heat_map
from vidsr.compare.preview import preview
from vidsr.compare.sheet import plot, sheets
from vidsr.errors import UsageError
from vidsr.frame import PixelFormat, Samples
from vidsr.upscaling.host import upright

BAD = 5


def spoilt(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """The numbered picture, with a grey square in one frame."""
    planes = draw_number(number, fmt, width, height)
    if number == BAD:
        planes[0][8:24, 8:24] = 128
    return planes


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    small = {"width": 32, "height": 24}
    films: dict[str, dict[str, Any]] = {"original": {}, "same": {}, "spoilt": {"draw": spoilt}, "small": small}
    return {
        name: make_clip(folder / f"{name}.mkv", codec="ffv1", frames=8, **options) for name, options in films.items()
    }


def test_equal_films_are_infinitely_close(films: dict[str, Path]) -> None:
    result = compare(films["original"], films["same"])
    assert len(result.rows) == 8
    (means,) = result.means().values()
    assert means["psnr"] == math.inf
    assert means["ssim"] == 1


def test_what_is_not_compared_is_said(films: dict[str, Path], tmp_path: Path) -> None:
    """Of a film that is shorter, has half the rate, or is damaged."""
    short = make_clip(tmp_path / "short\n.mkv", codec="ffv1", frames=3)
    result = compare(films["original"], short)
    assert result.notes == ("original.mkv: longer than the other; from 0:00:00.1 on it is not compared",)
    half = make_clip(tmp_path / "half.mkv", codec="ffv1", frames=4, rate=Fraction(12))
    said = "original.mkv: 3 frames without one at the same time in the other, not compared"
    assert compare(films["original"], half).notes[0] == said
    whole = make_clip(tmp_path / "whole.mp4", frames=48)
    broken = damage(whole, tmp_path / "broken.mp4")
    assert any(note.startswith("broken.mp4: ") for note in compare(whole, broken).notes)
    assert compare(films["original"], films["same"]).notes == ()


def test_a_name_of_two_lines_is_drawn_on_one(films: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / ("two\nlines of a name that is too long for the plot " * 4 + ".mkv")
    odd.write_bytes(films["spoilt"].read_bytes())
    result = compare(odd, films["same"], films["original"], every=4)
    assert plot(result).size[0] == 1200
    assert len(sheets(result.views, tmp_path)) == len(result.views)


def test_the_spoilt_frame_is_the_worst_and_comes_first(films: dict[str, Path]) -> None:
    result = compare(films["same"], films["spoilt"], films["original"])
    worst = result.views[0]
    assert worst.seconds == pytest.approx(BAD / 24, abs=1e-3)
    assert [picture.label for picture in worst.pictures] == ["same.mkv", "spoilt.mkv", "original.mkv", "difference"]
    assert worst.figures["same.mkv"]["psnr"] == math.inf
    assert worst.figures["spoilt.mkv"]["psnr"] < 30
    others = [row.figures["spoilt.mkv"]["psnr"] for number, row in enumerate(result.rows) if number != BAD]
    assert all(value == math.inf for value in others)


def test_the_worst_moments_are_not_one_moment(tmp_path: Path) -> None:
    """Frames beside the worst one are as bad; what is shown are the worst ones of different moments."""

    def bad(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        planes = draw_number(number, fmt, width, height)
        if number in (9, 10, 11, 30, 50):
            planes[0][8:24, 8 : 12 + number % 9] = 128
        return planes

    common: dict[str, Any] = {"codec": "ffv1", "frames": 60, "rate": Fraction(10)}
    first, second = make_clip(tmp_path / "a.mkv", **common), make_clip(tmp_path / "b.mkv", draw=bad, **common)
    result = compare(first, second)
    assert len(result.views) == 3
    times = [view.seconds for view in result.views if view.seconds is not None]
    assert len(times) == 3
    assert all(abs(a - b) >= APART for a in times for b in times if a != b)
    psnrs = [view.figures["difference"]["psnr"] for view in result.views]
    assert psnrs == sorted(psnrs)
    assert {round(time * 10) for time in times} == {11, 30, 50}


@pytest.mark.parametrize(
    ("matrix", "corner"),  # FFmpeg's: (x, y) goes to (a x + c y, b x + d y)
    [
        (None, (0, 0)),
        ((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), (0, 3)),  # a quarter turn clockwise, as of a phone held upright
        ((0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30), (5, 0)),
        ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), (3, 5)),
        ((-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), (0, 5)),
        ((46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30), (0, 0)),  # by 45 degrees: left as it is
    ],
)
def test_pictures_stand_upright(matrix: tuple[int, ...] | None, corner: tuple[int, int]) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    turned = upright(pixels, matrix)
    assert turned.shape[:2] == ((6, 4) if matrix and not matrix[0] else (4, 6))
    assert np.argwhere(turned.any(axis=2)).tolist() == [list(corner)]


def test_films_of_a_phone_are_compared_upright(tmp_path: Path) -> None:
    film = make_clip(tmp_path / "a.mp4", frames=3, display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    assert compare(film, film).views[0].size == (48, 64)
    (view, *_) = preview(film, ["bicubic"], 2)
    assert view.size == (96, 128)


def test_frames_are_paired_by_time_where_one_film_lacks_some(films: dict[str, Path], tmp_path: Path) -> None:
    kept = [0, 1, 4, 5, 7]
    gaps = make_clip(tmp_path / "gaps.mkv", codec="ffv1", frames=5, numbers=kept, pts=kept, time_base=Fraction(1, 24))
    result = compare(films["original"], gaps)
    assert [round((row.seconds or 0) * 24) for row in result.rows] == kept
    assert all(values["psnr"] == math.inf for row in result.rows for values in row.figures.values())


def test_another_size_is_resized_and_said(films: dict[str, Path]) -> None:
    result = compare(films["small"], films["same"], films["original"])
    assert result.notes == ("small.mkv is 32x24 and was resized to 64x48",)
    assert result.views[0].size == (64, 48)


def test_every_nth_frame(films: dict[str, Path]) -> None:
    result = compare(films["original"], films["same"], every=3)
    assert [round((row.seconds or 0) * 24) for row in result.rows] == [0, 3, 6]


def test_images_compare_with_images_only(films: dict[str, Path], tmp_path: Path) -> None:
    still = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(still)
    with pytest.raises(UsageError, match="Images compare with images"):
        compare(still, films["same"])
    assert compare(still, still).rows[0].seconds is None


def test_psnr_is_that_of_the_formula() -> None:
    random = np.random.default_rng(0)
    grey = random.integers(16, 235, (48, 64, 1), dtype=np.uint8).repeat(3, 2)
    other = np.clip(grey.astype(int) + random.integers(-9, 10, (48, 64, 1)), 0, 255).astype(np.uint8)
    with Meter() as meter:
        figures = meter("a", other, grey)
    limited = [np.round(16 + x[..., 0].astype(float) * 219 / 255) for x in (other, grey)]  # luma as the filter sees it
    expected = psnr(*(torch.from_numpy(x) for x in limited))
    assert figures["psnr"] == pytest.approx(expected, abs=0.05)
    assert 0 < figures["ssim"] < 1
    assert figures["xpsnr"] > figures["psnr"] - 10


def test_the_heat_map_is_black_where_equal_and_white_at_its_peak() -> None:
    first = np.zeros((2, 3, 3), np.uint8)
    second = first.copy()
    second[0, 1] = (0, HEAT_PEAK // 3, 0)
    second[1, 2] = (HEAT_PEAK, 0, 0)
    heat = heat_map(first, second)
    assert heat[0, 0].tolist() == [0, 0, 0]
    assert heat[0, 1, 0] > 200
    assert heat[0, 1, 2] == 0
    assert heat[1, 2].tolist() == [255, 255, 255]


class Same:
    """Whatever it is called with, its weights have one name."""

    model, scale = SimpleNamespace(name="same"), 2

    def __enter__(self) -> Same:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, image: Samples) -> Samples:
        return image.repeat(2, 0).repeat(2, 1)


def test_weights_of_one_name_are_told_apart(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    opener: Any = lambda *_, **__: Same()  # noqa: E731
    (view,) = preview(tmp_path / "a.png", ["x/same.safetensors", "y/same.safetensors"], 2, open_upscaler=opener)
    titles = [picture.label for picture in view.pictures]
    assert titles == ["same x2", "x/same.safetensors x2", "y/same.safetensors x2", "source"]
