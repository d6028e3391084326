"""`vidsr bench`: how fast this machine is, at what, and which line to take."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidsr.cli import complete
from vidsr.errors import UsageError

if TYPE_CHECKING:
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
        Path | None, typer.Argument(metavar="INPUT", help="A film: its time and size are predicted for each line.")
    ] = None,
    model: Annotated[
        str, typer.Option(autocompletion=complete.model, help="A name from `vidsr models`, or a .safetensors file.")
    ] = "auto",
    scale: Annotated[float, typer.Option(help="How many times as wide and high.")] = 4.0,
    sizes: Annotated[str, typer.Option(help="Of the source, WIDTHxHEIGHT, separated by commas.")] = "320x180,640x360",
    backends: Annotated[str, typer.Option(help="Separated by commas. Default: all that run here.")] = "",
    precisions: Annotated[str, typer.Option(help="Separated by commas. Default: each backend's own.")] = "",
    codec: Annotated[
        str, typer.Option(autocompletion=complete.codec, help="Of the whole jobs, as for `vidsr upscale`.")
    ] = "auto",
    preset: Annotated[str | None, typer.Option(help="Of that encoder.")] = None,
    device: Annotated[int, typer.Option(help="Which GPU, counted from 0.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Of the software encoder and of a CPU backend.")] = None,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 3.0,
    network_only: Annotated[
        bool, typer.Option("--network-only", help="No whole jobs: no decoder, no encoder.")
    ] = False,
    variants: Annotated[
        bool, typer.Option("--variants", help="torch's own backends in every way: plain, fused, captured, compiled.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw a bar chart into this PNG file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
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
    options = Options(model=model, scale=scale, codec=codec, preset=preset, device=device, threads=threads)
    if plot is not None and not (plot.suffix.lower() == ".png" and plot.parent.is_dir()):
        raise UsageError(f"--plot names a .png file in a folder that exists, not {plot}")
    with Steps() as tell:
        tell("measuring")
        report = run(wanted, options, film, on_result=lambda result: tell.say(_line(result)))
    if json:
        from vidsr.cli.data import print_json

        print_json(_data(report))
    else:
        _show(report)
    if plot is not None:
        from vidsr.bench import chart

        chart.save(report, plot)
    if not report.networks:
        sys.exit(1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    found = [_SIZE.fullmatch(name) for name in _names(text)]
    if not found or None in found:
        raise UsageError(f"--sizes must be like 320x180,640x360, not {text!r}")
    return tuple((int(match[1]), int(match[2])) for match in found if match)


def _line(result: object) -> str:
    """What is said of a result as soon as it is there: a benchmark takes its time."""
    line: Any = getattr(result, "line", None)
    fps = getattr(result, "fps", None)
    size = f" {result.width}x{result.height}" if hasattr(result, "width") and hasattr(result, "height") else ""
    done = f"{fps:.4g} fps" if fps is not None else f"not measured: {getattr(result, 'why', '')}"
    return f"{line.name}{size}: {done}"


def _data(report: BenchReport) -> dict[str, Any]:
    """The report with the command that made it."""
    from vidsr.cli.data import plain

    return {"version": 1, "bench": shlex.join(["vidsr", *sys.argv[1:]]), **plain(report)}


def _show(report: BenchReport) -> None:
    from vidsr.bench.chart import flops
    from vidsr.cli.tables import open_wide

    console = open_wide()
    console.print(f"$ {shlex.join(['vidsr', *sys.argv[1:]])}")
    for name, value in report.machine.items():
        console.print(f"{name:<9} {value}")
    console.print(
        f"{'model':<9} {report.model} x{report.scale}, {report.flop_per_pixel / 1e6:.3f} MFLOP a source pixel"
    )
    for peak in report.peaks:
        console.print(f"{'peak':<9} {flops(peak.flops)} in {peak.precision} on {peak.device}: a plain matrix product")
    if report.networks:
        console.print("\nThe network: median of many calls (10th to 90th percentile), then with colour and copies")
        console.print(_networks(report))
    if report.jobs:
        console.print("\nWhole jobs: decode, upscale, encode, join and check, with each stage's busy share")
        console.print(_jobs(report))
        for note in dict.fromkeys(note for row in report.jobs for note in row.notes):
            console.print(f"note: {note}")
    if report.film:
        console.print("\nThe film")
        console.print(_film(report))
    for refused in report.refused:
        console.print(f"not measured: {refused.line.name}: {refused.why}")
    if report.command:
        console.print(f"\nFastest that keeps the quality: {report.command}")


def _table(headings: str) -> Any:
    from vidsr.cli.tables import table

    return table(headings, right=headings.partition("|")[2])


def _networks(report: BenchReport) -> Any:
    from vidsr.bench.chart import flops

    table = _table("line|size|ms a frame|fps|rate|of peak|with copies|of it|PSNR to FP32")
    for row in report.networks:
        low, high = (1000 * each / row.batch for each in (row.call.low, row.call.high))
        table.add_row(
            row.line.name,
            f"{row.width}x{row.height}",
            f"{row.milliseconds:.4g} ({low:.4g}-{high:.4g})",
            f"{row.fps:.4g}",
            flops(row.flops),
            f"{row.peak_share:.0%}",
            f"{row.step_fps:.4g} fps",
            f"{row.step_share:.0%}",
            f"{row.psnr:.1f} dB",
        )
    return table


def _jobs(report: BenchReport) -> Any:
    table = _table("line|size|codec|frames|fps|decode|upscale|encode|limited by")
    for row in report.jobs:
        shares = [f"{row.busy[stage]:.0%}" for stage in ("decode", "upscale", "encode")]
        size = f"{row.width}x{row.height}"
        table.add_row(row.line.name, size, row.codec, str(row.num_frames), f"{row.fps:.4g}", *shares, row.limit)
    return table


def _film(report: BenchReport) -> Any:
    table = _table("line|time|fps|size|tried|")
    for row in report.film:
        mark = "<- fastest that keeps the quality" if row.line == report.fastest else ""
        hours, rest = divmod(round(row.seconds), 3600)
        time = f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
        table.add_row(
            row.line.name, time, f"{row.fps:.4g}", f"{row.bytes / 1e6:.4g} MB", f"{row.num_tried} frames", mark
        )
    return table
