"""Whether a picture of the output, scaled down again, shows what the source's picture shows. numpy and swscale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from vidsr.frame import Frame, PixelFormat, Plane
from vidsr.media.pyav import samples_of

MIN_PSNR = 20.0  # dB, of luma at the source's size: noise that a network removes counts as difference, too
MIN_BLOCK_PSNR = 28.0  # dB, of the means of blocks, in which noise does not count
MAX_BLOCK_ERROR = 40.0  # of 255: by which the mean of any one block is outside those of the blocks around it
MAX_LOST_DETAIL = 0.5  # of the variance of the blocks' means: at 1 the picture is as flat as a black one
MAX_SHIFT = 0.15  # source pixels: an output pixel is 0.25 of them at x4, 0.5 at x2
MAX_OFFSET = 5.0  # of 255: of the mean of a plane, as where a picture is too bright or of another tint
MAX_GAIN = 0.1  # of a plane's contrast: a range that was taken for the other one changes it by 0.16
NEIGHBOUR = 0.8  # how much of the way from the right picture to the one beside it may be covered
LUMA_BLOCK = 8  # pixels a side

_MIN_CHANGE = 2.0  # of 255: blocks that differ by less from picture to picture do not tell them apart
_MIN_STEP = 8.0  # of 255: by which some block must, and about `_MIN_BLOCKS` of them; less is lost in any encoder
_MIN_BLOCKS = 4
_BEYOND_DOUBT = 0.25  # of the square of the error from its own picture: what is left from the one beside it
_MIN_TEXTURE = 2.0  # mean squared gradient, of 255 a pixel: flatter pictures show no shift
_MIN_CONTRAST = 25.0  # variance of a plane's blocks' means below which it has no contrast to compare
_MIN_DETAIL = 4.0  # variance of the blocks' means below which a picture counts as flat itself
_FLAGS = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """A picture at the source's size, in units of 8-bit codes: luma (H, W), and the block means of every plane."""

    luma: Floats
    blocks: tuple[Floats, ...]
    noise: tuple[float, ...]  # by which the means of every plane's blocks vary, at most, if it is noise alone


@dataclass(frozen=True, slots=True)
class Likeness:
    """How one picture of the output compares with its own of the source."""

    psnr: float  # dB, luma; infinite for equal pictures
    least_psnr: float  # dB: `MIN_PSNR`, less where the source is noise or dither that nobody can keep
    block_psnr: float  # dB, the worst plane's
    block_error: float  # of 255, the worst block's
    lost_detail: float  # share of the source's blocks' variance; 0 where the source is flat
    offset: float  # of 255, of the plane whose mean has changed most
    gain: float  # of the plane whose contrast has changed most; 1 where none has any
    shift: tuple[float, float]  # source pixels, to the right and down; 0 where the source has no texture
    shows: int  # 0: its own picture; -1, +1: the one before, after it

    @property
    def shifted(self) -> bool:
        """Whether the whole picture stands elsewhere."""
        return max(map(abs, self.shift)) > MAX_SHIFT

    @property
    def tinted(self) -> bool:
        """Whether brightness, contrast or colours are others."""
        return abs(self.offset) > MAX_OFFSET or abs(self.gain - 1) > MAX_GAIN

    @property
    def differs(self) -> bool:
        """Whether it shows something else, or nothing."""
        bad = self.psnr < self.least_psnr or self.block_psnr < MIN_BLOCK_PSNR
        return bad or self.block_error > MAX_BLOCK_ERROR or self.lost_detail > MAX_LOST_DETAIL


