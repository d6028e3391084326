"""Killed at any moment, a job ends, when it is run again, with the bytes of one that nothing disturbed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clips import Audio, make_clip
from tests.conftest import ROOT, Result

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
    return subprocess.Popen(command, cwd=ROOT)


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
