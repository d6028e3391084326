"""`steady.Steadier` on a GPU: motion by torch, and each plane by two kernels, where that makes what the host makes.

Large pictures go up again and come down blended, each once but in a fade: beside the network's own work, on streams of
their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from vidsr import findings
from vidsr.backends.torch import kernels
from vidsr.frame import Colour, Frame, PixelFormat, Plane
from vidsr.stages import stage
from vidsr.upscaling.agreement_device import DeviceSmall
from vidsr.upscaling.drawings import Made
from vidsr.upscaling.staging import Staging, as_plane, on
from vidsr.upscaling.steady import Steadier, trusted
from vidsr.upscaling.taps_device import DeviceBlending, between, filtered, means, moved, places

KEPT = 5  # pictures on the device: three, and where each is held two more
RARE = 0.01  # of the samples that may be one code from the host's
TRIED = "yuv420p10le", (67, 45), 2  # layout, (width, height) and scale of the pictures that a GPU is tried on


class DeviceSteadier(Steadier):
    """Blends on `device`; what that cannot do, and all once it has failed, the host does. `notes` are told of that."""

    on_host = False

    def __init__(self, strength: float, device: torch.device, notes: list[str]) -> None:
        super().__init__(strength)
        self._device, self._notes = device, notes
        self._staging: Staging | None = Staging(device)
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._there: deque[tuple[Plane, tuple[Tensor, ...]]] = deque(maxlen=2 * KEPT)

    def blend(self, small: Frame, large: Frame, others: Sequence[Made]) -> tuple[Plane, ...]:
        """As `Steadier`, to one code."""
        if self._staging is None or not _fits(small.planes[0].shape, large):
            return super().blend(small, large, others)
        try:
            return self.on_device(small, large, others, self._staging)
        except RuntimeError as error:  # of torch or Triton, want of memory among them
            self._staging = None
            self._there.clear()
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self._notes.append(f"pictures are blended by the CPU, not on {self._device}: {reason}")
            return super().blend(small, large, others)

    def on_device(self, small: Frame, large: Frame, others: Sequence[Made], staging: Staging) -> tuple[Plane, ...]:
        """`blend` there.

        Raises:
            RuntimeError: what torch or Triton raises.
        """
        with on(self._stream) if self._stream else nullcontext(), torch.no_grad():
            return self._blended_there(small, large, others, staging)

    def _blended_there(self, small: Frame, large: Frame, others: Sequence[Made], staging: Staging) -> tuple[Plane, ...]:
        num, num_seen = (len(one.planes) - one.format.alpha for one in (large, small))
        smalls = (small, *(source for source, _ in others))
        seen = DeviceSmall.of([self._up(one.planes[:num_seen], staging) for one in smalls], small.format)
        shift, residual, agreed = seen.along()
        weights = (agreed * (256 * self._share)).round().short()
        share, soft = trusted(means(agreed), means(agreed * residual.abs()), self._share)
        own, *theirs = (self._up(one.planes[:num], staging) for one in (large, *(made for _, made in others)))
        make, made = by_torch if why_not_fused(self._device) else by_kernel, []
        for size, planes in groupby(zip(own, *theirs, strict=True), lambda each: tuple(each[0].shape)):
            over = places(size, tuple(small.planes[0].shape), shift.device)
            shifts = over.shifts(shift)
            how = DeviceBlending(over.block, shifts, weights, over.taps(shifts, share, soft), large.format.bits)
            made += [make(codes, beside, how) for codes, *beside in planes]
        found = tuple(as_plane(codes) for codes in staging.download(made).wait())
        return (*found, *large.planes[num:])

    def _up(self, planes: tuple[Plane, ...], staging: Staging) -> tuple[Tensor, ...]:
        """The planes of a picture on the device: each goes up once, and is there as long as it is asked for."""
        for known, tensors in self._there:
            if known is planes[0]:
                return tensors
        tensors = staging.upload(planes)
        self._there.append((planes[0], tensors))
        return tensors


def by_torch(own: Tensor, others: Sequence[Tensor], how: DeviceBlending) -> Tensor:
    """A plane of (H, W) codes, uint8 or uint16 in the bits of int16, blended with `others`, then filtered."""
    (height, width), codes = own.shape, own.int() & 0xFFFF
    total = torch.full_like(codes, 128)
    weights = between(between(how.weights.int(), width, 2), height, 1)
    for other, way, weight in zip(others, how.shifts, weights, strict=True):
        there = moved((other.int() & 0xFFFF)[None], way[None], how.block)[0]
        total += (there - codes).clamp(-how.limit, how.limit) * weight
    return filtered(codes + (total >> 8), how.taps, how.block, how.top).to(own.dtype)


def by_kernel(own: Tensor, others: Sequence[Tensor], how: DeviceBlending) -> Tensor:
    """`by_torch` in two passes over memory."""
    from vidsr.upscaling import steady_kernel

    return steady_kernel.filtered(steady_kernel.blended(own, others, how), how)


def _fits(small: Sequence[int], large: Frame) -> bool:
    """Whether no side is a single pixel, and none of a large plane shorter: weights would have to be reduced."""
    return min(small) > 1 and all(
        side >= least for plane in large.planes for side, least in zip(plane.shape, small, strict=True)
    )


@lru_cache(maxsize=16)
def why_not_fused(device: torch.device) -> str | None:
    """Why torch blends planes on `device` step by step; None where a kernel does, which has agreed with torch there.

    Raises:
        torch.OutOfMemoryError: there is no room to try it.
    """
    if (why := kernels.why_none(device)) is not None:
        return why
    return findings.why_not_trusted("steady plane", findings.machine(device), lambda: _why_wrong(device))


def _why_wrong(device: torch.device) -> str | None:
    random = torch.Generator().manual_seed(0)
    for dtype, bits, (height, width) in ((torch.uint8, 8, (70, 1030)), (torch.int16, 10, (33, 64))):
        planes = [torch.randint(0, 1 << bits, (height, width), generator=random).to(device, dtype) for _ in range(3)]
        shift = torch.randint(-40, 40, (2, 5, 33, 2), generator=random).int().to(device)
        weights = torch.randint(0, 77, (2, 9, 64), generator=random).to(device, torch.int16)
        taps = (torch.rand(2, 2, 5, 33, generator=random) - 0.4).to(device)
        how = DeviceBlending((-(-height // 5), -(-width // 33)), shift, weights, taps, bits)
        fused, plain = (make(planes[0], planes[1:], how).int() for make in (by_kernel, by_torch))
        apart = (fused - plain).abs()
        if int(apart.max()) > 1 or float((apart > 0).float().mean()) > RARE:
            return f"its kernels are up to {int(apart.max())} codes from torch's operations"
    return None


def opened(strength: float, device: torch.device, notes: list[str]) -> Steadier:
    """A steadier on `device`, or on the host, with the reason in `notes`."""
    try:
        why = why_not(device)
    except torch.OutOfMemoryError:
        why = "there is no room to try it"
    if why is None:
        return DeviceSteadier(strength, device, notes)
    notes.append(f"pictures are blended by the CPU, not on {device}: {why}")
    return Steadier(strength)


def why_not(device: torch.device) -> str | None:
    """Why the host blends what `device` makes, in a few words; None where that does it to one code."""
    with stage("kernels"):
        return findings.why_not_trusted("steady", findings.machine(device), lambda: _tried(device))


def _tried(device: torch.device) -> str | None:
    name, (width, height), scale = TRIED
    format, clip = PixelFormat.parse(name), list[Made]()
    for step in range(3):
        small, large = (_drawn(format, width * grow, height * grow, step * grow) for grow in (1, scale))
        clip.append((small, large))
    small, large = clip.pop(1)
    made = DeviceSteadier(1.0, device, []).on_device(small, large, clip, Staging(device))
    for plane, other in zip(made, Steadier(1.0).blend(small, large, clip), strict=True):
        apart = np.abs(plane.astype(np.int32) - other)
        if apart.max() > 1 or (apart > 0).mean() > RARE:
            return f"its pictures are up to {apart.max()} codes from the host's"
    return None


def _drawn(format: PixelFormat, width: int, height: int, moved: int) -> Frame:
    """A pattern that has gone `moved` pixels to the right, with noise that stays in its place."""
    noise, planes = np.random.default_rng(moved), []
    for high, wide in format.plane_shapes(width, height):
        across, along = np.arange(wide) - moved * wide / width, np.arange(high)[:, None]
        waves = np.sin(across * width / wide / 3) + np.sin(along * height / high / 5 + across / 11)
        planes.append((500 + 150 * waves + noise.normal(0, 8, (high, wide))).clip(0, 1023).astype(format.dtype))
    return Frame(tuple(planes), format, Colour(), moved, Fraction(1))
