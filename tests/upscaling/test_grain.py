"""Grain that is put back: as strong as the source's where that is flat, seeded by time alone, nowhere else."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import make_clip
from tests.numbered import Planes
from vidsr import upscale_video
from vidsr.errors import UsageError
from vidsr.frame import SRGB, Colour, Frame, PixelFormat
from vidsr.jobs.events import Done
from vidsr.media.read.reader import Reader
from vidsr.upscaling.grain import Grainer, flats_of
from vidsr.upscaling.upscaler import Upscaler

BAR = 16  # pixels of black at the left


def slope(width: int, height: int, deviation: float, seed: int = 0) -> NDArray[np.float64]:
    """Dark to bright in codes of 8 bit, with white noise, and a black bar without."""
    down, right = np.mgrid[:height, :width]
    made = 40 + 160 * right / width + 8 * np.sin(down / 20)
    made += np.random.default_rng(seed).standard_normal(made.shape) * deviation
    made[:, : BAR * width // 256] = 16
    return np.asarray(made)


def film(width: int, height: int, deviation: float, bits: int = 8, pts: int = 7) -> Frame:
    fmt = PixelFormat(bits=bits, chroma_shift=(1, 1))
    luma, chroma = slope(width, height, deviation), np.full((height // 2, width // 2), 128.0)
    chroma += np.random.default_rng(1).standard_normal(chroma.shape) * deviation / 2
    planes = (luma, chroma, chroma[::-1])
    codes = tuple(np.rint(plane * (1 << (bits - 8))).astype(fmt.dtype) for plane in planes)
    return Frame(codes, fmt, Colour(), pts, Fraction(1, 25))


def added(made: Frame, clean: Frame) -> list[NDArray[np.float64]]:
    """To each plane, right of the bar, in codes of 8 bit."""
    step = 1 << (clean.format.bits - 8)
    pairs = zip(made.planes, clean.planes, strict=True)
    return [(one.astype(float) - other)[:, one.shape[1] // 8 :] / step for one, other in pairs]


@pytest.mark.parametrize(("bits", "deviation"), [(8, 6.0), (10, 2.0)])
def test_flat_places_become_as_grainy_as_the_source(bits: int, deviation: float) -> None:
    small, clean = film(256, 192, deviation, bits), film(512, 384, 0, bits)
    found = [[float(plane.std()) for plane in added(Grainer(share)(small, clean), clean)] for share in (0.25, 0.5, 1)]
    for share, (luma, *chroma) in zip((0.25, 0.5, 1), found, strict=True):
        assert luma == pytest.approx(share * deviation, rel=0.08)
        assert chroma == pytest.approx([share * deviation / 2] * 2, rel=0.12)
    made = Grainer(1)(small, clean)
    assert (made.planes[0][:, : 2 * BAR - 2] == 16 << (bits - 8)).all(), "black stays black"
    assert flats_of(made).alike > 0.3 > 0.1 > flats_of(small).alike, "as coarse on the screen, not in pixels"


def test_pixels_that_become_square_make_grain_wide() -> None:
    """As the source's is on the screen, whose pixels are half as wide again as they are high."""
    clean = film(768, 384, 0)
    grain = added(Grainer(1)(film(256, 192, 6), clean), clean)[0]
    across, down = (
        float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
        for one, other in ((grain[:, 3:], grain[:, :-3]), (grain[2:], grain[:-2]))
    )
    assert across == pytest.approx(down, abs=0.03), "a pixel of the source away"
    assert float(np.corrcoef(grain[3:].ravel(), grain[:-3].ravel())[0, 1]) < across - 0.01


def test_film_of_fewer_steps_becomes_as_grainy_a_picture() -> None:
    """Limited range has 219 steps from black to white where a picture has 255."""
    plane = np.rint((slope(512, 384, 0) - 16) * 255 / 219).clip(0, 255).astype(np.uint8)
    clean = Frame((plane,) * 3, PixelFormat("rgb"), SRGB, 7, Fraction(1, 25))
    assert added(Grainer(1)(film(256, 192, 6), clean), clean)[0].std() == pytest.approx(6 * 255 / 219, rel=0.06)


