"""`vidsr models`: what can be chosen with --model."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vidsr.backends.hardware import has_driver
from vidsr.cli.options import Json
from vidsr.cli.output import print_json, print_table, table
from vidsr.cli.sentences import filled

if TYPE_CHECKING:
    from vidsr.models.registry import ModelInfo

NARROW = 72  # columns: in fewer what a model is for stands below
NARROWEST = 38  # in which a row of the narrow table stands whole
EXAMPLES = """\b
Examples:
  vidsr models            a table
  vidsr models --measure  and how fast they are here
  vidsr models --json     with training data, licences and figures
"""  # \b: lines as they are


def _psnr(metrics: object) -> str:
    match metrics:
        case {"Set14": {"psnr_y": float(psnr)}}:
            return f"{psnr:.2f} dB"
    return ""


def models(
    measure: Annotated[
        bool, typer.Option("--measure", help="Time them on this machine, which takes a minute, and remember it.")
    ] = False,
    json: Json = False,
) -> None:
    """List the models that come with vidsr: what to take them for, quality, and speed here once it is measured."""
    from vidsr.bench import speeds
    from vidsr.cli.steps import Steps
    from vidsr.models.registry import available_models, default_model, use_of

    if measure:
        with Steps(quiet=False) as tell:
            here = speeds.measure(tell)
    else:
        here = speeds.known()
    rows = available_models()
    defaults = {(default_model(scale, gpu=has_driver())[0], scale) for scale in {row.scale for row in rows}}
    if json:
        print_json(
            [
                {
                    "name": row.name,
                    "scale": row.scale,
                    "path": row.path,
                    "metadata": row.metadata,
                    "use": use_of(row),
                    "default": (row.name, row.scale) in defaults,
                    "fps": here.get(speeds.key(row)),
                }
                for row in rows
            ]
        )
        return
    _show(rows, defaults, [here.get(speeds.key(row)) for row in rows])
    wide, high = speeds.STATED
    told = f"fps here: pictures of {wide}x{high} a second by the network alone, as measured on this machine"
    untold = "how fast they are on this machine: vidsr models --measure"
    typer.echo(filled(told if here else untold, sys.stderr), err=True)


def _show(rows: Sequence[ModelInfo], defaults: Container[tuple[str, int]], rates: Sequence[float | None]) -> None:
    """A table; on a narrow terminal what the models are for stands below it."""
    from vidsr.models.registry import use_of

    columns = shutil.get_terminal_size().columns
    rate, narrow = "fps here", columns < NARROW
    headings = f"model|scale|Set14|{rate}" if narrow else f"model|scale|kMAC/pixel|Set14|{rate}|take it for"
    made = table(headings, right=f"scale|kMAC/pixel|Set14|{rate}", fold=True)
    uses: dict[str, None] = {}
    for row, fps in zip(rows, rates, strict=True):
        macs = f"{int(str(row.metadata['macs_per_pixel'])) / 1000:.0f}" if "macs_per_pixel" in row.metadata else ""
        use = ("the default: " if (row.name, row.scale) in defaults else "") + use_of(row)
        psnr = _psnr(row.metadata.get("metrics"))
        cells = (psnr, _rate(fps)) if narrow else (macs, psnr, _rate(fps), use)
        made.add_row(row.name, f"x{row.scale}", *cells)
        uses[f"{row.name}: {use}"] = None
    print_table(made, fold=columns >= NARROWEST)
    for line in uses if narrow else ():
        typer.echo(filled(line, sys.stdout, 2))


def _rate(fps: float | None) -> str:
    return "" if fps is None else f"{fps:.0f}" if fps >= 10 else f"{fps:.2g}"
