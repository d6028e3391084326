"""The join of one job runs beside the head of the next one, and changes nothing but the time that all take."""

from __future__ import annotations

import concurrent.futures
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.clips import make_clip
from vidsr.errors import VerifyError
from vidsr.jobs import joining
from vidsr.jobs import video as running
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Advanced, Done, Event, Failed, PartsKept, Resumed, Started
from vidsr.jobs.inputs import expand, target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Plan
from vidsr.jobs.run import BatchReport, run_batch

OPTIONS = Options(model="bicubic", backend="cpu", scale=2, preset="ultrafast")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in "abc":
        make_clip(folder / f"{name}.mp4", frames=12)
    return folder


def upscale(films: Path, events: list[Event], on_event: object = None) -> BatchReport:
    def watch(event: Event) -> None:
        events.append(event)
        if callable(on_event):
            on_event(event)

    inputs, _ = expand([str(films)])
    return run_batch(Batch(inputs, target(str(films / "out"), [str(films)], inputs), OPTIONS, on_event=watch))


def ends(events: list[Event]) -> list[tuple[str, str]]:
    return [(type(e).__name__, e.source.stem) for e in events if isinstance(e, Started | Done | Failed | PartsKept)]


def test_the_next_job_begins_while_one_is_joined(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The join of the first waits until the second has made a frame: one after the other this would never end."""
    begun = threading.Event()
    real = running._join
    threads: list[str] = []

    def slow(*arguments: object) -> object:
        if not threads:
            assert begun.wait(60)
        threads.append(threading.current_thread().name)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "_join", slow)
    events: list[Event] = []
    report = upscale(films, events, lambda e: begun.set() if isinstance(e, Advanced) and e.source.stem == "b" else None)
    assert [done.source.stem for done in report.done] == ["a", "b", "c"]
    assert ends(events)[:2] == [("Started", "a"), ("Started", "b")]
    assert all(name.startswith("vidsr-join") for name in threads)


def fail_at_b(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the join of the second film end in `error`."""
    real = running._join

    def broken(plan: Plan, *rest: object) -> object:
        if plan.source.path.stem == "b":
            raise error
        return real(plan, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "_join", broken)


def test_a_join_that_fails_is_reported_as_its_own_and_stops_nobody(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_b(monkeypatch, VerifyError("b.mp4 is not what it should be"))
    events: list[Event] = []
    report = upscale(films, events)
    assert [done.source.stem for done in report.done] == ["a", "c"]
    assert [(failed.source.stem, failed.error) for failed in report.failed] == [("b", "b.mp4 is not what it should be")]
    order = ends(events)
    assert order.index(("PartsKept", "b")) + 1 == order.index(("Failed", "b"))
    assert (films / "out" / "b_x2.mp4.vidsr" / "manifest.json").exists()
    monkeypatch.undo()
    assert [done.source.stem for done in upscale(films, []).done] == ["b"]


def test_a_join_that_runs_out_of_memory_is_the_end_of_its_own_job_alone(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_b(monkeypatch, MemoryError())
    report = upscale(films, [])
    assert [done.source.stem for done in report.done] == ["a", "c"]
    (lost,) = report.failed
    assert (lost.source.stem, "the memory does not suffice" in lost.error) == ("b", True)


def test_ctrl_c_lets_a_join_end_and_keeps_the_next_jobs_parts(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    real = running._join

    def slow(*arguments: object) -> object:
        assert stopped.wait(60)
        return real(*arguments)  # type: ignore[arg-type]

    def stop(event: Event) -> None:
        if isinstance(event, Advanced) and event.source.stem == "b":
            stopped.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(running, "_join", slow)
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        upscale(films, events, stop)
    assert ends(events) == [("Started", "a"), ("Started", "b"), ("PartsKept", "b"), ("Done", "a")]
    (kept,) = (event for event in events if isinstance(event, PartsKept))
    assert (kept.num_segments, kept.advice) == (0, "the same command begins again")
    assert [path.name for path in (films / "out").iterdir()] == ["a_x2.mp4"]


def test_ctrl_c_while_a_join_is_waited_for_reports_it_all_the_same(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is finished before the run ends, so it is told as done and not as kept."""
    real, interrupted = concurrent.futures.wait, threading.Event()

    def wait(futures: list[Future[Done]]) -> object:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        return real(futures)

    join = running._join

    def slow(*arguments: object) -> object:
        assert interrupted.wait(60)
        return join(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "_join", slow)
    monkeypatch.setattr(joining, "wait", wait)
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        upscale(films, events)
    assert ends(events) == [("Started", "a"), ("Started", "b"), ("Done", "a"), ("PartsKept", "b")]
    assert (films / "out" / "a_x2.mp4").exists()
    monkeypatch.undo()
    events.clear()
    assert [done.source.stem for done in upscale(films, events).done] == ["b", "c"]
    (resumed,) = (event for event in events if isinstance(event, Resumed))
    assert (resumed.source.stem, resumed.num_frames) == ("b", 12)


def test_ctrl_c_before_a_join_begins_says_what_is_kept(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", submit)
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        upscale(films, events)
    assert ends(events) == [("Started", "a"), ("PartsKept", "a")]
