"""How the planes of pictures lie in one piece of memory, so that one copy moves them all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidsr.frame import PixelFormat, Plane
from vidsr.upscaling.staging import TENSOR_TYPES

ALIGNED = 256  # bytes at which a plane begins: GPUs read from there at their fastest


@dataclass(frozen=True)
class Block:
    """Pictures of `width` x `height` in `format`, without alpha: a row of samples each, planes one behind the other.

    The last sample of a picture, `mark`, says whether it is sound: 1, or 0 where the network gave what is no number.
    """

    format: PixelFormat
    width: int
    height: int

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(height, width) of each plane."""
        shapes = self.format.plane_shapes(self.width, self.height)
        return shapes[:-1] if self.format.alpha else shapes

    @cached_property
    def starts(self) -> list[int]:
        """Of each plane, and of what follows them, in samples."""
        step = ALIGNED // self.itemsize
        return [0, *accumulate(step * -(-math.prod(shape) // step) for shape in self.shapes)]

    @property
    def itemsize(self) -> int:
        """Bytes of a sample."""
        return self.format.dtype.itemsize

    @property
    def mark(self) -> int:
        """The place of the sample that says whether a picture is sound."""
        return self.starts[-1]

    @cached_property
    def size(self) -> int:
        """Samples of a picture."""
        return self.starts[-1] + ALIGNED // self.itemsize

    def empty(self, num: int, device: torch.device, *, pinned: bool = False) -> Tensor:
        """(num, size) samples, zero: uint8 or, above 8 bits, int16 with the bits of uint16."""
        dtype = TENSOR_TYPES[self.itemsize]
        return torch.zeros((num, self.size), dtype=dtype, device=device, pin_memory=pinned)

    def planes(self, pictures: Tensor) -> list[Tensor]:
        """(N, size) samples -> the same memory as (N, height, width) of each plane."""
        return [
            pictures[:, start : start + math.prod(shape)].view(-1, *shape)
            for start, shape in zip(self.starts, self.shapes, strict=False)
        ]

    def views(self, picture: NDArray[np.uint8 | np.uint16]) -> tuple[Plane, ...]:
        """(size,) samples of one picture on the host -> the same memory as its planes."""
        return tuple(
            picture[start : start + math.prod(shape)].reshape(shape)
            for start, shape in zip(self.starts, self.shapes, strict=False)
        )
