"""What a GPU does in order, and beside each other: its streams, events between them, and memory that both sides see."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = 4  # blocks of pinned memory that stay when nothing looks into them


class Lane:
    """A stream: what it is given happens in that order, and the host does not wait for it."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def run(self, work: Callable[[], object]) -> None:
        """Queue what `work` asks of the device, which is the current one already."""
        with torch.cuda.stream(self._stream):
            work()

    def wait(self, event: torch.cuda.Event) -> None:
        """Go on once what `event` marks is done; an event that marks nothing yet is."""
        self._stream.wait_event(event)

    def mark(self, event: torch.cuda.Event) -> None:
        """Let `event` mark what was queued so far."""
        event.record(self._stream)


class Lanes:
    """Three of a GPU: up to it, computing, and down from it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.pinned = device, True
        up, self.stream, down = (torch.cuda.Stream(device) for _ in range(3))  # type: ignore[no-untyped-call]
        self.up, self.compute, self.down = Lane(up), Lane(self.stream), Lane(down)

    def event(self) -> torch.cuda.Event:
        """One for which the host waits asleep, since the encoder needs the core."""
        return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """Return when nothing of the device's work is left."""
        torch.cuda.synchronize(self.device)


class Ring:
    """Blocks of host memory of one shape and type, each used again once nothing looks into it any more.

    Whoever takes a block may keep it as long as he likes: then there are more. Thread-safe.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self._make = make
        self._free: deque[Tensor] = deque(maxlen=KEPT)

    def take(self) -> tuple[Tensor, NDArray[np.uint8 | np.uint16]]:
        """A block, and the same memory for those who look into it: the block is taken until all such views are gone."""
        try:
            block = self._free.pop()
        except IndexError:
            block = self._make()
        samples = block.numpy()
        view = samples.view(np.uint16) if samples.dtype == np.int16 else samples
        finalize(samples, self._free.append, block).atexit = False
        return block, view
