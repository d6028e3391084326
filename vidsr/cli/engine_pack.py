"""`vidsr engine pack|unpack`: engines carried to the machine that has their GPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from vidsr.cli import complete
from vidsr.cli.options import GpuNumber, Json
from vidsr.cli.output import print_json
from vidsr.cli.sentences import complain
from vidsr.errors import UsageError
from vidsr.words import counted, num_bytes

EXAMPLES = """\b
Examples:
  vidsr engine build rtx4090 --model all  on any machine
  vidsr engine pack engines.zip           there; all that stand in the folder
  vidsr engine unpack engines.zip         on the machine with the GPU
"""  # \b: lines as they are
UNPACK_EXAMPLES = """\b
Examples:
  vidsr engine unpack engines.zip
  vidsr engine unpack engines.zip --model mine.safetensors  for own weights
"""

Folder = Annotated[
    Path | None,
    typer.Option("--engine-dir", help="Where engines are. Default: VIDSR_ENGINE_DIR, else the user's cache."),
]


def pack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write, like engines.zip.")],
    gpu: Annotated[
        list[str] | None,
        typer.Option(autocompletion=complete.gpu, help="Only those for this GPU, like rtx4090. May be repeated."),
    ] = None,
    folder: Folder = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace a file that exists.")] = False,
    json: Json = False,
) -> None:
    """Put the engines of the folder into one file, for the machine that has their GPU."""
    from vidsr.backends.tensorrt import packs, recipes
    from vidsr.backends.tensorrt.cache import EngineCache, engine_folder

    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists; --overwrite replaces it.")
    found = [recipes.find(name) for name in gpu or []]
    cache = EngineCache(engine_folder(folder))
    packed = packs.pack(cache, file, {recipe.capability for recipe in found if recipe.capability})
    if json:
        print_json([{"slot": engine.key.slot, "bytes": engine.num_bytes} for engine in packed])
    kinds = ", ".join(sorted({f"sm {engine.key.capability}" for engine in packed}))
    typer.echo(f"{file}: {counted(len(packed), 'engine')} for {kinds}, {num_bytes(file.stat().st_size)}", err=True)


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `vidsr engine pack` wrote.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Weights of engines that are of no shipped model. May be repeated."),
    ] = None,
    device: GpuNumber = 0,
    folder: Folder = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace engines that are there.")] = False,
    json: Json = False,
) -> None:
    """Take out the engines that fit this machine. Each is compared with FP32 before it is first used.

    The others, for another GPU, of other versions or of other weights, are counted and left out. Without a GPU here,
    all that fit the versions are taken. An engine is a program: unpack only what comes from someone you trust.
    """
    from vidsr.backends.tensorrt import flavour, gpu, packs
    from vidsr.backends.tensorrt.cache import EngineCache, engine_folder

    cache, target = EngineCache(engine_folder(folder)), gpu.here(device)
    rows = packs.unpack(cache, file, flavour.require(), target, weights=model or [], overwrite=overwrite)
    if json:
        print_json(rows)
    for why, count in Counter(row.why for row in rows if not row.taken).items():
        typer.echo(f"left out {counted(count, 'engine')}: {why}", err=True)
    if taken := [row for row in rows if row.taken]:
        where = target.name if target else "any GPU, since there is none here"
        typer.echo(f"unpacked {counted(len(taken), 'engine')} for {where}; none is compared with FP32 yet", err=True)
    elif not any(row.there for row in rows):
        complain(f"{file} holds no engine for this machine.")
        raise typer.Exit(1)
