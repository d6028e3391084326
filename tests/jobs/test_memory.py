"""Memory does not grow with the length of a film."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests import warm
from tests.clips import make_clip
from tests.conftest import ROOT
from tests.interlaced import Film, make_interlaced

SCRIPT = """
import sys
from vidsr import pipeline, upscale_video
pipeline.run.__kwdefaults__["queue_bytes"] = 2**20  # on a busy machine large ones fill after frame 100
from vidsr.jobs.events import Advanced
resident = {}
def watch(event):
    if isinstance(event, Advanced) and event.progress.num_frames in (100, 1000):
        pages = int(open("/proc/self/statm").read().split()[1])
        resident[event.progress.num_frames] = pages * 4096
upscale_video(sys.argv[1], sys.argv[2], model="bicubic", backend="cpu", scale=2, preset="ultrafast", on_event=watch)
print(resident[100], resident[1000])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own figure of resident memory")
def test_frame_1000_takes_no_more_memory_than_frame_100(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "long.mp4", frames=1000, width=160, height=96, gop=100)
    command = [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "out.mp4")]
    result = warm.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    early, late = map(int, result.stdout.split())
    assert late < early * 1.05


WATCH = """
import sys
from vidsr import upscale_video
from vidsr.jobs.events import Advanced
def watch(event):
    if isinstance(event, Advanced) and event.progress.num_frames % 4500 == 500:
        pages = int(open("/proc/self/statm").read().split()[1])
        print(event.progress.num_frames, pages * 4096, flush=True)
options = {"model": "bicubic", "backend": "cpu", "scale": 2, "preset": "ultrafast", "deinterlace": sys.argv[3]}
upscale_video(sys.argv[1], sys.argv[2], on_event=watch, **options)
"""


def resident(source: Path, output: Path, deinterlace: str) -> list[int]:
    """Bytes of memory from frame 500 on, every 4,500 frames."""
    command = [sys.executable, "-c", WATCH, str(source), str(output), deinterlace]
    result = warm.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = {int(frame): int(size) for frame, size in map(str.split, result.stdout.splitlines())}
    print(f"\nresident MB by frame: { ({frame: round(size / 1e6, 1) for frame, size in found.items()}) }")
    return list(found.values())


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own figure of resident memory")
def test_memory_is_flat_over_half_an_hour_of_film(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "long.mp4", frames=30 * 60 * 25, rate=Fraction(25), gop=250)
    _, early, *later = resident(source, tmp_path / "out.mp4", "auto")  # queues may still fill after the first figure
    assert len(later) == 8
    assert max(later) < early * 1.02


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own figure of resident memory")
def test_memory_is_flat_over_five_minutes_of_fields(tmp_path: Path) -> None:
    source = make_interlaced(tmp_path / "long.ts", Film(frames=5 * 60 * 25))
    _, early, *later = resident(source, tmp_path / "out.mp4", "fields")
    assert len(later) == 2
    assert max(later) < early * 1.02
