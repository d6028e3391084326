"""Ctrl-Z and `fg` in the middle of a job."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests import warm
from tests.clips import make_clip
from tests.conftest import ROOT

OPTIONS = ("--model", "bicubic", "--backend", "cpu", "--scale", "4", "--segment-seconds", "1")


def test_a_suspended_job_goes_on_without_harm(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=96, width=160, height=96)
    command = [sys.executable, "-m", "vidsr", "upscale", str(clip), *OPTIONS]
    warm.run([*command, "-q", "-o", str(tmp_path / "plain.mp4")], check=True, cwd=ROOT, timeout=120)
    output = tmp_path / "suspended.mp4"
    job = warm.Popen([*command, "-q", "-o", str(output)], cwd=ROOT)
    work = tmp_path / "suspended.mp4.vidsr"
    deadline = time.monotonic() + 60
    while not list(work.glob("[0-9]*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(job.pid, os.WUNTRACED)[1]), "the job was over before it could be suspended"
    stopped = sorted((path.name, path.stat().st_size) for path in work.glob("*"))
    time.sleep(0.3)
    assert sorted((path.name, path.stat().st_size) for path in work.glob("*")) == stopped
    job.send_signal(signal.SIGCONT)
    assert job.wait(120) == 0
    assert output.read_bytes() == (tmp_path / "plain.mp4").read_bytes()
