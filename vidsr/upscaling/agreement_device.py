"""`agreement` in torch, for several neighbours at once, on the device that large pictures are blended on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidsr.frame import PixelFormat
from vidsr.upscaling import motion_device
from vidsr.upscaling.agreement import AGREE, COLOUR, TEXTURE, coloured, compared
from vidsr.upscaling.taps_device import moved, places


@dataclass(frozen=True)
class DeviceSmall:
    """N `agreement.Small` on a device: `picture` is (N, H, W), and each plane of `chroma` (N, h, w)."""

    picture: Tensor
    chroma: Sequence[Tensor]
    reduced: tuple[int, int]

    @classmethod
    def of(cls, frames: Sequence[Sequence[Tensor]], format: PixelFormat) -> DeviceSmall:
        """Of the planes of each frame, (H, W), uint8 or uint16 in the bits of int16."""
        shares, (right, down), scale = compared(format), format.chroma_shift, 1 / format.unit
        planes = [(torch.stack(same).int() & 0xFFFF).float() for same in zip(*frames, strict=True)]
        first, *others = (plane * (share * scale) for share, plane in zip(shares, planes, strict=False))
        chroma = [plane * scale for plane in planes[coloured(format)]]
        return cls(sum(others, first), chroma, (1 << down, 1 << right))

    def along(self) -> tuple[Tensor, Tensor, Tensor]:
        """`Small.along` from the first to all others: what `motion_device.find` finds, and agreement, (N - 1, H, W)."""
        own, others = self.picture[:1], self.picture[1:]
        shift, residual = motion_device.find(own[0], others)
        agreed = agreement(residual.abs(), tolerance([own], AGREE))
        if self.chroma:
            least = tolerance([plane[:1] for plane in self.chroma], COLOUR)
            agreed = torch.minimum(agreed, self._wide(agreement(self._apart(shift), least)))
        return shift, residual, agreed

    def _apart(self, shift: Tensor) -> Tensor:
        """(N - 1, h, w): by how much chroma differs along the motion, to whole samples."""
        over = places(tuple(self.chroma[0].shape[1:]), tuple(self.picture.shape[1:]), shift.device)
        shifts = over.shifts(shift)
        one, other = ((moved(plane[1:], shifts, over.block) - plane[:1]).abs() for plane in self.chroma)
        return one + other

    def _wide(self, values: Tensor) -> Tensor:
        """(N, h, w) -> (N, H, W)."""
        (height, width), (down, right) = self.picture.shape[1:], self.reduced
        return values.repeat_interleave(down, 1).repeat_interleave(right, 2)[:, :height, :width]


def tolerance(planes: Sequence[Tensor], flat: float) -> Tensor:
    """`agreement.tolerance`, of (1, H, W)."""
    return flat + TEXTURE * motion_device.box(torch.stack([_steepness(plane) for plane in planes]).sum(0))


def _steepness(plane: Tensor) -> Tensor:
    if min(plane.shape[1:]) < 2:
        return torch.zeros_like(plane)
    return torch.hypot(*torch.gradient(plane, dim=(1, 2)))


def agreement(apart: Tensor, least: Tensor) -> Tensor:
    """`agreement.agreement`, of (N, H, W)."""
    return (1 - (motion_device.box(apart) / least) ** 2).clamp(0, 1)
