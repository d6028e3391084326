"""One film or image by several models, beside bicubic: what the whole would look like, before waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from vidsr.compare.moments import Moment, at, pick
from vidsr.compare.picture import Picture, Pixels, View, as_rgb8, clock, frame_rgb8
from vidsr.media.probe import probe
from vidsr.media.stills import is_image, read_image
from vidsr.models.registry import BICUBIC
from vidsr.upscaler import Upscaler


def preview(
    source: Path,
    models: Sequence[str],
    scale: float,
    times: Sequence[Fraction] = (),
    *,
    open_upscaler: Callable[..., Upscaler] = Upscaler,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[View]:
    """Upscale a few moments of `source` by bicubic and by each of `models`; `times` in seconds, else chosen.

    `on_step` is told each picture before it is made.

    Raises:
        VidsrError: the source cannot be read, a time lies behind its end, or a model does not exist.
    """
    names = [BICUBIC, *(name for name in models if name != BICUBIC)]
    if is_image(source):
        samples, _ = read_image(source)

        def still(upscaler: Upscaler) -> list[Pixels]:
            on_step(f"{source.name} by {upscaler.model.name}")
            return [as_rgb8(upscaler(samples))]

        return _views([(source.name, None)], names, scale, open_upscaler, still)
    info = probe(source)
    on_step(f"{source.name}: choosing moments" if not times else f"{source.name}: reading")
    moments = at(info, times) if times else pick(info)

    def film(upscaler: Upscaler) -> list[Pixels]:
        return [_picture(upscaler, moment, on_step) for moment in moments]

    titles = [(f"{clock(float(moment.seconds))} ({moment.why})", float(moment.seconds)) for moment in moments]
    return _views(titles, names, scale, open_upscaler, film)


def _picture(upscaler: Upscaler, moment: Moment, on_step: Callable[[str], None]) -> Pixels:
    on_step(f"{clock(float(moment.seconds))} by {upscaler.model.name}")
    return frame_rgb8(upscaler.upscale(moment.frame))


def _views(
    titles: Sequence[tuple[str, float | None]],
    names: Sequence[str],
    scale: float,
    open_upscaler: Callable[..., Upscaler],
    make: Callable[[Upscaler], list[Pixels]],
) -> list[View]:
    columns: list[list[Picture]] = []
    for name in names:
        with open_upscaler(name, scale=scale) as upscaler:
            started = time.perf_counter()
            pictures = make(upscaler)
            seconds = (time.perf_counter() - started) / len(pictures)
            label = f"{upscaler.model.name} x{scale:g}"
            columns.append([Picture(label, pixels, f"{seconds:.2f} s a picture") for pixels in pictures])
    rows = zip(*columns, strict=True)
    return [View(title, seconds, tuple(row)) for (title, seconds), row in zip(titles, rows, strict=True)]
