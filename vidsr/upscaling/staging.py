"""Planes of frames to a device and back: from pinned memory, beside the computation, each direction on its own stream.

On the CPU the same calls copy nothing. Codes above 8 bits travel as int16, which every device computes with, and hold
the bits of uint16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vidsr.errors import BackendError
from vidsr.frame import Plane

TENSOR_TYPES = {1: torch.uint8, 2: torch.int16}  # by bytes of a code


def as_tensor(plane: Plane) -> Tensor:
    """(H, W) uint8 or uint16 on the host -> the same memory as uint8 or int16, or a copy where torch cannot wrap it."""
    if not plane.flags.writeable or any(stride < 0 for stride in plane.strides):
        plane = plane.copy()
    return torch.from_numpy(plane.view(np.int16) if plane.dtype == np.uint16 else plane)


def as_plane(tensor: Tensor) -> Plane:
    """(H, W) uint8 or int16 on the host -> the same memory as uint8 or uint16."""
    plane: Plane = tensor.numpy()
    return plane.view(np.uint16) if plane.dtype == np.int16 else plane


class Download:
    """Tensors on their way to the host. `wait` returns them there, any number of times."""

    def __init__(self, tensors: tuple[Tensor, ...], event: torch.cuda.Event | None = None) -> None:
        self._tensors = tensors
        self._event = event

    def wait(self) -> tuple[Tensor, ...]:
        """The tensors, complete.

        Raises:
            BackendError: the device failed in the meantime.
        """
        if self._event is not None:
            try:
                self._event.synchronize()
            except RuntimeError as error:
                raise BackendError(f"The GPU failed: {str(error).splitlines()[0]}") from error
            self._event = None
        return self._tensors


class Staging:
    """Moves planes between the host and `device`. Not thread-safe; its copies are ordered with the current stream.

    The host never waits in `upload` and `download`, so a caller that asks for a result one batch late keeps the
    device computing while both buses are busy.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._up: torch.cuda.Stream | None = None
        self._down: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._up, self._down = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def upload(self, planes: Sequence[Plane]) -> tuple[Tensor, ...]:
        """Planes of the host, (H, W) each, as codes on the device, uint8 or int16, ready for the current stream."""
        if self._up is None:
            return tuple(as_tensor(plane).to(self.device) for plane in planes)
        current = torch.cuda.current_stream(self.device)
        with on(self._up):
            codes = tuple(_pin(plane).to(self.device, non_blocking=True) for plane in planes)
        current.wait_stream(self._up)
        for tensor in codes:
            tensor.record_stream(current)
        return codes

    def download(self, tensors: Sequence[Tensor]) -> Download:
        """Start to copy tensors of any shape and type, as the current stream leaves them, to the host."""
        if self._down is None or not any(tensor.is_cuda for tensor in tensors):
            return Download(tuple(tensor.cpu() for tensor in tensors))
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        with on(self._down):
            copies = tuple(_fetch(tensor) for tensor in tensors)
            # blocking: the host sleeps while it waits, since the encoder needs the core
            event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record(self._down)
        for tensor in tensors:
            if tensor.is_cuda:
                tensor.record_stream(self._down)
        return Download(copies, event)


@contextmanager
def on(stream: torch.cuda.Stream) -> Iterator[None]:
    """Queue on `stream`, with its GPU as the current one: leaving a stream alone takes memory on the first GPU, too."""
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        yield


def _pin(plane: Plane) -> Tensor:
    """A copy in pinned memory, which torch keeps and reuses once the copies out of it are done."""
    pinned = torch.empty(plane.shape, dtype=TENSOR_TYPES[plane.dtype.itemsize], pin_memory=True)
    as_plane(pinned)[...] = plane
    return pinned


def _fetch(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
