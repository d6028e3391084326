"""`vidsr models`: what can be chosen with --model."""

from __future__ import annotations

from vidsr.cli.options import Json
from vidsr.cli.output import print_json, print_table, table

EXAMPLES = """\b
Examples:
  vidsr models         a table
  vidsr models --json  with training data, licences and figures
"""  # \b: lines as they are


def _psnr(metrics: object) -> str:
    match metrics:
        case {"Set14": {"psnr_y": float(psnr)}}:
            return f"{psnr:.2f} dB"
    return ""


def models(json: Json = False) -> None:
    """List the models that come with vidsr, with their measured quality."""
    from vidsr.models.registry import available_models

    rows = available_models()
    if json:
        print_json(rows)
        return
    made = table("model|scale|kMAC/pixel|Set14 PSNR-Y|trained for", right="scale|kMAC/pixel|Set14 PSNR-Y", fold=True)
    for row in rows:
        header = row.metadata
        psnr = _psnr(header.get("metrics"))
        macs = f"{int(str(header['macs_per_pixel'])) / 1000:.0f}" if "macs_per_pixel" in header else ""
        made.add_row(row.name, f"x{row.scale}", macs, psnr, str(header.get("purpose", "")))
    print_table(made, fold=True)
