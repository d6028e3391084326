"""Whole jobs: a synthetic clip through decoder, network and encoder; and what a film would take, by a few frames."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from vidsr.bench.command import command
from vidsr.bench.network import BenchLine, NotMeasured, Speed, synthetic_frames
from vidsr.errors import UsageError, VidsrError
from vidsr.frame import Colour, PixelFormat
from vidsr.jobs import dry_run
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Done, Event, Planned, Started
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import plan
from vidsr.jobs.run import run_batch
from vidsr.media.stills import is_image
from vidsr.media.write.encoder import VideoSpec
from vidsr.media.write.writer import Writer

WARM_UP_BATCHES = 4  # in a clip of its own: algorithms are chosen
MIN_FRAMES, MAX_FRAMES = 8, 2000
STAGES = ("decode", "upscale", "encode")


@dataclass(frozen=True, slots=True)
class JobSpeed:
    """One job: `busy` is each stage's share of the time that frames flowed, 0 to 1; `limit` the busiest stage."""

    line: BenchLine
    width: int
    height: int
    codec: str
    num_frames: int
    seconds: float
    fps: float
    busy: dict[str, float]
    limit: str
    bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilmLine:
    """What one line would need for the whole film, and the command that does it."""

    line: BenchLine
    seconds: float
    fps: float
    bytes: float
    num_tried: int
    command: str
    notes: tuple[str, ...] = ()  # of the job, as that it takes another network than was measured


Result: TypeAlias = Speed | NotMeasured | JobSpeed | FilmLine
"""What is said of a line as soon as it is there."""


def check(options: Options, film: Path | None) -> None:
    """Plan a job for a small clip, and for the film, before hours go into measuring.

    Raises:
        VidsrError: what such a job would raise.
    """
    if film is not None and film.is_fifo():
        raise UsageError(f"{film} is a pipe; a film is read more than once, so name a file")
    with tempfile.TemporaryDirectory(prefix="vidsr-bench-") as name:
        clip = Path(name) / "clip.mp4"
        write_clip(clip, 256, 144, 1)
        for path in (clip, film):
            if path is not None and not (path.is_file() and is_image(path)):
                plan(Input(path, path.parent, named=True), Target(), options)


def measure_job(network: Speed, options: Options, seconds: float) -> JobSpeed | NotMeasured:
    """Upscale a synthetic clip of about `seconds`, for a network of that size and speed, by the ordinary job."""
    width, height = size = network.width // 2 * 2, network.height // 2 * 2  # as 4:2:0 wants it
    line = network.line.as_job
    num = min(max(round(network.step_fps * seconds), MIN_FRAMES), MAX_FRAMES)
    wanted = replace(options, backend=line.backend, precision=line.precision)
    with tempfile.TemporaryDirectory(prefix="vidsr-bench-") as name:
        folder = Path(name)
        sources = [folder / "warm-up.mp4", folder / "clip.mp4"]
        try:
            for path, length in zip(sources, (WARM_UP_BATCHES * network.batch, num), strict=True):
                write_clip(path, width, height, length)
        except VidsrError as error:
            return NotMeasured(line, str(error))
        items = [Input(path, folder, named=True) for path in sources]
        started: list[Started] = []

        def note(event: Event) -> None:
            started.extend([event] if isinstance(event, Started) else [])

        report = run_batch(Batch(items, Target(folder=folder / "out"), wanted, on_event=note))
    if report.failed:
        return NotMeasured(line, report.failed[0].error)
    return _speed(line, size, started[-1], report.done[-1])


def _speed(line: BenchLine, size: tuple[int, int], started: Started, done: Done) -> JobSpeed:
    return JobSpeed(
        line=line,
        width=size[0],
        height=size[1],
        codec=started.codec,
        num_frames=done.num_frames,
        seconds=done.seconds,
        fps=done.fps,
        busy={stage: done.busy[stage] for stage in STAGES},
        limit=done.limit,
        bytes=done.bytes,
        notes=started.notes,
    )


def write_clip(path: Path, width: int, height: int, num: int) -> None:
    """An H.264 clip of `num` synthetic frames, 25 a second."""
    rate, layout = Fraction(25), PixelFormat.parse("yuv420p")
    spec = VideoSpec("libx264", layout, Colour(), width, height, 1 / rate, rate, crf=20, preset="ultrafast")
    writer = Writer(path, spec, container="mp4")
    pictures = synthetic_frames(width, height, min(num, 50))
    try:
        for index in range(num):
            writer.write(replace(pictures[index % len(pictures)], pts=index))
        writer.close()
    except BaseException:
        writer.abort()
        raise


def predict(film: Path, lines: Sequence[BenchLine], options: Options) -> list[FilmLine | NotMeasured]:
    """Time and size of the whole film for every line, each tried on a few of its frames as `--dry-run` does."""
    return [_predicted(film, line, replace(options, backend=line.backend, precision=line.precision)) for line in lines]


def _predicted(film: Path, line: BenchLine, options: Options) -> FilmLine | NotMeasured:
    try:
        batch = Batch([Input(film, film.parent, named=True)], Target(), options, overwrite=True)
        report = dry_run.run_batch(batch)
    except VidsrError as error:
        return NotMeasured(line, str(error))
    if report.failed:
        return NotMeasured(line, report.failed[0].error)
    planned: Planned = report.planned[0]
    return FilmLine(
        line,
        planned.seconds,
        planned.fps,
        planned.bytes,
        planned.num_tried,
        command(film, line, options),
        planned.notes,
    )
