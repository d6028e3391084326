"""Grain that a network took away, put back: as strong and as coarse as the source's, never the same twice.

How strong it is in the source and in the large picture is measured in flat places of both, by how bright they are; what
is missing is added. Of a picture all follows from its own samples and its time, so parts, workers and a second run add
the same. It takes numpy on the host, whatever runs the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vidsr.frame import Frame, Plane

BLOCK = 8  # pixels of the source: the side of a place
MOST_BLOCKS = 6000  # of a picture are looked at
BINS = 8  # of brightness, each measured by itself
FEWEST = 12  # places that tell of a bin
LOW, OF_MEAN = 0.15, 0.814  # that share of a bin has less variance; of white noise, so much of the mean of all
UNEVEN = 4.0  # a bin has at most so many times the variance of the picture's flattest places: the rest is texture
STILL = 24  # places of a bin in which the large picture is looked at
COARSE = (0.05, 0.2, 0.35, 0.5, 0.65)  # how alike neighbouring pixels' grain is: the fields that there are
SIDE = 512  # of a field, which repeats itself
UNIT = 32  # codes of a field for the usual deviation of its grain
STRONGEST = 24.0  # codes of 8 bit, the deviation of what is added
EDGE = 4  # codes from black and from white over which grain fades

Floats: TypeAlias = NDArray[np.float32]
Codes: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Flats:
    """What flat places of a picture tell: by bin of brightness, the variance in codes of 8 bit, and where they lie."""

    variance: Floats  # (BINS,) of the first plane, NaN where nothing tells
    places: tuple[NDArray[np.intp], ...]  # for each bin (n, 2) rows and columns of blocks
    alike: float  # correlation of neighbouring pixels


class Grainer:
    """Adds grain by `strength` from above 0 to 1, at which flat places are as grainy as the source's."""

    def __init__(self, strength: float) -> None:
        self._strength = strength

    def __call__(self, small: Frame, large: Frame) -> Frame:
        """`large`, which was made of `small`, with grain."""
        flats = flats_of(small)
        if np.isnan(flats.variance).all():
            return large
        down, right = (round(4 * s) / 4 for s in (large.height / small.height, large.width / small.width))
        field = _field(min(range(len(COARSE)), key=lambda k: abs(COARSE[k] - flats.alike)), down, right)
        num = len(large.planes) - large.format.alpha
        grey = large.format.model != "yuv"
        guide = large.planes[0]
        made = list(large.planes)
        for place in range(num):
            own = 0 if grey else place  # one grain for red, green and blue
            if own >= len(small.planes) - small.format.alpha or (own and small.format.model != "yuv"):
                break
            missing = _missing(small, large, own, flats) * np.float32(self._strength)
            light = made[place] if grey else _as_large(guide, made[place].shape)
            noise = _placed(field, made[place].shape, _seed(large, own))
            made[place] = _grained(made[place], light, _gains(missing, large), noise, large.format.bits)
        return replace(large, planes=tuple(made))


