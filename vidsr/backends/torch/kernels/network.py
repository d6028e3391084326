"""The generators with their convolutions as kernels (`conv`, `ends`): the same networks, half precision.

Imported only where Triton is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidsr.backends.torch.kernels.conv import WAYS, Conv3x3, fits
from vidsr.backends.torch.kernels.ends import (
    HEADS,
    TAILS,
    HeadConv,
    HeadStrip,
    Tail5x5,
    TailStrip,
    fits_head,
    fits_tail,
)
from vidsr.backends.torch.kernels.tuner import Strip, Tuner, strips_for
from vidsr.errors import BackendError
from vidsr.models.srgan import SRGAN, Fast, ResidualBlock


def serves(module: nn.Module) -> bool:
    """Whether the kernels are for a generator, after `vidsr.models.fused.fuse`."""
    if isinstance(module, SRGAN):
        return fits(module.trunk)
    return isinstance(module, Fast) and all(fits(conv) for conv in module.body)


def with_kernels(module: nn.Module, device: torch.device, strips: Sequence[Strip] = ()) -> nn.Module:
    """A generator that the kernels serve, by the fastest of `strips` (none: of all); to be moved to `device`.

    Where no strip is of the kind that the first or the last convolution takes, torch makes that one.

    Raises:
        BackendError: the kernels are not for this network.
    """
    if not serves(module):
        raise BackendError("The kernels are for generators of 64 channels.")
    strips = strips or [strip for kind in kinds(module) for strip in strips_for(device, kind)]
    by_kind = {strip.kind: [other for other in strips if other.kind == strip.kind] for strip in strips}
    tuners = {kind: Tuner(device, several) for kind, several in by_kind.items()}
    return SRGANByKernels(module, tuners) if isinstance(module, SRGAN) else FastByKernels(_fast(module), tuners)


def kinds(module: nn.Module) -> list[Sequence[Strip]]:
    """All strips of each kind that a generator takes, those of its 3x3 convolutions first."""
    if isinstance(module, SRGAN):
        tail = _convs(module.tail)
        return [WAYS, *([HEADS] if fits_head(_convs(module.head)) else []), *([TAILS] if fits_tail(tail) else [])]
    return [WAYS, *([HEADS] if fits_head(_fast(module).head) else [])]


class SRGANByKernels(nn.Module):
    """`SRGAN`, fused."""

    def __init__(self, fused: SRGAN, tuners: Mapping[str, Tuner]) -> None:
        super().__init__()
        tuner = tuners[Strip.kind]
        self.head = _head(_convs(fused.head), fused.head[1], tuners)
        tail = _convs(fused.tail)
        by_kernel = TailStrip.kind in tuners and fits_tail(tail)
        self.tail = Tail5x5(tail, tuners[TailStrip.kind]) if by_kernel else fused.tail
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

    def __init__(self, fast: Fast, tuners: Mapping[str, Tuner]) -> None:
        super().__init__()
        tuner = tuners[Strip.kind]
        self.scale, self.skip, self.base = fast.scale, fast.skip, fast.base
        self.head = _head(fast.head, fast.acts[0], tuners)
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


def _head(conv: nn.Conv2d, act: nn.Module, tuners: Mapping[str, Tuner]) -> nn.Module:
    if HeadStrip.kind in tuners and fits_head(conv):
        return HeadConv(conv, tuners[HeadStrip.kind], slope=_slope(act))
    return nn.Sequential(conv, act)


def _convs(module: nn.Module) -> nn.Conv2d:
    """A convolution, alone or with what follows it."""
    return _conv(module[0] if isinstance(module, nn.Sequential) else module)


def _fast(module: nn.Module) -> Fast:
    assert isinstance(module, Fast)
    return module


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _slope(act: nn.Module) -> float:
    assert isinstance(act, nn.PReLU)
    return float(act.weight.detach().item())
