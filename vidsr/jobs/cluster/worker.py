"""What runs on a worker of a cluster: one network, kept warm, that turns shipments into finished segments."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vidsr import __version__, pipeline
from vidsr.errors import BackendError, VidsrError
from vidsr.frame import Frame, Samples
from vidsr.jobs.local_maker import open_upscaler
from vidsr.jobs.options import Options
from vidsr.media.read.packets import Shipment, Unsound, unpack
from vidsr.media.read.probe import Video
from vidsr.media.write.writer import VideoSpec, Writer
from vidsr.upscaling.upscaler import Upscaler


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file that the workers may not have: its name and its content."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker is: where it runs, by which version of vidsr, and its network."""

    node: str
    version: str
    identity: dict[str, object]
    reason: str
    macs_per_pixel: int
    on_gpu: bool
    reach: int  # frames on either side that a result depends on


@dataclass(frozen=True, slots=True)
class Task:
    """What all segments of a job have in common."""

    scale: int  # the network's own
    identity: dict[str, object]  # of the network that the job was begun with
    video: Video
    spec: VideoSpec
    container: str
    scan: bool = True  # pictures that say that they are interlaced are to be made progressive
    num_frames: int | None = None  # that each worker may expect, for a backend that compiles where that is worth it


@dataclass(frozen=True, slots=True)
class Result:
    """A finished segment, as the bytes of its file. `seconds` is what it took, `busy` each stage's share of it."""

    data: bytes
    num_frames: int
    num_reused: int
    seconds: float
    busy: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what the network had to do to go on


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker that would not compute as the job's other segments were computed."""

    reason: str


class Worker:
    """Upscales one segment at a time. Nothing is kept between calls but the networks.

    What goes wrong with a segment is returned, not raised: what is raised is a fault of the program.
    """

    def __init__(self, options: Options, weights: Weights | None, threads: int | None) -> None:
        self._options, self._weights, self._threads = options, weights, threads
        self._open: dict[int, Upscaler] = {}

    def ready(self) -> None:
        """Answers once the process runs."""

    def hello(self, scale: int) -> Hello | VidsrError:
        """Open the network of that native scale."""
        try:
            upscaler = self._upscaler(scale)
        except VidsrError as error:
            return error
        except OSError as error:
            return _fault(error)
        node, macs = f"{platform.node()} ({os.getpid()})", upscaler.model.macs_per_pixel
        return Hello(node, __version__, upscaler.identity(), upscaler.reason, macs, upscaler.on_gpu, upscaler.reach)

    def make(self, task: Task, shipment: Shipment) -> Result | Refused | Unsound | VidsrError:
        """Decode, upscale and encode a segment."""
        try:
            upscaler = self._upscaler(task.scale)
            if upscaler.identity() != task.identity:
                return Refused(f"{platform.node()} would use {upscaler.reason}")
            return _make(upscaler, task, shipment)
        except (Unsound, VidsrError, OSError) as error:
            self._forget(task.scale)
            return _fault(error) if isinstance(error, OSError) else error

    def image(self, scale: int, pixels: Samples, size: tuple[int, int] | None) -> Samples | VidsrError:
        """Upscale an image."""
        try:
            return self._upscaler(scale)(pixels, size=size)
        except (VidsrError, OSError) as error:
            self._forget(scale)
            return _fault(error) if isinstance(error, OSError) else error

    def _upscaler(self, scale: int) -> Upscaler:
        if scale not in self._open:
            with _present(self._options.model, self._weights) as model:
                self._open[scale] = open_upscaler(self._options, scale, model=model, threads=self._threads)
        return self._open[scale]

    def _forget(self, scale: int) -> None:
        """A network that was cancelled runs no more."""
        if scale in self._open:
            self._open.pop(scale).close()


def _fault(error: OSError) -> BackendError:
    """What a disk did, as a full one, in a sentence that says whose it was."""
    return BackendError(f"the worker on {platform.node()}: {error.filename or 'its disk'}: {error.strerror or error}")


@contextmanager
def _present(model: str, weights: Weights | None) -> Iterator[str]:
    """The model's name, or where its weights are for as long as they are read."""
    if weights is None:
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="vidsr-") as folder:
        path = Path(folder) / weights.name
        path.write_bytes(weights.content)
        yield str(path)


def _make(upscaler: Upscaler, task: Task, shipment: Shipment) -> Result:
    def stream(frames: Iterable[Frame]) -> Iterator[Frame]:
        return upscaler.stream(frames, task.spec.canvas)

    reused, told = upscaler.num_reused, len(upscaler.notes)
    upscaler.prepare(task.video.width, task.video.height, task.num_frames)
    with tempfile.TemporaryDirectory(prefix="vidsr-") as folder:
        path = Path(folder) / "segment"
        writer = Writer(path, task.spec, container=task.container)
        try:
            last = pipeline.run(
                unpack(shipment, task.video, scan=task.scan), stream, writer.write, cancel=upscaler.cancel
            )
            info = writer.close()
        except BaseException:
            writer.abort()
            raise
        data = path.read_bytes()
    notes = tuple(f"{platform.node()}: {note}" for note in upscaler.notes[told:])
    return Result(data, info.num_frames, upscaler.num_reused - reused, last.seconds, dict(last.busy), notes)
