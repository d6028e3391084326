"""From codes to codes in one CUDA graph: colour, network, size and colour, over buffers that stay where they are.

A batch goes up in one copy and comes down in one, each beside the computation of others: the host asks for two copies
to and from the device, two on it, and the graph, whatever the frames are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidsr.errors import BackendError
from vidsr.frame import Canvas, Colour, Frame, PixelFormat, Plane
from vidsr.upscaling import colour as colours
from vidsr.upscaling.block import Block
from vidsr.upscaling.lanes import Lanes, Ring
from vidsr.upscaling.renderer import Rendering
from vidsr.upscaling.resize import resize

SLOTS = 3  # batches on their way: one more than a stream is late by

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Kind:
    """What a step is for: `num` pictures at once, of (width, height), that become what `canvas` says.

    They are made larger by `scale`, with sides `padded` before and values clamped to [0, 1] where the network wants
    it, as `dtype`.
    """

    num: int
    size: tuple[int, int]
    format: PixelFormat
    colour: Colour
    canvas: Canvas
    scale: int
    padded: tuple[int, int]
    clamped: bool
    dtype: torch.dtype

    @cached_property
    def source(self) -> Block:
        """How the codes lie that go up."""
        return Block(self.format, *self.size)

    @cached_property
    def target(self) -> Block:
        """How the codes lie that come down."""
        return Block(self.canvas.format, *self.canvas.size)


def make(kind: Kind, network: Network, codes: Tensor, made: Tensor) -> None:
    """Pictures of `kind` from `codes` into `made`, blocks on one device, by all that this device does.

    Raises:
        RuntimeError: what the network, torch or Triton raises.
    """
    rgb = _decoded(kind, codes)
    (width, height), (wide, high) = kind.size, kind.padded
    if (wide, high) != (width, height):
        rgb = F.pad(rgb, (0, wide - width, 0, high - height), mode="replicate")
    large = network(rgb.contiguous(memory_format=torch.channels_last))
    large = large[..., : height * kind.scale, : width * kind.scale]
    if large.shape[-2:] != kind.canvas.size[::-1]:
        large = resize(large, kind.canvas.size)
    _encode(kind, large, made)


def make_plainly(kind: Kind, network: Network, codes: Tensor, made: Tensor) -> None:
    """`make` by torch's operations alone, picture by picture, as frames go that no step is for."""
    rgb = torch.cat([_decoded_by_torch(kind, codes[index : index + 1]) for index in range(kind.num)])
    (width, height), (wide, high) = kind.size, kind.padded
    rgb = F.pad(rgb, (0, wide - width, 0, high - height), mode="replicate")
    large = network(rgb.to(kind.dtype).contiguous(memory_format=torch.channels_last))
    large = resize(large[..., : height * kind.scale, : width * kind.scale], kind.canvas.size)
    _encode_by_torch(kind, large, made)


def _decoded(kind: Kind, codes: Tensor) -> Tensor:
    """(num, size) codes -> (num, 3, H, W) as the network gets them, but for the padding."""
    if colours.why_not_fused(codes.device) is not None:
        return _decoded_by_torch(kind, codes).to(kind.dtype)
    from vidsr.upscaling.colour_kernel import pictures

    width, height = kind.size
    rgb = torch.empty((kind.num, height, width, 3), dtype=kind.dtype, device=codes.device).movedim(-1, 1)
    planes = kind.source.planes(codes)
    pictures(planes, *colours.decoding(kind.format, kind.colour), rgb, clamped=kind.clamped)
    return rgb


def _decoded_by_torch(kind: Kind, codes: Tensor) -> Tensor:
    planes = kind.source.planes(codes)
    several = [
        colours.decode([plane[index] for plane in planes], kind.format, kind.colour) for index in range(len(codes))
    ]
    rgb = torch.cat(several)
    return rgb.clamp_(0, 1) if kind.clamped else rgb


