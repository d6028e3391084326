"""A model on a backend, for pictures of any size: padding, tiles, batches, and what is done when memory runs out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from vidsr.backends.base import Backend, HostBackend
from vidsr.backends.selection import open_backend
from vidsr.errors import BackendError, OutOfMemoryError
from vidsr.models.registry import Model
from vidsr.tiling import Tile, plan

if TYPE_CHECKING:
    from torch import Tensor

MIN_SIDE = 2  # what a backend takes

Pictures = Any
"""(N, 3, H, W): an array of numpy where the backend does without torch, else a tensor of torch."""


class Arrays(Protocol):
    """What is done to pictures on their way into the network: by numpy here, by torch in `tensors`."""

    unfit: tuple[type[Exception], ...]  # what says that memory did not suffice

    def clamped(self, rgb: Pictures) -> Pictures:
        """In [0, 1], in its own memory."""

    def extended(self, rgb: Pictures, right: int, below: int) -> Pictures:
        """With the last column and row repeated."""

    def given(self, rgb: Pictures, backend: Backend) -> Pictures:
        """On the backend's device, of its type."""

    def joined(self, parts: list[Pictures]) -> Pictures:
        """One after the other."""

    def empty(self, like: Pictures, height: int, width: int) -> Pictures:
        """As many pictures and channels of another size."""