def flats_of(frame: Frame) -> Flats:
    """Where `frame` is flat, and how grainy it is there."""
    luma = _eight(frame.planes[0], frame)
    rows, columns = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
    step = max(math.ceil(math.sqrt(rows * columns / MOST_BLOCKS)), 1)
    blocks = luma[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    rest, means = _residuals(blocks[::step, ::step])
    variance, alike = _variance(rest), _alike(rest)
    low, high = _ends(frame)
    usable = (means > low + EDGE) & (means < high - EDGE)
    least = np.quantile(variance[usable], LOW) / OF_MEAN if usable.any() else np.float32(0)
    number = np.clip((means - low) * BINS / (high - low), 0, BINS - 1).astype(np.intp)
    found, places = np.full(BINS, np.nan, np.float32), []
    likeness: list[float] = []
    for k in range(BINS):
        inside = usable & (number == k)
        if np.count_nonzero(inside) >= FEWEST:
            found[k] = min(np.quantile(variance[inside], LOW) / OF_MEAN, UNEVEN * least)
        flat = inside & (variance <= 1.5 * np.nan_to_num(found[k]))
        likeness += alike[flat].tolist()
        chosen = np.argwhere(flat)
        places.append(chosen[:: max(len(chosen) // STILL, 1)][:STILL] * step)
    return Flats(found, tuple(places), float(np.median(likeness)) if likeness else 0.0)


def _missing(small: Frame, large: Frame, place: int, flats: Flats) -> Floats:
    """(BINS,) The deviation, in codes of 8 bit, that a plane of `large` lacks in flat places; known for every bin."""
    found = np.full(BINS, np.nan, np.float32)
    (black, white), (dark, bright) = _ends(small), _ends(large)
    wider = ((bright - dark) / (white - black)) ** 2  # where film of 219 steps becomes a picture of 255
    for k, places in enumerate(flats.places):
        if not len(places):
            continue
        left = _at(large, place, places, (large.height / small.height, large.width / small.width))
        was = wider * (flats.variance[k] if place == 0 else _at(small, place, places, (1.0, 1.0)))
        found[k] = min(math.sqrt(max(was - left, 0.0)), STRONGEST)
    known = np.flatnonzero(~np.isnan(found))
    if not len(known):
        return np.zeros(BINS, np.float32)
    return np.interp(np.arange(BINS), known, found[known]).astype(np.float32)


def _at(frame: Frame, place: int, places: NDArray[np.intp], scale: tuple[float, float]) -> float:
    """The median variance of a plane at `places`, which are blocks of a picture `scale` times smaller."""
    plane = frame.planes[place]
    down, right = (
        BLOCK * s * side / whole for s, side, whole in zip(scale, plane.shape, frame.planes[0].shape, strict=True)
    )
    height, width = max(int(down), 2), max(int(right), 2)
    found = []
    for row, column in places:
        top, left = min(round(row * down), plane.shape[0] - height), min(round(column * right), plane.shape[1] - width)
        block = _eight(plane[top : top + height, left : left + width], frame)
        found.append(float(_variance(_residuals(block[None, None])[0])[0, 0]))
    return float(np.median(found))


def _residuals(blocks: Floats) -> tuple[Floats, Floats]:
    """(..., h, w) What is left of blocks less the plane through each, and (...) their means."""
    height, width = blocks.shape[-2:]
    down = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    right = np.arange(width, dtype=np.float32)[None] - np.float32((width - 1) / 2)
    means = blocks.mean((-2, -1), dtype=np.float32)
    rest = blocks - means[..., None, None]
    for axis in (down, right):
        slope = (rest * axis).sum((-2, -1)) / np.float32((axis * axis).sum() * height * width / axis.size)
        rest = rest - slope[..., None, None] * axis
    return rest, means


def _variance(rest: Floats) -> Floats:
    found: Floats = (rest * rest).sum((-2, -1)) / np.float32(max(rest.shape[-1] * rest.shape[-2] - 3, 1))
    return found


def _alike(rest: Floats) -> Floats:
    """Correlation of neighbours, across and down."""
    whole = (rest * rest).mean((-2, -1)) + np.float32(1e-6)
    across = (rest[..., 1:] * rest[..., :-1]).mean((-2, -1))
    down = (rest[..., 1:, :] * rest[..., :-1, :]).mean((-2, -1))
    found: Floats = (across + down) / (2 * whole)
    return found


def _eight(plane: Plane, frame: Frame) -> Floats:
    return plane.astype(np.float32) / np.float32(frame.format.unit)


def _ends(frame: Frame) -> tuple[int, int]:
    """Black and white, in codes of 8 bit."""
    return (0, 255) if frame.colour.full_range or frame.format.model == "rgb" else (16, 235)


def _gains(deviation: Floats, large: Frame) -> Codes:
    """(256,) What a field is multiplied by at each brightness of 8 bits, in 256ths of a code; 0 at black and white."""
    low, high = _ends(large)
    codes = np.arange(256)
    wanted = np.interp((codes - low) * BINS / (high - low) - 0.5, np.arange(BINS), deviation)
    fade = np.minimum((codes - low) / EDGE, (high - codes) / EDGE).clip(0, 1)
    gains: Codes = np.rint(wanted * fade * 256 * large.format.unit / UNIT).astype(np.int32)
    return gains


def _grained(plane: Plane, light: Plane, gains: Codes, noise: NDArray[np.int8], bits: int) -> Plane:
    brightness = light if bits <= 8 else light >> (bits - 8)
    change = np.take(gains, brightness, mode="clip")
    np.multiply(change, noise, out=change)
    change += 128
    change >>= 8
    change += plane
    made: Plane = np.clip(change, 0, (1 << bits) - 1, out=change).astype(plane.dtype)
    return made


def _as_large(guide: Plane, shape: tuple[int, ...]) -> Plane:
    """The brightness at the samples of a plane that is smaller."""
    down, right = -(-guide.shape[0] // shape[0]), -(-guide.shape[1] // shape[1])
    return guide if (down, right) == (1, 1) else guide[::down, ::right][: shape[0], : shape[1]]


@lru_cache(8)
def _field(coarse: int, down: float, right: float) -> NDArray[np.int8]:
    """(2 SIDE, 2 SIDE) Grain of deviation `UNIT` that repeats itself: neighbours at so many pixels are so alike."""
    raw = np.random.Philox(coarse).random_raw(SIDE * SIDE).view(np.uint16).reshape(SIDE, SIDE, 4)
    white = raw.sum(-1, dtype=np.float64)
    blur = 1 / (2 * math.sqrt(-math.log(COARSE[coarse])))  # of Gaussian noise, alike by exp(-d^2 / 4 blur^2)
    rows, columns = (np.exp(-2 * (math.pi * blur * s * np.fft.fftfreq(SIDE)) ** 2) for s in (down, right))
    made = np.fft.ifft2(np.fft.fft2(white - white.mean()) * rows[:, None] * columns).real
    codes = np.rint(made / made.std() * UNIT).clip(-127, 127).astype(np.int8)
    return np.tile(codes, (2, 2))


def _seed(frame: Frame, place: int) -> Sequence[int]:
    time = Fraction(frame.pts) * frame.time_base
    return (abs(time.numerator), time.denominator, time < 0, place)


def _placed(field: NDArray[np.int8], shape: tuple[int, ...], seed: Sequence[int]) -> NDArray[np.int8]:
    """A picture's grain: pieces of the field from other places in each."""
    height, width = shape
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    drawn = np.random.Philox(np.random.SeedSequence([int(value) for value in seed])).random_raw(2 * rows * columns)
    corners = (np.asarray(drawn) % SIDE).astype(np.intp).reshape(rows, columns, 2)
    made = np.empty(shape, np.int8)
    for row in range(rows):
        for column in range(columns):
            piece = made[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            top, left = corners[row, column]
            piece[:] = field[top : top + piece.shape[0], left : left + piece.shape[1]]
    return made
