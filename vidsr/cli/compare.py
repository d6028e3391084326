"""`vidsr compare`: look before waiting, or look at what came out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsr.cli import complete, options
from vidsr.cli.output import print_json
from vidsr.errors import OutputError, UsageError
from vidsr.files import fitting
from vidsr.words import printable

if TYPE_CHECKING:
    from vidsr.cli.steps import Steps
    from vidsr.compare.pair import Comparison
    from vidsr.compare.picture import View

OF_ONE = ("at", "model", "scale", "backend", "steady")
OF_TWO = ("reference", "every", "perceptual")
EXAMPLES = """\b
Examples:
  vidsr compare clip.mp4 --html          three moments, beside bicubic
  vidsr compare clip.mp4 --at 1:23 --model fast,bicubic
  vidsr compare clip.mp4 --steady 1      each model without and with
  vidsr compare a.mp4 b.mp4 --html       where two films differ
  vidsr compare a.mp4 b.mp4 --reference original.mp4
"""  # \b: lines as they are


def compare(
    context: typer.Context,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="FILE", readable=False, help="One film or image, or two: A and B.")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder. Default: A_compare beside A.")] = None,
    at: Annotated[
        list[str] | None, typer.Option(help="A moment of the one film, such as 1:23; may be repeated.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(autocompletion=complete.models, help="For one film: names or files, with commas between them."),
    ] = "auto",
    scale: options.Scale = 4.0,
    backend: options.Backend = "auto",
    steady: Annotated[
        float | None,
        typer.Option(
            help="For one film: every model without and with its pictures blended so, 0 (not) to 1. "
            "Default: as upscale blends them."
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="For two films: the original that they are measured against.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="For two films: measure every N-th frame.")] = 1,
    perceptual: Annotated[
        str | None, typer.Option(help="For two films: a distance, too: stlpips-alex, stlpips-vgg or squeezenet.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="One page with everything inside, too.")] = False,
    json: Annotated[
        bool, typer.Option("--json", callback=options.asked, help="Figures and file names as JSON on stdout.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Show one film by several models beside bicubic, or two films side by side."""
    from vidsr.cli.steps import Steps

    if len(inputs) > 2:
        raise UsageError(f"compare takes one or two files, not {len(inputs)}; put an original behind --reference.")
    _refuse_idle(context, len(inputs))
    models = list(dict.fromkeys(name for part in model.split(",") if (name := part.strip())))
    if not models:
        raise UsageError(f"--model must name one model or more, with commas between them, not {model!r}.")
    folder = output or inputs[0].parent / fitting(inputs[0].stem, "_compare")
    _check_folder(folder)
    if steady is not None and not 0 <= steady <= 1:
        raise UsageError(f"--steady must be from 0 to 1, not {steady:g}.")
    notes: Sequence[str] = ()
    with Steps(quiet=quiet) as tell:
        from vidsr.compare.steadiness import with_unsteadiness

        if len(inputs) == 1:
            views = _views(inputs[0], at or [], models, scale, backend, steady, tell)
            files = _preview(inputs[0], views, folder, html, tell)
            made, table = _moments(inputs[0], views), with_unsteadiness({}, views)
        else:
            from vidsr.compare.pair import compare as measure

            result = measure(inputs[0], inputs[1], reference, every=every, perceptual=perceptual, on_step=tell)
            files = _pair(result, folder, html, tell)
            made, notes = _figures(result), result.notes
            table = with_unsteadiness(result.means(), result.views)
    if json:
        print_json(made | {"files": files})
    else:
        _show(table, notes, files)


def _check_folder(folder: Path) -> None:
    """Find what is in the way before hours go into measuring."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise OutputError(f"{folder}: cannot be written ({there.name} is a file, not a folder); choose another -o.")
    if not os.access(there, os.W_OK):
        raise OutputError(f"{folder}: cannot be written (no permission in {there}); choose another -o.")


def _refuse_idle(context: typer.Context, num_inputs: int) -> None:
    """An option that would do nothing is a mistake of whoever gave it."""
    for name in OF_TWO if num_inputs == 1 else OF_ONE:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            why = "needs two films or images: give A and B." if num_inputs == 1 else "is of a preview: give A alone."
            raise UsageError(f"--{name} {why}")


def _views(
    source: Path, at: list[str], models: list[str], scale: float, backend: str, steady: float | None, tell: Steps
) -> list[View]:
    """The moments of one film, by every model."""
    from functools import partial

    from vidsr.compare.preview import preview
    from vidsr.jobs.options import parse_time
    from vidsr.upscaling.upscaler import Upscaler

    opener = partial(Upscaler, backend=backend)
    times = [parse_time(text) for text in at]
    return preview(source, models, scale, times, steady=steady, open_upscaler=opener, on_step=tell)


def _preview(source: Path, views: list[View], folder: Path, html: bool, tell: Steps) -> list[Path]:
    from vidsr.compare import page
    from vidsr.compare.sheet import sheets

    tell("writing")
    files = sheets(views, folder)
    if html:
        files.append(page.write(folder / "compare.html", page.build(source.name, views)))
    return files


def _moments(source: Path, views: list[View]) -> dict[str, object]:
    from vidsr.compare.steadiness import unsteadiness

    moments = [
        {
            "title": view.title,
            "seconds": view.seconds,
            "pictures": [picture.label for picture in view.pictures],
            "figures": view.figures,
        }
        for view in views
    ]
    return {"source": source, "moments": moments, "unsteadiness": unsteadiness(views)}


def _pair(result: Comparison, folder: Path, html: bool, tell: Steps) -> list[Path]:
    from vidsr.compare import page
    from vidsr.compare.sheet import plot, save, sheets

    tell("writing")
    files = sheets(result.views, folder)
    if len(result.rows) > 1:
        files.append(save(plot(result), folder / "plot.png"))
    if html:
        title = f"{result.labels[0]} and {result.labels[1]}"
        files.append(page.write(folder / "compare.html", page.build(title, result.views, table=result.means())))
    return files


def _figures(result: Comparison) -> dict[str, object]:
    from vidsr.compare.steadiness import unsteadiness

    worst = [view.seconds for view in result.views]
    frames = [{"seconds": row.seconds, "figures": row.figures} for row in result.rows]
    return {
        "films": result.labels,
        "reference": result.reference,
        "mean": result.means(),
        "worst": worst,
        "unsteadiness": unsteadiness(result.views),
        "notes": result.notes,
        "frames": frames,
    }


def _show(table: Mapping[str, Mapping[str, float]], notes: Sequence[str], files: list[Path]) -> None:
    from vidsr.compare.measure import NAMES, written

    for label, values in table.items():
        figures = ", ".join(f"{NAMES.get(name, name)} {written(name, value)}" for name, value in values.items())
        typer.echo(printable(f"{label}: {figures}"))
    for note in notes:
        typer.echo(printable(f"note: {note}"), err=True)
    for path in files:
        typer.echo(printable(str(path)))
    for page in (path for path in files if path.suffix == ".html"):
        typer.echo(f"open {page.absolute().as_uri()}", err=True)  # which terminals make a link of
