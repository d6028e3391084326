"""Runs the job of one image: read, upscale, write, with its profile and EXIF kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from vidsr.errors import ExistsError, UnfitError, UsageError
from vidsr.frame import SRGB, Frame, Samples
from vidsr.jobs.batch import DONE, Batch, in_the_way, unwritable
from vidsr.jobs.claims import SOFTWARE, image_mark
from vidsr.jobs.events import Done, Skipped, Started
from vidsr.jobs.inputs import Input, refuse_source
from vidsr.jobs.options import OF_FILM, Options, parse_crop
from vidsr.jobs.plan import Identified, network_identity
from vidsr.jobs.sources import source_identity
from vidsr.media import sequence
from vidsr.media.image_meta import ImageMeta
from vidsr.media.read.bars import black_bars
from vidsr.media.stills import IMAGE_SUFFIXES, WITHOUT_METADATA, read_image, write_image


def run(
    item: Input,
    batch: Batch,
    *,
    on_start: Callable[[Started], None] | None = None,
    write_to: Callable[[Path], Path] = lambda output: output,
) -> Done | Skipped:
    """Upscale one image.

    To try what it would be, `write_to` may send the output elsewhere, and `on_start` hear of it instead of the batch.

    Raises:
        VidsrError: the image cannot be read, or the output cannot be written.
    """
    started, options = time.perf_counter(), batch.options
    pixels, meta = read_image(item.path)
    pixels, said = _cropped(pixels, options)
    decoded = time.perf_counter() - started
    height, width = pixels.shape[:2]
    wide, high = options.target(Fraction(width), Fraction(height))
    size = (max(round(wide), 1), max(round(high), 1))
    output = _output(item, batch)
    maker = batch.networks.get(max(size[0] / width, size[1] / height))
    stamp = f"vidsr {_fingerprint(item.path, size, options, maker)}"
    notes = (*said, *meta.said, *batch.unsaid)
    if output.exists() and not batch.overwrite:
        if image_mark(output) == stamp:
            return Skipped(item.path, output, DONE)
        if on_start is None:
            raise ExistsError(in_the_way(output))
        notes = (*notes, in_the_way(output))
    batch.unsaid.clear()
    kind = output.suffix.lstrip(".")
    begun = Started(item.path, output, (width, height), size, 1, kind, maker.reason, notes, (), image=True)
    (on_start or batch.on_event)(begun)
    upscaling, told = time.perf_counter(), len(maker.notes)
    large = maker(pixels, size=size)
    upscaled = time.perf_counter()
    written = write_to(output)
    try:
        written.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(output, error) from error
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
            "decode": decoded / seconds,
            "upscale": (upscaled - upscaling) / seconds,
            "encode": (seconds - (upscaled - started)) / seconds,
        },
        limit="",
        bytes=written.stat().st_size,
        kept=(),
        dropped=tuple(f"{what}: {output.suffix} cannot hold it" for what in lost),
        notes=(*notes, *maker.notes[told:]),
    )


def _output(item: Input, batch: Batch) -> Path:
    """Where it goes, which nobody else may take from now on."""
    output = batch.target.path(item, batch.options.label, item.path.suffix)
    if output.suffix.lower() not in IMAGE_SUFFIXES:
        raise UnfitError(f"{output}: an image cannot be written under this name; use .png, .jpg, .webp or .tif")
    refuse_source(output, item.path)
    batch.claims.take(output, item.path)
    return output


def _cropped(pixels: Samples, options: Options) -> tuple[Samples, tuple[str, ...]]:
    """The part that is asked for, and what is said of it."""
    if options.crop is None:
        return pixels, ()
    height, width = pixels.shape[:2]
    crop = parse_crop(options.crop)
    if crop == "auto":
        frame = Frame(sequence.planes_of(pixels), sequence.layout(pixels), SRGB, 0, Fraction(1))
        left, top, right, bottom = black_bars([frame])
        crop = left, top, width - right, height - bottom
    left, top, right, bottom = crop
    if right > width or bottom > height:
        raise UsageError(f"crop {options.crop} does not lie within the picture, which is {width}x{height}")
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    if part.shape == pixels.shape:
        return pixels, ("no black bars are found: nothing is cropped",) if options.crop == "auto" else ()
    return part, (f"cropped from {width}x{height} to {right - left}x{bottom - top} (crop {options.crop})",)


def _fingerprint(path: Path, size: tuple[int, int], options: Options, network: Identified) -> str:
    decided = options.deciding(film=False)
    known = sorted((name, value) for name, value in network_identity(network).items() if name not in OF_FILM)
    facts = " ".join(map(str, (source_identity(path), size, known, *decided.items())))
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _stamped(meta: ImageMeta, stamp: str, suffix: str) -> ImageMeta:
    if suffix.lower() in WITHOUT_METADATA:
        return replace(meta, mark=stamp)
    exif = Image.Exif()
    if meta.exif:
        exif.load(meta.exif)
    exif[SOFTWARE] = stamp
    return replace(meta, exif=exif.tobytes())
