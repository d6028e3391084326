"""Jobs on a real Ray cluster of several nodes on this machine, which come and die while it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.clips import Audio, damage, make_clip
from tests.jobs.test_neighbours import drifting
from vidsr.jobs.batch import Batch
from vidsr.jobs.cluster import dispatch
from vidsr.jobs.cluster import workers as clusters
from vidsr.jobs.cluster.worker import Task, Worker
from vidsr.jobs.events import Advanced, Event, PartsKept, Resumed, Retried, SegmentDone
from vidsr.jobs.inputs import expand, target
from vidsr.jobs.options import Options
from vidsr.jobs.run import BatchReport, run_batch
from vidsr.media.read.packets import Shipment

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

FRAMES, SEGMENTS = 240, 10
SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
    "worker_niceness": 0,
}
HEAD = {"num_cpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False, "_system_config": SOON}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster whose head has no cores, so that all work is done on nodes that a test adds."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    yield cluster
    cluster.shutdown()


def add(nodes: Any, count: int = 1) -> list[Any]:
    return [nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(count)]


def upscale(
    source: Path,
    output: Path,
    *,
    ray: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    steady: float = 0,
) -> BatchReport:
    options = Options(
        model="bicubic",
        backend="cpu",
        scale=2,
        segment_seconds=Fraction(1),
        preset="ultrafast",
        crf=30,
        steady=steady,
        grain=steady,
    )
    inputs, _ = expand([str(source)])
    place = target(str(output), [str(source)], inputs)
    return run_batch(Batch(inputs, place, options, ray=ray, on_event=on_event or (lambda _: None)))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    return make_clip(path, frames=FRAMES, bframes=2, gop=36, audio=[Audio(seconds=10)])


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of a run without a cluster."""
    output = tmp_path_factory.mktemp("whole") / "out.mp4"
    assert upscale(clip, output).exit_code == 0
    return output.read_bytes()


def test_nodes_come_and_die_and_nothing_changes(nodes: Any, clip: Path, whole: bytes, tmp_path: Path) -> None:
    """With two parts finished the only node dies, and another one comes."""
    (first,) = add(nodes)
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, Advanced) and sum(isinstance(e, Advanced) for e in events) == 2:
            nodes.remove_node(first, allow_graceful=False)
            add(nodes)

    report = upscale(clip, tmp_path / "out.mp4", ray=nodes.address, on_event=watch)
    assert report.exit_code == 0, report.failed
    assert (tmp_path / "out.mp4").read_bytes() == whole
    made = [event.num_frames for event in events if isinstance(event, SegmentDone)]
    assert made == [FRAMES // SEGMENTS] * SEGMENTS  # none twice
    (retried,) = (event for event in events if isinstance(event, Retried))
    assert retried.attempt == 1
    assert "a worker was lost 1 time; what it made ran again elsewhere" in report.done[0].notes


def test_all_kinds_of_sources_end_as_without_a_cluster(nodes: Any, tmp_path: Path) -> None:
    """Packets and pictures travel, each with its neighbours on either side, for the motion; one film is damaged."""
    films = tmp_path / "films"
    films.mkdir()
    make_clip(films / "a.mp4", frames=26, options={"x264-params": "intra-refresh=1:keyint=12"})
    make_clip(films / "b.avi", frames=26, codec="mpeg4", bframes=2)
    damage(make_clip(tmp_path / "whole.mkv", frames=48), films / "c.mkv")
    make_clip(films / "d.mp4", frames=30, bframes=2, gop=12, draw=drifting)
    plain = upscale(films, tmp_path / "plain/", steady=1)
    there = upscale(films, tmp_path / "there/", ray=nodes.address, steady=1)
    assert [done.num_frames for done in there.done] == [26, 26, 30]
    for name in ("a_x2.mp4", "b_x2.mkv", "d_x2.mp4"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert [failed.error for failed in there.failed] == [failed.error for failed in plain.failed]
    assert "is damaged at" in there.failed[0].error
    assert upscale(films / "d.mp4", tmp_path / "unsteady.mp4").exit_code == 0
    assert (tmp_path / "unsteady.mp4").read_bytes() != (tmp_path / "there" / "d_x2.mp4").read_bytes()


class Deadly(Worker):
    """Kills its process wherever it gets the fifth segment."""

    def make(self, task: Task, shipment: Shipment) -> Any:
        if shipment.interval == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(task, shipment)


def test_a_segment_that_kills_its_workers_ends_the_job_and_the_rest_is_kept(
    nodes: Any, clip: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    with monkeypatch.context() as patch:
        patch.setattr(clusters, "Worker", Deadly)
        patch.setattr(dispatch, "MAX_ATTEMPTS", 2)
        failed = upscale(clip, tmp_path / "out.mp4", ray=nodes.address, on_event=events.append)
    assert "the part from 4 to 5 s was lost with its worker 2 times" in failed.failed[0].error
    assert [event.attempt for event in events if isinstance(event, Retried)] == [1]
    kept = next(event for event in events if isinstance(event, PartsKept))
    assert kept.num_segments >= 4
    events.clear()
    upscale(clip, tmp_path / "out.mp4", on_event=events.append)  # without the cluster: only what is missing
    resumed = next(event for event in events if isinstance(event, Resumed))
    assert resumed.num_segments == kept.num_segments
    assert sum(isinstance(event, SegmentDone) for event in events) == SEGMENTS - kept.num_segments
    assert (tmp_path / "out.mp4").read_bytes() == whole
