"""The generators with their 3x3 convolutions as kernels (`kernels.conv`): the same networks, half precision.

Imported only where Triton is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidsr.backends.torch.kernels.conv import Conv3x3, Strip, Tuner, fits
from vidsr.errors import BackendError
from vidsr.models.srgan import SRGAN, Fast, ResidualBlock


def serves(module: nn.Module) -> bool:
    """Whether the kernels are for a generator, after `vidsr.models.fused.fuse`."""
    if isinstance(module, SRGAN):
        return fits(module.trunk)
    return isinstance(module, Fast) and all(fits(conv) for conv in module.body)


def with_kernels(module: nn.Module, device: torch.device, strips: Sequence[Strip] = ()) -> nn.Module:
    """A generator that the kernels serve, by the fastest of `strips` (none: of all); to be moved to `device`.

    Raises:
        BackendError: the kernels are not for this network.
    """
    if not serves(module):
        raise BackendError("The kernels are for generators of 64 channels.")
    tuner = Tuner(device, strips)
    return SRGANByKernels(module, tuner) if isinstance(module, SRGAN) else FastByKernels(_fast(module), tuner)


class SRGANByKernels(nn.Module):
    """`SRGAN`, fused."""

    def __init__(self, fused: SRGAN, tuner: Tuner) -> None:
        super().__init__()
        self.head, self.tail = fused.head, fused.tail
        blocks = [block for block in fused.blocks if isinstance(block, ResidualBlock)]
        steps = [step for step in fused.up if isinstance(step, nn.Sequential)]
        self.first = nn.ModuleList(Conv3x3(block.conv1, tuner, slope=_slope(block.act)) for block in blocks)
        self.second = nn.ModuleList(Conv3x3(block.conv2, tuner) for block in blocks)
        self.trunk = Conv3x3(fused.trunk, tuner)
        self.up = nn.Sequential(
            *(Conv3x3(_conv(step[0]), tuner, slope=_slope(step[1]), shuffle=len(step) == 3) for step in steps)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H*scale, W*scale), not clamped."""
        head = y = self.head(x)
        for first, second in zip(self.first, self.second, strict=True):
            y = second(first(y), y)
        return self.tail(self.up(self.trunk(y, head)))  # type: ignore[no-any-return]


class FastByKernels(nn.Module):
    """`Fast`."""

    def __init__(self, fast: Fast, tuner: Tuner) -> None:
        super().__init__()
        self.scale, self.skip, self.base = fast.scale, fast.skip, fast.base
        self.head = nn.Sequential(fast.head, fast.acts[0])
        pairs = zip(fast.body, list(fast.acts)[1:], strict=True)
        self.body = nn.ModuleList(Conv3x3(_conv(conv), tuner, slope=_slope(act)) for conv, act in pairs)
        self.tail = fast.tail

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H*scale, W*scale), not clamped."""
        y = bridge = self.head(x)
        for count, conv in enumerate(self.body, 1):
            if self.skip and count % self.skip == 0:
                y = bridge = conv(y, bridge)
            else:
                y = conv(y)
        return self.base(x) + F.pixel_shuffle(self.tail(y), self.scale)


def _fast(module: nn.Module) -> Fast:
    assert isinstance(module, Fast)
    return module


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _slope(act: nn.Module) -> float:
    assert isinstance(act, nn.PReLU)
    return float(act.weight.detach().item())
