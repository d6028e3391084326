"""`vidsr upscale`: the main command."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidsr.backends import hardware, may_use_gpu
from vidsr.cli import complete, options
from vidsr.errors import UsageError, VidsrError
from vidsr.media.containers import offered
from vidsr.media.encoders import HARDWARE_DECODERS, OFFERED
from vidsr.models import names, registry
from vidsr.stages import StageTimes, heard, loading

if TYPE_CHECKING:
    from vidsr.jobs.batch import Batch
    from vidsr.jobs.run import BatchReport

_NTSC = {text: Fraction(round(float(text)) * 1000, 1001) for text in ("23.976", "29.97", "59.94")}
_USUAL_CRF = next(f"{row.quality.default} for {row.title}" for row in OFFERED if row.quality)


def _of(strength: str) -> str:
    """Of which models a strength can be chosen."""
    return f"For {' and '.join(names.having(strength))}"


EXAMPLES = """\b
Examples:
  vidsr upscale clip.mp4                        makes clip_x4.mp4
  vidsr upscale film.mkv --size 2160p           as fits 3840x2160
  vidsr upscale holiday/ -o large/ --recursive  videos and photos
  vidsr upscale clip.mp4 --dry-run              what, how large, how long
"""  # \b: lines as they are


def upscale(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Videos, images, folders or globs.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="Output file, or folder (no suffix, or ends in /). Default: beside the source."
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Any number from 1 to 4. Default: 4, or the largest that keeps a film within 3840x2160."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.size,
            help="1080p, 2160p: as large as fits that frame. 1920x800: exactly that. Replaces --scale.",
        ),
    ] = None,
    model: options.Model = "auto",
    detail: Annotated[
        float | None, typer.Option(help=f"How much it invents: 0 (faithful, steady) to 1. {_of('detail')}.")
    ] = None,
    denoise: Annotated[
        float | None, typer.Option(help=f"How much noise it takes away: 0 (little) to 1. {_of('denoise')}.")
    ] = None,
    grain: Annotated[
        float, typer.Option(help="How much of the source's grain, where it is gone, is put back: 0 to 1 (all).")
    ] = 0.0,
    backend: options.Backend = "auto",
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    codec: options.Codec = "auto",
    crf: Annotated[
        int | None, typer.Option(help=f"Quality: lower is better and larger. Default: {_USUAL_CRF}.")
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="How large the file becomes: 4GB, 700MB. Encodes twice or more; no --crf."),
    ] = None,
    preset: options.Preset = None,
    pix_fmt: Annotated[str | None, typer.Option(help="Pixel format of the output. Default: the source's.")] = None,
    container: Annotated[
        str | None,
        typer.Option(autocompletion=complete.container, help=f"{', '.join(offered())}. Default: the source's."),
    ] = None,
    fps: Annotated[
        str | None, typer.Option(help="Frames per second of numbered images: 24, 29.97 or 30000/1001. Default: 24.")
    ] = None,
    start: options.Start = None,
    end: options.End = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into the folders of a folder, too.")
    ] = False,
    tile: Annotated[str, typer.Option(help="auto, off, or the side of a tile in source pixels.")] = "auto",
    threads: options.Threads = None,
    decoder: Annotated[str, typer.Option(help=f"software, or on a GPU: {', '.join(HARDWARE_DECODERS)}.")] = "software",
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Upscale what decodes of a damaged file.")] = False,
    deinterlace: options.Deinterlace = "auto",
    steady: Annotated[
        float | None,
        typer.Option(
            help="Blend large pictures with their neighbours: 0 (not) to 1 (crawls least). "
            f"Default on a CPU: {', '.join(f'{much:g} for {name}' for name, much in registry.STEADY.items())}; else 0."
        ),
    ] = None,
    square_pixels: Annotated[
        bool, typer.Option("--square-pixels", help="Resample anamorphic video to square pixels.")
    ] = False,
    crop: options.Crop = None,
    no_reuse: Annotated[bool, typer.Option("--no-reuse", help="Compute what repeats the frame before, too.")] = False,
    segment_seconds: Annotated[float, typer.Option(help="Parts, which survive an interruption, are no longer.")] = 10.0,
    no_resume: Annotated[
        bool, typer.Option("--no-resume", help="Start over instead of going on after the finished parts.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="local|ADDRESS", help="Use all GPUs (or cores) of this machine, or of a Ray cluster."),
    ] = None,
    preview: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Show the newest picture beside the source's in this file.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try a few frames; say what it would be, and how long.")
    ] = False,
    log_dir: Annotated[str | None, typer.Option(help="Write a log of each job into this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Events as JSON, one a line, on stdout.")] = False,
    quiet: options.Quiet = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Streams that are copied, too; -vv: where the time goes.")
    ] = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Upscale videos and images; sound, subtitles and everything else is copied."""
    times = StageTimes({"imports": time.process_time()})  # so far this process has done nothing else
    if ray is None and may_use_gpu(backend) and (device in ("auto", "gpu") or device.isdecimal()):
        hardware.open_ahead(int(device) if device.isdecimal() else 0)
    with heard(times), loading():
        from vidsr.cli.shower import shower
        from vidsr.jobs import inputs as files
        from vidsr.jobs.batch import Batch
        from vidsr.jobs.log import Logs
        from vidsr.jobs.options import Options, parse_bytes, parse_time
        from vidsr.jobs.preview import Preview

    wanted = Options(
        scale=scale, size=size, model=_model(model, {"detail": detail, "denoise": denoise}), backend=backend.lower(),
        precision=precision.lower(), device=device.lower(), codec=codec, crf=crf, preset=preset, pix_fmt=pix_fmt,
        container=container if container is None else container.lstrip(".").lower(), tile=_side(tile), threads=threads,
        start=parse_time(start) if start is not None else None, end=parse_time(end) if end is not None else None,
        segment_seconds=_seconds(segment_seconds), keep_going=keep_going,
        deinterlace=deinterlace.lower(), decoder=decoder.lower(),  # type: ignore[arg-type]  # Options checks them
        steady=steady, grain=grain, square_pixels=square_pixels, crop=crop,
        target_size=parse_bytes(target_size) if target_size is not None else None,
        reuse=not no_reuse, fps=_rate(fps) if fps is not None else None,
    )  # fmt: skip
    sources, missing = files.expand(inputs, recursive=recursive)
    target = files.target(output, inputs, sources)
    sources = files.settle(sources, target)
    if target.pipe and json:
        raise UsageError("-o - writes the video to standard output, where --json would write, too; leave one out")
    if log_dir == "":
        raise UsageError("the folder behind --log-dir is empty; name one, or leave it out")
    seen = Preview(Path(preview), overwrite=overwrite) if preview is not None else None
    if seen is not None and target.file is not None and files.is_same(target.file, Path(str(preview))):
        raise UsageError(f"--preview and -o both name {preview}; choose another name for one of them")
    # Ray prints what happens to its nodes; of raw video on stdout it knows nothing
    aside = redirect_stdout(sys.stderr) if json or ray else nullcontext()
    count, sizes = len(sources) + len(missing), files.sizes(sources)
    shown = shower(json=json, quiet=quiet, verbose=verbose, num_inputs=count, sizes=sizes, times=times)
    with shown as show, heard(show.stage), aside:
        told = Logs(Path(log_dir), show) if log_dir is not None else show
        batch = Batch(
            sources, target, wanted, overwrite=overwrite, resume=not no_resume, ray=ray, on_event=told, preview=seen
        )
        try:
            report = _runner(dry_run)(batch, missing)
        except (KeyboardInterrupt, SystemExit):
            show.interrupted()
            raise
        show.summary(report)
    sys.exit(report.exit_code)


