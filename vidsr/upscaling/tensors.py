"""Pictures on their way into a network, as tensors of torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vidsr.backends.base import Backend
from vidsr.errors import OutOfMemoryError


class Tensors:
    """`enlarger.Arrays` of torch."""

    unfit: tuple[type[Exception], ...] = (OutOfMemoryError, torch.OutOfMemoryError)

    def clamped(self, rgb: Tensor) -> Tensor:
        """In [0, 1], in its own memory."""
        return rgb.clamp_(0, 1)

    def extended(self, rgb: Tensor, right: int, below: int) -> Tensor:
        """With the last column and row repeated."""
        return F.pad(rgb, (0, right, 0, below), mode="replicate")

    def given(self, rgb: Tensor, backend: Backend) -> Tensor:
        """On the backend's device, of its type."""
        return rgb.to(backend.device, backend.dtype)

    def joined(self, parts: list[Tensor]) -> Tensor:
        """One after the other."""
        return torch.cat(parts)

    def empty(self, like: Tensor, height: int, width: int) -> Tensor:
        """As many pictures and channels of another size."""
        return like.new_empty((*like.shape[:2], height, width))
