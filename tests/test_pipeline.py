"""Three stages at once: order, bounds, errors, interruption. Frames are tiny; stages are plain generators."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from vidsr import pipeline
from vidsr.backends.nearest import NearestBackend
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.upscaling.upscaler import Upscaler

GREY = PixelFormat("grey")


def frames(count: int, side: int = 4) -> Iterator[Frame]:
    for number in range(count):
        yield Frame((np.full((side, side), number % 256, np.uint8),), GREY, Colour(), number, Fraction(1, 25))


def same(stream: Iterable[Frame]) -> Iterator[Frame]:
    yield from stream


def test_every_frame_arrives_once_and_in_order() -> None:
    written: list[int] = []
    last = pipeline.run(frames(200), same, lambda frame: written.append(frame.pts), queue_bytes=64)
    assert written == list(range(200))
    assert last.num_frames == 200


def test_the_stages_overlap() -> None:
    """While one frame is being encoded the next is already upscaled and the one after that decoded."""
    log: list[tuple[str, int]] = []
    lock = threading.Lock()

    def note(stage: str, number: int) -> None:
        with lock:
            log.append((stage, number))

    def slow_source() -> Iterator[Frame]:
        for frame in frames(6):
            time.sleep(0.01)
            note("decoded", frame.pts)
            yield frame

    def slow_upscale(stream: Iterable[Frame]) -> Iterator[Frame]:
        for frame in stream:
            note("upscaling", frame.pts)
            time.sleep(0.03)
            yield frame

    def slow_write(frame: Frame) -> None:
        note("encoding", frame.pts)
        time.sleep(0.03)
        note("encoded", frame.pts)

    pipeline.run(slow_source(), slow_upscale, slow_write)
    for number in range(4):
        assert log.index(("upscaling", number + 1)) < log.index(("encoded", number))
        assert log.index(("decoded", number + 1)) < log.index(("encoding", number))


def test_a_real_upscaler_on_a_slow_backend_overlaps_with_both_sides() -> None:
    """Frame n + 2 is decoded before frame n is encoded, since the network alone takes time."""
    log: list[tuple[str, int]] = []

    def decode() -> Iterator[Frame]:
        for frame in frames(6, side=8):
            log.append(("decoded", frame.pts))
            yield frame

    with Upscaler("bicubic", scale=2, backend=NearestBackend(2, delay=0.05)) as upscaler:
        last = pipeline.run(decode(), upscaler.stream, lambda frame: log.append(("encoded", frame.pts)))
    assert [number for stage, number in log if stage == "encoded"] == list(range(6))
    for number in range(4):
        assert log.index(("decoded", number + 2)) < log.index(("encoded", number))
    assert last.limit == "upscale"


def test_queues_are_bounded_in_bytes() -> None:
    alive = peak = 0

    def counted() -> Iterator[Frame]:
        nonlocal alive, peak
        for frame in frames(100, side=32):  # 1024 bytes each
            alive += 1
            peak = max(peak, alive)
            yield frame

    def write(_: Frame) -> None:
        nonlocal alive
        time.sleep(0.001)
        alive -= 1

    pipeline.run(counted(), same, write, queue_bytes=4096)
    assert peak <= 2 * 4 + 4  # two queues of four frames, and one in the hands of each stage


def test_a_frame_larger_than_the_queue_still_passes() -> None:
    written: list[int] = []
    pipeline.run(frames(5, side=64), same, lambda frame: written.append(frame.pts), queue_bytes=1)
    assert written == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stage", ["decode", "upscale", "encode"])
def test_an_error_surfaces_after_the_frames_before_it(stage: str) -> None:
    written: list[int] = []

    def fail_at(name: str, number: int) -> None:
        if name == stage and number == 3:
            raise OSError(f"{name} broke")

    def source() -> Iterator[Frame]:
        for frame in frames(50):
            fail_at("decode", frame.pts)
            yield frame

    def upscale(stream: Iterable[Frame]) -> Iterator[Frame]:
        for frame in stream:
            fail_at("upscale", frame.pts)
            yield frame

    def write(frame: Frame) -> None:
        fail_at("encode", frame.pts)
        written.append(frame.pts)

    with pytest.raises(OSError, match=f"{stage} broke") as caught:
        pipeline.run(source(), upscale, write)
    assert written == [0, 1, 2]
    assert "fail_at" in [entry.name for entry in caught.traceback]


def test_an_interruption_cuts_a_long_call_short() -> None:
    cancelled = threading.Event()

    def endless(stream: Iterable[Frame]) -> Iterator[Frame]:
        for frame in stream:
            if frame.pts == 2:
                assert cancelled.wait(30)
                return
            yield frame

    def write(frame: Frame) -> None:
        if frame.pts == 1:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(frames(10), endless, write, cancel=cancelled.set)
    assert time.monotonic() - started < 10  # far below the 30 s of the call that was cut short


def test_the_slow_stage_is_named() -> None:
    def slow(stream: Iterable[Frame]) -> Iterator[Frame]:
        for frame in stream:
            time.sleep(0.01)
            yield frame

    last = pipeline.run(frames(20), slow, lambda _: None)
    assert last.limit == "upscale"
    assert last.busy["upscale"] > 0.8
    assert max(last.busy["decode"], last.busy["encode"]) < 0.3


def rates(monkeypatch: pytest.MonkeyPatch, count: int, seconds: Callable[[int], float]) -> list[float]:
    """The rates that are told after each of `count` frames, each of which takes so many `seconds`."""
    now = 0.0
    seen: list[float] = []

    def write(frame: Frame) -> None:
        nonlocal now
        now += seconds(frame.pts)

    monkeypatch.setattr(pipeline, "time", SimpleNamespace(perf_counter=lambda: now))
    pipeline.run(frames(count), same, write, on_progress=lambda progress: seen.append(progress.fps))
    return seen


def test_the_rate_is_that_of_the_last_seconds_not_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that slows down from ten frames a second to one says so within ten seconds, and so does its time left."""
    seen = rates(monkeypatch, 330, lambda number: 0.1 if number < 300 else 1.0)
    assert seen[290] == pytest.approx(10, rel=0.05)
    assert seen[312] == pytest.approx(1, rel=0.15)
    assert seen[-1] == pytest.approx(1, rel=0.01)


def test_a_pause_does_not_spoil_the_rate_but_slow_frames_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour between two frames (Ctrl-Z, a laptop that slept) is no rate; frames of half a minute are."""
    seen = rates(monkeypatch, 106, lambda number: 3600 if number == 50 else 0.1 if number < 100 else 30)
    assert seen[45:60] == pytest.approx([10] * 15, rel=0.1)
    assert seen[102:] == pytest.approx([1 / 30] * 4, rel=0.1)


def test_frames_slower_than_the_window_are_no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates(monkeypatch, 5, lambda _: 12) == pytest.approx([1 / 12] * 5)


def test_the_source_generator_is_closed() -> None:
    closed = False

    def source() -> Iterator[Frame]:
        nonlocal closed
        try:
            yield from frames(100)
        finally:
            closed = True

    with pytest.raises(OSError, match="stop"):
        pipeline.run(source(), same, _raise)
    assert closed


def _raise(_: Frame) -> None:
    raise OSError("stop")
