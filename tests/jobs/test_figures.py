"""What parts, files and workers cost, measured: `pytest -m soak -s tests/jobs/test_figures.py` prints the figures.

Take them on a machine with nothing else to do; each names its bound.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.clips import make_clip
from tests.conftest import ROOT
from vidsr import pipeline, verify
from vidsr.jobs import sources
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Event, SegmentDone
from vidsr.jobs.inputs import expand, target
from vidsr.jobs.options import Options
from vidsr.jobs.run import run_batch
from vidsr.media.mux import join

pytestmark = pytest.mark.soak
NUM_CLIPS = int(os.environ.get("VIDSR_NUM_CLIPS", "1000"))


def test_a_file_among_many_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside reading, upscaling, joining and verifying: under 50 ms a file."""
    films = tmp_path / "films"
    films.mkdir()
    clip = make_clip(tmp_path / "a.mp4", frames=4)
    for number in range(NUM_CLIPS):
        shutil.copyfile(clip, films / f"{number:04d}.mp4")
    spent = dict.fromkeys(("read", "upscale", "join", "verify"), 0.0)

    def timed(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return real(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - started

        return call

    monkeypatch.setattr(sources, "examine", timed("read", sources.examine))
    monkeypatch.setattr(pipeline, "run", timed("upscale", pipeline.run))
    monkeypatch.setattr(join, "join", timed("join", join.join))
    monkeypatch.setattr(verify, "quick", timed("verify", verify.quick))
    inputs, _ = expand([str(films)])
    options = Options(model="bicubic", backend="cpu", scale=2, preset="ultrafast")
    place = target(f"{tmp_path / 'out'}/", [str(films)], inputs)
    assert run_batch(Batch(inputs[:1], place, options)).exit_code == 0
    spent.update(dict.fromkeys(spent, 0.0))
    started = time.perf_counter()
    assert run_batch(Batch(inputs[1:], place, options)).exit_code == 0
    wall = time.perf_counter() - started
    num = len(inputs) - 1
    each = {name: round(1000 * seconds / num, 1) for name, seconds in spent.items()}
    overhead = 1000 * (wall - spent["read"] - spent["upscale"]) / num  # joins and checks run beside
    print(
        f"\n{num} clips: {1000 * wall / num:.1f} ms each, of which {each}; beside reading and upscaling {overhead:.1f}"
    )
    assert overhead < 50 + each["join"] + each["verify"]


def test_parts_of_ten_seconds_cost_little(tmp_path: Path) -> None:
    """Under 2 % of the time of one part, here without a network, the worst case."""
    source = make_clip(tmp_path / "a.mp4", frames=24 * 60, width=320, height=180, gop=48)
    seconds: dict[str, list[float]] = {"1000": [], "10": []}
    for number in range(7):
        for length, found in seconds.items():
            output = tmp_path / f"{length}-{number}.mp4"
            command = [
                sys.executable,
                "-m",
                "vidsr",
                "upscale",
                str(source),
                "-o",
                str(output),
                "-q",
                "--model",
                "bicubic",
            ]
            before = os.times()
            options = ["--backend", "cpu", "--scale", "2", "--segment-seconds", length]
            subprocess.run([*command, *options], cwd=ROOT, check=True)
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            found.append(used)
    whole, parts = seconds["1000"], seconds["10"]
    ratios = sorted(100 * (b / a - 1) for a, b in zip(whole, parts, strict=True))
    print(f"\nprocessor seconds, one part: {sorted(whole)}, six parts: {sorted(parts)}")
    print(f"overhead of pairs: {[round(r, 2) for r in ratios]} %, median {statistics.median(ratios):.2f} %")
    assert statistics.median(ratios) < 2


def test_two_workers_are_faster_than_one(tmp_path: Path) -> None:
    """At least 1.6 times, with one core each. Needs two cores with nothing else to do."""
    ray = pytest.importorskip("ray")
    source = make_clip(tmp_path / "a.mp4", frames=24 * 20, width=160, height=120, gop=24)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for workers in (1, 2, 1, 2):
        ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
        try:
            seconds[workers].append(
                _steady_seconds(source, tmp_path / f"{workers}-{len(seconds[workers])}.mp4", workers)
            )
        finally:
            ray.shutdown()
    ratio = sum(seconds[1]) / sum(seconds[2])
    print(f"\none worker {seconds[1]} s, two {seconds[2]} s: {ratio:.2f} times as fast")
    assert ratio >= 1.6


def _steady_seconds(source: Path, output: Path, workers: int) -> float:
    """How long the film takes on workers that have started: by its parts from the fifth (with two) to the last."""
    options = Options(model="fast", backend="cpu", scale=2, segment_seconds=Fraction(1))
    marks: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, SegmentDone):
            marks.append(time.perf_counter())

    inputs, _ = expand([str(source)])
    run_batch(Batch(inputs, target(str(output), [str(source)], inputs), options, ray="local", on_event=watch))
    first = 2 * workers  # by then all workers run
    return (marks[-1] - marks[first]) / (len(marks) - 1 - first) * len(marks)
