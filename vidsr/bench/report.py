"""One benchmark: which lines at which sizes, what came out, and which line to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vidsr import machine
from vidsr.backends import NAMES, PRECISIONS
from vidsr.bench.command import command
from vidsr.bench.network import BenchLine, NotMeasured, Peak, Rig, Speed, lines_here, measure_model, variants
from vidsr.errors import UsageError
from vidsr.models import registry

if TYPE_CHECKING:
    from vidsr.bench.job import FilmLine, JobSpeed, Result
    from vidsr.jobs.options import MAX_SCALE, Options

MAX_SIDE = 16384  # pixels
PLACEHOLDER = "INPUT"  # of the command to paste, where no film was given


@dataclass(frozen=True, slots=True)
class Bench:
    """What to measure. Nothing named: every backend here in its own precision. `whole` adds jobs with files.

    Raises:
        UsageError: an impossible value.
    """

    sizes: tuple[tuple[int, int], ...] = ((320, 180), (640, 360))
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    seconds: float = 3.0
    whole: bool = True
    variants: bool = False

    def __post_init__(self) -> None:
        sides = [side for size in self.sizes for side in size]
        if not sides or min(sides) < 2 or max(sides) > MAX_SIDE:
            raise UsageError(f"--sizes must be like 320x180,640x360, from 2x2 to {MAX_SIDE}x{MAX_SIDE}")
        for option, names, known in (
            ("--backends", self.backends, NAMES[1:]),  # auto is no line of its own
            ("--precisions", self.precisions, PRECISIONS),
        ):
            if unknown := [name for name in names if name not in known]:
                raise UsageError(f"{option} are {', '.join(known)}, not {unknown[0]!r}")
        if not 0 < self.seconds <= 600:
            raise UsageError(f"--seconds must be above 0, up to 600, not {self.seconds:g}")


@dataclass(slots=True)
class BenchReport:
    """What was measured, and where."""

    machine: dict[str, str]
    model: str
    scale: int
    flop_per_pixel: int  # of the plain graph, for each input pixel
    peaks: list[Peak] = field(default_factory=list)
    networks: list[Speed] = field(default_factory=list)
    jobs: list[JobSpeed] = field(default_factory=list)
    film: list[FilmLine] = field(default_factory=list)
    refused: list[NotMeasured] = field(default_factory=list)
    fastest: BenchLine | None = None  # of those that keep the quality
    command: str | None = None  # that runs by it


def run(
    bench: Bench, options: Options, film: Path | None = None, *, on_result: Callable[[Result], None] = lambda _: None
) -> BenchReport:
    """Measure as `bench` says; `options` are those of the jobs: model, scale, codec, device, threads.

    Raises:
        VidsrError: the model does not exist, the film cannot be read, or a job with these options cannot be.
    """
    if bench.whole or film is not None:
        from vidsr.bench.job import check

        check(options, film)
    name, scale = options.model, options.scale or MAX_SCALE
    if name == "auto":
        name, _ = registry.default_model(scale, gpu=bool(machine.gpus()))
    model = registry.load(name, registry.native_scale(name, scale))
    report = BenchReport(machine.describe(), model.name, model.scale, 2 * model.macs_per_pixel)
    lines = lines_here(bench.backends, bench.precisions)
    report.networks, report.refused, report.peaks = measure_model(
        model,
        variants(lines) if bench.variants else lines,
        Rig(bench.sizes, bench.seconds, options.threads, options.device),
        on_speed=on_result,
    )
    if bench.whole:
        _measure_jobs(report, bench.seconds, options, on_result)
    if film is not None:
        _predict(report, film, options, on_result)
    report.fastest = fastest(report)
    if report.fastest is not None:
        report.command = command(film or PLACEHOLDER, report.fastest, options)
    return report


def _measure_jobs(report: BenchReport, seconds: float, options: Options, on_result: Callable[[Result], None]) -> None:
    """Of the ways to run a backend at one size a job takes the fastest."""
    from vidsr.bench.job import JobSpeed, measure_job

    best: dict[tuple[BenchLine, int, int], Speed] = {}
    for speed in report.networks:
        key = (speed.line.as_job, speed.width, speed.height)
        best[key] = max(best.get(key, speed), speed, key=lambda one: one.step_fps)
    for speed in best.values():
        measured = measure_job(speed, options, seconds)
        on_result(measured)
        if isinstance(measured, JobSpeed):
            report.jobs.append(measured)
        else:
            report.refused.append(measured)


def _predict(report: BenchReport, film: Path, options: Options, on_result: Callable[[Result], None]) -> None:
    from vidsr.bench.job import FilmLine, predict

    for predicted in predict(film, list(dict.fromkeys(speed.line.as_job for speed in report.networks)), options):
        on_result(predicted)
        if isinstance(predicted, FilmLine):
            report.film.append(predicted)
        else:
            report.refused.append(predicted)


def fastest(report: BenchReport) -> BenchLine | None:
    """The line that keeps the quality and needs least time: for the film, else for jobs, else alone; None: no line."""
    good = {speed.line.as_job for speed in report.networks if speed.keeps_quality}
    if not good:
        return None
    for rows in (report.film, report.jobs, report.networks):
        speeds: dict[BenchLine, float] = {}
        for row in rows:
            line = row.line.as_job
            if line in good:
                speeds[line] = max(row.fps, speeds.get(line, 0.0))
        if speeds:
            return max(speeds, key=lambda line: speeds[line])
    return None