def _runner(dry_run: bool) -> Callable[[Batch, list[tuple[Path, VidsrError]]], BatchReport]:
    with loading():
        if dry_run:
            from vidsr.jobs.dry_run import run_batch
        else:
            from vidsr.jobs.run import run_batch

    return run_batch


def _model(name: str, strengths: dict[str, float | None]) -> str:
    """The name of the weights in between, as the registry spells it."""
    given = {strength: value for strength, value in strengths.items() if value is not None}
    if not given:
        return name
    options, fitting = " and ".join(f"--{strength}" for strength in given), names.having(*given)
    if not fitting:
        raise UsageError(f"there is no model for {options} at once; leave one out")
    if name != "auto" and name not in fitting:
        raise UsageError(f"{options} goes with {' and '.join(fitting)}, not with --model {name}; leave one out")
    for strength, value in given.items():
        if not 0 <= value <= 1:
            raise UsageError(f"--{strength} must be from 0 to 1, not {value:g}")
    chosen = fitting[0] if name == "auto" else name
    return chosen + "".join(f"@{strength}={value:g}" for strength, value in given.items())


def _seconds(value: float) -> Fraction:
    if not math.isfinite(value):
        raise UsageError(f"--segment-seconds must be a number of seconds, not {value}")
    return Fraction(value).limit_denominator(1000)


def _rate(text: str) -> Fraction:
    try:
        return _NTSC.get(text, Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"--fps must look like 24, 29.97 or 30000/1001, not {text!r}") from error


def _side(tile: str) -> int | Literal["auto", "off"]:
    if tile == "auto":
        return "auto"
    if tile == "off":
        return "off"
    if not tile.isdecimal():
        raise UsageError(f"--tile must be auto, off or a number of pixels, not {tile!r}")
    return int(tile)
