"""`vidsr models`: what can be chosen with --model."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  vidsr models         a table
  vidsr models --json  with training data, licences and figures
"""  # \b: lines as they are


def models(
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> None:
    """List the models that come with vidsr, with their measured quality."""
    from vidsr.models.registry import available_models

    rows = available_models()
    if json:
        from vidsr.cli.data import print_json

        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "scale", "kMAC/pixel", "Set14 PSNR-Y", "trained for"):
        table.add_column(heading, justify="right" if heading in ("scale", "kMAC/pixel", "Set14 PSNR-Y") else "left")
    for row in rows:
        header = row.metadata
        psnr = header.get("metrics", {}).get("Set14", {}).get("psnr_y")
        macs = f"{int(header['macs_per_pixel']) / 1000:.0f}" if "macs_per_pixel" in header else ""
        table.add_row(row.name, f"x{row.scale}", macs, f"{psnr:.2f} dB" if psnr else "", header.get("purpose", ""))
    Console(markup=False, highlight=False).print(table)
