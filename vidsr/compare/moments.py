"""Which moments of a film say most about a model: the sharpest, the busiest and the darkest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vidsr.compare.picture import open_reader
from vidsr.errors import UsageError
from vidsr.frame import Frame
from vidsr.media.read.probe import MediaInfo
from vidsr.neighbours import same_picture, same_shot

NUM_SAMPLES = 16
NUM_APART = 8  # moments lie an eighth of the sampled time apart, where there is such a choice
SHORT_FRAMES = 240  # a film of fewer frames is read once instead of seeking in it
MIN_CONTRAST = 0.02  # standard deviation of luma; below, a dark picture shows nothing
EDGE = Fraction(1, 20)  # of the duration: titles and fades at both ends are not sampled


@dataclass(frozen=True)
class Moment:
    """A frame of a film, found at `seconds` from its first picture, and why it was taken."""

    seconds: Fraction
    why: str
    frame: Frame


@dataclass(frozen=True)
class Around:
    """Frames around a moment that follow each other without a cut: which is its own, and which is looked at beside.

    All others are aside.
    """

    frames: tuple[Frame, ...]
    own: int
    beside: int | None  # None: it stands alone

    def shown(self) -> Around:
        """Those two alone."""
        frames = tuple(frame for frame in self.frames if not frame.aside)
        own = frames.index(self.frames[self.own])
        return Around(frames, own, None if self.beside is None else 1 - own)


@dataclass(frozen=True)
class _Look:
    seconds: Fraction
    frame: Frame
    sharpness: float
    motion: float
    brightness: float
    contrast: float


RANKS: dict[str, Callable[[_Look], float]] = {
    "sharpest": lambda look: look.sharpness,
    "busiest": lambda look: look.motion,
    "darkest": lambda look: -look.brightness - 10 * (look.contrast < MIN_CONTRAST),
}


def at(info: MediaInfo, times: Sequence[Fraction]) -> list[Moment]:
    """The frames shown at `times` (seconds), as asked.

    Raises:
        UsageError: there is no picture at one of them.
    """
    return [_at(info, seconds) for seconds in times]


def _at(info: MediaInfo, seconds: Fraction) -> Moment:
    with open_reader(info, seconds) as reader:
        frame = next(iter(reader), None)
    if frame is None:
        raise UsageError(f"{info.path} has no picture at {float(seconds):g} s; it ends before.")
    return Moment(_seconds(info, frame), "as asked", frame)


def pick(info: MediaInfo) -> list[Moment]:
    """Up to three different moments, sharpest, busiest, darkest, of a sample spread over the film.

    Sharpness is the mean square of the luma's Laplacian, business the mean difference to the next frame; the darkest
    still shows something.

    Raises:
        MediaError, DamagedError: nothing can be decoded.
    """
    looks = _sample(info)
    if not looks:
        raise UsageError(f"{info.path}: no picture could be decoded.")
    apart = (looks[-1].seconds - looks[0].seconds) / NUM_APART
    chosen: list[Moment] = []
    for why, rank in RANKS.items():
        taken = [moment.seconds for moment in chosen]
        new = [look for look in looks if look.seconds not in taken]
        far = [look for look in new if all(abs(look.seconds - other) >= apart for other in taken)]
        if new:
            best = max(far or new, key=rank)
            chosen.append(Moment(best.seconds, why, best.frame))
    return chosen


def around(info: MediaInfo, moment: Moment, reach: int = 0) -> Around:
    """The moment's frame, the next one, or the one before where that shows more, and `reach` more around both."""
    most = reach + 1
    with open_reader(info, moment.seconds, most) as reader:
        frames = list(islice(reader, 2 * most + 1))
    own = next((k for k, frame in enumerate(frames) if not frame.aside), None)
    if own is None or frames[own].pts != moment.frame.pts:
        return Around((moment.frame,), 0, None)
    first = last = own
    while first > max(own - most, 0) and same_shot(frames[first - 1], frames[first]):
        first -= 1
    while last < min(own + most, len(frames) - 1) and same_shot(frames[last], frames[last + 1]):
        last += 1
    near = [k for k in (own + 1, own - 1) if first <= k <= last]
    moved = [k for k in near if not same_picture(frames[own], frames[k])]
    beside = next(iter(moved or near), None)
    ends = (own, own if beside is None else beside)
    first, last = max(first, min(ends) - reach), min(last, max(ends) + reach)
    shown = tuple(replace(frames[k], aside=k not in ends) for k in range(first, last + 1))
    return Around(shown, own - first, None if beside is None else beside - first)


def _sample(info: MediaInfo) -> list[_Look]:
    duration, count = info.video.duration, info.video.num_frames
    if not duration or (count is not None and count <= SHORT_FRAMES):
        return _read_through(info)
    usable = duration * (1 - 2 * EDGE)
    times = [duration * EDGE + usable * k / (NUM_SAMPLES - 1) for k in range(NUM_SAMPLES)]
    looks = [look for seconds in times if (look := _look(info, seconds))]
    return looks or _read_through(info)


def _look(info: MediaInfo, seconds: Fraction) -> _Look | None:
    with open_reader(info, seconds) as reader:
        frames = list(islice(reader, 2))
    return _measure(info, frames[0], frames[-1]) if frames else None


def _read_through(info: MediaInfo) -> list[_Look]:
    """Every few frames of a short film."""
    step = max(1, (info.video.num_frames or SHORT_FRAMES) // NUM_SAMPLES)
    looks: list[_Look] = []
    with open_reader(info) as reader:
        frames = islice(reader, SHORT_FRAMES)
        before: Frame | None = None
        for number, frame in enumerate(frames):
            if before is not None and (number - 1) % step == 0:
                looks.append(_measure(info, before, frame))
            before = frame
    return looks or ([_measure(info, before, before)] if before is not None else [])


def _measure(info: MediaInfo, frame: Frame, after: Frame) -> _Look:
    luma, later = _luma(frame), _luma(after)
    core = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * core
    motion = float(np.abs(later - luma).mean()) if later.shape == luma.shape else 0.0
    sharpness = float(np.square(laplacian).mean()) if laplacian.size else 0.0
    return _Look(_seconds(info, frame), frame, sharpness, motion, float(luma.mean()), float(luma.std()))


def _luma(frame: Frame) -> NDArray[np.float32]:
    """The first plane from 0 to 1: luma, grey, or the green of RGB."""
    return np.asarray(frame.planes[0], dtype=np.float32) / np.float32(frame.format.peak)


def _seconds(info: MediaInfo, frame: Frame) -> Fraction:
    return (frame.pts - (info.video.start_pts or 0)) * frame.time_base
