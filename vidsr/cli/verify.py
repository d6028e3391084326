"""`vidsr verify`: whether an output holds everything that its source holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsr.cli import output as out
from vidsr.cli.options import Crop, Json
from vidsr.errors import UsageError

if TYPE_CHECKING:
    from vidsr.verify import VerifyReport

EXAMPLES = """\b
Examples:
  vidsr verify clip.mp4 clip_x4.mp4
  vidsr verify film.mkv part.mkv --start 1:30 --end 2:00
"""  # \b: lines as they are


def verify(
    source: Annotated[Path, typer.Argument(readable=False, help="The video that was upscaled.")],
    output: Annotated[Path, typer.Argument(readable=False, help="What vidsr upscale made of it.")],
    start: Annotated[str | None, typer.Option(help="Where `vidsr upscale --start` began.")] = None,
    end: Annotated[str | None, typer.Option(help="Where `vidsr upscale --end` ended.")] = None,
    deinterlace: Annotated[str, typer.Option(help="As it was given to upscale.")] = "auto",
    crop: Crop = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only what differs.")] = False,
) -> None:
    """Compare an output with its source: every frame, every stream, every tag. Exit code 1 if anything differs."""
    from vidsr.cli.steps import Steps
    from vidsr.jobs.options import check_deinterlace, parse_crop, parse_time
    from vidsr.verify import compare

    check_deinterlace(deinterlace)
    first, last = (parse_time(text) if text is not None else None for text in (start, end))
    if last is not None and last <= (first or 0):
        raise UsageError(f"--end must come after the start, got {float(last):g}")
    part = parse_crop(crop) if crop is not None else None
    with Steps(quiet=quiet) as tell:
        report = compare(source, output, start=first, end=last, deinterlace=deinterlace, crop=part, on_step=tell)  # type: ignore[arg-type]
    if json:
        out.print_json({"ok": report.ok, **out.plain_fields(report)})
    else:
        _show(report, quiet=quiet)
    sys.exit(0 if report.ok else 1)


def _show(report: VerifyReport, *, quiet: bool) -> None:
    """A table on stdout; with `quiet` a line for each difference."""
    from vidsr.verify.phrases import plain

    if quiet:
        for check in report.differences:
            print(f"{check.name}: {plain(check.detail, 500)}")
        return
    cells = ((check.name, check.source, check.output, check.verdict, check.detail) for check in report.checks)
    rows = ((plain(cell, 300) for cell in row) for row in cells)
    out.print_table(out.table("check|source|output||", rows, fold=True), fold=True)
    count = len(report.differences)
    names = ", ".join(check.name for check in report.differences)
    print(f"{count} of {len(report.checks)} differ: {plain(names, 500)}" if count else "ok: nothing is lost")
