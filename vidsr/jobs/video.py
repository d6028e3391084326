"""Runs one video job: its missing segments in order, then the join with every other stream, a check, and the name.

Everything is written under ``<output>.vidsr/`` beside the final name. A job that ends early leaves its finished
segments there, and the same job goes on after them; one that finishes, or has none, leaves nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import av
from filelock import FileLock, Timeout

from vidsr import files, verify
from vidsr.errors import DamagedError, OutputError, TooSmallError, VidsrError
from vidsr.files import fitting, rename
from vidsr.jobs import sources
from vidsr.jobs.batch import REPLACE, Batch, unwritable
from vidsr.jobs.events import ONCE, Done, Event, PartsKept, Resumed
from vidsr.jobs.manifest import LOCK, Manifest, clear, is_ours, read_facts
from vidsr.jobs.plan import Plan, fingerprint
from vidsr.jobs.segment_maker import SegmentMaker, SegmentsMade
from vidsr.jobs.segments import Segments
from vidsr.jobs.sizing import fitted
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux import join
from vidsr.media.mux.animation import animate
from vidsr.media.mux.fingerprint import KEY
from vidsr.media.write.times import read_times
from vidsr.stages import stage

SAMPLE_SHARE = 0.01  # of a job's time, for looking at pictures of the finished file


def finish(job: Unjoined, on_event: Callable[[Event], None]) -> Done:
    """The second part: the join, the check and the name.

    Raises:
        VidsrError: whatever ended the job; nothing stands under the final name, finished segments are kept.
    """
    try:
        return job.finish()
    except BaseException as error:
        on_event(job.kept(error))
        raise


def make(plan: Plan, maker: SegmentMaker, batch: Batch) -> Unjoined:
    """The first part of a job, all that needs the network: makes the segments, and holds the work folder's lock.

    Raises:
        VidsrError: whatever ended the job; finished segments are kept.
    """
    started = time.perf_counter()
    facts, reused = plan.facts(maker), maker.num_reused
    with ExitStack() as held:
        work = held.enter_context(_work_folder(plan.output))
        length = plan.part_seconds(maker.macs_per_pixel, on_gpu=maker.on_gpu)
        manifest = Manifest.open(work, facts, length, resume=batch.resume)
        if manifest.segments:
            batch.on_event(Resumed(plan.source.path, plan.output, len(manifest.segments), manifest.num_frames))
        before, segments = manifest.num_frames, Segments(plan, work, manifest, batch.on_event)
        try:
            made = _make_missing(plan, maker, segments, batch)
        except BaseException as error:
            if plan.pipe is not None:
                clear(work)  # what came through a pipe does not come again
            if manifest.segments or segments.begun or not isinstance(error, Exception):
                batch.on_event(_kept(plan, work, manifest, error, segments.seconds_unsafe))
            raise
        num_reused, mark = maker.num_reused - reused, plan.mark(maker)
        paths: Sequence[Path] = manifest.paths
        if plan.options.target_size is not None:
            paths, said = _to_size(plan, manifest, work, mark, batch)
            made = replace(made, notes=(*made.notes, *said))
        return Unjoined(
            plan, manifest, paths, work, mark, made, before, num_reused, started, batch.overwrite, held.pop_all()
        )


@dataclass(frozen=True, slots=True)
class Unjoined:
    """A job whose segments are all made."""

    plan: Plan
    manifest: Manifest
    paths: Sequence[Path]  # of what is joined
    work: Path
    mark: str
    made: SegmentsMade
    num_resumed: int
    num_reused: int
    started: float
    overwrite: bool
    held: ExitStack  # the work folder and its lock

    def finish(self) -> Done:
        """Join, check and name the output. To be called once, in whatever thread; it raises what the function does."""
        plan = self.plan
        with self.held:
            with stage("join"):
                joined = _join(plan, self.paths, self.work, self.mark)
            with stage("check"):
                self._check(joined)
            _put(self.work / f"joined{plan.output.suffix}", plan.output, self.overwrite)
            clear(self.work)
            size = plan.output.stat().st_size
        seconds = time.perf_counter() - self.started
        return Done(
            source=plan.source.path,
            output=plan.output,
            num_frames=joined.num_frames,
            num_resumed=self.num_resumed,
            num_reused=self.num_reused,
            seconds=seconds,
            fps=(joined.num_frames - self.num_resumed) / max(seconds, 1e-9),
            busy=dict(self.made.progress.busy),
            limit=self.made.progress.limit,
            bytes=size,
            kept=tuple(str(item) for item in joined.kept),
            dropped=tuple(str(item) for item in joined.dropped),
            notes=tuple(dict.fromkeys((*plan.notes, *self.made.notes, *joined.notes))),
        )

    def _check(self, joined: join.JoinReport) -> None:
        """Before the name. Pictures are compared with those of a source that can be read again and is whole."""
        plan, again = self.plan, self.plan.pipe is None and not self.plan.options.keep_going
        num_streams = 1 + sum(item.how != "rewritten" for item in joined.kept)
        pts = read_times(self.manifest.paths).pts.tolist()
        verify.quick(
            self.work / f"joined{plan.output.suffix}",
            verify.Expected(plan.spec, pts, plan.choice.container, joined.shift, num_streams, joined.late),
            source=plan.source,
            frames=plan.open_reader if again else None,
            budget=SAMPLE_SHARE * (time.perf_counter() - self.started),
        )

    def kept(self, error: BaseException) -> PartsKept:
        """What is left of the job after `finish` raised `error`."""
        return _kept(self.plan, self.work, self.manifest, error, 0.0)


def discard(output: Path, mark: str) -> None:
    """Remove what the run that finished `output` left beside it; segments of another fingerprint than `mark` stay."""
    if work_folder(output).is_dir():
        with _work_folder(output) as work:
            facts = read_facts(work)
            if facts is None or fingerprint(facts) == mark:
                clear(work)


def _kept(plan: Plan, work: Path, manifest: Manifest, error: BaseException, lost: float) -> PartsKept:
    keep_going = isinstance(error, DamagedError) and not plan.options.keep_going
    command = "the same command with --keep-going (keep_going=True)" if keep_going else "the same command"
    if plan.pipe is not None:
        return PartsKept(plan.source.path, work, 0, 0, ONCE, lost)
    manifest.look_again()
    advice = f"{command} goes on from there" if manifest.segments else f"{command} begins again"
    return PartsKept(plan.source.path, work, len(manifest.segments), manifest.num_frames, advice, lost)


def _put(finished: Path, output: Path, overwrite: bool) -> None:
    """Give the finished file its name, unless something else has taken it in the meantime."""
    if output.exists() and not overwrite:
        raise OutputError(f"{output}: appeared while the job ran; {REPLACE}")
    rename(finished, output)


def _make_missing(plan: Plan, maker: SegmentMaker, segments: Segments, batch: Batch) -> SegmentsMade:
    made = maker.make_missing(plan, segments, batch.on_event, batch.preview)
    if not segments.manifest.segments:
        raise sources.no_picture(plan.source)
    if batch.preview is not None:
        batch.preview.close()
        made = replace(made, notes=(*made.notes, *batch.preview.notes))
    return made


def _to_size(
    plan: Plan, manifest: Manifest, work: Path, mark: str, batch: Batch
) -> tuple[Sequence[Path], tuple[str, ...]]:
    """The segments at the quality that gives the size asked for; those that are finer stay if that ends early."""

    def weigh(paths: Sequence[Path]) -> int:
        return _join(plan, paths, work, mark).num_bytes

    try:
        return fitted(plan, manifest, work, weigh, batch.on_event)
    except BaseException as error:
        kept = _kept(plan, work, manifest, error, 0.0)
        too_small = replace(kept, advice="another --target-size (target_size) goes on from there")
        batch.on_event(too_small if isinstance(error, TooSmallError) else kept)
        raise


def _join(plan: Plan, paths: Sequence[Path], work: Path, mark: str) -> join.JoinReport:
    """Join the segments `paths`."""
    finished = work / f"joined{plan.output.suffix}"
    if CONTAINERS[plan.choice.container].animated:
        return animate(
            paths,
            plan.source,
            finished,
            container=plan.choice.container,
            encoded=plan.choice.encoder,
            spec=plan.spec,
            mark=mark,
            dropped=plan.dropped,
        )
    return join.join(
        paths,
        plan.source if sources.is_file(plan.source) else replace(plan.source, path=paths[0]),
        finished,
        container=plan.choice.container,
        spec=plan.spec,
        start=plan.options.start,
        end=plan.options.end,
        metadata={KEY: mark},
        keep_going=plan.options.keep_going,
    )


def work_folder(output: Path) -> Path:
    """Where a job keeps what it has finished."""
    return output.with_name(fitting(output.name, ".vidsr"))


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
        lock = FileLock(folder / LOCK, thread_local=False)  # the end of a job runs in another thread
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(f"{output}: another vidsr is writing it; wait for it, or choose another name") from error
    except OSError as error:
        _remove_empty(created)
        raise unwritable(output, error, "; choose another folder for it") from error
    try:
        yield folder
    except av.FFmpegError:
        raise  # a source that fails, not the folder
    except VidsrError as error:
        error.args = (_outside(str(error), folder, output),)
        raise
    except OSError as error:
        raise unwritable(output, error) from error
    finally:
        if not any(path.suffix != ".part" for path in folder.glob("[0-9]*")):  # no finished segment
            with suppress(OSError):
                clear(folder)
                if files.WINDOWS:
                    lock.release()
                (folder / LOCK).unlink(missing_ok=True)  # still held where that can be: nobody else is inside
            _remove_empty([folder, *created])
        lock.release()


def _outside(sentence: str, folder: Path, output: Path) -> str:
    """`sentence` for people: what it says of a file in the work folder is true of the output."""
    inside = re.escape(str(folder))
    outside = re.sub(rf"{inside}[/\\][\w.]*\w", lambda _: str(output), sentence)
    return sentence if outside == sentence else re.sub(rf"{inside}\b", lambda _: str(output.parent), outside)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Folders made for an output that never came go away again; one with anything in it stays."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
