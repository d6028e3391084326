"""Static or dynamic, and when a build pays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.backends.tensorrt.making import make_key
from vidsr.backends.tensorrt.cache import Engine
from vidsr.backends.tensorrt.key import Profile
from vidsr.backends.tensorrt.profiles import GAIN, KnownTimes, choose, measured_gain

SHAPE = (1, 540, 960)
STATIC = Profile.static(SHAPE)
DYNAMIC = Profile((1, 2, 2), SHAPE, (1, 1088, 1920))


def test_the_static_engine_that_fits_comes_first() -> None:
    choice = choose(SHAPE, 10**6, [Profile.static((1, 540, 964)), STATIC], DYNAMIC, KnownTimes(True, ms=9.0))
    assert (choice.profile, choice.build) == (STATIC, False)


def test_a_static_engine_takes_a_batch_that_is_not_full() -> None:
    four, eight = Profile.static((4, 540, 960)), Profile.static((8, 540, 960))
    choice = choose((3, 540, 960), None, [eight, four], DYNAMIC, KnownTimes(True))
    assert (choice.profile, choice.build) == (four, False)
    assert choose((9, 540, 960), None, [eight, four], DYNAMIC, KnownTimes(True)).profile not in (four, eight)


@pytest.mark.parametrize(("num_calls", "builds"), [(100, False), (20_000, True), (13_000, False), (14_000, True)])
def test_a_static_engine_is_built_when_it_saves_more_than_its_build(num_calls: int, builds: bool) -> None:
    """10 ms a call, of which 0.15 is saved: 13,334 calls save 20 s."""
    choice = choose(SHAPE, num_calls, [], DYNAMIC, KnownTimes(True, ms=10.0, gain=0.15, build_seconds=20.0))
    assert (choice.profile, choice.build) == ((STATIC, True) if builds else (DYNAMIC, False))
    assert f"{num_calls * 0.0015:.0f} s" in choice.reason
    assert "20 s" in choice.reason


def test_without_knowledge_the_dynamic_engine_runs() -> None:
    for num_calls, ms in ((None, 10.0), (10**6, None)):
        choice = choose(SHAPE, num_calls, [], DYNAMIC, KnownTimes(False, ms=ms))
        assert (choice.profile, choice.build) == (DYNAMIC, True)


def test_outside_of_the_profile_a_static_engine_is_built() -> None:
    for shape in ((1, 1920, 1080), (2, 1920, 1080)):
        choice = choose(shape, None, [], DYNAMIC, KnownTimes(True))
        assert (choice.profile, choice.build) == (Profile.static(shape), True)
        assert "outside" in choice.reason


def test_a_batch_is_no_reason_to_build_before_that_pays() -> None:
    """Small frames come several at a time, and the dynamic engine takes one: a call for each of them."""
    shape = (4, 180, 320)
    for num_calls, builds in ((None, False), (1000, False), (5000, True)):
        choice = choose(shape, num_calls, [], DYNAMIC, KnownTimes(True, ms=10.0, gain=0.2, build_seconds=5.0))
        assert (choice.profile, choice.build) == ((Profile.static(shape), True) if builds else (DYNAMIC, False))
    one, two = Profile.static((1, 180, 320)), Profile.static((2, 180, 320))
    choice = choose(shape, 10**6, [one, two], DYNAMIC, KnownTimes(True, ms=10.0))
    assert (choice.profile, choice.build) == (two, False)
    assert "2 calls a batch" in choice.reason


def test_the_gain_is_what_was_measured() -> None:
    engine = Engine(make_key(shapes=str(DYNAMIC)), 1, "", "", 1.0, "", {}, ms=10.0)
    half = replace(engine, key=make_key(shapes="960x270"), ms=4.0)
    assert measured_gain([engine]) == measured_gain([engine, replace(half, ms=None)]) == GAIN
    assert measured_gain([engine, half]) == pytest.approx(0.2)
    assert measured_gain([engine, replace(half, ms=9.0)]) == 0