def test_only_what_is_missing_is_put_back() -> None:
    small, clean = film(256, 192, 6), film(512, 384, 0)
    luma = np.rint(slope(512, 384, 4)).astype(np.uint8)
    grainy = replace(clean, planes=(luma, *clean.planes[1:]))
    assert added(Grainer(1)(small, grainy), grainy)[0].std() == pytest.approx(np.sqrt(36 - 16), rel=0.1)
    assert Grainer(1)(film(256, 192, 0), clean).planes[0].tolist() == clean.planes[0].tolist()


def test_time_alone_draws_it() -> None:
    small, clean = film(256, 192, 6), film(512, 384, 0)
    one, again, later = (Grainer(1)(replace(small, pts=pts), replace(clean, pts=pts)).planes[0] for pts in (7, 7, 8))
    finer = Grainer(1)(small, replace(clean, pts=14, time_base=Fraction(1, 50))).planes[0]
    assert (one == again).all()
    assert (one == finer).all()
    first, second = (plane[:, 64:].astype(float) - clean.planes[0][:, 64:] for plane in (one, later))
    alike = np.corrcoef(first.ravel(), second.ravel())
    assert abs(alike[0, 1]) < 0.1


def test_red_green_and_blue_have_one_grain() -> None:
    fmt = PixelFormat("rgb", alpha=True)
    plane, matte = np.rint(slope(256, 192, 5)).astype(np.uint8), np.full((192, 256), 9, np.uint8)
    small = Frame((plane,) * 3 + (matte,), fmt, SRGB, 0, Fraction(1))
    large = np.rint(slope(512, 384, 0)).astype(np.uint8)
    clean = Frame((large,) * 3 + (np.full_like(large, 9),), fmt, SRGB, 0, Fraction(1))
    green, blue, red, alpha = Grainer(1)(small, clean).planes
    assert (green == blue).all()
    assert (green == red).all()
    assert (alpha == 9).all()
    assert (green != large).mean() > 0.5


def test_parts_add_the_same(tmp_path: Path) -> None:
    def draw(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        luma = np.rint(slope(width, height, 5, number)).astype(np.uint8)
        return [luma, *(np.full(shape, 128, np.uint8) for shape in fmt.plane_shapes(width, height)[1:])]

    source = make_clip(tmp_path / "a.mkv", frames=6, width=128, height=96, draw=draw, codec="ffv1")
    options: dict[str, Any] = {"model": "bicubic", "backend": "cpu", "scale": 2, "codec": "ffv1"}
    found = []
    parted: dict[str, Any] = {"grain": 1.0, "segment_seconds": 0.1}
    cases: tuple[tuple[str, dict[str, Any]], ...] = (("a", {}), ("b", {"grain": 1.0}), ("c", parted))
    for name, more in cases:
        done = upscale_video(source, tmp_path / f"{name}_x2.mkv", **options, **more)
        assert isinstance(done, Done)
        with Reader(done.output) as reader:
            found.append(np.stack([frame.planes[0] for frame in reader]))
    plain, whole, parts = found
    assert (whole == parts).all()
    before, after = (flats_of(replace(film(128, 96, 0), planes=(planes[0],))).variance for planes in (plain, whole))
    assert np.nanmax(before) < 0.8 * np.nanmin(after)


def test_a_name_may_say_it(tmp_path: Path) -> None:
    small = film(64, 48, 6)
    with (
        Upscaler("bicubic@grain=1", scale=2, backend="cpu") as named,
        Upscaler("bicubic", scale=2, backend="cpu", grain=1) as given,
    ):
        assert named.identity() == given.identity()
        assert all(
            (a == b).all() for a, b in zip(named.upscale(small).planes, given.upscale(small).planes, strict=True)
        )
    with pytest.raises(UsageError, match="grain must be from 0 to 1, not 2"):
        Upscaler("bicubic", scale=2, backend="cpu", grain=2)
