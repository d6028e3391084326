"""Runs one video job: its missing segments in order, then the join with every other stream, a check, and the name.

Everything is written under ``<output>.vidsr/`` beside the final name. A job that ends early leaves its finished
segments there, and the same job goes on after them; one that finishes, or has none, leaves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from filelock import FileLock, Timeout

from vidsr import pipeline, verify
from vidsr.errors import DamagedError, MediaError, OutputError
from vidsr.frame import Frame
from vidsr.jobs.events import Advanced, Done, Event, Kept, Resumed, SegmentDone
from vidsr.jobs.manifest import LOCK, Entry, Manifest, clear, is_ours, sync_folder
from vidsr.jobs.plan import Plan, fingerprint
from vidsr.media import remux
from vidsr.media.fingerprint import KEY
from vidsr.media.reader import Reader, ReadReport
from vidsr.media.segments import read_times
from vidsr.media.writer import Writer
from vidsr.upscaler import Upscaler

MAX_ERRORS = 10  # damaged places of a source that are listed; the others are counted


def run(
    plan: Plan,
    upscaler: Upscaler,
    *,
    overwrite: bool = False,
    resume: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Done:
    """Upscale one video; returns what was done, with the output under its final name.

    Raises:
        VidsrError: whatever ended the job; nothing stands under the final name, finished segments are kept.
    """
    started = time.perf_counter()
    facts, reused = plan.facts(upscaler), upscaler.num_reused
    with _work_folder(plan.output) as work:
        manifest = Manifest.open(work, facts, resume=resume)
        if manifest.segments:
            on_event(Resumed(plan.source.path, plan.output, len(manifest.segments), manifest.num_frames))
        before = manifest.num_frames
        try:
            last, notes = _make_missing(plan, upscaler, manifest, on_event)
            joined = _join(plan, manifest, work, fingerprint(facts))
        except BaseException as error:
            if manifest.segments:
                on_event(_kept(plan, work, manifest, error))
            raise
        _put(work / f"joined{plan.output.suffix}", plan.output, overwrite)
        clear(work)
        size = plan.output.stat().st_size
    seconds = time.perf_counter() - started
    return Done(
        source=plan.source.path,
        output=plan.output,
        num_frames=joined.num_frames,
        num_resumed=before,
        num_reused=upscaler.num_reused - reused,
        seconds=seconds,
        fps=(joined.num_frames - before) / max(seconds, 1e-9),
        busy=dict(last.busy),
        limit=last.limit,
        bytes=size,
        kept=tuple(str(item) for item in joined.kept),
        dropped=tuple(str(item) for item in joined.dropped),
        notes=(*plan.notes, *notes, *joined.notes),
    )


def discard(output: Path) -> None:
    """Remove what an earlier run left beside a finished output."""
    if work_folder(output).is_dir():
        with _work_folder(output) as work:
            clear(work)


def _kept(plan: Plan, work: Path, manifest: Manifest, error: BaseException) -> Kept:
    keep_going = isinstance(error, DamagedError) and not plan.options.keep_going
    advice = "the same command with --keep-going" if keep_going else "the same command"
    return Kept(plan.source.path, work, len(manifest.segments), manifest.num_frames, f"{advice} goes on from there")


def _put(finished: Path, output: Path, overwrite: bool) -> None:
    """Give the finished file its name, unless something else has taken it in the meantime."""
    if output.exists() and not overwrite:
        raise OutputError(f"{output}: appeared while the job ran; the same command with --overwrite replaces it")
    finished.replace(output)
    sync_folder(output.parent)


def open_reader(plan: Plan, start: Fraction | None) -> Reader:
    """The source's frames from `start` seconds on, to the end that the options set."""
    options = plan.options
    wanted = options.deinterlace == "bwdif" or (options.deinterlace == "auto" and plan.source.video.interlaced)
    return Reader(plan.source, start=start, end=options.end, keep_going=options.keep_going, deinterlace=wanted)


