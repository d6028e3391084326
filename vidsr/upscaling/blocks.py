"""What of a small picture lies behind each block, and behind each sample, of a large plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidsr.upscaling.motion import BLOCK, Floats
from vidsr.upscaling.moved import Whole

WAY_BITS = 7
WAY = 1 << WAY_BITS  # parts of the way from one sample to the next: whole numbers within 255 times that are int16


@dataclass(frozen=True)
class Blocks:
    """`block` is the height and width of each, `ratio` how many samples of the plane a small pixel is, by direction.

    `down` and `right` are which row and column of small blocks lies behind the middle of each row and column.
    """

    block: tuple[int, int]
    ratio: Floats
    down: NDArray[np.intp]
    right: NDArray[np.intp]

    @classmethod
    def over(cls, large: Sequence[int], small: Sequence[int]) -> Blocks:
        """The blocks of a plane of that height and width, made of a picture of this one."""
        ratio = [high / low for high, low in zip(large, small, strict=True)]
        tall, wide = (max(round(BLOCK * one), 1) for one in ratio)
        down, right = (
            np.minimum(
                ((np.arange(-(-side // block)) + 0.5) * block / (BLOCK * one)).astype(np.intp), (low - 1) // BLOCK
            )
            for side, block, one, low in zip(large, (tall, wide), ratio, small, strict=True)
        )
        return cls((tall, wide), np.array(ratio, np.float32), down, right)

    def of(self, values: Floats) -> Floats:
        """(rows, columns, ...) of small blocks -> of those of the plane."""
        found: Floats = values[self.down[:, None], self.right[None]]
        return found

    def samples(self, shift: Floats) -> Whole:
        """Of small blocks, (rows, columns, 2) pixels -> of those of the plane, in whole samples."""
        found: Whole = np.rint(self.of(shift) * self.ratio).astype(np.intp)
        return found


def means(values: Floats) -> Floats:
    """(H, W) -> (rows, columns): the mean of each small block; edges repeat."""
    height, width = values.shape
    whole = np.pad(values, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
    found: Floats = whole.reshape(-(-height // BLOCK), BLOCK, -1, BLOCK).mean((1, 3), dtype=np.float32)
    return found


@dataclass(frozen=True)
class Between:
    """Where samples of a longer side lie between those of a shorter one; they are linear there, and ends repeat.

    `way` is how far from `first` to `second` each is, of `WAY`.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    way: NDArray[np.int16]

    @classmethod
    def of(cls, long: int, short: int) -> Between:
        """All `long` samples, which cover as much as `short` ones."""
        half = np.float32(0.5)
        place = ((np.arange(long, dtype=np.float32) + half) * np.float32(short / long) - half).clip(0)
        first = place.astype(np.intp)
        way = ((place - first.astype(np.float32)) * np.float32(WAY) + half).astype(np.int16)
        return cls(first, np.minimum(first + 1, short - 1), way)

    def part(self, start: int, stop: int) -> Between:
        """Some of them."""
        return Between(self.first[start:stop], self.second[start:stop], self.way[start:stop])

    def __call__(self, values: NDArray[np.int16]) -> NDArray[np.int16]:
        """(short, W), within 255 -> (long, W), rounded to whole numbers."""
        found = values[self.first]
        change = values[self.second]
        change -= found
        change *= self.way[:, None]
        change += WAY // 2
        change >>= WAY_BITS
        found += change
        return found

    def across(self, values: NDArray[np.int16]) -> NDArray[np.int16]:
        """(H, short) -> (H, long); by rows of what is turned, which lie together in memory."""
        return np.ascontiguousarray(self(np.ascontiguousarray(values.T)).T)
