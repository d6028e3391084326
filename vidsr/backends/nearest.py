"""A backend for tests: repeats pixels, as slowly as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from vidsr.backends import AUTO, Unit
from vidsr.backends.base import HostBackend, Pictures
from vidsr.models.registry import Model

if TYPE_CHECKING:
    import torch


class NearestBackend(HostBackend):
    """Nearest neighbour by a whole `scale`. Every call first sleeps for `delay` seconds, which `cancel` cuts short."""

    name = "nearest"
    precision = "fp32"

    def __init__(self, scale: int, *, delay: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.delay = delay

    @classmethod
    def open(
        cls, model: Model, *, precision: str, device: torch.device | None, threads: int | None, unit: Unit = AUTO
    ) -> Self:
        """For the scale of `model`; nothing else of it counts, and no option."""
        del precision, device, threads, unit
        return cls(model.scale)

    @classmethod
    def best_precision(cls, device: torch.device | None, unit: Unit = AUTO) -> tuple[str, str]:
        """FP32."""
        del device, unit
        return "fp32", "there is nothing to speed up"

    def run(self, batch: Pictures) -> Pictures:
        """(N, 3, H, W) -> (N, 3, H*scale, W*scale)."""
        if self.delay:
            self._state.cancelled.wait(self.delay)
        self._state.check()
        return np.repeat(np.repeat(batch, self.scale, 2), self.scale, 3)
