"""The commands of `vidsr`, one file each. Nothing here loads a network library."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer

from vidsr import __version__
from vidsr.build import build, weights
from vidsr.cli import bench, compare, doctor, engine, export, models, probe, upscale, verify

app = typer.Typer(
    name="vidsr",
    help="Upscale video with the SRGAN generator: every frame and every stream of it.",
    epilog="vidsr COMMAND --help shows the options of a command, with examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidsr {__version__} ({build()}, {weights()})")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("upscale", epilog=upscale.EXAMPLES, short_help="Upscale videos and images; everything else is copied.")(
    upscale.upscale
)
app.command("models", epilog=models.EXAMPLES, short_help="List the models, with their measured quality.")(models.models)
app.command("probe", epilog=probe.EXAMPLES, short_help="Show the streams, times, colour and extras of a video.")(
    probe.probe
)
app.command("verify", epilog=verify.EXAMPLES, short_help="Compare an output with its source, frame by frame.")(
    verify.verify
)
app.command("compare", epilog=compare.EXAMPLES, short_help="Look: models beside bicubic, or two films side by side.")(
    compare.compare
)
app.command("bench", epilog=bench.EXAMPLES, short_help="Measure how fast this machine is, and which line to take.")(
    bench.bench
)
app.command("export", epilog=export.EXAMPLES, short_help="Write a model as ONNX.")(export.export)
app.add_typer(engine.app, name="engine")
app.command("doctor", epilog=doctor.EXAMPLES, short_help="Show what this machine offers, and what it lacks.")(
    doctor.doctor
)

_NAMES = [*(command.name for command in app.registered_commands), *(group.name for group in app.registered_groups)]
COMMANDS = tuple(name for name in _NAMES if name is not None)


@cache
def command() -> Callable[..., Any]:
    """The commands with their options, as they are called: made once, which takes longer than many a call."""
    return typer.main.get_command(app)
