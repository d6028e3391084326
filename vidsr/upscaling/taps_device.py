"""`blocks`, `taps` and what `steady` makes of them in torch, on the device that large pictures are blended on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vidsr.upscaling.blocks import WAY, WAY_BITS, Blocks
from vidsr.upscaling.motion import BLOCK
from vidsr.upscaling.steady import JERK, LIMIT, SHARE, crisped, eased
from vidsr.upscaling.taps import beside


@dataclass(frozen=True)
class Places:
    """A `blocks.Blocks` on a device."""

    block: tuple[int, int]
    ratio: Tensor
    down: Tensor
    right: Tensor

    def of(self, values: Tensor) -> Tensor:
        """(N, rows, columns, ...) of small blocks -> of those of the plane."""
        return values[:, self.down][:, :, self.right]

    def shifts(self, shift: Tensor) -> Tensor:
        """Of small blocks, (N, rows, columns, 2) pixels -> of those of the plane, int32 samples."""
        return (self.of(shift) * self.ratio).round().int().contiguous()

    def taps(self, shifts: Tensor, share: Tensor, soft: Tensor) -> Tensor:
        """`taps.taps` of `steady.step` and of how much blocks are sharpened.

        Args:
            shifts: of the plane's blocks, (N, rows, columns, 2) samples, to each neighbour.
            share: of small blocks, (N, rows, columns): `steady.Neighbour.share`.
            soft: of small blocks, (N, rows, columns): `steady.Neighbour.soft`.
        """
        step = self._step(shifts, self.of(share)).permute(2, 0, 1)
        return torch.stack(beside(step, crisped(self.of(soft).sum(0), self.ratio) / 4), 1)

    def _step(self, shifts: Tensor, shares: Tensor) -> Tensor:
        if len(shifts) < 2:
            return torch.zeros(shifts.shape[1:], device=shifts.device)
        apart = -shifts.sum(0)
        far: Tensor = (apart * SHARE / (JERK * self.ratio).clamp(max=1)).norm(dim=-1, keepdim=True)
        return eased(shares.amin(0)[..., None] * apart, far)


@dataclass(frozen=True)
class DeviceBlending:
    """A `steady.Blending` on a device, of planes of one size and depth with those of N neighbours.

    `block` is the height and width of each of (rows, columns) blocks. `shifts`, (N, rows, columns, 2) int32 samples,
    lead from each to what stands there in a neighbour; `weights`, (N, h, w) int16 of 256, are how much of that to take;
    `taps`, (2, 2, rows, columns), are those of `taps.taps`.
    """

    block: tuple[int, int]
    shifts: Tensor
    weights: Tensor
    taps: Tensor
    bits: int

    @property
    def limit(self) -> int:
        """Codes: see `steady.LIMIT`."""
        return LIMIT << (self.bits - 8)

    @property
    def top(self) -> int:
        """The last code."""
        return (1 << self.bits) - 1


@lru_cache(maxsize=16)
def places(large: tuple[int, ...], small: tuple[int, ...], device: torch.device) -> Places:
    """`Blocks.over`; kept, since to bring it to the device each time would be waited for."""
    grid = Blocks.over(large, small)
    return Places(grid.block, *(torch.from_numpy(one).to(device) for one in (grid.ratio, grid.down, grid.right)))


def moved(planes: Tensor, shifts: Tensor, block: Sequence[int]) -> Tensor:
    """(N, H, W) -> each block of that height and width from `shifts` samples farther; see `moved.Moved`."""
    num, height, width = planes.shape
    row, column = torch.arange(height, device=planes.device), torch.arange(width, device=planes.device)
    way = shifts[:, row // block[0]][:, :, column // block[1]]
    y = (row[:, None] + way[..., 0]).clamp(0, height - 1)
    x = (column + way[..., 1]).clamp(0, width - 1)
    return planes.flatten(1).gather(1, (y * width + x).flatten(1).long()).view(num, height, width)


def means(values: Tensor) -> Tensor:
    """`blocks.means`, of (N, H, W)."""
    height, width = values.shape[1:]
    return F.avg_pool2d(F.pad(values, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate"), BLOCK)


def between(values: Tensor, long: int, dim: int) -> Tensor:
    """`blocks.Between` of whole numbers along `dim`, which is `long` then."""
    short = values.shape[dim]
    place = ((torch.arange(long, device=values.device, dtype=torch.float32) + 0.5) * (short / long) - 0.5).clamp(0)
    first = place.long()
    way = ((place - first) * WAY + 0.5).int().view(-1, *(1,) * (values.dim() - 1 - dim))
    found = values.index_select(dim, first)
    change = values.index_select(dim, (first + 1).clamp(max=short - 1)) - found
    return found + ((change * way + WAY // 2) >> WAY_BITS)


def filtered(codes: Tensor, taps: Tensor, block: Sequence[int], top: int) -> Tensor:
    """`taps.filtered`: (H, W) int32 codes."""
    row, column = (torch.arange(side, device=codes.device) // one for side, one in zip(codes.shape, block, strict=True))
    (above, below), (left, right) = taps[:, :, row][..., column]
    padded = F.pad(codes[None].float(), (1, 1, 1, 1), mode="replicate")[0]
    own, middle, beside = padded[1:-1, 1:-1], padded[1:-1], padded[:, 1:-1]
    change = (beside[2:] - own) * below - (own - beside[:-2]) * above
    change = change + (middle[:, 2:] - own) * right - (own - middle[:, :-2]) * left
    made: Tensor = (change + (own + 0.5)).clamp(0, top).int()
    return made