def _make_missing(
    plan: Plan, upscaler: Upscaler, manifest: Manifest, on_event: Callable[[Event], None]
) -> tuple[pipeline.Progress, tuple[str, ...]]:
    """Make the segments that `manifest` lacks; returns the pipeline's figures, and what to say of the source."""
    begin = (plan.options.start or 0) + manifest.next_interval * plan.options.segment_seconds
    segments = _Segments(plan, manifest, on_event)
    before = manifest.num_frames

    def stream(frames: Iterable[Frame]) -> Iterator[Frame]:
        return upscaler.stream(frames, size=plan.size, format=plan.spec.format, colour=plan.spec.colour)

    def advance(progress: pipeline.Progress) -> None:
        total = replace(progress, num_frames=progress.num_frames + before)
        on_event(Advanced(plan.source.path, total, plan.num_frames))

    try:
        with open_reader(plan, Fraction(begin) if begin else None) as reader:
            last = pipeline.run(reader, stream, segments.write, cancel=upscaler.cancel, on_progress=advance)
        segments.close()
    except BaseException:
        segments.abort()
        raise
    if not manifest.segments:
        raise MediaError(f"{plan.source.path}: no picture could be decoded in the part that was asked for")
    return last, _source_notes(reader.report)


class _Segments:
    """Writes frames into one segment after the other; each is put under its name, then into the manifest."""

    def __init__(self, plan: Plan, manifest: Manifest, on_event: Callable[[Event], None]) -> None:
        self._plan, self._manifest, self._on_event = plan, manifest, on_event
        self._writer: Writer | None = None
        self._interval = 0
        self._origin = Fraction(plan.source.video.start_pts or 0) * plan.spec.time_base + (plan.options.start or 0)

    def write(self, frame: Frame) -> None:
        """Write `frame` into the segment of its time."""
        interval = int((frame.pts * frame.time_base - self._origin) // self._plan.options.segment_seconds)
        if self._writer is not None and interval > self._interval:
            self.close()
        if self._writer is None:
            self._interval = max(interval, self._manifest.next_interval)
            self._writer = Writer(self._part, self._plan.spec, container=self._plan.choice.segment_container)
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the segment that is being written, if there is one."""
        if self._writer is None:
            return
        info = self._writer.close()
        self._writer = None
        path = self._part.with_suffix("")
        self._part.replace(path)
        sync_folder(path.parent)
        self._manifest.add(Entry(path.name, self._interval, info.num_frames, info.num_bytes))
        number = len(self._manifest.segments)
        self._on_event(SegmentDone(self._plan.source.path, number, info.num_frames, info.num_bytes))

    def abort(self) -> None:
        """Remove the segment that is being written."""
        if self._writer is not None:
            self._writer.abort()

    @property
    def _part(self) -> Path:
        folder, kind = work_folder(self._plan.output), self._plan.choice.segment_container
        return folder / f"{self._interval:06d}.{kind}.part"


def _join(plan: Plan, manifest: Manifest, work: Path, mark: str) -> remux.JoinReport:
    """Join all segments and check the result."""
    finished = work / f"joined{plan.output.suffix}"
    joined = remux.join(
        manifest.paths,
        plan.source,
        finished,
        container=plan.choice.container,
        spec=plan.spec,
        start=plan.options.start,
        end=plan.options.end,
        metadata={KEY: mark},
        keep_going=plan.options.keep_going,
    )
    pts = read_times(manifest.paths).pts.tolist()
    verify.quick(finished, plan.spec, pts, shift=joined.shift, container=plan.choice.container)
    return joined


def _source_notes(report: ReadReport) -> tuple[str, ...]:
    notes = [*report.notes, *report.errors[:MAX_ERRORS]]
    if report.num_errors > MAX_ERRORS:
        notes.append(f"{report.num_errors} damaged places in all")
    if report.num_corrupt:
        notes.append(f"{report.num_corrupt} damaged pictures are as the decoder concealed them")
    return tuple(notes)


def work_folder(output: Path) -> Path:
    """Where a job keeps what it has finished."""
    return output.with_name(output.name + ".vidsr")


@contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """The work folder, locked against a second process; removed in the end unless it holds finished segments."""
    folder = work_folder(output)
    created = [parent for parent in output.parents if not parent.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        if not is_ours(folder):
            raise OutputError(f"{folder}: this folder is in the way and not vidsr's; rename it, or choose another name")
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(f"{output}: another vidsr is writing it; wait for it, or choose another name") from error
    except OSError as error:
        _remove_empty(created)
        reason = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written ({reason}); choose another folder with -o") from error
    try:
        yield folder
    except av.FFmpegError:
        raise  # a source that fails, not the folder
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    finally:
        if not any(path.suffix != ".part" for path in folder.glob("[0-9]*")):  # no finished segment
            with suppress(OSError):
                clear(folder)
                (folder / LOCK).unlink()  # still held: nobody else can be inside
            _remove_empty([folder, *created])
        lock.release()


def _remove_empty(folders: Iterable[Path]) -> None:
    """Folders made for an output that never came go away again; one with anything in it stays."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
