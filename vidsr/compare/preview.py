"""One film or image by several models, beside bicubic: what the whole would look like, before waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import starmap
from pathlib import Path

import numpy as np
from PIL import Image

from vidsr.compare.moments import Around, Moment, around, at, pick
from vidsr.compare.picture import Picture, Pixels, View, as_rgb8, clock
from vidsr.compare.steadiness import Ruler, figures
from vidsr.errors import UsageError
from vidsr.frame import Frame
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.stills import is_image, read_image
from vidsr.models.registry import BICUBIC
from vidsr.neighbours import same_picture
from vidsr.upscaling.drawings import REACH, Chosen, chosen, gathered
from vidsr.upscaling.host import to_rgb8, upright
from vidsr.upscaling.upscaler import Upscaler

_Shown = tuple[Pixels, Pixels | None]  # of a moment, and of the frame beside it
_Enlarged = tuple[Chosen, Frame]
_Ways = dict[str, list[_Shown]]  # all moments, by what stands behind the model's name
WARM_UP = 32


def preview(
    source: Path,
    models: Sequence[str],
    scale: float,
    times: Sequence[Fraction] = (),
    *,
    steady: float | None = None,
    open_upscaler: Callable[..., Upscaler] = Upscaler,
    on_step: Callable[[str, float], None] = lambda _text, _share: None,
) -> list[View]:
    """Upscale a few moments of `source` by bicubic and by each of `models`; `times` in seconds, else chosen.

    A moment of a film is two frames, along whose motion unsteadiness is measured. Pictures are blended with their
    neighbours as a job would blend them; with `steady` each model is there without, and above 0, up to 1, once more
    blended so. `on_step` is told each picture before it is made, and a share of all, which is 0: models differ.

    Raises:
        UsageError: a time lies behind the end, or what only films have is asked of an image.
        VidsrError: the source cannot be read, or a model does not exist.
    """
    names = [BICUBIC, *(name for name in models if name != BICUBIC)]
    opened = partial(open_upscaler, scale=scale, steady=steady)
    if is_image(source):
        if times or steady:
            option = "--at (times)" if times else "--steady"
            raise UsageError(f"{source} is an image, which has no moments; leave {option} out.")
        samples, _ = read_image(source)

        def still(upscaler: Upscaler) -> tuple[_Ways, float]:
            on_step(f"{source.name} by {upscaler.model.name}", 0.0)
            started = time.perf_counter()
            made = as_rgb8(upscaler(samples))
            return {"": [(made, None)]}, time.perf_counter() - started

        return _views([(source.stem, None)], names, opened, still, [(as_rgb8(samples), None)])
    info = probe(source)
    on_step(f"{source.name}: choosing moments" if not times else f"{source.name}: reading", 0.0)
    moments = at(info, times) if times else pick(info)
    shots = [around(info, moment, 0 if steady == 0 else REACH) for moment in moments]

    def film(upscaler: Upscaler) -> tuple[_Ways, float]:
        much = upscaler.steady if steady is None else steady
        each = shots if much else [shot.shown() for shot in shots]
        made = [_upscaled(upscaler, shot, moment, on_step) for shot, moment in zip(each, moments, strict=True)]
        ways = {} if much and steady is None else {"": [_plain(upscaler, large) for large, _ in made]}
        if much:
            ways[f" steady {much:g}"] = [list(starmap(upscaler.finish, gathered(large))) for large, _ in made]
        seconds = min(seconds for _, seconds in made)  # compiling for a size is part of a first call, too
        shown = {way: [_shown(info, *one) for one in zip(shots, large, strict=True)] for way, large in ways.items()}
        return shown, seconds

    titles = [(f"{clock(float(moment.seconds))} ({moment.why})", float(moment.seconds)) for moment in moments]
    own = [_shown(info, shot, shot.shown().frames) for shot in shots]
    return _views(titles, names, opened, film, own)


def _shown(info: MediaInfo, shot: Around, frames: Sequence[Frame]) -> _Shown:
    """Of the frames that are not aside the moment's own, and the one beside it."""
    shown = shot.shown()
    own, *beside = (
        upright(to_rgb8(frames[k]), info.video.display_matrix) for k in (shown.own, shown.beside) if k is not None
    )
    return own, beside[0] if beside else None


def _upscaled(
    upscaler: Upscaler, shot: Around, moment: Moment, on_step: Callable[[str, float], None]
) -> tuple[list[_Enlarged], float]:
    """What of the shot has to be made, and the seconds that the fastest took."""
    made: list[_Enlarged] = []
    times: list[float] = []
    for one in chosen(shot.frames):
        if made and same_picture(made[-1][0].frame, one.frame):
            made.append((one, replace(made[-1][1], pts=one.frame.pts)))
            continue
        on_step(f"{clock(float(moment.seconds))} by {upscaler.model.name}", 0.0)
        started = time.perf_counter()
        made.append((one, upscaler.enlarge(one.frame)))
        times.append(time.perf_counter() - started)
    return made, min(times)


def _plain(upscaler: Upscaler, made: Sequence[_Enlarged]) -> list[Frame]:
    return [upscaler.finish((one.frame, large)) for one, large in made if not one.frame.aside]


def _views(
    titles: Sequence[tuple[str, float | None]],
    names: Sequence[str],
    open_upscaler: Callable[[str], Upscaler],
    make: Callable[[Upscaler], tuple[_Ways, float]],
    sources: Sequence[_Shown],
) -> list[View]:
    columns: list[list[Picture]] = []
    taken: set[str] = set()  # titles: figures go by them
    for name in names:
        with open_upscaler(name) as upscaler:
            upscaler(np.zeros((WARM_UP, WARM_UP, 3), np.uint8))  # libraries load at the first call
            ways, seconds = make(upscaler)
            title = name if upscaler.model.name in taken else upscaler.model.name
            taken.add(title)
            for way, shown in ways.items():
                label, note = f"{title} x{upscaler.scale:g}{way}", f"{seconds:.2g} s a picture"
                columns.append([Picture(label, own, note, beside) for own, beside in shown])
    return [
        View(title, seconds, (*row, _untouched(source, row[0].pixels)), _unsteadiness(source, row))
        for (title, seconds), source, row in zip(titles, sources, zip(*columns, strict=True), strict=True)
    ]


def _unsteadiness(source: _Shown, row: Sequence[Picture]) -> dict[str, dict[str, float]]:
    own, beside = source
    return {} if beside is None else figures(Ruler((own, beside)), row)


def _untouched(source: _Shown, made: Pixels) -> Picture:
    """The source's pixels as they are, each as large as several."""
    height, width = made.shape[:2]
    own, beside = (
        None if one is None else np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.NEAREST))
        for one in source
    )
    assert own is not None
    return Picture("source", own, "its own pixels", beside)