class _Numpy:
    """`Arrays` in the host's memory."""

    unfit: tuple[type[Exception], ...] = (OutOfMemoryError,)

    def clamped(self, rgb: Pictures) -> Pictures:
        return np.clip(rgb, np.float32(0), np.float32(1), out=rgb)

    def extended(self, rgb: Pictures, right: int, below: int) -> Pictures:
        return np.pad(rgb, ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")

    def given(self, rgb: Pictures, backend: Backend) -> Pictures:
        del backend
        return rgb

    def joined(self, parts: list[Pictures]) -> Pictures:
        return np.concatenate(parts)

    def empty(self, like: Pictures, height: int, width: int) -> Pictures:
        return np.empty((*like.shape[:2], height, width), like.dtype)


def _arrays(host: bool) -> Arrays:
    if host:
        return _Numpy()
    from vidsr.upscaling.tensors import Tensors

    return Tensors()


class Enlarger:
    """Enlarges (N, 3, H, W) pictures by the model's native scale, in calls that the backend has the memory for.

    Out of memory is a step on a ladder: every further call holds half as many pixels (fewer pictures, then smaller
    tiles), the same pictures again; where the smallest tile does not fit, the CPU takes over in FP32. `notes` says
    each step. `tile` is ``auto`` (as the backend says), ``off``, or a side. `close` closes the backend. `clamps` tells
    that values go in within [0, 1].
    """

    def __init__(self, model: Model, backend: Backend, *, tile: int | Literal["auto", "off"] = "auto") -> None:
        self.model = model
        self.backend = backend
        self.notes: list[str] = []
        self._tile = tile
        self._limit: int | None = None  # pixels of one call, learnt from calls that did not fit
        self.clamps = model.is_network
        self._cancelled = threading.Event()

    def __call__(self, rgb: Pictures, *, once: bool = False) -> Pictures:
        """(N, 3, H, W) float32, which may be overwritten -> (N, 3, H*s, W*s) of the backend's type, on its device.

        Where the backend does without torch both are arrays, and `once` says that no others of this size need come.

        Networks are trained on [0, 1] and get nothing else; super-whites survive only where there is no network.

        Raises:
            OutOfMemoryError: not even the smallest tile fits.
            Cancelled: `cancel` was called.
            BackendError: the runtime failed.
        """
        by = _arrays(isinstance(rgb, np.ndarray))
        if self.clamps:
            rgb = by.clamped(rgb)
        height, width = rgb.shape[2:]
        s = self.model.scale
        padding = self.padded(width) - width, self.padded(height) - height
        padded = by.extended(rgb, *padding) if any(padding) else rgb
        while True:
            try:
                large = self._run(by.given(padded, self.backend), by, once=once)
                self._take_notes()
                return large[..., : height * s, : width * s]
            except by.unfit as error:
                self.make_room(padded.shape[0], padded.shape[2], padded.shape[3], error)

    def prepare(self, num: int, height: int, width: int, num_frames: int | None) -> None:
        """Let a backend that compiles get ready for calls of `num` pictures, of which `num_frames` will come.

        Raises:
            OutOfMemoryError: not even the smallest tile fits.
            BackendError: it cannot compile.
        """
        height, width = self.padded(height), self.padded(width)
        by = _arrays(not self.backend.needs_torch)
        while True:
            at_once, _ = self._calls(num, height, width)
            tiles = self._tiles(at_once, height, width)
            shape = (at_once, *tiles[0].shape)
            calls = None if num_frames is None else -(-num_frames // at_once) * len(tiles)
            try:
                self.notes += [said] if (said := self.backend.prepare(shape, calls)) else []
                return
            except by.unfit as error:
                self.make_room(num, height, width, error)

    def whole(self, num: int, height: int, width: int) -> Callable[[Tensor], Tensor] | None:
        """The network as a CUDA graph may hold it, for `num` pictures of that size, padded; None where they are tiled.

        None, too, where the backend has no such function. It stays the same object while nothing changes.

        Raises:
            Cancelled: `cancel` was called.
            BackendError: the backend is closed.
        """
        body, height, width = self.backend.body(), self.padded(height), self.padded(width)
        return body if body is not None and self._calls(num, height, width) == (num, height * width) else None

    def padded(self, side: int) -> int:
        """A side as the network gets it: not too small, and a multiple of what it needs."""
        multiple = self.model.multiple
        return side + max(MIN_SIDE - side, -side % multiple)

    def make_room(self, num: int, height: int, width: int, error: Exception) -> None:
        """One step down the ladder, after `num` pictures of that size did not fit.

        Raises:
            OutOfMemoryError: there is no step left.
        """
        calls, tile = self._calls(num, height, width)
        failed = calls * tile
        self._limit = failed // 2
        smaller, tile = self._calls(num, height, width)
        if smaller * tile < failed:
            self._note(f"calls of at most {smaller} x {tile} pixels from here on")
        elif self.backend.unit != "CPU":
            self._note("the CPU goes on in FP32")
            self._replace("cpu" if self.backend.needs_torch else self.backend.name, "cpu")
            self._limit = None
        else:
            raise OutOfMemoryError(str(error)) from error

    def make_exact(self) -> None:
        """Go on in FP32, after the backend gave values that are no numbers.

        Raises:
            BackendError: it computes in FP32 already.
        """
        what = f"{self.model.name} in {self.backend.precision} gave values that are not numbers"
        if self.backend.precision == "fp32":
            raise BackendError(f"{what}; use another model, or the backend cpu.")
        index = None if self.backend.on_host else self.backend.device.index
        self.notes.append(f"{what}: FP32 goes on, from the same picture")
        self._replace(self.backend.name, "auto" if index is None else index)

    def _take_notes(self) -> None:
        """What the backend has to say."""
        self.notes += self.backend.notes
        self.backend.notes.clear()

    def _note(self, what: str) -> None:
        place = self.backend.unit if self.backend.on_host else self.backend.device
        self.notes.append(f"out of memory on {self.backend.name} ({place}): {what}, beginning with the same picture")

    def _replace(self, name: str, device: int | str) -> None:
        old = self.backend
        self.backend, _ = open_backend(name, self.model, precision="fp32", device=device)
        old.close()
        if self._cancelled.is_set():
            self.backend.cancel()

    def _calls(self, num: int, height: int, width: int) -> tuple[int, int]:
        """How many pictures one call takes, and the pixels of each or of one of its tiles."""
        at_once = num
        if self._limit is not None:
            at_once = max(1, min(num, self._limit // (height * width)))
        return at_once, math.prod(self._tiles(at_once, height, width)[0].shape)

    def _tiles(self, num: int, height: int, width: int) -> tuple[Tile, ...]:
        return plan(height, width, self._max_pixels(num), self.model.halo, self.model.multiple)

    def _max_pixels(self, num: int) -> int | None:
        """Of one picture's tile, when `num` pictures share a call; None: no bound."""
        bounds = [self._limit]
        if isinstance(self._tile, int):
            bounds.append(num * self._tile**2)
        elif self._tile == "auto":
            bounds.append(self.backend.max_pixels)
        known = [bound for bound in bounds if bound is not None]
        return min(known) // num if known else None

    def _run(self, batch: Pictures, by: Arrays, *, once: bool) -> Pictures:
        num, _, height, width = batch.shape
        at_once, _ = self._calls(num, height, width)
        parts = [self._tiled(batch[first : first + at_once], by, once=once) for first in range(0, num, at_once)]
        return parts[0] if len(parts) == 1 else by.joined(parts)

    def _tiled(self, batch: Pictures, by: Arrays, *, once: bool) -> Pictures:
        num, _, height, width = batch.shape
        tiles = self._tiles(num, height, width)
        network = partial(self.backend, once=True) if once and isinstance(self.backend, HostBackend) else self.backend
        if len(tiles) == 1:
            return network(batch)
        s = self.model.scale
        large = by.empty(batch, height * s, width * s)
        for tile in tiles:
            large[tile.placed(s)] = network(batch[tile.read()])[tile.kept(s)]
        return large

    def cancel(self) -> None:
        """Make a call in progress in another thread raise `Cancelled` soon; later calls raise it too."""
        self._cancelled.set()
        self.backend.cancel()

    def close(self) -> None:
        """Free the backend; closing twice is fine."""
        self.backend.close()
