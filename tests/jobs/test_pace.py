"""Which films get the quick network of their own accord: by counting, the same on every run, and not for photos."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.models.test_registry import write
from vidsr.backends import hardware
from vidsr.errors import VidsrError
from vidsr.jobs import dry_run, pace, run
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Outline
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Plan, plan
from vidsr.jobs.segments import Segments
from vidsr.models import registry
from vidsr.models.config import GeneratorConfig

USUAL, QUICK = "fast-video", registry.QUICKEST


@pytest.fixture(autouse=True)
def small_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them, of four channels, and one core that makes a million operations a second; nothing is short."""
    shelf = tmp_path / "weights"
    shelf.mkdir()
    for name in (USUAL, QUICK):
        write(shelf / f"{name}-x4.safetensors", GeneratorConfig("fast", 4, 4, 1), name, {"macs_per_pixel": "1000"})
    monkeypatch.setattr(registry, "WEIGHTS", shelf)
    monkeypatch.setattr(hardware, "num_cores", lambda: 1)
    monkeypatch.setattr(hardware, "has_nvidia", lambda: False)
    monkeypatch.setattr(pace, "CORE", 1e6)
    monkeypatch.setattr(pace, "SHORT", 0.0)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of 64x48 pictures: 3,072 pixels times 2,000 operations times 24 are 147 times what is there."""
    return make_clip(tmp_path / "a.mp4", frames=48)


def planned(clip: Path, options: Options | None = None) -> Plan:
    return plan(Input(clip, clip.parent, named=True), Target(), options or Options(backend="cpu"))


def batch(clip: Path, **values: object) -> Batch:
    options = Options(backend="cpu", preset="ultrafast", segment_seconds=Fraction(1, 2), **values)  # type: ignore[arg-type]
    return Batch([Input(clip, clip.parent, named=True)], Target(), options)


def test_it_is_counted_from_pixels_pictures_and_cores(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = planned(clip)
    video = job.source.video
    work = 2000 * video.width * video.height * 24
    assert pace.slowness(job, USUAL) == pytest.approx(work / 1e6)
    monkeypatch.setattr(hardware, "num_cores", lambda: 4)
    assert pace.slowness(job, USUAL) == pytest.approx(work / 4e6)
    one = replace(job, options=replace(job.options, threads=1))
    assert pace.slowness(one, USUAL) == pytest.approx(work / 1e6)
    part = replace(job, options=replace(job.options, end=Fraction(1, 24)))
    assert pace.slowness(part, USUAL) == pace.slowness(job, USUAL), "the part shows what the film becomes"
    monkeypatch.setattr(pace, "CORE", work / 4 / 3.9)
    assert pace.slowness(job, USUAL) is None, "3.9 times the film's length"
    monkeypatch.setattr(pace, "CORE", work / 4 / 10)
    monkeypatch.setattr(pace, "SHORT", 60.0)
    assert pace.slowness(job, USUAL) is None, "ten times two seconds are soon over"


def test_the_quick_network_is_taken_and_said(clip: Path) -> None:
    job = pace.paced(planned(clip))
    assert job.options.model == registry.QUICK
    note = job.notes[-1]
    assert note.startswith("tiny-video: fast-video would take about ")
    assert note.endswith(" times the film's length on 1 core; --model fast-video (model='fast-video') is sharper")


@pytest.mark.parametrize("values", [{"model": USUAL}, {"device": "gpu"}, {"scale": 2}])
def test_it_is_not_where_somebody_chose_or_a_gpu_runs_it_or_there_is_none(
    clip: Path, values: dict[str, object]
) -> None:
    job = planned(clip, Options(backend="cpu", **values))  # type: ignore[arg-type]
    assert pace.paced(job) is job


def test_it_is_not_where_an_nvidia_gpu_is_found(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_nvidia", lambda: True)
    job = planned(clip, Options())
    assert pace.paced(job) is job
    for other in (Options(backend="cpu"), Options(device="cpu")):  # on its processor all the same
        job = planned(clip, other)
        assert pace.paced(job) is not job


@pytest.mark.parametrize(
    ("values", "taken"), [({}, True), ({"backend": "openvino"}, False), ({"device": "cpu"}, False)]
)
def test_it_is_not_where_auto_takes_an_apple_gpu(
    clip: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], taken: bool
) -> None:
    monkeypatch.setattr(hardware, "has_apple", lambda: True)
    job = planned(clip, Options(**values))  # type: ignore[arg-type]
    assert (pace.paced(job) is job) == taken


def test_the_dry_run_and_the_job_take_the_same(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (would,) = dry_run.run_batch(batch(clip)).planned
    (done,) = run.run_batch(batch(clip)).done
    assert would.network.startswith("tiny-video x4: the default for films that others take too long for.")
    assert would.notes[-1] == done.notes[-1]
    (skipped,) = run.run_batch(batch(clip)).skipped
    assert skipped.reason.startswith("done already")


@pytest.mark.parametrize("begun", [USUAL, QUICK])
def test_a_job_goes_on_with_the_network_that_it_was_begun_with(
    clip: Path, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    """On a machine that would have chosen the other one."""
    fast, slow = (lambda: monkeypatch.setattr(pace, "CORE", 1e12)), (lambda: monkeypatch.setattr(pace, "CORE", 1e6))
    (fast if begun == USUAL else slow)()
    finished = Segments.write
    count = [0]

    def stopped(self: Segments, frame: object) -> None:
        count[0] += 1
        if count[0] == 30:
            raise VidsrError("stopped")
        finished(self, frame)  # type: ignore[arg-type]

    monkeypatch.setattr(Segments, "write", stopped)
    assert run.run_batch(batch(clip)).failed
    (slow if begun == USUAL else fast)()
    (done,) = run.run_batch(batch(clip)).done
    assert done.num_resumed >= 12
    said = [note for note in done.notes if note.startswith(QUICK)]
    assert bool(said) == (begun == QUICK)
    assert not said or said[0].startswith("tiny-video, with which this job was begun; --model fast-video")


def test_photos_are_made_as_well_as_can_be(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    begun: list[object] = []
    asked = Batch([Input(path, tmp_path, named=True)], Target(), Options(backend="cpu"), on_event=begun.append)
    assert len(run.run_batch(asked).done) == 1
    assert "fast-video x4: the default on a CPU" in str(begun[0])
    assert "blended" not in str(begun[0])


@pytest.mark.parametrize(
    ("steady", "said"),
    [(None, "blended with their neighbours by 0.5; --steady 0 (steady=0)"), (0.0, ""), (1.0, "by 1.0;")],
)
def test_a_film_is_said_to_be_blended_and_how_to_leave_that(tmp_path: Path, steady: float | None, said: str) -> None:
    clip = make_clip(tmp_path / "a.mp4", width=32, height=32, frames=2)
    options = Options(model="fast-video", backend="openvino", preset="ultrafast", steady=steady)
    told: list[object] = []
    source = Input(clip, tmp_path, named=True)
    dry_run.run_batch(Batch([source], Target(), options, on_event=told.append))
    run.run_batch(Batch([source], Target(), options, on_event=told.append))
    run.run_batch(Batch([source], Target(pattern=tmp_path / "%d.png"), options, on_event=told.append))
    networks = [event.network for event in told if isinstance(event, Outline)]
    assert len(networks) == 3
    assert all(said in network for network in networks)
    assert all(bool(said) == ("blended" in network) for network in networks)


def test_films_of_one_batch_have_each_their_own(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = make_clip(tmp_path / "b.mp4", width=32, height=32, frames=2)
    monkeypatch.setattr(pace, "CORE", 2000 * 40 * 40 * 24 / 4)
    sources = [Input(path, tmp_path, named=True) for path in (clip, small)]
    report = dry_run.run_batch(Batch(sources, Target(), Options(backend="cpu", preset="ultrafast")))
    assert [event.network.split(" ")[0] for event in report.planned] == [QUICK, USUAL]
