"""Without a scale or a size a film becomes x4, or as large as fits 3840x2160; a dry run warns of what may surprise."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.clips import make_clip
from vidsr.errors import UsageError
from vidsr.jobs import dry_run, sources
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Plan, plan
from vidsr.media.read.probe import probe


def planned(source: Path, options: Options) -> Plan:
    return plan(Input(source, source.parent, named=True), Target(), options)


@pytest.mark.parametrize(
    ("width", "height", "scale"),
    [(64, 48, 4), (960, 540, 4), (540, 960, 4), (1280, 720, 3), (1920, 1080, 2), (1080, 1920, 2), (720, 576, 3.75),
     (1366, 768, 2.81), (2560, 1440, 1.5)],
)  # fmt: skip
def test_the_largest_scale_that_stays_within_is_taken_and_said(width: int, height: int, scale: float) -> None:
    settled, notes = Options().within_usual(Fraction(width), Fraction(height))
    assert settled.scale == scale
    assert (settled.label, bool(notes)) == (f"x{scale:g}", scale < 4)
    box = "3840x2160" if width > height else "2160x3840"
    assert all(f"x{scale:g}, to stay within {box}; --scale 4" in note for note in notes)
    wide, high = settled.target(Fraction(width), Fraction(height))
    assert max(wide, high) <= 3840
    assert min(wide, high) <= 2160


@pytest.mark.parametrize("options", [Options(scale=4), Options(size="2160p"), Options(scale=1)])
def test_what_is_named_is_made(options: Options) -> None:
    assert options.within_usual(Fraction(1920), Fraction(1080)) == (options, ())


def test_a_film_of_that_size_needs_a_word() -> None:
    with pytest.raises(
        UsageError, match="the film is 3840x2160 already; more than 3840x2160 needs a --scale or --size"
    ):
        Options().within_usual(Fraction(3840), Fraction(2160))
    with pytest.raises(UsageError, match="the film is 2160x3840 already; more than 2160x3840 needs"):
        Options().within_usual(Fraction(2160), Fraction(3840))


def test_the_plan_says_so(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=1, width=1280, height=720)
    job = planned(source, Options())
    assert (job.size, job.output.name) == ((3840, 2160), "a_x3.mp4")
    assert "x3, to stay within 3840x2160; --scale 4 (scale=4) makes it x4 all the same" in job.notes


def test_odd_sides_that_become_shorter_are_said(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=1, width=161, height=121, pix_fmt="yuv444p", codec="ffv1")
    job = planned(source, Options(scale=1, pix_fmt="yuv420p"))
    assert job.size == (160, 120)
    assert "161x121 becomes 160x120: yuv420p takes even sizes only, yuv444p any" in job.notes
    assert not [note for note in planned(source, Options(scale=2)).notes if "becomes" in note]


def test_announced_frames_are_those_that_come(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=50, rate=Fraction(25))
    for start, end in ((None, Fraction(1)), (Fraction(1, 2), None), (Fraction(13, 100), Fraction(131, 100)), (None, 9)):
        job = planned(source, Options(start=start, end=end))  # type: ignore[arg-type]
        with job.open_reader(start) as reader:
            assert job.num_frames == sum(1 for _ in reader), (start, end)


def test_a_header_that_lies_about_its_frames_and_their_rate_is_not_believed(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=30, rate=Fraction(30))
    told = probe(source)
    lying = replace(told, video=replace(told.video, num_frames=60, rate=Fraction(60)))
    found = sources.counted(lying).video
    assert (found.num_frames, found.rate) == (30, 30)
    assert sources.counted(told) == told
    uneven = make_clip(tmp_path / "b.mkv", pts=[0, 1, 2, 9, 10, 14, 30, 31, 32, 33, 50, 51, 60], frames=13)
    assert sources.counted(probe(uneven)).video.rate == probe(uneven).video.rate


def test_a_dry_run_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = planned(make_clip(tmp_path / "a.mp4", frames=1), Options())
    assert dry_run.warnings(job, "fast-video", 60, 1e6) == ()
    (hours,) = dry_run.warnings(job, "fast-video", 4000, 1e6)
    assert "this takes hours; faster: an NVIDIA GPU, a smaller model (--model tiny-video), a smaller --scale" in hours
    for least in ("tiny-video", "bicubic"):
        (hours,) = dry_run.warnings(job, least, 4000, 1e6)
        assert "an NVIDIA GPU, a smaller --scale" in hours, "there is no smaller one"
    (times,) = dry_run.warnings(job, "srgan", 90, 1e6)
    assert f"this takes {90 * float(job.rate):.0f} times the film's length; faster: an NVIDIA GPU" in times
    assert dry_run.warnings(job, "tiny-video", 90, 1e6) == ()
    with monkeypatch.context() as closed:
        closed.setattr(os, "access", lambda *_: False)  # root may write everywhere
        (said,) = dry_run.warnings(job, "tiny-video", 90, 1e6)
    assert said == f"nothing can be written in {tmp_path}; choose another folder with -o"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    (full,) = dry_run.warnings(job, "fast-video", 60, 0.6e9)
    assert f"the disk of {tmp_path} has 1.0 GB free; the parts and the file joined of them take 1.2 GB" in full
    huge = replace(job, spec=replace(job.spec, width=15360, height=8640))
    (unplayed,) = dry_run.warnings(huge, "fast-video", 60, 1e6)
    assert "hardly any player decodes h264 above 4096x2304" in unplayed
