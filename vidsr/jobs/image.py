"""Runs the job of one image: read, upscale, write, with its profile and EXIF kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from PIL import Image

from vidsr.errors import OutputError
from vidsr.jobs.events import Done, Event, Skipped, Started
from vidsr.jobs.inputs import Input, Target, is_same
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Identified, network_identity
from vidsr.jobs.runner import Runner
from vidsr.jobs.sources import source_identity
from vidsr.media.stills import IMAGE_SUFFIXES, WITHOUT_METADATA, ImageMeta, open_image, read_image, write_image

SOFTWARE = 0x0131  # the EXIF tag that carries the fingerprint: the program that made the image, and from what


def run(
    item: Input,
    target: Target,
    options: Options,
    network: Callable[[float], Runner],
    claim: Callable[[Path, Path], None],
    overwrite: bool,
    on_event: Callable[[Event], None],
    *,
    write_to: Callable[[Path], Path] = lambda output: output,
) -> Done | Skipped:
    """Upscale one image.

    `write_to` may send the output elsewhere, to try what it would be.

    Raises:
        VidsrError: the image cannot be read, or the output cannot be written.
    """
    started = time.perf_counter()
    pixels, meta = read_image(item.path)
    height, width = pixels.shape[:2]
    wide, high = options.target(Fraction(width), Fraction(height))
    size = (max(round(wide), 1), max(round(high), 1))
    output = target.path(item, options.label, item.path.suffix)
    if output.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"{output}: an image cannot be written under this name; use .png, .jpg, .webp or .tif")
    if is_same(output, item.path):
        raise OutputError(f"{output}: the output would replace its own source; choose another name with -o")
    claim(output, item.path)
    upscaler = network(max(size[0] / width, size[1] / height))
    stamp = f"vidsr {_fingerprint(item.path, size, upscaler)}"
    if output.exists() and not overwrite:
        if mark(output) == stamp:
            return Skipped(item.path, output, "done already, with the same options")
        raise OutputError(f"{output}: exists, and is not what these options make; --overwrite replaces it")
    on_event(Started(item.path, output, (width, height), size, 1, output.suffix.lstrip("."), upscaler.reason, (), ()))
    upscaling, told = time.perf_counter(), len(upscaler.notes)
    large = upscaler(pixels, size=size)
    upscaled = time.perf_counter()
    written = write_to(output)
    try:
        written.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    lost = write_image(written, large, _stamped(meta, stamp, output.suffix))
    seconds = time.perf_counter() - started
    return Done(
        source=item.path,
        output=output,
        num_frames=1,
        num_resumed=0,
        num_reused=0,
        seconds=seconds,
        fps=1 / max(seconds, 1e-9),
        busy={
            "decode": (upscaling - started) / seconds,
            "upscale": (upscaled - upscaling) / seconds,
            "encode": (seconds - (upscaled - started)) / seconds,
        },
        limit="",
        bytes=written.stat().st_size,
        kept=(),
        dropped=tuple(f"{what}: {output.suffix} cannot hold it" for what in lost),
        notes=tuple(upscaler.notes[told:]),
    )


def _fingerprint(path: Path, size: tuple[int, int], upscaler: Identified) -> str:
    facts = f"{source_identity(path)} {size} {sorted(network_identity(upscaler).items())}"
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def mark(path: Path) -> str | None:
    """The mark in an image's EXIF; None where there is none, or no image."""
    try:
        with open_image(path) as image:
            text = str(image.getexif().get(SOFTWARE, ""))
    except (OSError, ValueError, SyntaxError):
        return None
    return text if text.startswith("vidsr ") else None


def _stamped(meta: ImageMeta, stamp: str, suffix: str) -> ImageMeta:
    if suffix.lower() in WITHOUT_METADATA:
        return meta
    exif = Image.Exif()
    if meta.exif:
        exif.load(meta.exif)
    exif[SOFTWARE] = stamp
    return replace(meta, exif=exif.tobytes())
