"""Frames in, larger frames out: colour, batching, tiling and resizing around one backend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidsr import colour as colours
from vidsr.backends import Backend, open_backend
from vidsr.errors import BackendError, UsageError
from vidsr.frame import Colour, Frame, Matrix, PixelFormat, Plane
from vidsr.models import registry
from vidsr.resize import resize
from vidsr.tiling import Tile, plan

MIN_SCALE, MAX_SCALE = 1.0, 4.0
MIN_SIDE = 2  # what a backend takes
GPU_BATCH_PIXELS = 1 << 18  # smaller frames are batched up to this on a GPU; a CPU gains nothing from batches
SRGB = Colour(Matrix.RGB, primaries=1, transfer=13, full_range=True)  # of images given as arrays


@dataclass(frozen=True)
class _Target:
    size: tuple[int, int]
    format: PixelFormat
    colour: Colour


class Upscaler:
    """A model on a backend, ready to upscale frames. One call at a time; `cancel` alone may come from another thread.

    Args:
        model: a name of `registry.available_models`, a weights file, or ``auto``.
        scale: any number from 1 to 4. A scale that the model does not have is reached through its next larger one, and
            an antialiased resize down.
        backend: a name for `open_backend`, or a backend that is open already, which `close` then closes.
        precision: ``auto``, ``fp16``, ``bf16`` or ``fp32``.
        tile: ``auto`` (as the backend's memory allows), ``off``, or a side: tiles of about that many pixels squared.
        device: index of the GPU.
        threads: of a CPU backend; None leaves it to the runtime.
        reuse: whether a frame that repeats the one before it takes over its result.

    Raises:
        UsageError: an impossible value.
        ModelError: the model does not exist, or not for this scale.
        BackendError: the backend is not available here.
    """

    def __init__(
        self,
        model: str | Path = "auto",
        *,
        scale: float = 4,
        backend: str | Backend = "auto",
        precision: str = "auto",
        tile: int | Literal["auto", "off"] = "auto",
        device: int = 0,
        threads: int | None = None,
        reuse: bool = True,
    ) -> None:
        if not (math.isfinite(scale) and MIN_SCALE <= scale <= MAX_SCALE):
            raise UsageError(f"The scale must be a number from 1 to 4, not {scale:g}.")
        if threads is not None and threads < 1:
            raise UsageError(f"The number of threads must be at least 1, not {threads}.")
        self.scale = scale
        name, why_model = _choose_model(model, scale, backend)
        self.model = registry.load(name, registry.native_scale(name, scale))
        self._tile = _check_tile(tile, self.model)
        if isinstance(backend, str):
            options = {"precision": precision, "threads": threads, "device": device}
            self.backend, why_backend = open_backend(backend, self.model, **options)  # type: ignore[arg-type]
        else:
            self.backend, why_backend = backend, f"{backend.name}: as given."
        self.reason = f"{self.model.name} x{self.model.scale}: {why_model}. {why_backend}."
        self.num_reused = 0  # frames that repeated the one before them, so far
        self._reuse = reuse
        self._clamps = any(True for _ in self.model.module.parameters())

    def output_size(self, width: int, height: int, format: PixelFormat | None = None) -> tuple[int, int]:
        """(width, height) of an upscaled picture: rounded, and to even numbers where chroma is subsampled."""
        horizontal, vertical = format.chroma_shift if format else (0, 0)
        return self._side(width, 2 if horizontal else 1), self._side(height, 2 if vertical else 1)

    def _side(self, side: int, step: int) -> int:
        return max(step, step * math.floor(side * self.scale / step + 0.5))

    def __call__(self, image: NDArray[np.uint8 | np.uint16], *, size: tuple[int, int] | None = None) -> NDArray[Any]:
        """Upscale an image: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA -> the same number of channels and type.

        `size` is (width, height); by default the image's times `scale`, rounded.

        Raises:
            UsageError: another shape or type.
            BackendError: see `stream`.
        """
        channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
        if channels not in (1, 3, 4) or image.size == 0 or image.dtype not in (np.uint8, np.uint16):
            raise UsageError(
                f"An image is (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16, not {image.shape} of {image.dtype}."
            )
        bits = 8 * image.dtype.itemsize
        if channels == 1:
            grey = Frame((image.reshape(image.shape[:2]),), PixelFormat("grey", bits), SRGB, 0, Fraction(1))
            large = self.upscale(grey, size=size).planes[0]
            return large.reshape(*large.shape, *image.shape[2:])
        planes = tuple(image[..., channel] for channel in (1, 2, 0, 3)[:channels])
        frame = Frame(planes, PixelFormat("rgb", bits, alpha=channels == 4), SRGB, 0, Fraction(1))
        green, blue, red, *alpha = self.upscale(frame, size=size).planes
        return np.stack((red, green, blue, *alpha), axis=-1)

    def upscale(
        self,
        frame: Frame,
        *,
        size: tuple[int, int] | None = None,
        format: PixelFormat | None = None,
        colour: Colour | None = None,
    ) -> Frame:
        """Upscale one frame; see `stream`."""
        return next(self.stream((frame,), size=size, format=format, colour=colour))

    def stream(
        self,
        frames: Iterable[Frame],
        *,
        size: tuple[int, int] | None = None,
        format: PixelFormat | None = None,
        colour: Colour | None = None,
    ) -> Iterator[Frame]:
        """Upscale frames: as many come out, in order, with their pts, time base and duration.

        All come out with one (width, height), layout and colour: what is asked for, else what follows from the first
        frame. A later frame of another size or layout is converted. A frame whose samples equal those of the one
        before it is not computed again (and counted in `num_reused`): the result is the same to the bit.

        Raises:
            OutOfMemoryError: a batch did not fit into the device's memory.
            Cancelled: `cancel` was called.
            BackendError: the runtime failed, or the network's output is not finite.
        """
        target: _Target | None = None
        source: Frame | None = None
        made: Frame | None = None
        for batch in self._batches(frames):
            target = target or self._target(batch[0], size, format, colour)
            known = [self._reuse and _same_picture(*pair) for pair in pairwise((source, *batch))]
            fresh = iter(self._upscale([f for f, same in zip(batch, known, strict=True) if not same], target))
            for source, same in zip(batch, known, strict=True):
                made = made if same and made else next(fresh)
                self.num_reused += same
                yield replace(made, pts=source.pts, time_base=source.time_base, duration=source.duration)

    def _target(
        self, first: Frame, size: tuple[int, int] | None, format: PixelFormat | None, colour: Colour | None
    ) -> _Target:
        format = format or first.format
        size = size or self.output_size(first.width, first.height, format)
        return _Target(size, format, colour or output_colour(first.colour, first.format, format))

    def _batches(self, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
        """Consecutive frames of one size and layout, as many as the device likes at once."""
        batch: list[Frame] = []
        for frame in frames:
            if batch and (frame.width, frame.height, frame.format) != (
                batch[0].width,
                batch[0].height,
                batch[0].format,
            ):
                yield batch
                batch = []
            batch.append(frame)
            if len(batch) >= self._batch_size(frame.width * frame.height):
                yield batch
                batch = []
        if batch:
            yield batch

    def _batch_size(self, pixels: int) -> int:
        return 1 if self.backend.device.type == "cpu" else max(1, GPU_BATCH_PIXELS // pixels)

    def _upscale(self, frames: list[Frame], target: _Target) -> list[Frame]:
        if not frames:
            return []
        device = self.backend.device
        with _one_thread(device):
            rgb = torch.cat([colours.to_rgb(frame.planes, frame.format, frame.colour, device) for frame in frames])
        large = self._enlarge(rgb)
        with _one_thread(device):
            return [self._finish(frame, image[None], target) for frame, image in zip(frames, large, strict=True)]

    def _finish(self, frame: Frame, image: Tensor, target: _Target) -> Frame:
        """The network's (1, 3, H, W) for `frame` as a frame of the target's size, layout and colour."""
        planes = colours.from_rgb(resize(image, target.size), target.format, target.colour)
        planes += self._alpha(frame, target)
        return replace(frame, planes=planes, format=target.format, colour=target.colour)

    def _alpha(self, frame: Frame, target: _Target) -> tuple[Plane, ...]:
        """The alpha plane of the result, if it has one: opaque where the source has none."""
        if not target.format.alpha:
            return ()
        if not frame.format.alpha:
            opaque = (1 << target.format.bits) - 1
            return (np.full(target.size[::-1], opaque, target.format.dtype),)
        alpha = colours.alpha_to_unit(frame.planes[-1], frame.format.bits, self.backend.device)
        return (colours.alpha_from_unit(resize(alpha, target.size), target.format.bits),)

    def _enlarge(self, rgb: Tensor) -> Tensor:
        """(N, 3, H, W) float32 -> (N, 3, H*s, W*s) by the network, for its native scale s.

        Networks are trained on [0, 1] and get nothing else; super-whites survive only where there is no network.
        """
        if self._clamps:
            rgb = rgb.clamp_(0, 1)
        num, _, height, width = rgb.shape
        multiple, s = self.model.multiple, self.model.scale
        padding = (0, max(MIN_SIDE - width, -width % multiple), 0, max(MIN_SIDE - height, -height % multiple))
        padded = F.pad(rgb, padding, mode="replicate") if any(padding) else rgb
        tiles = plan(*padded.shape[2:], self._max_pixels(num), self.model.halo, multiple)
        large = self._run(padded.to(self.backend.dtype), tiles)
        return large[..., : height * s, : width * s]

    def _max_pixels(self, num: int) -> int | None:
        if isinstance(self._tile, int):
            return self._tile**2
        return None if self._tile == "off" or self.backend.max_pixels is None else self.backend.max_pixels // num

    def _run(self, batch: Tensor, tiles: tuple[Tile, ...]) -> Tensor:
        if len(tiles) == 1:
            return self._call(batch)
        num, channels, height, width = batch.shape
        s = self.model.scale
        large = torch.empty((num, channels, height * s, width * s), dtype=batch.dtype, device=batch.device)
        for tile in tiles:
            y, x = tile.rows, tile.columns
            result = self._call(batch[..., y.start : y.stop, x.start : x.stop])
            kept = result[..., (y.first - y.start) * s : (y.last - y.start) * s, :]
            kept = kept[..., (x.first - x.start) * s : (x.last - x.start) * s]
            large[..., y.first * s : y.last * s, x.first * s : x.last * s] = kept
        return large

    def _call(self, batch: Tensor) -> Tensor:
        result = self.backend(batch)
        if not torch.isfinite(result.sum(dtype=torch.float32)):
            raise BackendError(
                f"{self.model.name} in {self.backend.precision} gave values that are not numbers; use --precision fp32."
            )
        return result

    def identity(self) -> dict[str, Any]:
        """What the bytes of a result depend on besides the frames: the model and how it runs, as JSON can hold it."""
        return {
            "model": self.model.name,
            "scale": self.scale,
            "native_scale": self.model.scale,
            "weights": self.model.weights_hash,
            "backend": self.backend.name,
            "precision": self.backend.precision,
            "tile": self._tile,
        }

    def cancel(self) -> None:
        """Make a call in progress in another thread raise `Cancelled` soon; later calls raise it too."""
        self.backend.cancel()

    def close(self) -> None:
        """Free the backend; closing twice is fine."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Torch on one thread of the CPU: beside decoder and encoder, short operations on more wait for each other."""
    num = torch.get_num_threads()
    if device.type != "cpu" or num == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num)


