"""What is compared: labelled pictures of one moment, as people see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidsr.frame import Samples
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.probe import MediaInfo
from vidsr.media.read.reader import Reader
from vidsr.media.stills import read_image
from vidsr.upscaling.host_resize import resize

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True)
class Picture:
    """One way of showing a moment."""

    label: str
    pixels: Pixels
    note: str = ""  # what it took, or how it was measured
    beside: Pixels | None = None  # the same of a neighbouring frame of the shot


@dataclass(frozen=True)
class View:
    """One moment: all its pictures have the same size. `seconds` is None for a still image."""

    title: str
    seconds: float | None
    pictures: tuple[Picture, ...]
    figures: dict[str, dict[str, float]] = field(default_factory=dict)  # label -> measure -> value

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        height, width = self.pictures[0].pixels.shape[:2]
        return width, height


def clock(seconds: float) -> str:
    """``0:01:23.4``."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{rest:04.1f}"


def read_still(path: Path) -> Pixels:
    """An image file as RGB of 8 bits; transparency is dropped, and 16 bits are rounded.

    Raises:
        MediaError: it cannot be read.
    """
    samples, _ = read_image(path)
    return as_rgb8(samples)


def as_rgb8(samples: Samples) -> Pixels:
    """(H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16 as (H, W, 3) uint8."""
    planes = np.atleast_3d(samples)[..., :3]
    if planes.dtype == np.uint16:
        planes = ((planes.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(planes, (*planes.shape[:2], 3)))


def busiest(pixels: Pixels, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the part with the most detail, at most `width` pixels wide and `height` high."""
    wide, high = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    luma = pixels.astype(np.float32).mean(axis=2)
    detail = np.zeros_like(luma)
    detail[:, 1:] += np.abs(np.diff(luma, axis=1))
    detail[1:] += np.abs(np.diff(luma, axis=0))
    sums = np.pad(detail.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    tops, lefts = np.arange(0, len(luma) - high + 1, 8), np.arange(0, luma.shape[1] - wide + 1, 8)
    t, s = tops[:, None], lefts[None, :]
    total = sums[t + high, s + wide] - sums[t, s + wide] - sums[t + high, s] + sums[t, s]
    row, column = np.unravel_index(int(total.argmax()), total.shape)
    left, top = int(lefts[column]), int(tops[row])
    return left, top, left + wide, top + high


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """`pixels` at (width, height), by an antialiased cubic filter."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    large = resize(pixels.transpose(2, 0, 1)[None].astype(np.float32), size)[0]
    return np.ascontiguousarray(np.rint(large.clip(0, 255)).astype(np.uint8).transpose(1, 2, 0))


def open_reader(info: MediaInfo, start: Fraction | None = None, reach: int = 0) -> Reader:
    """The frames of `info` from `start` on, and `reach` before, as a job would read them; damage is passed over."""
    how = Deinterlacing.of(info.video, "auto")
    return Reader(info, start=start, keep_going=True, deinterlace=how, reach=reach)
