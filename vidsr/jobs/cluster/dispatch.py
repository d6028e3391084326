"""Runs the segments of jobs on the workers of a cluster.

The driver reads the source and sends each segment's packets; finished segments come back as bytes. No disk is shared,
and there are never more segments on their way than there are workers, but for a few that are read ahead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vidsr.errors import BackendError, VidsrError
from vidsr.frame import Samples
from vidsr.jobs.cluster.shipments import Shipments
from vidsr.jobs.cluster.worker import Refused, Result, Task
from vidsr.jobs.cluster.workers import Cluster, Slot, Work
from vidsr.jobs.events import Advanced, Event, Retried
from vidsr.jobs.plan import Plan
from vidsr.jobs.preview import Preview
from vidsr.jobs.segment_maker import SegmentsMade
from vidsr.jobs.segments import Segments
from vidsr.media.read.packets import Shipment, Unsound
from vidsr.pipeline import Ahead, Progress

MAX_ATTEMPTS = 3  # a segment that was lost with so many workers is taken to have killed them


class ClusterMaker:
    """A network on all workers of a cluster; a `SegmentMaker`."""

    def __init__(self, cluster: Cluster, scale: int) -> None:
        self._cluster, self._scale = cluster, scale
        self._hello = cluster.hello(scale)
        self.reason = f"{self._hello.reason} On the workers of a cluster."
        self.macs_per_pixel, self.on_gpu = self._hello.macs_per_pixel, self._hello.on_gpu
        self.num_reused = 0
        self.notes: list[str] = []

    def identity(self) -> dict[str, object]:
        """As the workers say."""
        return self._hello.identity

    def __call__(self, image: Samples, *, size: tuple[int, int] | None = None) -> Samples:
        """Upscale an image on any worker."""
        cluster = self._cluster
        for _ in range(MAX_ATTEMPTS):
            while not (free := [slot for slot in cluster.slots if slot.idle]):
                cluster.grow(self._scale)
                cluster.wait()
            answer = cluster.answer(free[0].handle.image.remote(self._scale, image, size))
            if isinstance(answer, cluster.ray.exceptions.RayError):
                cluster.drop(free[0], answer)
                continue
            if isinstance(answer, VidsrError):
                raise answer
            assert isinstance(answer, np.ndarray)
            return answer
        raise BackendError(f"An image was lost with its worker {MAX_ATTEMPTS} times; it may need too much memory.")

    def make_missing(
        self, plan: Plan, segments: Segments, on_event: Callable[[Event], None], preview: Preview | None = None
    ) -> SegmentsMade:
        """See `SegmentMaker`."""
        assert preview is None, "`Batch` refuses it"
        left = plan.num_frames and max(plan.num_frames - segments.manifest.num_frames, 0)
        task = Task(
            scale=self._scale,
            identity=self._hello.identity,
            video=plan.source.video,
            spec=plan.spec,
            container=plan.choice.segment_container,
            scan=plan.options.deinterlace != "off",
            num_frames=left and left // max(len(self._cluster.slots), 1),
        )
        job = _Job(self._cluster, task, plan, segments, on_event)
        try:
            return job.run()
        finally:
            self.num_reused += job.num_reused

    def close(self) -> None:
        """End what is still at work; the workers belong to the cluster."""
        self._cluster.stop_busy()


@dataclass(slots=True)
class _Busy:
    """Seconds that workers were at work, in all and by stage."""

    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "upscale": 0.0, "encode": 0.0})

    def add(self, result: Result) -> None:
        self.seconds += result.seconds
        for stage, share in result.busy.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + share * result.seconds

    def shares(self) -> dict[str, float]:
        return {stage: seconds / max(self.seconds, 1e-9) for stage, seconds in self.stages.items()}


class _Job:
    """One job on its way through a cluster."""

    def __init__(
        self, cluster: Cluster, task: Task, plan: Plan, segments: Segments, on_event: Callable[[Event], None]
    ) -> None:
        self._cluster, self._task, self._plan = cluster, task, plan
        self._segments, self._on_event = segments, on_event
        manifest = segments.manifest
        done, first = manifest.intervals, manifest.first_missing
        self._shipments = Shipments(plan, segments.grid, done, first, cluster.hello(task.scale).reach)
        self._again: deque[Work] = deque()
        self._more = True  # the source may have further segments
        self._error: VidsrError | None = None
        self._lost = 0
        self._notes: dict[str, None] = {}  # of workers, each once
        self._busy, self._started, self._num_before = _Busy(), time.perf_counter(), manifest.num_frames
        self._task_reference = cluster.ray.put(task)
        self.num_reused = 0

    def run(self) -> SegmentsMade:
        ahead = Ahead(self._shipments, lambda shipment: shipment.nbytes, name="read")
        try:
            while self._working() or (self._error is None and (self._more or self._again)):
                self._cluster.grow(self._task.scale)
                self._hand_out(ahead)
                for slot, answer in self._cluster.wait():
                    self._take(slot, answer)
        except BaseException:
            self._cluster.stop_busy()
            raise
        finally:
            ahead.close()
        if self._error is not None:
            raise self._error
        return SegmentsMade(self._progress(), (*self._shipments.notes, *self._said()))

    def _working(self) -> bool:
        return any(slot.work is not None for slot in self._cluster.slots)

    def _hand_out(self, ahead: Ahead[Shipment]) -> None:
        """Give every idle worker a segment, lost ones first."""
        for slot in self._cluster.slots:
            if self._error is None and slot.idle and (work := self._next(ahead)) is not None:
                slot.work = work
                slot.call = slot.handle.make.remote(self._task_reference, work.shipment)

    def _next(self, ahead: Ahead[Shipment]) -> Work | None:
        if self._again:
            return self._again.popleft()
        if not self._more:
            return None
        try:
            shipment = next(ahead)
        except StopIteration:
            self._more = False
            return None
        except VidsrError as error:  # what is on its way may still arrive
            self._more, self._error = False, error
            return None
        return Work(shipment.interval, self._cluster.ray.put(shipment))

    def _take(self, slot: Slot, answer: object) -> None:
        work, slot.work = slot.work, None
        assert work is not None
        match answer:
            case Result():
                self._land(work, answer)
            case Refused():
                why = f"{answer.reason}, and the job was begun otherwise"
                self._cluster.refuse(slot, BackendError(f"{why}; choose backend and precision."))
                self._again.append(work)
            case Unsound():
                self._replace(work)
            case VidsrError():
                self._error = self._error or answer
            case error:
                assert isinstance(error, Exception)
                self._retry(slot, work, error)

    def _land(self, work: Work, result: Result) -> None:
        self.num_reused += result.num_reused
        self._busy.add(result)
        self._notes.update(dict.fromkeys(result.notes))
        self._segments.land(work.interval, result.data, result.num_frames)
        self._on_event(Advanced(self._plan.source.path, self._progress(), self._plan.num_frames))

    def _replace(self, work: Work) -> None:
        """Send pictures instead of packets, unless reading them shows what is wrong with the source."""
        try:
            shipment = self._shipments.again(work.interval)
        except VidsrError as error:
            self._error = self._error or error
            return
        if shipment is not None:
            self._again.append(Work(work.interval, self._cluster.ray.put(shipment), work.attempts))

    def _retry(self, slot: Slot, work: Work, error: Exception) -> None:
        self._cluster.drop(slot, error)
        work.attempts += 1
        self._lost += 1
        grid, place = self._segments.grid, slot.hello.node if slot.hello else "a worker"
        if work.attempts >= MAX_ATTEMPTS:
            begin, end = (round(float(grid.begin(interval)), 1) for interval in (work.interval, work.interval + 1))
            self._error = self._error or BackendError(
                f"{self._plan.source.path}: the part from {begin:g} to {end:g} s was lost with its worker "
                f"{work.attempts} times, last on {place}; it may need more memory than there is: try a smaller tile"
            )
            return
        self._again.append(work)
        self._on_event(Retried(self._plan.source.path, work.interval + 1, work.attempts, f"{place} was lost"))

    def _progress(self) -> Progress:
        seconds = time.perf_counter() - self._started
        num_frames = self._segments.manifest.num_frames
        return Progress(num_frames, seconds, (num_frames - self._num_before) / max(seconds, 1e-9), self._busy.shares())

    def _said(self) -> list[str]:
        times = "time" if self._lost == 1 else "times"
        lost = [f"a worker was lost {self._lost} {times}; what it made ran again elsewhere"] if self._lost else []
        refused = sorted({slot.refused for slot in self._cluster.slots if slot.refused})
        return [*self._notes, *lost] + [f"a worker was not used: {why}" for why in refused]
