"""Where parts end follows from film, model and size; what an early end keeps and loses is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.clips import Audio, make_clip, read_number
from tests.conftest import ROOT, Result
from vidsr import pipeline
from vidsr.jobs import plan as planning
from vidsr.jobs.events import Event, PartsKept, Resumed, SegmentDone
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.manifest import Entry, Manifest
from vidsr.jobs.options import Options
from vidsr.jobs.segments import Grid

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--preset", "ultrafast")
FAST = 324_000  # multiply-adds a pixel


def planned(source: Path, **options: Any) -> planning.Plan:
    return planning.plan(Input(source, source.parent, named=True), Target(), Options(**options))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "a.mp4", frames=48, bframes=2, gop=250, audio=[Audio(seconds=2)])


@pytest.fixture
def laborious(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve frames of 128x96 are a minute's work, and a little more."""
    monkeypatch.setattr(planning, "PART_WORK", 12.5 * 128 * 96 * planning.ENCODING_WORK)


def test_a_small_film_has_parts_of_ten_seconds(clip: Path) -> None:
    assert planned(clip).part_seconds(FAST) == 10
    assert planned(clip, segment_seconds=3).part_seconds(FAST) == 3


def test_a_part_ends_after_a_minutes_work_or_one_picture(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = 64 * 48 * FAST + 256 * 192 * planning.ENCODING_WORK
    for num_frames, part_work in ((7, 7.9 * work), (1, 1.1 * work), (1, 0.01 * work)):
        monkeypatch.setattr(planning, "PART_WORK", part_work)
        assert planned(clip).part_seconds(FAST) == Fraction(num_frames, 24)
    monkeypatch.setattr(planning, "PART_WORK", 7.9 * work)
    assert planned(clip, segment_seconds=Fraction(1, 8)).part_seconds(FAST) == Fraction(1, 8)


def test_a_network_on_a_gpu_does_a_hundred_times_the_work_in_a_part(clip: Path) -> None:
    srgan = 2_218_176 * (1920 * 1080) // (64 * 48)  # as much a picture as SRGAN has with one of 1920x1080
    assert planned(clip).part_seconds(srgan) == Fraction(1, 24)
    assert planned(clip).part_seconds(srgan, on_gpu=True) == Fraction(86, 24)
    assert planned(clip).part_seconds(FAST, on_gpu=True) == 10


def test_a_clock_of_milliseconds_puts_every_picture_into_its_own_part(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    pts = [round(k * 1000 / rate) for k in range(200)]
    source = make_clip(tmp_path / "a.mkv", frames=200, rate=rate, time_base=Fraction(1, 1000), pts=pts)
    job = planned(source)
    grid = Grid(job, 1 / job.rate)
    with job.open_reader(None) as reader:
        assert [grid.of(frame) for frame in reader] == list(range(200))
    with job.open_reader(grid.begin(77)) as reader:
        assert read_number(next(iter(reader)).planes[0]) == 77


@pytest.mark.usefixtures("laborious")
def test_counted_parts_end_with_the_same_bytes_whatever_stops_them(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole.mp4", tmp_path / "stopped.mp4"
    assert vidsr("upscale", clip, "-o", whole, *QUICK).code == 0
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        if isinstance(event, SegmentDone) and event.number == 2:
            raise KeyboardInterrupt

    from vidsr.api import upscale_video

    options: Any = {"model": "bicubic", "backend": "cpu", "scale": 2.0, "preset": "ultrafast"}
    with pytest.raises(KeyboardInterrupt):
        upscale_video(clip, stopped, on_event=stop, **options)
    (kept,) = (event for event in events if isinstance(event, PartsKept))
    assert (kept.num_segments, kept.num_frames, kept.advice) == (2, 24, "the same command goes on from there")
    assert 0 <= kept.seconds_lost < 60
    again = vidsr("upscale", clip, "-o", stopped, *QUICK)
    assert "goes on after 2 finished parts (24 frames)" in again.err
    assert stopped.read_bytes() == whole.read_bytes()


def test_a_part_that_is_noted_as_the_interrupt_comes_is_counted(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the manifest, and the job that is interrupted has not heard of it yet."""
    from vidsr.api import upscale_video

    real, events = Manifest._write, list[Event]()

    def interrupted(self: Manifest, segments: list[Entry]) -> None:
        real(self, segments)
        if len(segments) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Manifest, "_write", interrupted)
    options: Any = {"model": "bicubic", "backend": "cpu", "scale": 2.0, "preset": "ultrafast", "segment_seconds": 0.5}
    with pytest.raises(KeyboardInterrupt):
        upscale_video(clip, tmp_path / "stopped.mp4", on_event=events.append, **options)
    (kept,) = (event for event in events if isinstance(event, PartsKept))
    assert kept.num_segments == 2


def test_another_length_of_parts_goes_on_with_those_that_are_there(clip: Path, tmp_path: Path) -> None:
    from vidsr.api import upscale_video

    whole, stopped = tmp_path / "whole.mp4", tmp_path / "stopped.mp4"
    options: Any = {"model": "bicubic", "backend": "cpu", "scale": 2.0, "preset": "ultrafast"}
    upscale_video(clip, whole, segment_seconds=0.5, **options)

    def stop(event: Event) -> None:
        if isinstance(event, SegmentDone) and event.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale_video(clip, stopped, segment_seconds=0.5, on_event=stop, **options)
    events: list[Event] = []
    upscale_video(clip, stopped, segment_seconds=1.5, on_event=events.append, **options)
    assert [event.num_segments for event in events if isinstance(event, Resumed)] == [2]
    assert [event.num_frames for event in events if isinstance(event, SegmentDone)] == [12, 12]
    assert pictures(stopped) == pictures(whole)


def pictures(path: Path) -> list[bytes]:
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0)]


@pytest.mark.parametrize(("made", "now", "but"), [("--keep-going", "", "--keep-going"), ("", "--no-reuse", "--reuse")])
def test_done_already_names_the_options_that_differ(vidsr: Cli, clip: Path, made: str, now: str, but: str) -> None:
    assert vidsr("upscale", clip, *QUICK, *made.split()).code == 0
    same = vidsr("upscale", clip, *QUICK, *made.split())
    assert same.err.endswith("done already, with the same options\n")
    other = vidsr("upscale", clip, *QUICK, *now.split())
    assert (other.code, other.err.rpartition(", ")[2]) == (0, f"with the same options but for {but}\n")


def test_an_interrupt_before_the_first_part_says_that_nothing_is_kept(clip: Path) -> None:
    process = begin("upscale", str(clip), *QUICK, prefix=SLOW)
    assert process.stderr is not None
    wait_for(process, "->")
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130, err
    assert "nothing is kept" in err
    assert "s of work are lost; the same command begins again" in err
    assert err.endswith("vidsr: interrupted\n")
    assert [path.name for path in clip.parent.iterdir()] == ["a.mp4"]


SLOW = """
import time
from vidsr.media.write.writer import Writer
real = Writer.write
def slowly(*arguments):
    time.sleep(0.2)
    real(*arguments)
Writer.write = slowly
"""


def begin(*arguments: str, prefix: str = "", stdin: int | None = None) -> subprocess.Popen[str]:
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in a shell's background
    script = f"{heed}\n{prefix}\nfrom vidsr.cli import main\nmain()"
    command = [sys.executable, "-c", script, *arguments]
    return warm.Popen(command, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    while words not in (line := process.stderr.readline()):
        assert line, f"{words!r} was never said"


IMPATIENT = "from vidsr import pipeline\npipeline.Ahead.close.__defaults__ = (0.5,)  # instead of ten times as much"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_read_that_never_comes_back_does_not_outlive_the_first_signal(tmp_path: Path, number: signal.Signals) -> None:
    reading, writing = os.pipe()
    process = begin("upscale", "-", "-o", str(tmp_path / "out.mp4"), *QUICK, prefix=IMPATIENT, stdin=reading)
    os.close(reading)
    frame = b"FRAME\n" + bytes(64 * 48 * 3 // 2)
    os.write(writing, b"YUV4MPEG2 W64 H48 F24:1\n" + 3 * frame)
    wait_for(process, "->")
    time.sleep(1)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    os.close(writing)
    assert process.returncode == 128 + number, err
    assert "what came through the pipe has to come again" in err
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_hangs_in_the_main_thread_does_not_outlive_the_first_signal(clip: Path) -> None:
    """As the opening of a file on a share that is gone: no handler of Python runs until it comes back."""
    hang = """
import ctypes, os, sys
from vidsr.cli import interrupts
from vidsr.jobs import sources
interrupts.PATIENCE_SECONDS = 0.5
reading, _writing = os.pipe()
def probe(path):
    print("->", file=sys.stderr, flush=True)
    signal.siginterrupt(signal.SIGINT, False)  # the read goes on after the signal
    ctypes.CDLL(None).read(reading, ctypes.create_string_buffer(8), 1)
sources.probe = probe
"""
    process = begin("upscale", str(clip), *QUICK, prefix=hang)
    wait_for(process, "->")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "a file does not answer, or a very large picture is in work. What was finished before is kept" in err


def test_a_source_that_stands_still_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()

    def stands() -> Any:
        yield 1
        release.wait(60)
        yield 2

    ahead = pipeline.Ahead(stands(), lambda _: 1, name="still")
    assert next(ahead) == 1
    ahead.close(0.1)
    assert list(ahead) == []
    release.set()
    ahead.close()


def test_the_manifest_says_how_long_parts_are(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    process = begin("upscale", str(clip), *QUICK, "--segment-seconds", "0.5", "--json", prefix=SLOW)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "segment":
            break
    process.kill()
    process.communicate()
    content = json.loads((tmp_path / "a_x2.mp4.vidsr" / "manifest.json").read_text())
    assert content["part_seconds"] == "1/2"
    assert "segment seconds" not in content["job"]
