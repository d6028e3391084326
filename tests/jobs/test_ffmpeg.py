"""Joined files as another program sees them: FFmpeg's command line decodes them without a warning."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.clips import Audio, make_clip
from vidsr.api import upscale_video
from vidsr.jobs.events import Done

FFMPEG = shutil.which("ffmpeg")
VFR = [0, 1, 2, 5, 6, 10, 11, 12, 20, 21, 22, 30, 31, 33, 40, 41, 47, 48, 49, 50, 58, 60, 61, 70, 71]
KINDS: dict[str, dict[str, Any]] = {
    "open groups": {"bframes": 2, "gop": 12, "options": {"x264-params": "open-gop=1"}},
    "intra refresh": {"gop": 24, "options": {"x264-params": "intra-refresh=1"}},
    "one group": {"gop": 1000},
    "B-frames": {"bframes": 3},
    "variable rate": {"frames": len(VFR), "pts": VFR, "time_base": Fraction(1, 24)},
    "late start": {"pts": [48 + k for k in range(72)], "time_base": Fraction(1, 24)},
    "HEVC of 10 bit": {"codec": "libx265", "pix_fmt": "yuv420p10le", "width": 96, "height": 96},
    "transport stream": {"bframes": 2},
}


@pytest.mark.skipif(FFMPEG is None, reason="needs the ffmpeg command line")
@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_join_decodes_without_a_warning(kind: str, container: str, tmp_path: Path) -> None:
    suffix = ".ts" if kind == "transport stream" else ".mp4"
    options: dict[str, Any] = {"frames": 72, "audio": [Audio(seconds=3.0)]} | KINDS[kind]
    source = make_clip(tmp_path / f"clip{suffix}", **options)
    output = tmp_path / f"joined.{container}"
    done = upscale_video(
        source, output, model="bicubic", backend="cpu", scale=2, container=container, segment_seconds=Fraction(1)
    )
    assert isinstance(done, Done)
    assert done.num_frames == options["frames"]
    command = [str(FFMPEG), "-v", "warning", "-i", str(output), "-map", "0", "-fps_mode", "passthrough"]
    result = subprocess.run([*command, "-f", "framecrc", "-"], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    frames = [line for line in result.stdout.splitlines() if line.startswith("0,")]
    assert len(frames) == options["frames"]
