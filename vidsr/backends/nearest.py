"""A backend for tests: repeats pixels, as slowly as one likes."""

from __future__ import annotations

import torch
from torch import Tensor

from vidsr.backends.base import State, check_batch


class NearestBackend:
    """Nearest neighbour by a whole `scale`. Every call first sleeps for `delay` seconds, which `cancel` cuts short."""

    name = "nearest"
    precision = "fp32"
    device = torch.device("cpu")
    dtype = torch.float32
    max_pixels: int | None = None

    def __init__(self, scale: int, *, delay: float = 0.0) -> None:
        self.scale = scale
        self.delay = delay
        self._state = State()

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H*scale, W*scale)."""
        check_batch(batch, self.device, self.dtype)
        if self.delay:
            self._state.cancelled.wait(self.delay)
        self._state.check()
        return batch.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)

    def cancel(self) -> None:
        """End the sleep in progress, if any, and refuse later calls."""
        self._state.cancelled.set()

    def close(self) -> None:
        """Refuse later calls."""
        self._state.closed = True
