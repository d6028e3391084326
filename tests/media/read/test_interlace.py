"""Interlaced content that nothing marks is found by what it shows; progressive content never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.clips import Picture, make_clip
from tests.numbered import Planes
from vidsr.frame import PixelFormat
from vidsr.jobs.inputs import Input, target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import plan
from vidsr.jobs.sources import open_source
from vidsr.media.read.interlace import look_for_fields
from vidsr.media.read.probe import probe

RNG = np.random.default_rng(7)
SCENE = np.kron(RNG.integers(30, 220, (24, 60)), np.ones((6, 6)))  # larger than a picture, blocks of 6 pixels


def scene(x: float, width: int, height: int) -> np.ndarray:
    """The scene as a camera sees it from `x` pixels to the right: linear between pixels, and a little soft."""
    whole, part = int(x), x - int(x)
    seen = SCENE[:height, whole : whole + width + 1]
    seen = seen[:, :-1] * (1 - part) + seen[:, 1:] * part
    rows = np.pad(seen, ((1, 1), (0, 0)), mode="edge")
    return (rows[:-2] + 2 * rows[1:-1] + rows[2:]) / 4


def planes(luma: np.ndarray, fmt: PixelFormat, width: int, height: int) -> Planes:
    shapes = fmt.plane_shapes(width, height)
    return [luma.astype(fmt.dtype), *(np.full(shape, 128, fmt.dtype) for shape in shapes[1:])]


def progressive(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    return planes(scene(5.0 * number, width, height), fmt, width, height)


def fields(number: int, fmt: PixelFormat, width: int, height: int, first: int = 0) -> Planes:
    """Two fields of one picture, half a picture's time apart."""
    luma = scene(5.0 * number, width, height)
    luma[1 - first :: 2] = scene(5.0 * number + 2.5, width, height)[1 - first :: 2]
    return planes(luma, fmt, width, height)


def bottom_first(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    return fields(number, fmt, width, height, first=1)


def telecined(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Film at 24 in 30 pictures a second: of five pictures two are of two film pictures."""
    film, phase = divmod(number, 5)
    tops, bottoms = [0, 1, 1, 2, 3], [0, 1, 2, 3, 3]
    luma = scene(5.0 * (4 * film + tops[phase]), width, height)
    luma[1::2] = scene(5.0 * (4 * film + bottoms[phase]), width, height)[1::2]
    return planes(luma, fmt, width, height)


def zoom(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Motion up and down that is faster and faster, which idet alone takes for fields."""
    rows = np.clip(np.arange(height) * (1 + 0.002 * number**2), 0, SCENE.shape[0] - 1).astype(int)
    return planes(SCENE[rows][:, :width], fmt, width, height)


def still(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    return planes(scene(3, width, height), fmt, width, height)


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
@pytest.mark.parametrize(
    ("draw", "combed", "plain"),
    [
        (fields, True, False),
        (bottom_first, True, False),
        (progressive, False, True),
        (telecined, False, False),
        (zoom, False, True),
        (still, False, False),
    ],
)
def test_fields_are_found_and_nothing_else(tmp_path: Path, draw: object, combed: bool, plain: bool, codec: str) -> None:
    size = {"width": 160, "height": 120}
    clip = make_clip(tmp_path / "a.mkv", Picture(frames=30, codec=codec, draw=draw, **size))  # type: ignore[arg-type]
    info = probe(clip)
    assert not info.video.interlaced
    looks = look_for_fields(info)
    assert (looks.combed, looks.plain) == (combed, plain)
    assert (looks.bottom_first > looks.top_first) == (draw is bottom_first)


@pytest.mark.parametrize("deep", ["yuv420p10le", "gray"])
def test_other_depths_and_grey(tmp_path: Path, deep: str) -> None:
    def draw(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        luma = fields(number, PixelFormat(), width, height)[0].astype(int) << (fmt.bits - 8)
        return [
            luma.astype(fmt.dtype),
            *(np.full(s, 128 << fmt.bits - 8, fmt.dtype) for s in fmt.plane_shapes(width, height)[1:]),
        ]

    clip = make_clip(
        tmp_path / "a.mkv", Picture(frames=30, codec="ffv1", pix_fmt=deep, width=160, height=120, draw=draw)
    )
    assert look_for_fields(probe(clip)).combed


@pytest.mark.parametrize(("option", "smooth"), [("auto", True), ("off", False), ("bwdif", True)])
def test_what_is_found_is_made_progressive_and_said(tmp_path: Path, option: str, smooth: bool) -> None:
    clip = make_clip(tmp_path / "a.mkv", Picture(frames=24, codec="ffv1", width=160, height=120, draw=fields))
    item = Input(clip, tmp_path, named=True)
    job = plan(item, target(None, (), [item]), Options(deinterlace=option))  # type: ignore[arg-type]
    assert any("not marked as interlaced" in note for note in job.notes) == (option == "auto")
    with open_source(job.source, job.options, None, None) as reader:
        frames = list(reader)
    assert [f.pts for f in frames] == [f.pts for f in open_source(job.source, Options(deinterlace="off"), None, None)]
    luma = frames[10].planes[0].astype(int)
    plain = fields(10, PixelFormat(chroma_shift=(1, 1)), 160, 120)[0]
    assert np.array_equal(luma, plain) is not smooth
