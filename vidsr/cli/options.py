"""The options that commands share, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

from vidsr.backends import NAMES, PRECISIONS, UNITS
from vidsr.cli import complete
from vidsr.media.encoders import CODECS

Model = Annotated[
    str, typer.Option(autocompletion=complete.model, help="A name from `vidsr models`, or a .safetensors file.")
]
Scale = Annotated[float, typer.Option(help="How many times as wide and high: any number from 1 to 4.")]
Backend = Annotated[str, typer.Option(autocompletion=complete.backend, help=f"{complete.listed(NAMES)}.")]
Precision = Annotated[str, typer.Option(autocompletion=complete.precision, help=f"{complete.listed(PRECISIONS)}.")]
Device = Annotated[
    str, typer.Option(autocompletion=complete.device, help=f"{complete.listed(UNITS)}, or the number of a GPU, from 0.")
]
GpuNumber = Annotated[int, typer.Option(help="Which GPU, counted from 0.")]
Threads = Annotated[int | None, typer.Option(help="How many the software encoder and a CPU backend use, each.")]
Codec = Annotated[
    str,
    typer.Option(autocompletion=complete.codec, help=f"auto, {', '.join(CODECS)}, or an FFmpeg encoder."),
]
Preset = Annotated[str | None, typer.Option(help="The encoder's own speed preset.")]
Start = Annotated[str | None, typer.Option(help="Begin at this time: 90, 1:30 or 0:01:30.5.")]
End = Annotated[str | None, typer.Option(help="End before this time.")]
Crop = Annotated[
    str | None,
    typer.Option(metavar="auto|WxH+X+Y", help="Cut off black bars (auto), or all but this part, as it is shown."),
]
Deinterlace = Annotated[
    str,
    typer.Option(
        help="Of interlaced film auto makes one picture a frame; fields two, all of its motion (50 or 60 a second); "
        "bwdif one, marked or not; off leaves it."
    ),
]


def asked(context: typer.Context, value: bool) -> bool:
    """Behind a --json of one document: `main`, which gives the set, prints a failure as one, too."""
    if value and context.obj is not None:
        context.obj.add("json")
    return value


Json = Annotated[bool, typer.Option("--json", callback=asked, help="As JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.")]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace outputs that exist.")]
