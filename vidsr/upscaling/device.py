"""Frames into larger frames by torch, on the device that the network is on: many at once, copies beside the work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from vidsr.errors import BackendError
from vidsr.frame import Canvas, Frame, PixelFormat, Plane
from vidsr.upscaling import colour as colours
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.relight import relit
from vidsr.upscaling.renderer import Renderer, Rendering
from vidsr.upscaling.resize import resize
from vidsr.upscaling.staging import Download, Staging, as_plane
from vidsr.upscaling.steady import Steadier
from vidsr.upscaling.steady_device import opened
from vidsr.upscaling.stepper import Stepper

GPU_DEPTH = 2  # batches on their way to, on and from a GPU while the next one is prepared
GPU_ROOM = 2 << 30  # bytes; with less of it free they are one: an 8K picture is 0.2 GB in half precision


@dataclass(frozen=True, slots=True)
class _Apart:
    """Frames that were made operation by operation."""

    download: Download
    num: int

    def wait(self) -> tuple[bool, list[tuple[Plane, ...]]]:
        sound, *codes = self.download.wait()
        planes, each = [as_plane(plane) for plane in codes], len(codes) // self.num
        return bool(sound), [tuple(planes[first : first + each]) for first in range(0, len(planes), each)]


class DeviceRenderer(Renderer):
    """Renders batches of frames of one size and layout by `enlarger`, on the device that its backend is on."""

    def __init__(self, enlarger: Enlarger) -> None:
        super().__init__(enlarger)
        self._stepper = Stepper(enlarger)
        self._staging = Staging(enlarger.backend.device)
        self._full: dict[tuple[int, ...], int] = {}  # (height, width) -> frames of the batches that the backend knows

    @property
    def depth(self) -> int:
        """As `Renderer`, by the GPU's memory that is free."""
        device = self.enlarger.backend.device
        if device.type != "cuda":
            return 0
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for what comes next
        return GPU_DEPTH if torch.cuda.mem_get_info(device)[0] + kept >= GPU_ROOM else 1

    def prepare(self, num: int, height: int, width: int, num_frames: int | None) -> None:
        """As `Renderer`."""
        super().prepare(num, height, width, num_frames)
        if num_frames is None or num_frames >= num:
            self._full[height, width] = num

    def start(self, frames: Sequence[Frame], canvas: Canvas) -> Rendering:
        """As `Renderer`, and returns before the device has done it."""
        while True:
            try:
                made = self._by_step(frames, canvas)
                self.stepped = made is not None
                return made or _Apart(self._attempt(frames, canvas), len(frames))
            except torch.OutOfMemoryError as error:  # of the colour conversion; the network has its own ladder
                self.enlarger.make_room(len(frames), frames[0].height, frames[0].width, error)
            except RuntimeError as error:  # of torch; what the CPU lacks is memory, which the job tells
                if self.enlarger.backend.device.type == "cpu":
                    raise
                raise BackendError(f"The GPU failed: {str(error).splitlines()[0]}") from error

    def steadier(self, strength: float) -> Steadier:
        """As `Renderer`, but on an NVIDIA GPU that does it, too."""
        device = self.enlarger.backend.device
        return opened(strength, device, self.enlarger.notes) if device.type == "cuda" else super().steadier(strength)

    def close(self) -> None:
        """As `Renderer`."""
        try:
            self._stepper.clear()
        finally:
            super().close()

    def _by_step(self, frames: Sequence[Frame], canvas: Canvas) -> Rendering | None:
        """By one graph; None where there is none for them."""
        if not self.stepping:
            return None
        size = frames[0].height, frames[0].width
        num = self._full[size] = max(len(frames), self._full.get(size, 0))
        return self._stepper.start(frames, canvas, num)

    def _attempt(self, frames: Sequence[Frame], canvas: Canvas) -> Download:
        if self._staging.device != self.enlarger.backend.device:  # the CPU has taken over
            self._staging = Staging(self.enlarger.backend.device)
        with _one_thread(self._staging.device):
            codes = [self._staging.upload(frame.planes) for frame in frames]
            pictures = [
                relit(colours.decode(planes, frame.format, frame.colour), frame.colour, canvas.colour)
                for planes, frame in zip(codes, frames, strict=True)
            ]
        large = self._enlarge(pictures[0] if len(pictures) == 1 else torch.cat(pictures))
        mattes = [
            self._matte(planes[-1].to(large.device), frame.format, canvas)
            for planes, frame in zip(codes, frames, strict=True)
        ]
        with _one_thread(large.device):
            sums = [made.sum(dtype=torch.float32) for made in (large, *mattes) if made is not None]
            tensors = [torch.isfinite(sum(sums[1:], sums[0]))]
            for image, matte in zip(large, mattes, strict=True):
                tensors += self._finish(image[None], matte, canvas)
        return self._staging.download(tensors)

    def _enlarge(self, pictures: Tensor) -> Tensor:
        """The network, on a batch of the size that it had before: another size would be compiled anew."""
        num, size = len(pictures), tuple(pictures.shape[2:])
        full = self._full.get(size, 0)
        if num >= full:
            self._full[size] = num
            whole: Tensor = self.enlarger(pictures)
            return whole
        padding = pictures[-1:].expand(full - num, -1, -1, -1)
        large: Tensor = self.enlarger(torch.cat((pictures, padding)))
        return large[:num]

    def _matte(self, codes: Tensor, format: PixelFormat, canvas: Canvas) -> Tensor | None:
        """The alpha plane of a frame, enlarged to (1, 1, H, W) in [0, 1]; None where the canvas has none.

        It goes through the network as a grey picture, which draws edges far better than a resize (`fast` x4 on hard
        mattes: 24.9 dB PSNR, bicubic 19.3 dB); one that is the same everywhere, opaque above all, does not need it.
        """
        if not canvas.format.alpha:
            return None
        if not format.alpha:
            return torch.ones((1, 1, *canvas.size[::-1]), device=codes.device)
        alpha = colours.decode_alpha(codes, format.bits)
        if bool(alpha.amin() == alpha.amax()):
            return resize(alpha, canvas.size)
        large = self.enlarger(alpha.expand(-1, 3, -1, -1).contiguous()).mean(1, keepdim=True)
        return resize(large.float(), canvas.size)

    def _finish(self, image: Tensor, matte: Tensor | None, canvas: Canvas) -> tuple[Tensor, ...]:
        """The network's (1, 3, H, W), and the alpha, as codes of the canvas's size, layout and colour."""
        planes = colours.encode(resize(image, canvas.size), canvas.format, canvas.colour)
        return planes if matte is None else (*planes, colours.encode_alpha(matte, canvas.format.bits))


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