def _encode(kind: Kind, large: Tensor, made: Tensor) -> None:
    """(num, 3, H, W) RGB -> the codes of `kind.canvas`, and whether each picture is sound."""
    if colours.why_not_fused(made.device) is not None:
        _encode_by_torch(kind, large.float(), made)
        return
    from vidsr.upscaling.colour_kernel import plane_into

    sound: Tensor | None = made[:, kind.target.mark].fill_(1)
    for codes, how in zip(
        kind.target.planes(made), colours.encoding(kind.canvas.format, kind.canvas.colour), strict=True
    ):
        plane_into(codes, large, *how, sound=sound)
        sound = None  # the first plane has seen all values


def _encode_by_torch(kind: Kind, large: Tensor, made: Tensor) -> None:
    made[:, kind.target.mark] = torch.isfinite(large.sum((1, 2, 3), dtype=torch.float32))
    planes = kind.target.planes(made)
    for index, picture in enumerate(large):
        parts = colours.encode_by_torch(picture[None], kind.canvas.format, kind.canvas.colour)
        for plane, codes in zip(planes, parts, strict=True):
            plane[index] = codes


@dataclass(frozen=True, slots=True)
class _Made:
    """Frames of which the codes are coming down into `samples`."""

    target: Block
    num: int
    samples: NDArray[np.uint8 | np.uint16]
    fetched: torch.cuda.Event

    def wait(self) -> tuple[bool, list[tuple[Plane, ...]]]:
        try:
            self.fetched.synchronize()
        except RuntimeError as error:
            raise BackendError(f"The GPU failed: {str(error).splitlines()[0]}") from error
        pictures = self.samples[: self.num]
        return bool(pictures[:, self.target.mark].all()), [self.target.views(picture) for picture in pictures]


class _Slot:
    """What one batch takes while it is on its way."""

    def __init__(self, kind: Kind, lanes: Lanes) -> None:
        self.host = kind.source.empty(kind.num, torch.device("cpu"), pinned=lanes.pinned)
        samples = self.host.numpy().view(kind.format.dtype)
        self.frames = [kind.source.views(picture) for picture in samples]
        self.codes = kind.source.empty(kind.num, lanes.device)
        self.made = kind.target.empty(kind.num, lanes.device)
        self.uploaded, self.computed, self.fetched = (lanes.event() for _ in range(3))


class Step:
    """Runs batches of one kind by `replay`, which makes what is in `made` of what is in `codes`.

    Results are in order, and stay as long as somebody looks at them. The host waits for nothing but a slot to write
    into, which batches three before this one has left.
    """

    def __init__(self, kind: Kind, replay: Callable[[], object], codes: Tensor, made: Tensor, lanes: Lanes) -> None:
        self.kind, self.lanes = kind, lanes
        self._replay, self._codes, self._made = replay, codes, made
        self._slots = [_Slot(kind, lanes) for _ in range(SLOTS)]
        make_block = partial(kind.target.empty, kind.num, torch.device("cpu"), pinned=lanes.pinned)
        self._ring, self._turn = Ring(make_block), 0
        lanes.finish()  # with what torch still did in memory that is the slots' now

    def start(self, frames: Sequence[Frame]) -> Rendering:
        """Begin to make `frames`, of this kind and as many as it says at most.

        Raises:
            RuntimeError: what torch raises.
        """
        slot, num = self._slots[self._turn % SLOTS], len(frames)
        self._turn += 1
        slot.uploaded.synchronize()
        for views, frame in zip(slot.frames, frames, strict=False):
            for view, plane in zip(views, frame.planes, strict=False):
                np.copyto(view, plane)
        up, compute, down = self.lanes.up, self.lanes.compute, self.lanes.down
        up.wait(slot.computed)
        up.run(lambda: slot.codes[:num].copy_(slot.host[:num], non_blocking=True))
        up.mark(slot.uploaded)
        compute.wait(slot.uploaded)
        compute.wait(slot.fetched)
        compute.run(lambda: self._compute(slot))
        compute.mark(slot.computed)
        block, samples = self._ring.take()
        down.wait(slot.computed)
        down.run(lambda: block[:num].copy_(slot.made[:num], non_blocking=True))
        down.mark(slot.fetched)
        return _Made(self.kind.target, num, samples, slot.fetched)

    def _compute(self, slot: _Slot) -> None:
        self._codes.copy_(slot.codes)
        self._replay()
        slot.made.copy_(self._made)