def _same_picture(before: Frame | None, frame: Frame | None) -> bool:
    """Whether two frames hold the same samples with the same meaning."""
    if before is None or frame is None or (before.format, before.colour) != (frame.format, frame.colour):
        return False
    return all(np.array_equal(a, b) for a, b in zip(before.planes, frame.planes, strict=True))


def output_colour(colour: Colour, source: PixelFormat, target: PixelFormat) -> Colour:
    """What samples mean after a conversion between layouts: RGB is full range, and YUV made from it limited BT.709."""
    if target.model == "rgb" and source.model != "rgb":
        return replace(colour, matrix=Matrix.RGB, full_range=True)
    if target.model == "yuv" and colour.matrix is Matrix.RGB and (source.model != "yuv" or any(target.chroma_shift)):
        return replace(colour, matrix=Matrix.BT709, full_range=False)
    return colour


def _choose_model(model: str | Path, scale: float, backend: str | Backend) -> tuple[str, str]:
    if str(model) != "auto":
        return str(model), "as asked"
    gpu = backend in ("auto", "cuda", "tensorrt") and torch.cuda.is_available()
    return registry.default_model(scale, gpu=gpu)


def _check_tile(tile: int | str, model: registry.Model) -> int | str:
    if isinstance(tile, str):
        if tile in ("auto", "off"):
            return tile
        raise UsageError(f"--tile is auto, off or a number of pixels, not {tile!r}.")
    smallest = 2 * model.halo + max(8, model.multiple)
    if tile < smallest:
        raise UsageError(f"--tile {tile} is too small for {model.name}: use at least {smallest}.")
    return tile
