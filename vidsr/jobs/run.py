"""Runs one video job: its segments in order, then the join with every other stream, then a check, then the name.

Everything is written under ``<output>.vidsr/`` beside the final name. That folder goes away with the job, whether it
ends well or not; the final name appears only once the file under it is complete and checked.
"""

from __future__ import annotations

import shutil
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vidsr import pipeline, verify
from vidsr.errors import MediaError, OutputError
from vidsr.frame import Frame
from vidsr.jobs.events import Advanced, Done, Event
from vidsr.jobs.plan import Plan
from vidsr.media import remux
from vidsr.media.fingerprint import KEY
from vidsr.media.reader import Reader, ReadReport
from vidsr.media.writer import Writer
from vidsr.upscaler import Upscaler

MAX_ERRORS = 10  # damaged places of a source that are listed; the others are counted


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was made: the pts of its frames, the pipeline's figures, what there is to say of its source."""

    pts: array[int]
    last: pipeline.Progress
    notes: tuple[str, ...]


def run(plan: Plan, upscaler: Upscaler, fingerprint: str, on_event: Callable[[Event], None] = lambda _: None) -> Done:
    """Upscale one video; returns what was done, with the output under its final name.

    Raises:
        VidsrError: whatever ended the job; nothing is left under the final name or beside it.
    """
    started = time.perf_counter()

    def stream(frames: Iterable[Frame]) -> Iterator[Frame]:
        return upscaler.stream(frames, size=plan.size, format=plan.spec.format, colour=plan.spec.colour)

    def advance(progress: pipeline.Progress) -> None:
        on_event(Advanced(plan.source.path, progress, plan.num_frames))

    with _work_folder(plan.output) as work:
        path = work / f"000000{segment_suffix(plan)}"
        segment = make_segment(plan, path, stream, upscaler.cancel, advance)
        finished = work / f"joined{plan.output.suffix}"
        joined = remux.join(
            [path],
            plan.source,
            finished,
            container=plan.choice.container,
            spec=plan.spec,
            start=plan.options.start,
            end=plan.options.end,
            metadata={KEY: fingerprint},
            keep_going=plan.options.keep_going,
        )
        verify.quick(finished, plan.spec, segment.pts, shift=joined.shift, container=plan.choice.container)
        size = finished.stat().st_size
        finished.replace(plan.output)
    seconds = time.perf_counter() - started
    return Done(
        source=plan.source.path,
        output=plan.output,
        num_frames=len(segment.pts),
        seconds=seconds,
        fps=len(segment.pts) / max(seconds, 1e-9),
        busy=dict(segment.last.busy),
        limit=segment.last.limit,
        bytes=size,
        kept=tuple(str(item) for item in joined.kept),
        dropped=tuple(str(item) for item in joined.dropped),
        notes=(*plan.notes, *segment.notes, *joined.notes),
    )


def segment_suffix(plan: Plan) -> str:
    """Of a segment file: mp4 keeps all pts, mov does so for codecs that mp4 cannot hold."""
    return f".{plan.choice.segment_container}"


def make_segment(
    plan: Plan,
    path: Path,
    stream: Callable[[Iterable[Frame]], Iterator[Frame]],
    cancel: Callable[[], None],
    on_progress: Callable[[pipeline.Progress], None] = lambda _: None,
) -> Segment:
    """Decode the plan's interval, send its frames through `stream`, encode what comes out into `path`.

    Raises:
        VidsrError: any stage failed; `path` is gone.
    """
    pts = array("q")
    writer = Writer(path, plan.spec, container=plan.choice.segment_container)

    def write(frame: Frame) -> None:
        writer.write(frame)
        pts.append(frame.pts)

    try:
        with _reader(plan) as reader:
            last = pipeline.run(reader, stream, write, cancel=cancel, on_progress=on_progress)
        if not pts:
            raise MediaError(f"{plan.source.path}: no picture could be decoded in the part that was asked for")
        writer.close()
    except BaseException:
        writer.abort()
        raise
    return Segment(pts, last, _source_notes(reader.report))


def _source_notes(report: ReadReport) -> tuple[str, ...]:
    notes = [*report.notes, *report.errors[:MAX_ERRORS]]
    if report.num_errors > MAX_ERRORS:
        notes.append(f"{report.num_errors} damaged places in all")
    if report.num_corrupt:
        notes.append(f"{report.num_corrupt} damaged pictures are as the decoder concealed them")
    return tuple(notes)


def _reader(plan: Plan) -> Reader:
    options = plan.options
    wanted = options.deinterlace == "bwdif" or (options.deinterlace == "auto" and plan.source.video.interlaced)
    return Reader(plan.source, start=options.start, end=options.end, keep_going=options.keep_going, deinterlace=wanted)


@contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """``<output>.vidsr/``, locked against a second process, and removed in the end."""
    folder = output.with_name(output.name + ".vidsr")
    created = _missing_parents(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if not output.parent.is_dir():
            raise NotADirectoryError(f"{output.parent} is not a folder")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written ({error.strerror or error}); choose another folder with -o"
        ) from error
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{output}: another vidsr is writing this output; wait for it, or choose another name"
        ) from error
    try:
        for left_over in folder.iterdir():
            if left_over.name != "lock":
                left_over.unlink()
        yield folder
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
        _remove_empty(created)


def _missing_parents(output: Path) -> list[Path]:
    return [folder for folder in output.parents if not folder.exists()]


def _remove_empty(folders: Iterable[Path]) -> None:
    """Folders made for an output that never came go away again; one with anything in it stays."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
