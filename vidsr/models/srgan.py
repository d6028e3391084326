"""THE generator definition in torch, for training and for inference where torch runs it.

What a config says stands in `config`; `graph` draws the same networks for the runtimes that do without torch.

Three graphs share one interface, (N, 3, H, W) RGB in [0, 1] -> (N, 3, H*scale, W*scale), not clamped:

- ``srgan``: the generator of Ledig et al. (arXiv:1609.04802) as it stands after folding its batch norms away;
- ``fast``: a chain of 3x3 convolutions at the input's resolution, one sub-pixel step, a bilinear skip;
- ``bicubic``: Keys' cubic interpolation with a = -0.5 (MATLAB's ``imresize``), which has nothing to train.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vidsr.models.config import (
    CUBIC_REACH,
    GRAPHS,
    SCALES,
    GeneratorConfig,
    cubic_kernel,
    cubic_phases,
    halo,
    keys_cubic,
    macs_per_pixel,
    upsteps,
)

__all__ = ["CUBIC_REACH", "GRAPHS", "SCALES", "SRGAN", "Bicubic", "Fast", "GeneratorConfig", "ResidualBlock"]
__all__ += ["SubPixel", "build", "cubic_phases", "halo", "icnr_", "keys_cubic", "macs_per_pixel", "restored"]


def build(config: GeneratorConfig) -> nn.Module:
    """Build the generator, freshly initialised, in training mode, FP32, on the CPU."""
    if config.graph == "srgan":
        return SRGAN(config)
    return Fast(config) if config.graph == "fast" else Bicubic(config.scale)


def restored(config: GeneratorConfig, weights: Mapping[str, NDArray[np.float32]]) -> nn.Module:
    """The generator with those weights, by the names of its modules: in evaluation mode, without gradients."""
    module = build(config)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return module.eval().requires_grad_(False)


class ResidualBlock(nn.Module):
    """conv3x3 - PReLU - conv3x3, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x + self.conv2(self.act(self.conv1(x)))  # type: ignore[no-any-return]


class SubPixel(nn.Module):
    """conv3x3 - pixel shuffle - PReLU: doubles both sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * 4, 3, padding=1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 2H, 2W)."""
        return self.act(F.pixel_shuffle(self.conv(x), 2))  # type: ignore[no-any-return]


class SRGAN(nn.Module):
    """The generator of Ledig et al., figure 4, without batch norms."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = config.channels
        self.head = nn.Sequential(nn.Conv2d(3, c, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(c) for _ in range(config.blocks)))
        self.trunk = nn.Conv2d(c, c, 3, padding=1)
        self.up = nn.Sequential(*(SubPixel(c) for _ in range(upsteps(config))))
        self.tail = nn.Conv2d(c, 3, 9, padding=4)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                _scale_(module.conv1, 0.1)
                _scale_(module.conv2, 0.1)
            elif isinstance(module, SubPixel):
                icnr_(module.conv.weight, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H*scale, W*scale), not clamped."""
        return self.tail(self.features(x))  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> Tensor:
        """What `tail` gets: (N, C, H*scale, W*scale)."""
        return self.up(self.body(x))  # type: ignore[no-any-return]

    def body(self, x: Tensor) -> Tensor:
        """What the sub-pixel steps get: (N, C, H, W)."""
        head = self.head(x)
        return head + self.trunk(self.blocks(head))  # type: ignore[no-any-return]


class Fast(nn.Module):
    """A chain of 3x3 convolutions at the input's resolution, one pixel shuffle, added to a bilinear upsampling."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c, self.scale, self.skip = config.channels, config.scale, config.skip
        self.head = nn.Conv2d(3, c, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for _ in range(config.blocks))
        self.acts = nn.ModuleList(nn.PReLU() for _ in range(config.blocks + 1))
        self.tail = nn.Conv2d(c, 3 * self.scale**2, 3, padding=1)
        for part in (self.head, *self.body):
            assert isinstance(part, nn.Conv2d)
            nn.init.kaiming_normal_(part.weight, a=0.25)
        _scale_(self.tail, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H*scale, W*scale), not clamped."""
        return self.base(x) + self.residual(x)

    def base(self, x: Tensor) -> Tensor:
        """The bilinear upsampling that the network corrects; it holds the whole brightness, so keep it in FP32."""
        return F.interpolate(x, scale_factor=float(self.scale), mode="bilinear", align_corners=False)

    def residual(self, x: Tensor) -> Tensor:
        """What the network adds to `base`: values near zero, of which half precision keeps enough."""
        return F.pixel_shuffle(self.tail(self.features(x)), self.scale)

    def features(self, x: Tensor) -> Tensor:
        """What `tail` gets: (N, C, H, W)."""
        bridge: Tensor = self.acts[0](self.head(x))
        y = bridge
        for count, (conv, act) in enumerate(zip(self.body, self.acts[1:], strict=True), 1):
            y = conv(y)
            if self.skip and count % self.skip == 0:
                y = bridge = act(y + bridge)
            else:
                y = act(y)
        return y


class Bicubic(nn.Module):
    """Cubic upscaling as a 5x5 convolution per channel and a pixel shuffle, so that every backend can run it."""

    weight: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("weight", torch.from_numpy(cubic_kernel(scale)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H*scale, W*scale); overshoots [0, 1] at sharp edges."""
        padded = _pad_symmetric(_pad_symmetric(x, -1), -2)
        return F.pixel_shuffle(F.conv2d(padded, self.weight, groups=3), self.scale)


def icnr_(weight: Tensor, scale: int) -> Tensor:
    """Make the `scale`**2 sub-pixel filters of every output channel equal (arXiv:1707.02937): no checkerboard."""
    with torch.no_grad():
        return weight.copy_(weight[:: scale**2].repeat_interleave(scale**2, 0))


def _scale_(conv: nn.Conv2d, factor: float) -> None:
    with torch.no_grad():
        conv.weight.mul_(factor)
        if conv.bias is not None:
            conv.bias.zero_()


def _pad_symmetric(x: Tensor, dim: int) -> Tensor:
    """Mirror two pixels at both ends of `dim`, the edge repeated, as MATLAB does."""
    size = x.shape[dim]
    if size == 1:
        return torch.cat([x] * (2 * CUBIC_REACH + 1), dim)
    first = x.narrow(dim, 0, CUBIC_REACH).flip(dim)
    last = x.narrow(dim, size - CUBIC_REACH, CUBIC_REACH).flip(dim)
    return torch.cat((first, x, last), dim)
