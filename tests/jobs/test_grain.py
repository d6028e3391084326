"""`--grain` in whole jobs of films that are not plain: HDR of 10 bit, and anamorphic interlaced ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import make_clip
from tests.numbered import Planes
from vidsr import probe, upscale_video
from vidsr.frame import Colour, Frame, Matrix, PixelFormat
from vidsr.jobs.events import Done
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.reader import Reader
from vidsr.media.scan import Deinterlace

NOISE = 5.0  # codes of 8 bit
BAR = 16  # pixels of black at the left, and of white at the right
JOB: dict[str, Any] = {"model": "bicubic", "backend": "cpu", "codec": "ffv1"}
WIDE_SCREEN = Fraction(64, 45)  # pixels of a PAL film of 16:9
INTERLACED = {"qp": "0", "flags": "+ildct+ilme", "x264-params": "tff=1"}


def grainy(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Dark to bright with white noise, between black and white without."""
    luma = 50 + 130 * np.mgrid[:height, :width][1] / width
    luma += np.random.default_rng(number).standard_normal(luma.shape) * NOISE
    luma[:, :BAR], luma[:, -BAR:] = 16, 235
    planes = [luma, *(np.full(shape, 128.0) for shape in fmt.plane_shapes(width, height)[1:])]
    return [np.rint(plane * (1 << (fmt.bits - 8))).astype(fmt.dtype) for plane in planes]


def upscaled(source: Path, output: Path, **options: Any) -> list[Frame]:
    done = upscale_video(source, output, **JOB, **options)
    assert isinstance(done, Done)
    with Reader(done.output) as reader:
        return list(reader)


def luma(frames: list[Frame]) -> NDArray[np.float64]:
    """(N, H, W) in codes of 8 bit."""
    return np.stack([frame.planes[0] / (1 << (frame.format.bits - 8)) for frame in frames])


def deviation(frames: list[Frame]) -> float:
    """What differs within the columns of the middle, which are of one brightness each."""
    seen = luma(frames)
    middle = seen[:, :, seen.shape[2] // 4 : -seen.shape[2] // 4]
    return float((middle - middle.mean((0, 1))).std())


def ends(frames: list[Frame]) -> tuple[set[float], set[float]]:
    """The codes of the outer halves of the black and of the white bar."""
    seen = luma(frames)
    return set(seen[..., :BAR].flat), set(seen[..., -BAR:].flat)


def test_a_film_in_hdr(tmp_path: Path) -> None:
    pq = Colour(Matrix.BT2020_NCL, 9, 16)
    source = make_clip(
        tmp_path / "a.mkv", frames=4, width=160, height=96, draw=grainy, codec="ffv1", pix_fmt="yuv420p10le", colour=pq
    )
    with Reader(source) as reader:
        wanted = deviation(list(reader))
    plain = upscaled(source, tmp_path / "plain.mkv", scale=2)
    made = upscaled(source, tmp_path / "made.mkv", scale=2, grain=1)
    assert deviation(plain) < 0.9 * wanted
    assert deviation(made) == pytest.approx(wanted, rel=0.06)
    assert ends(made) == ({16}, {235})
    for frame in made:
        assert (frame.format.bits, frame.colour.matrix) == (10, pq.matrix)
        assert (frame.colour.primaries, frame.colour.transfer, frame.colour.full_range) == (9, 16, False)
    video = probe(tmp_path / "made.mkv").video
    assert (video.colour.matrix, video.colour.primaries, video.colour.transfer) == (pq.matrix, 9, 16)


@pytest.mark.parametrize(("deinterlace", "num_frames"), [("auto", 6), ("fields", 12)])
def test_an_interlaced_anamorphic_film(tmp_path: Path, deinterlace: Deinterlace, num_frames: int) -> None:
    source = make_clip(
        tmp_path / "a.mkv", frames=6, rate=Fraction(25), width=160, height=96, draw=grainy, options=INTERLACED,
        sample_aspect=WIDE_SCREEN,
    )  # fmt: skip
    info, whole = probe(source), {"deinterlace": deinterlace}
    with Reader(info, deinterlace=Deinterlacing.of(info.video, deinterlace)) as reader:
        wanted = deviation(list(reader))
    plain = upscaled(source, tmp_path / "plain.mkv", scale=2, **whole)
    made = upscaled(source, tmp_path / "made.mkv", scale=2, grain=1, **whole)
    assert len(made) == num_frames
    assert probe(tmp_path / "made.mkv").video.sample_aspect == WIDE_SCREEN
    assert deviation(plain) < 0.9 * wanted
    assert deviation(made) == pytest.approx(wanted, rel=0.06)
    assert ends(made) == ({16}, {235})
    squared = upscaled(source, tmp_path / "square.mkv", scale=2, grain=1, square_pixels=True, **whole)
    assert squared[0].width == pytest.approx(2 * 160 * WIDE_SCREEN, abs=2)
    assert deviation(squared) == pytest.approx(wanted, rel=0.06)
