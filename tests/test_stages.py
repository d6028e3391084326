"""Stages: who is told of them, and how long each took."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest

from vidsr.pipeline import Ahead
from vidsr.stages import StageTimes, heard, loading, stage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_each_second_is_of_the_innermost_stage(clock: list[float]) -> None:
    times = StageTimes({"imports": 0.5})
    with heard(times), stage("network"):
        clock[0] += 1
        with stage("kernels"):
            clock[0] += 20
        assert times.now == "network"
        with stage("kernels"):
            assert times.now == "kernels"
            clock[0] += 2
    assert times.now == ""
    assert times.seconds == {"imports": 0.5, "network": 1.0, "kernels": 22.0}


def test_what_fails_is_over(clock: list[float]) -> None:
    times = StageTimes()

    def fail() -> None:
        with stage("weights"):
            clock[0] += 1
            raise ValueError("no")

    with heard(times):
        with pytest.raises(ValueError, match="no"):
            fail()
        assert (times.now, times.seconds) == ("", {"weights": 1.0})
    with stage("join"):
        clock[0] += 1
    assert times.seconds == {"weights": 1.0}  # nobody listens any more


def test_nobody_looks_for_garbage_while_modules_are_loaded(clock: list[float]) -> None:
    times = StageTimes()
    with heard(times), stage("device"), loading():
        clock[0] += 3
        assert not gc.isenabled()
        with loading():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    assert times.seconds == {"device": 0.0, "imports": 3.0}


def test_threads_are_heard_too() -> None:
    def tuned() -> Iterator[int]:
        with stage("tuning"):
            yield 1

    times = StageTimes()
    with heard(times):
        ahead = Ahead(tuned(), lambda _: 1, name="upscale")
        assert list(ahead) == [1]
        ahead.close()
    assert times.seconds.keys() == {"tuning"}
