"""A backend for tests: repeats pixels, as slowly as one likes."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from vidsr.backends import AUTO, Unit
from vidsr.backends.base import Backend, check_batch
from vidsr.models.registry import Model


class NearestBackend(Backend):
    """Nearest neighbour by a whole `scale`. Every call first sleeps for `delay` seconds, which `cancel` cuts short."""

    name = "nearest"
    precision = "fp32"
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, scale: int, *, delay: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.delay = delay

    @classmethod
    def open(
        cls, model: Model, *, precision: str, device: torch.device, threads: int | None, unit: Unit = AUTO
    ) -> Self:
        """For the scale of `model`; nothing else of it counts, and no option."""
        del precision, device, threads, unit
        return cls(model.scale)

    @classmethod
    def best_precision(cls, device: torch.device, unit: Unit = AUTO) -> tuple[str, str]:
        """FP32."""
        del device, unit
        return "fp32", "there is nothing to speed up"

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H*scale, W*scale)."""
        check_batch(batch, self.device, self.dtype)
        if self.delay:
            self._state.cancelled.wait(self.delay)
        self._state.check()
        return batch.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