class Shrinker:
    """Brings frames to one size: planes are scaled by swscale, antialiased, as they are. One frame at a time."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._reformatters: dict[int, VideoReformatter] = {}  # by plane: each keeps its swscale context

    def __call__(self, frame: Frame) -> SmallPicture:
        """`frame` at that size."""
        width, height = self._size
        fmt = frame.format
        shapes = fmt.plane_shapes(width, height)
        unit = float(fmt.unit)
        planes = [
            self._scaled(k, plane, shape).astype(np.float32) / np.float32(unit)
            for k, (plane, shape) in enumerate(zip(frame.planes, shapes, strict=True))
        ]
        blocks = tuple(_block_means(p, s) for p, s in zip(planes, _shifts(fmt), strict=True))
        return SmallPicture(planes[0], blocks, tuple(map(_noise, planes, blocks)))

    def _scaled(self, number: int, plane: Plane, shape: tuple[int, int]) -> Plane:
        if plane.shape == shape:
            return plane
        name = "gray" if plane.dtype == np.uint8 else "gray16le"
        height, width = plane.shape
        picture = av.VideoFrame(width, height, name)
        _rows(picture, plane.dtype)[:, :width] = plane
        reformatter = self._reformatters.setdefault(number, VideoReformatter())
        small = reformatter.reformat(picture, shape[1], shape[0], name, interpolation=_FLAGS, threads=1)
        return _rows(small, plane.dtype)[:, : shape[1]].copy()


def liken(shown: SmallPicture, own: SmallPicture, before: SmallPicture | None, after: SmallPicture | None) -> Likeness:
    """Compare the output's picture `shown` with the source's `own`, and with those beside it."""
    error = shown.luma - own.luma
    pairs = list(zip(shown.blocks, own.blocks, strict=False))  # grey beside colour has luma in common
    errors = [a - b for a, b in pairs]
    return Likeness(
        psnr=_psnr(_mean_square(error)),
        least_psnr=min(MIN_PSNR, _psnr(_grain(own.luma, own.blocks[0])) - 1),
        block_psnr=_psnr(max(_mean_square(e) for e in errors)),
        block_error=max(float(_outside(*pair).max()) for pair in pairs),
        lost_detail=_lost_detail(errors[0], own.blocks[0]),
        offset=max((float(e.mean()) for e in errors), key=abs),
        gain=max(map(_gain, errors, own.blocks, own.noise), key=lambda gain: abs(gain - 1)),
        shift=_shift(error, shown.luma, own.luma),
        shows=_shows(shown.blocks[0], own.blocks[0], before, after),
    )


def _shows(shown: Floats, own: Floats, before: SmallPicture | None, after: SmallPicture | None) -> int:
    """Which of three pictures is shown: where on the straight line from `own` to a neighbour does `shown` stand?

    Its own is at 0, the neighbour at 1. Noise that the network takes away moves it, at most to the middle.
    """
    best, place = _BEYOND_DOUBT, 0
    for step, other in ((-1, before), (1, after)):
        if other is None:
            continue
        change = other.blocks[0] - own
        moving = np.abs(change) > _MIN_CHANGE
        if not moving.any():
            continue
        there, error = change[moving], (shown - own)[moving]
        if np.abs(there).max() < _MIN_STEP or float(np.dot(there, there)) < _MIN_BLOCKS * _MIN_STEP**2:
            continue
        covered = float(np.dot(error, there) / np.dot(there, there))
        rest = _mean_square(error - there) / max(_mean_square(error), 1e-9)
        if covered > NEIGHBOUR and rest < best:  # else it shows neither
            best, place = rest, step
    return place


def _outside(shown: Floats, own: Floats) -> Floats:
    """How far each block is above or below all of its own source's and those around it: a blurred edge is not."""
    around = np.pad(own, 1, "edge")
    height, width = own.shape
    places = [around[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    beyond: Floats = np.maximum(shown - np.maximum.reduce(places), np.minimum.reduce(places) - shown).clip(0)
    return beyond


def _grain(plane: Floats, blocks: Floats) -> float:
    """Mean square of what is finer than blocks: the error of a picture that has lost all of it."""
    return max(float(plane.var()) - float(blocks.var()), 1e-9)


def _noise(plane: Floats, blocks: Floats) -> float:
    return 2 * _grain(plane, blocks) * blocks.size / plane.size


def _gain(error: Floats, own: Floats, noise: float) -> float:
    """The contrast of a picture over that of its source, by least squares; that of noise, encoders thin out."""
    around = own - own.mean()
    variance = _mean_square(around)
    return 1 + float((error * around).mean()) / variance if variance > _MIN_CONTRAST + noise else 1.0


def _lost_detail(error: Floats, own: Floats) -> float:
    variance = float(own.var())
    return _mean_square(error) / variance if variance > _MIN_DETAIL else 0.0


def _shift(error: Floats, shown: Floats, own: Floats) -> tuple[float, float]:
    """(x, y) by which `shown` is displaced, by least squares on the gradient (Lucas and Kanade 1981)."""
    height, width = own.shape
    if min(height, width) < LUMA_BLOCK:
        return 0.0, 0.0
    mean = shown + own
    gx = (mean[1:-1, 2:] - mean[1:-1, :-2]).ravel()  # four times the gradient
    gy = (mean[2:, 1:-1] - mean[:-2, 1:-1]).ravel()
    rest = error[1:-1, 1:-1].ravel()
    count = 16.0 * len(rest)
    a, b, c = (float(np.dot(p, q)) / count for p, q in ((gx, gx), (gx, gy), (gy, gy)))
    right = np.array([-4 * float(np.dot(gx, rest)) / count, -4 * float(np.dot(gy, rest)) / count])
    strengths, axes = np.linalg.eigh(np.array([[a, b], [b, c]]))
    moved = np.zeros(2)
    for strength, axis in zip(strengths, axes.T, strict=True):
        if strength > _MIN_TEXTURE:
            moved += axis * float(axis @ right) / strength
    return float(moved[0]), float(moved[1])


def _block_means(plane: Floats, shift: tuple[int, int]) -> Floats:
    """Means of the blocks that cover `LUMA_BLOCK` pixels of the picture each, fewer at the edges."""
    means: Floats = plane
    for axis, reduced in ((0, shift[1]), (1, shift[0])):
        starts = np.arange(0, means.shape[axis], LUMA_BLOCK >> reduced)
        sizes = np.diff(np.append(starts, means.shape[axis]))
        sums = np.add.reduceat(means, starts, axis=axis)
        means = np.asarray(sums / sizes.reshape((-1, 1) if axis == 0 else (1, -1)), np.float32)
    return means


def _shifts(fmt: PixelFormat) -> Sequence[tuple[int, int]]:
    """By which power of two each plane is reduced, horizontally and vertically."""
    chroma = [fmt.chroma_shift] * (0 if fmt.model == "grey" else 2)
    return [(0, 0), *chroma, *([(0, 0)] if fmt.alpha else [])]


def _rows(picture: av.VideoFrame, dtype: np.dtype[np.uint8 | np.uint16]) -> Plane:
    return samples_of(picture.planes[0], dtype).reshape(picture.height, -1)


def _mean_square(values: Floats) -> float:
    flat = values.ravel()
    return float(np.dot(flat, flat)) / flat.size


def _psnr(error: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
