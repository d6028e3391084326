"""Thousands of damaged files: each ends as an output or as one sentence, never as a crash, a hang or a leak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips import Audio, Subtitles, make_clip
from tests.conftest import ROOT
from tests.security.mutate import mutate

SMALL: dict[str, Any] = {"frames": 6, "width": 48, "height": 32}
pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small file of each kind that users have."""
    folder = tmp_path_factory.mktemp("sources")
    sound = [Audio(seconds=0.3)]
    make_clip(folder / "a.mp4", **SMALL, bframes=2, audio=sound)
    make_clip(
        folder / "b.mkv", **SMALL, audio=sound, subtitles=[Subtitles()], attachments=[("f.ttf", "font/ttf", b"x" * 64)]
    )
    make_clip(folder / "c.webm", **SMALL, codec="libvpx-vp9", options={"deadline": "realtime"})
    make_clip(folder / "d.ts", **SMALL, codec="mpeg2video", audio=[Audio("mp2", seconds=0.3)])
    make_clip(folder / "e.avi", **SMALL, codec="mpeg4")
    make_clip(folder / "f.mov", **SMALL, codec="prores_ks", pix_fmt="yuv422p10le")
    make_clip(folder / "g.mkv", **SMALL, codec="ffv1", pix_fmt="yuva420p")
    make_clip(
        folder / "h.mp4", frames=6, width=64, height=48, codec="libx265", options={"x265-params": "log-level=none"}
    )
    frames = [Image.fromarray(np.full((32, 48), 40 * k, np.uint8)) for k in range(5)]
    frames[0].save(folder / "i.gif", save_all=True, append_images=frames[1:], duration=80)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)).save(folder / "j.png")
    make_clip(folder / "k.flv", **SMALL, codec="flv")
    return folder


def test_a_mutation_is_known_by_its_seed() -> None:
    data = bytes(range(256)) * 40
    assert [mutate(data, seed) for seed in range(50)] == [mutate(data, seed) for seed in range(50)]
    assert len({mutate(data, seed) for seed in range(50)}) > 45


def survive(folder: Path, first: int, last: int) -> None:
    """Every seed ended as an output or a refusal; open files, threads and memory stayed what they were."""
    command = [sys.executable, "-m", "tests.security.mutate", str(folder), str(first), str(last)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    assert run.returncode == 0, (
        f"{lines[-1] if lines else ''} ended the process ({run.returncode}): {run.stderr[-3000:]}"
    )
    ended = [line.split(" ", 2)[2] for line in lines if line.startswith("ended ")]
    assert [line for line in lines if "FAILED" in line] == []
    assert len(ended) == last - first + 1
    assert sum(line.startswith("done") for line in ended) > len(ended) // 10  # else nothing was tested
    assert sum(line.startswith("refused") for line in ended) > len(ended) // 10
    figures = [tuple(map(int, line.split()[-3:])) for line in ended]
    warm = figures[len(figures) // 4]
    assert figures[-1][0] <= warm[0] + 1, "open files are left behind"
    assert figures[-1][1] <= warm[1], "threads are left behind"
    assert figures[-1][2] <= warm[2] + 60 + len(ended) // 20, "memory grows"


def test_a_hundred_damaged_files(sources: Path) -> None:
    survive(sources, 1, 100)


@pytest.mark.soak
def test_two_thousand_damaged_files(sources: Path) -> None:
    survive(sources, 1001, 3000)
