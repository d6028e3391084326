"""The segments of a job: which frame belongs to which, and how a finished one is put where it stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from vidsr.files import rename, sync_file
from vidsr.frame import Frame
from vidsr.jobs.events import Event, SegmentDone
from vidsr.jobs.manifest import Entry, Manifest
from vidsr.jobs.plan import Plan
from vidsr.media.write.writer import Writer, writing


class Grid:
    """The intervals of a job, counted from its first picture, in steps of `length` seconds.

    They end half a picture early, so that a clock of milliseconds puts no picture on the wrong side.
    """

    def __init__(self, plan: Plan, length: Fraction) -> None:
        options, video = plan.options, plan.source.video
        self._base, self._length = video.time_base, length
        self._early = 1 / (2 * plan.rate)
        self._start = options.start or Fraction(0)
        first = Fraction(video.start_pts or 0) * self._base
        self._origin = first + self._start
        self.first_pts = self._origin / self._base if self._start else None  # what comes before is not wanted
        self.stop_pts = (first + options.end) / self._base if options.end is not None else None

    def of(self, frame: Frame) -> int:
        """The interval of `frame`; those before the first picture belong to the first."""
        return self._number(frame.pts * frame.time_base)

    def of_pts(self, pts: int) -> int:
        """The interval of a time in the source's time base."""
        return self._number(pts * self._base)

    def _number(self, time: Fraction) -> int:
        return max(int((time - self._origin + self._early) // self._length), 0)

    def begin(self, interval: int) -> Fraction:
        """In seconds from the source's first picture, as `Reader` counts."""
        return self._start + max(interval * self._length - self._early, Fraction(0))


class Segments:
    """Puts segments under their names in `folder`, then into the manifest: from frames in order, or as bytes in any."""

    def __init__(self, plan: Plan, folder: Path, manifest: Manifest, on_event: Callable[[Event], None]) -> None:
        self.grid = Grid(plan, manifest.part_seconds)
        self.manifest = manifest
        self._since = time.monotonic()
        self._plan, self._folder, self._on_event = plan, folder, on_event
        self._writer: Writer | None = None
        self._interval = 0

    @property
    def seconds_unsafe(self) -> float:
        """How long ago the newest part became safe, or the work began: what is lost if it ends now."""
        return time.monotonic() - self._since

    @property
    def begun(self) -> bool:
        """Whether a part is being written."""
        return self._writer is not None

    def write(self, frame: Frame) -> None:
        """Write `frame` into the segment of its time, which is not before that of the frame before."""
        interval = self.grid.of(frame)
        if self._writer is not None and interval > self._interval:
            self.close()
        if self._writer is None:
            self._interval = interval
            part = self._part(interval)
            self._writer = Writer(part, self._plan.spec, container=self._plan.choice.segment_container)
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the segment that is being written, if there is one."""
        if self._writer is not None:
            info = self._writer.close()
            self._writer = None
            self._settle(self._interval, info.num_frames, info.num_bytes)

    def abort(self) -> None:
        """Remove the segment that is being written."""
        if self._writer is not None:
            self._writer.abort()

    def land(self, interval: int, data: bytes, num_frames: int) -> None:
        """Take in a segment that was made elsewhere: the whole file as `data`."""
        part = self._part(interval)
        with writing(part):
            part.write_bytes(data)
            sync_file(part)
        self._settle(interval, num_frames, len(data))

    def _settle(self, interval: int, num_frames: int, num_bytes: int) -> None:
        part = self._part(interval)
        path = part.with_suffix("")
        rename(part, path)
        self.manifest.add(Entry(path.name, interval, num_frames, num_bytes))
        self._since = time.monotonic()
        number = len(self.manifest.segments)
        self._on_event(SegmentDone(self._plan.source.path, number, num_frames, num_bytes))

    def _part(self, interval: int) -> Path:
        return self._folder / f"{interval:06d}.{self._plan.choice.segment_container}.part"
