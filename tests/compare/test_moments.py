"""The moments that a preview shows."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.clips import make_clip
from tests.numbered import Planes
from vidsr.compare.moments import NUM_APART, at, pick
from vidsr.errors import UsageError
from vidsr.frame import PixelFormat
from vidsr.media.read.probe import probe

SHARP, BUSY, DARK = 6, 14, 22


def draw(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Soft ramps; a chequered frame, one before a jump in brightness, and a dark one with some contrast."""
    ramp = np.linspace(100, 140, width)[None].repeat(height, 0)
    if number == SHARP or number == SHARP + 1:
        ramp = 120 + 60 * (np.indices((height, width)).sum(0) // 2 % 2)
    elif number == BUSY + 1:
        ramp = ramp + 90
    elif number in (DARK, DARK + 1):
        ramp = np.linspace(16, 60, width)[None].repeat(height, 0)
    elif number >= 30:
        ramp = np.full((height, width), 16)  # black: darker, but there is nothing to see
    flat = [np.full(shape, 128, fmt.dtype) for shape in fmt.plane_shapes(width, height)[1:]]
    return [ramp.astype(fmt.dtype), *flat]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("moments") / "clip.mp4"
    return make_clip(path, frames=32, width=96, height=64, rate=Fraction(8), draw=draw, options={"crf": "10"})


def test_the_sharpest_the_busiest_and_the_darkest_are_found(clip: Path) -> None:
    moments = pick(probe(clip))
    found = {moment.why: moment.seconds * 8 for moment in moments}
    assert found == {"sharpest": SHARP, "busiest": BUSY, "darkest": DARK}
    assert [moment.why for moment in moments] == ["sharpest", "busiest", "darkest"]  # what says most comes first


def test_moments_are_of_different_scenes(tmp_path: Path) -> None:
    """All that happens is in three frames; beside them there is nothing, and still they are not all taken."""

    def lively(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        planes = draw(SHARP, fmt, width, height) if 10 <= number < 16 else draw(0, fmt, width, height)
        planes[0] += np.uint8(number % 2 * 9)
        return planes

    moments = pick(probe(make_clip(tmp_path / "clip.mp4", frames=32, rate=Fraction(8), draw=lively)))
    times = sorted(moment.seconds for moment in moments)
    assert min(after - before for before, after in pairwise(times)) >= Fraction(30, 8) / NUM_APART


def test_the_frame_shown_at_a_time_is_taken(clip: Path) -> None:
    (moment,) = at(probe(clip), [Fraction(22, 8)])
    assert moment.seconds == Fraction(22, 8)
    assert np.asarray(moment.frame.planes[0]).mean() < 50


def test_a_time_behind_the_end_is_refused(clip: Path) -> None:
    with pytest.raises(UsageError, match="no picture at 60 s"):
        at(probe(clip), [Fraction(60)])


def test_a_clip_of_one_frame_has_one_moment(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "one.mp4", frames=1)
    assert [moment.why for moment in pick(probe(clip))] == ["sharpest"]
