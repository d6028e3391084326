"""Two films or images side by side: where they differ, and with a reference how far each is from it, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from vidsr.compare.measure import Meter
from vidsr.compare.picture import Picture, Pixels, View, clock, open_reader, read_still, resized
from vidsr.compare.steadiness import Ruler, figures
from vidsr.errors import UsageError
from vidsr.frame import Frame
from vidsr.jobs.sources import source_notes
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.read.reader import Reader
from vidsr.media.stills import is_image
from vidsr.neighbours import same_picture, same_shot, windows
from vidsr.upscaling.host import to_rgb8, upright
from vidsr.words import counted

_Step = tuple[Fraction, list[Frame]]  # seconds, and a frame of each film
NUM_VIEWS = 3
APART = 0.5  # seconds between them: the frames beside the worst one say nothing new
DIFFERENCE = "difference"
HEAT_PEAK = 32  # a difference of so many code values is the hottest colour
REDUCED, LEAST = 4, 64  # films are as many times as large as what motion is found on, whose sides are no smaller


@dataclass(frozen=True)
class Row:
    """One moment of both: seconds from the start (None: an image), and by label the measured values."""

    seconds: float | None
    figures: dict[str, dict[str, float]]

    @property
    def badness(self) -> float:
        """High where the worse of the two is far from the reference, or both are far from one another."""
        return -min(values["psnr"] for values in self.figures.values())


@dataclass(frozen=True)
class Comparison:
    """All rows in order of time, and the worst moments as pictures, worst first."""

    labels: tuple[str, ...]
    reference: str | None
    rows: tuple[Row, ...]
    views: tuple[View, ...]
    notes: tuple[str, ...] = ()

    def means(self) -> dict[str, dict[str, float]]:
        """Mean of every measure by label; infinite PSNRs (equal frames) count only where all are."""
        return {label: self._means(label) for label in (self.rows[0].figures if self.rows else ())}

    def _means(self, label: str) -> dict[str, float]:
        columns: dict[str, list[float]] = {}
        for row in self.rows:
            for name, value in row.figures[label].items():
                columns.setdefault(name, []).append(value)
        return {name: _mean(values) for name, values in columns.items()}


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else values[0]


@dataclass
class _Worst:
    """The moments with the greatest badness so far, each the worst of its surroundings."""

    views: list[tuple[float, View]] = field(default_factory=list)

    def add(self, badness: float, seconds: float | None, make: Callable[[], View]) -> None:
        gaps = [abs((view.seconds or 0) - (seconds or 0)) for _, view in self.views]
        others = [item for item, gap in zip(self.views, gaps, strict=True) if gap >= APART]
        beaten = all(badness > bad for (bad, _), gap in zip(self.views, gaps, strict=True) if gap < APART)
        if beaten and (len(others) < NUM_VIEWS or badness > others[-1][0]):
            self.views = sorted([*others, (badness, make())], key=lambda item: -item[0])[:NUM_VIEWS]


def compare(
    first: Path,
    second: Path,
    reference: Path | None = None,
    *,
    every: int = 1,
    perceptual: str | None = None,
    on_step: Callable[[str, float], None] = lambda _text, _share: None,
) -> Comparison:
    """Measure `first` and `second` against `reference`, or against one another, on every `every`-th frame.

    Frames are paired by their time. Other sizes than the reference's (without one, than the larger one's) are
    resized to it, which is noted. Beside the worst moments is a neighbouring frame, and it is measured how unsteady
    both films are there, along the motion of the reference or of the mean of both. `perceptual` names a network of
    `vidsr.perceptual`. `on_step` is told what is done, and which share of the first film that is.

    Raises:
        UsageError: images and videos are mixed, or no time is common to all.
        MediaError: a file cannot be read.
    """
    paths = [first, second, *([reference] if reference else [])]
    labels = _labels(paths)
    rows: list[Row] = []
    worst = _Worst()
    notes: dict[str, None] = {}
    with Meter(perceptual) as meter:
        infos = _films(paths)
        length = float(infos[0].video.duration or 0) if infos else 0.0
        for seconds, pictures, beside in _moments(paths, infos, every, labels, notes):
            pictures = _same_size(pictures, labels, reference is not None, notes)
            found = _figures(meter, pictures, labels, reference is not None)
            row = Row(seconds, found)
            rows.append(row)
            if seconds is not None:
                on_step(f"{clock(seconds)}: {len(rows)} frames", min(seconds / length, 1.0) if length else 0.0)
            worst.add(row.badness, seconds, partial(_view, seconds, pictures, beside, labels, found))
    if not rows:
        raise UsageError(f"{first} and {second} have no moment in common; nothing can be compared.")
    views = tuple(_watched(view) for _, view in worst.views)
    name = labels[2] if reference else None
    return Comparison(labels[:2], name, tuple(rows), views, tuple(notes))


def _labels(paths: Sequence[Path]) -> tuple[str, ...]:
    """File names; with their folder where two are the same."""
    names = [path.name for path in paths]
    return tuple(str(path) if names.count(path.name) > 1 else path.name for path in paths)


def _films(paths: Sequence[Path]) -> list[MediaInfo]:
    """What the films are; none of images."""
    stills = [is_image(path) for path in paths]
    if any(stills) and not all(stills):
        raise UsageError("Images compare with images and videos with videos; give files of one kind.")
    return [] if all(stills) else [probe(path) for path in paths]


def _moments(
    paths: Sequence[Path], infos: Sequence[MediaInfo], every: int, labels: Sequence[str], notes: dict[str, None]
) -> Iterator[tuple[float | None, list[Pixels], Callable[[], list[Pixels] | None]]]:
    """Seconds, pictures, and what gives those of a frame beside, if there is one in the shot."""
    if not infos:
        yield None, [read_still(path) for path in paths], lambda: None
        return
    shots = windows(_in_step(infos, labels, notes), 1, lambda before, one: same_shot(before[1][-1], one[1][-1]))
    for number, window in enumerate(shots):
        if number % every == 0:
            seconds, frames = window[1]
            yield float(seconds), _upright(frames, infos), partial(_beside, window, infos)


def _upright(frames: Sequence[Frame], infos: Sequence[MediaInfo]) -> list[Pixels]:
    pairs = zip(frames, infos, strict=True)
    return [upright(to_rgb8(frame), info.video.display_matrix) for frame, info in pairs]


def _beside(window: Sequence[_Step], infos: Sequence[MediaInfo]) -> list[Pixels] | None:
    """Of the next frame, or of the one before where that shows more."""
    others = [window[k][1] for k in (2, 0) if window[k] is not window[1]]
    moved = [one for one in others if not same_picture(one[-1], window[1][1][-1])]
    return next((_upright(one, infos) for one in moved or others), None)


def _in_step(infos: Sequence[MediaInfo], labels: Sequence[str], notes: dict[str, None]) -> Iterator[_Step]:
    """Frames of all films shown at the same time, to half a frame of the first film; `notes` tell what is left out."""
    alone = [0] * len(infos)  # frames without others at their time
    half = 1 / (2 * (infos[0].video.rate or Fraction(25)))
    with ExitStack() as stack:
        readers = [stack.enter_context(open_reader(info)) for info in infos]
        films = [_timed(iter(reader)) for reader in readers]
        heads = [next(film, None) for film in films]
        while all(heads):
            here = [head for head in heads if head is not None]
            latest = max(seconds for seconds, _ in here)
            late = [index for index, (seconds, _) in enumerate(here) if seconds < latest - half]
            if not late:
                yield here[0][0], [frame for _, frame in here]
                late = list(range(len(films)))
            else:
                alone = [count + (index in late) for index, count in enumerate(alone)]
            for index in late:
                heads[index] = next(films[index], None)
        for found in zip(labels, heads, alone, readers, strict=True):
            notes.update(dict.fromkeys(_left_out(*found)))


def _left_out(label: str, head: tuple[Fraction, Frame] | None, alone: int, reader: Reader) -> Iterator[str]:
    """What of a film, whose next frame would be `head`, is not compared, or is not as it was."""
    if alone:
        yield f"{label}: {counted(alone, 'frame')} without one at the same time in the other, not compared"
    if head is not None:
        yield f"{label}: longer than the other; from {clock(float(head[0]))} on it is not compared"
    yield from (f"{label}: {note}" for note in source_notes(reader.report))


def _timed(frames: Iterator[Frame]) -> Iterator[tuple[Fraction, Frame]]:
    """Frames with their seconds from the first one."""
    origin: Fraction | None = None
    for frame in frames:
        seconds = frame.pts * frame.time_base
        origin = seconds if origin is None else origin
        yield seconds - origin, frame


def _same_size(pictures: list[Pixels], labels: Sequence[str], referenced: bool, notes: dict[str, None]) -> list[Pixels]:
    sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
    size = sizes[-1] if referenced else max(sizes, key=lambda side: side[0] * side[1])
    for label, own in zip(labels, sizes, strict=True):
        if own != size:
            notes[f"{label} is {own[0]}x{own[1]} and was resized to {size[0]}x{size[1]}"] = None
    return [resized(picture, size) for picture in pictures]


def _figures(
    meter: Meter, pictures: Sequence[Pixels], labels: Sequence[str], referenced: bool
) -> dict[str, dict[str, float]]:
    if referenced:
        return {label: meter(label, picture, pictures[2]) for label, picture in zip(labels, pictures[:2], strict=False)}
    return {f"{labels[0]} to {labels[1]}": meter("pair", pictures[0], pictures[1])}


def _view(
    seconds: float | None,
    pictures: list[Pixels],
    beside: Callable[[], list[Pixels] | None],
    labels: Sequence[str],
    measured: dict[str, dict[str, float]],
) -> View:
    other = beside()
    frames = [pictures, *([_same_size(other, labels, len(labels) > 2, {})] if other else [])]
    columns = [[*one, heat_map(one[0], one[1])] for one in frames]
    notes = [*("" for _ in labels), f"white from {HEAT_PEAK} of 255 on"]
    rows = zip((*labels, DIFFERENCE), notes, *columns, strict=True)
    shown = [Picture(label, own, note, *more) for label, note, own, *more in rows]
    if len(pictures) == 2:  # the figures are those of the difference
        measured = {DIFFERENCE: next(iter(measured.values()))}
    title = "image" if seconds is None else clock(seconds)
    return View(title, seconds, tuple(shown), measured)


def _watched(view: View) -> View:
    """`view` with how unsteady its films are, where a frame is beside."""
    *films, _ = view.pictures
    pairs = [(one.pixels, one.beside) for one in films if one.beside is not None]
    if not pairs:
        return view
    plain = pairs[2] if len(films) > 2 else None
    source = plain or (_middle(pairs[0][0], pairs[1][0]), _middle(pairs[0][1], pairs[1][1]))
    height, width = source[0].shape[:2]
    times = max(min(REDUCED, height // LEAST, width // LEAST), 1)
    small = (resized(one, (width // times, height // times)) for one in source)
    found = figures(Ruler((next(small), next(small)), plain), films[:2])
    return replace(view, figures=view.figures | {k: view.figures.get(k, {}) | value for k, value in found.items()})


def _middle(first: Pixels, second: Pixels) -> Pixels:
    return ((first.astype(np.uint16) + second) // 2).astype(np.uint8)


def heat_map(first: Pixels, second: Pixels) -> Pixels:
    """The greatest difference of a pixel's three values, from black over red and yellow to white at `HEAT_PEAK`."""
    distance = np.abs(first.astype(np.int16) - second.astype(np.int16)).max(axis=2)
    heat = np.clip(distance.astype(np.float32) * (3 / HEAT_PEAK), 0, 3)
    return np.stack([np.clip(heat - k, 0, 1) * 255 for k in range(3)], axis=2).round().astype(np.uint8)
