"""`vidsr models`: what can be chosen with --model."""

from __future__ import annotations

from typing import Annotated

import typer

from vidsr.backends.hardware import has_driver
from vidsr.cli.options import Json
from vidsr.cli.output import print_json, print_table, table

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
    rate = "fps here"
    made = table(f"model|scale|kMAC/pixel|Set14|{rate}|take it for", right=f"scale|kMAC/pixel|Set14|{rate}", fold=True)
    for row in rows:
        header = row.metadata
        macs = f"{int(str(header['macs_per_pixel'])) / 1000:.0f}" if "macs_per_pixel" in header else ""
        fps = here.get(speeds.key(row))
        use = ("the default: " if (row.name, row.scale) in defaults else "") + use_of(row)
        made.add_row(row.name, f"x{row.scale}", macs, _psnr(header.get("metrics")), _rate(fps), use)
    print_table(made, fold=True)
    wide, high = speeds.STATED
    told = f"fps here: pictures of {wide}x{high} a second by the network alone, as measured on this machine"
    typer.echo(told if here else "how fast they are on this machine: vidsr models --measure", err=True)


def _rate(fps: float | None) -> str:
    return "" if fps is None else f"{fps:.0f}" if fps >= 10 else f"{fps:.2g}"
