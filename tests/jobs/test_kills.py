"""Killed at any moment, a job ends, when it is run again, with the bytes of one that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import warm
from tests.clips import Audio, make_clip
from tests.conftest import ROOT, Result
from vidsr.jobs.manifest import NAME

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--segment-seconds", "1", "--preset", "ultrafast")
SEED = 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten segments, and sound."""
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    return make_clip(path, frames=240, bframes=2, gop=60, audio=[Audio(seconds=10)])


def start(clip: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vidsr", "upscale", str(clip), "-o", str(output), *QUICK, "-q"]
    return warm.Popen(command, cwd=ROOT)


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float]:
    """The output, and the seconds that it takes."""
    output = tmp_path_factory.mktemp("whole") / "out.mp4"
    started = time.monotonic()
    assert start(clip, output).wait() == 0
    return output.read_bytes(), time.monotonic() - started


def kill_and_run_again(vidsr: Cli, clip: Path, output: Path, seconds: float, *, parts: int = 0) -> int:
    """Kill a run so many seconds after that many parts are there; returns how many it left behind (-1: it was done)."""
    first, work = start(clip, output), output.with_name("out.mp4.vidsr")
    while first.poll() is None and len(list(work.glob("0*.mp4"))) < parts:
        time.sleep(0.002)
    time.sleep(seconds)
    first.kill()
    first.wait()
    left = -1 if output.exists() else len(list(work.glob("0*.mp4"))) if work.exists() else 0
    again = vidsr("upscale", clip, "-o", output, *QUICK)
    assert again.code == 0, again.err
    return left


@pytest.mark.parametrize(("parts", "seconds"), [(1, 0.0), (4, 0.01), (8, 0.02)])
def test_killed_at_some_moments(
    vidsr: Cli, clip: Path, undisturbed: tuple[bytes, float], tmp_path: Path, parts: int, seconds: float
) -> None:
    whole, _ = undisturbed
    left = kill_and_run_again(vidsr, clip, tmp_path / "out.mp4", seconds, parts=parts)
    assert left >= parts
    assert (tmp_path / "out.mp4").read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.soak
def test_killed_at_fifty_random_moments(
    vidsr: Cli, clip: Path, undisturbed: tuple[bytes, float], tmp_path: Path
) -> None:
    whole, seconds = undisturbed
    moments = random.Random(SEED)
    left: list[int] = []
    for number in range(50):
        output = tmp_path / str(number) / "out.mp4"
        output.parent.mkdir()
        left.append(kill_and_run_again(vidsr, clip, output, moments.uniform(0, seconds)))
        assert output.read_bytes() == whole, f"kill {number}"
        assert [path.name for path in output.parent.iterdir()] == ["out.mp4"]
    print(f"\nparts left by 50 kills (-1: done before): {sorted(left)}")
    assert len(set(left)) > 3  # some before the first part, some between parts


PART = 24  # frames
QUICKLY = 2  # runs in `make test`; the others in `make soak`, where each is stopped twice
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SLOW = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
from vidsr.media.write.writer import Writer
real, written = Writer.write, os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def slowly(*arguments):
    time.sleep(0.01)
    real(*arguments)
    os.write(written, b".")
Writer.write = slowly
from vidsr.cli import main
main()
"""


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=[] if n < QUICKLY else [pytest.mark.soak]) for n in range(20)]
)
def test_a_slow_clip_loses_a_part_of_work_at_most(
    vidsr: Cli, clip: Path, undisturbed: tuple[bytes, float], tmp_path: Path, number: int
) -> None:
    """A signal after a random number of frames."""
    whole, _ = undisturbed
    moments = random.Random(SEED + number)
    output, manifest, kept = tmp_path / "out.mp4", tmp_path / "out.mp4.vidsr" / NAME, 0
    for turn in range(1 if number < QUICKLY else 2):
        how, counter = SIGNALS[(number + turn) % 3], tmp_path / f"written {turn}"
        code, said, written = stopped(clip, output, counter, how, moments.randrange(200 - kept))
        kept_before, kept = kept, kept_in(manifest)
        assert 0 <= kept_before + written - kept <= PART, said
        assert kept % PART == 0
        assert code == (-how if how == signal.SIGKILL else 128 + how), said
        if how != signal.SIGKILL:
            assert (f"{kept // PART} finished part" if kept else "nothing is kept") in said, said
    again = vidsr("upscale", clip, "-o", output, *QUICK)
    assert again.code == 0, again.err
    assert output.read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} - {"written 0", "written 1"} == {"out.mp4"}


def stopped(clip: Path, output: Path, counter: Path, how: signal.Signals, after: int) -> tuple[int, str, int]:
    """Exit code, what was said, and the frames written, of a run that is stopped once it has written `after`."""
    counter.touch()
    command = [sys.executable, "-c", SLOW, str(counter), "upscale", str(clip), "-o", str(output), *QUICK]
    run = warm.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"})
    while counter.stat().st_size < max(after, 1):
        assert run.poll() is None
        time.sleep(0.002)
    run.send_signal(how)
    said = run.communicate(timeout=60)[1]
    return run.returncode, said, counter.stat().st_size


def kept_in(manifest: Path) -> int:
    """Frames in finished parts."""
    if not manifest.exists():
        return 0
    return sum(entry["num_frames"] for entry in json.loads(manifest.read_text())["segments"])
