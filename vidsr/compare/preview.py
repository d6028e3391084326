"""One film or image by several models, beside bicubic: what the whole would look like, before waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from vidsr.compare.moments import Moment, at, pick
from vidsr.compare.picture import Picture, Pixels, View, as_rgb8, clock, upright
from vidsr.errors import UsageError
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.stills import is_image, read_image
from vidsr.models.registry import BICUBIC
from vidsr.upscaling.host import to_rgb8
from vidsr.upscaling.upscaler import Upscaler

T = TypeVar("T")
_Timed = tuple[Pixels, float]  # a picture, and the seconds that it took
WARM_UP = 32


def preview(
    source: Path,
    models: Sequence[str],
    scale: float,
    times: Sequence[Fraction] = (),
    *,
    open_upscaler: Callable[..., Upscaler] = Upscaler,
    on_step: Callable[[str, float], None] = lambda _text, _share: None,
) -> list[View]:
    """Upscale a few moments of `source` by bicubic and by each of `models`; `times` in seconds, else chosen.

    `on_step` is told each picture before it is made, and a share of all, which is 0: models differ.

    Raises:
        UsageError: a time lies behind the end, or is asked of an image.
        VidsrError: the source cannot be read, or a model does not exist.
    """
    names = [BICUBIC, *(name for name in models if name != BICUBIC)]
    if is_image(source):
        if times:
            raise UsageError(f"{source} is an image, which has no moments; leave --at (times) out.")
        samples, _ = read_image(source)
        own = [as_rgb8(samples)]

        def still(upscaler: Upscaler) -> list[_Timed]:
            on_step(f"{source.name} by {upscaler.label}", 0.0)
            return [_timed(lambda: as_rgb8(upscaler(samples)))]

        return _views([(source.stem, None)], names, scale, open_upscaler, still, own)
    info = probe(source)
    on_step(f"{source.name}: choosing moments" if not times else f"{source.name}: reading", 0.0)
    moments = at(info, times) if times else pick(info)

    def film(upscaler: Upscaler) -> list[_Timed]:
        return [_picture(upscaler, moment, info, on_step) for moment in moments]

    titles = [(f"{clock(float(moment.seconds))} ({moment.why})", float(moment.seconds)) for moment in moments]
    own = [upright(to_rgb8(moment.frame), info.video.display_matrix) for moment in moments]
    return _views(titles, names, scale, open_upscaler, film, own)


def _untouched(own: Pixels, made: Pixels) -> Picture:
    """The source's pixels as they are, each as large as several."""
    height, width = made.shape[:2]
    large = Image.fromarray(own).resize((width, height), Image.Resampling.NEAREST)
    return Picture("source", np.asarray(large), "its own pixels")


def _picture(upscaler: Upscaler, moment: Moment, info: MediaInfo, on_step: Callable[[str, float], None]) -> _Timed:
    on_step(f"{clock(float(moment.seconds))} by {upscaler.label}", 0.0)
    made, seconds = _timed(lambda: upscaler.upscale(moment.frame))
    return upright(to_rgb8(made), info.video.display_matrix), seconds


def _timed(make: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    return make(), time.perf_counter() - started


def _views(
    titles: Sequence[tuple[str, float | None]],
    names: Sequence[str],
    scale: float,
    open_upscaler: Callable[..., Upscaler],
    make: Callable[[Upscaler], list[_Timed]],
    sources: Sequence[Pixels],
) -> list[View]:
    columns: list[list[Picture]] = []
    for name in names:
        with open_upscaler(name, scale=scale) as upscaler:
            upscaler(np.zeros((WARM_UP, WARM_UP, 3), np.uint8))  # libraries load at the first call
            pictures = make(upscaler)
            seconds = min(seconds for _, seconds in pictures)  # compiling for a size is part of a first call, too
            label = f"{upscaler.label} x{scale:g}"
            columns.append([Picture(label, pixels, f"{seconds:.2g} s a picture") for pixels, _ in pictures])
    columns.append([_untouched(own, made.pixels) for own, made in zip(sources, columns[0], strict=True)])
    rows = zip(*columns, strict=True)
    return [View(title, seconds, tuple(row)) for (title, seconds), row in zip(titles, rows, strict=True)]
