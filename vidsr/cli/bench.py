"""`vidsr bench`: how fast this machine is, at what, and which line to take."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsr.cli import options
from vidsr.cli.output import plain_fields, print_json, print_table, size, span, table
from vidsr.cli.sentences import complain, filled
from vidsr.errors import OutputError, UsageError
from vidsr.words import counted, num_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from vidsr.bench.job import FilmLine, JobSpeed, Result
    from vidsr.bench.report import BenchReport

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
EXAMPLES = """\b
Examples:
  vidsr bench           every backend that runs here
  vidsr bench film.mkv  its time and size, too, and the line to take
  vidsr bench --sizes 960x540 --network-only --plot speed.png
"""  # \b: lines as they are


def bench(
    film: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", readable=False, help="A film: its time and size are predicted for each line."),
    ] = None,
    model: options.Model = "auto",
    scale: options.Scale = 4.0,
    sizes: Annotated[
        str, typer.Option(help="Sizes of the source, WIDTHxHEIGHT, separated by commas.")
    ] = "320x180,640x360",
    backends: Annotated[str, typer.Option(help="Names separated by commas. Default: all that run here.")] = "",
    precisions: Annotated[str, typer.Option(help="Names separated by commas. Default: each backend's own.")] = "",
    codec: options.Codec = "auto",
    preset: options.Preset = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    seconds: Annotated[float, typer.Option(help="How long each measurement takes.")] = 3.0,
    network_only: Annotated[
        bool, typer.Option("--network-only", help="No whole jobs: no decoder, no encoder.")
    ] = False,
    variants: Annotated[
        bool, typer.Option("--variants", help="torch's own backends in every way: plain, fused, captured, compiled.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw a bar chart into this PNG file.")] = None,
    json: options.Json = False,
) -> None:
    """Measure the network alone and whole jobs with decoder and encoder; medians of many runs, with their spread."""
    from vidsr.bench.report import Bench, run
    from vidsr.cli.steps import Steps
    from vidsr.jobs.options import Options

    wanted = Bench(
        sizes=_sizes(sizes),
        backends=_names(backends),
        precisions=_names(precisions),
        seconds=seconds,
        whole=not network_only,
        variants=variants,
    )
    if network_only and film is None:
        _refuse_idle(codec=codec, preset=preset)
    jobs = Options(model=model, scale=scale, codec=codec, preset=preset, device=device, threads=threads)
    if plot is not None and not (plot.suffix.lower() == ".png" and plot.parent.is_dir()):
        raise UsageError(f"--plot names a .png file in a folder that exists, not {plot}")
    with Steps() as tell:
        tell("measuring")
        report = run(wanted, jobs, film, on_result=lambda result: tell.say(_line(result)))
    if json:
        print_json(_data(report))
    else:
        _show(report)
    if plot is not None:
        from vidsr.bench import chart

        try:
            chart.save(report, plot)
        except OutputError as error:  # behind what was measured, which stands
            complain(str(error))
            sys.exit(1)
    if not report.networks:
        sys.exit(1)


def _refuse_idle(**given: str | None) -> None:
    """An option that would do nothing is a mistake of whoever gave it."""
    for name, value in given.items():
        if value not in (None, "auto"):
            raise UsageError(f"--{name} is of whole jobs and films: leave it or --network-only out.")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    found = [_SIZE.fullmatch(name) for name in _names(text)]
    if not found or None in found:
        raise UsageError(f"--sizes must be like 320x180,640x360, not {text!r}")
    return tuple((int(match[1]), int(match[2])) for match in found if match)


def _line(result: Result) -> str:
    """What is said of a result as soon as it is there: a benchmark takes its time."""
    from vidsr.bench.network import NotMeasured, Speed

    if isinstance(result, NotMeasured):
        return f"{result.line.name}: not measured: {result.why}"
    if isinstance(result, Speed):
        apart = f" (not in one graph {result.apart_fps:.4g})" if result.apart_fps else ""
        where = f"{result.line.name} {result.width}x{result.height}"
        return f"the network alone, {where}: {result.fps:.4g} fps, with copies {result.step_fps:.4g}{apart}"
    from vidsr.bench.job import FilmLine  # which needs PyAV

    if isinstance(result, FilmLine):
        return f"the film, {result.line.name}: {result.fps:.4g} fps"
    return f"a whole job, {result.line.name} {result.width}x{result.height}: {result.fps:.4g} fps"


def _data(report: BenchReport) -> dict[str, object]:
    """The report with the command that made it."""
    return {"version": 1, "bench": shlex.join(["vidsr", *sys.argv[1:]]), **plain_fields(report)}


def _show(report: BenchReport) -> None:
    from vidsr.bench.chart import flops

    print(f"$ {shlex.join(['vidsr', *sys.argv[1:]])}")
    facts = [*report.machine.items()]
    facts += [("model", f"{report.model} x{report.scale}, {report.flop_per_pixel / 1e6:.3f} MFLOP a source pixel")]
    for peak in report.peaks:
        facts += [("peak", f"{flops(peak.flops)} in {peak.precision} on {peak.device}: a plain matrix product")]
    for name, value in facts:
        _say(f"{name:<9} {value}", 10)
    if report.networks:
        _say("\nThe network: median of many calls (10th to 90th percentile), then with colour and copies")
        print_table(_networks(report))
    if report.jobs:
        _say("\nWhole jobs: decode, upscale, encode, join and check, with each stage's busy share")
        print_table(_jobs(report))
        _notes(report.jobs)
    if report.film:
        _say("\nThe film")
        print_table(_film(report))
        _notes(report.film)
    for refused in report.refused:
        _say(f"not measured: {refused.line.name}: {refused.why}", 2)
    if report.command:
        print(f"\nFastest that keeps the quality: {report.command}")


def _notes(rows: Sequence[JobSpeed | FilmLine]) -> None:
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        _say(f"note: {note}", 2)


def _say(text: str, indent: int = 0) -> None:
    for line in text.split("\n"):
        print(filled(line, sys.stdout, indent))


def _numbers(headings: str) -> Table:
    """All but the first column on the right."""
    return table(headings, right=headings.partition("|")[2])


def _networks(report: BenchReport) -> Table:
    from vidsr.bench.chart import flops

    made = _numbers("line|size|ms a frame|fps|rate|of peak|with copies|of it|not in one graph|PSNR to FP32")
    for row in report.networks:
        low, high = (1000 * each / row.batch for each in (row.call.low, row.call.high))
        made.add_row(
            row.line.name,
            size((row.width, row.height)),
            f"{row.milliseconds:.4g} ({low:.4g}-{high:.4g})",
            f"{row.fps:.4g}",
            flops(row.flops),
            f"{row.peak_share:.0%}",
            f"{row.step_fps:.4g} fps",
            f"{row.step_share:.0%}",
            f"{row.apart_fps:.4g} fps" if row.apart_fps else "",
            f"{row.psnr:.1f} dB",
        )
    return made


def _jobs(report: BenchReport) -> Table:
    made = _numbers("line|size|codec|frames|fps|decode|upscale|encode|limited by")
    for row in report.jobs:
        shares = [f"{row.busy[stage]:.0%}" for stage in ("decode", "upscale", "encode")]
        made.add_row(
            row.line.name,
            size((row.width, row.height)),
            row.codec,
            str(row.num_frames),
            f"{row.fps:.4g}",
            *shares,
            row.limit,
        )
    return made


def _film(report: BenchReport) -> Table:
    made = _numbers("line|time|fps|size|tried|")
    for row in report.film:
        mark = "<- fastest that keeps the quality" if row.line == report.fastest else ""
        made.add_row(
            row.line.name,
            span(row.seconds),
            f"{row.fps:.4g}",
            num_bytes(row.bytes),
            counted(row.num_tried, "frame"),
            mark,
        )
    return made
