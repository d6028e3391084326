"""`vidsr export`: a model for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidsr.cli import complete
from vidsr.errors import UsageError

EXAMPLES = """\b
Examples:
  vidsr export fast --scale 4            writes fast-x4.onnx
  vidsr export fast -o fast16.onnx --precision fp16
"""  # \b: lines as they are


def export(
    model: Annotated[
        str, typer.Argument(autocompletion=complete.model, help="A name from `vidsr models`, or a .safetensors file.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The .onnx file. Default: NAME-xN.onnx.")
    ] = None,
    scale: Annotated[int, typer.Option(help="The model's native scale.")] = 4,
    precision: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp32",
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write a model as ONNX: RGB in [0, 1], any size; checked with ONNX Runtime against the network."""
    from vidsr.models import onnx, registry

    if precision not in onnx.TOLERANCE:
        raise UsageError(f"--precision must be one of {', '.join(onnx.TOLERANCE)}, not {precision!r}.")
    loaded = registry.load(model, scale)
    path = output or Path(f"{loaded.name}-x{loaded.scale}.onnx")
    if path.suffix != ".onnx":
        raise UsageError(f"{path} does not end in .onnx; other formats cannot be written.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; --overwrite replaces it.")
    made = onnx.export(loaded, path, precision=precision)
    typer.echo(f"{made.path}: {made.bytes:,} bytes, at most {made.max_error:.1e} from the network")
