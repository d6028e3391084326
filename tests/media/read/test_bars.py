"""Black bars are found over the whole film, whatever is dark in it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.clips import make_clip
from tests.jobs.test_crop import barred
from tests.numbered import Planes
from vidsr.frame import Colour, Frame, PixelFormat, Plane
from vidsr.media.read.bars import black_bars, cropped
from vidsr.media.read.probe import probe

YUV = PixelFormat("yuv", 8, (1, 1))
WIDE, HIGH = 96, 72


def _frame(luma: Plane) -> Frame:
    height, width = luma.shape
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return Frame((luma, chroma, chroma), YUV, Colour(), 0, Fraction(1, 25))


def _film(top: int = 9, bottom: int = 9, left: int = 0, right: int = 0, *, level: int = 120) -> Iterator[Frame]:
    """Noise inside bars that are noisy themselves."""
    noise = np.random.default_rng(1)
    for _ in range(8):
        luma = noise.integers(14, 20, (HIGH, WIDE)).astype(np.uint8)
        inner = luma[top : HIGH - bottom, left : WIDE - right]
        inner[:] = noise.integers(level - 40, level + 40, inner.shape)
        yield _frame(luma)


@pytest.mark.parametrize("bars", [(9, 9, 0, 0), (0, 0, 11, 13), (6, 8, 3, 5), (0, 12, 0, 0), (0, 0, 0, 0)])
def test_bars_are_found_to_the_line(bars: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = bars
    assert black_bars(_film(*bars)) == (left, top, right, bottom)


def test_a_dark_scene_makes_no_bar_wider() -> None:
    def dark(frame: Frame) -> Frame:
        luma = frame.planes[0].copy()
        luma[:30], luma[50:] = 17, 17
        return _frame(luma)

    frames = list(_film(8, 8))
    assert black_bars([*map(dark, frames[:7]), frames[7]]) == (0, 8, 0, 8)


def test_night_with_a_light_in_it_has_no_bars() -> None:
    """All of it dark but for a lamp: where the lamp ends no bar begins."""
    luma = np.full((HIGH, WIDE), 18, np.uint8)
    luma[30:44, 20:50] = 200
    assert black_bars([_frame(luma)]) == (0, 0, 0, 0)
    assert black_bars([]) == (0, 0, 0, 0)


def test_bars_with_subtitles_in_them_are_left() -> None:
    frames = list(_film(12, 12))
    frames[3].planes[0][64:68, 30:60] = 235
    assert black_bars(frames) == (0, 12, 0, 0), "the lower one holds what is to be read"


def test_one_picture_without_bars_is_enough() -> None:
    """Films that change their shape half-way."""
    assert black_bars([*_film(12, 12), next(_film(0, 0))]) == (0, 0, 0, 0)


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_a_long_film_is_looked_at_in_places_all_over_it(tmp_path: Path, suffix: str) -> None:
    """Its second half has no bars."""

    def widening(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        planes = barred(number, fmt, width, height)
        if number >= 70:
            planes[0][:] = planes[0][30]
        return planes

    clip = make_clip(tmp_path / f"a.{suffix}", frames=70, width=96, height=72, draw=barred, rate=Fraction(1))
    assert cropped(probe(clip), "auto").video.crop == (0, 12, 0, 12)
    clip = make_clip(tmp_path / f"b.{suffix}", frames=80, width=96, height=72, draw=widening, rate=Fraction(1))
    assert cropped(probe(clip), "auto").video.crop == (0, 0, 0, 0)
