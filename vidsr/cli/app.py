"""The commands of `vidsr`, one file each. Nothing here loads a network library."""

from __future__ import annotations

from typing import Annotated

import typer

from vidsr import __version__
from vidsr.cli import doctor, models, probe, upscale

app = typer.Typer(
    name="vidsr",
    help="Upscale video with the SRGAN generator: every frame and every stream of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidsr {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("upscale", epilog=upscale.EXAMPLES)(upscale.upscale)
app.command("models")(models.models)
app.command("probe")(probe.probe)
app.command("doctor")(doctor.doctor)
