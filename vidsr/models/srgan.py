"""THE generator definition: training and inference build their networks here, and nowhere else.

Three graphs share one interface, (N, 3, H, W) RGB in [0, 1] -> (N, 3, H*scale, W*scale), not clamped:

- ``srgan``: the generator of Ledig et al. (arXiv:1609.04802) as it stands after folding its batch norms away;
- ``fast``: a chain of 3x3 convolutions at the input's resolution, one sub-pixel step, a bilinear skip;
- ``bicubic``: Keys' cubic interpolation with a = -0.5 (MATLAB's ``imresize``), which has nothing to train.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidsr.errors import ModelError

GRAPHS = ("srgan", "fast", "bicubic")
SCALES = (2, 4)
CUBIC_REACH = 2  # input pixels on either side that one output pixel of a cubic upscale can see


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything needed to rebuild a generator; its dict stands in the header of every weights file.

    `blocks` counts residual blocks of two convolutions for ``srgan``, and 3x3 convolutions between the first and
    the last one for ``fast``. `skip` is for ``fast`` only: every `skip` of those are bridged by an identity (0: none).

    Raises:
        ModelError: a value is impossible.
    """

    graph: str
    scale: int
    channels: int = 64
    blocks: int = 16
    skip: int = 0

    def __post_init__(self) -> None:
        if self.graph not in GRAPHS:
            raise ModelError(f"Unknown graph {self.graph!r}; expected one of {', '.join(GRAPHS)}.")
        if self.scale not in SCALES:
            raise ModelError(f"A generator of scale {self.scale!r} cannot be built; the native scales are 2 and 4.")
        if not all(type(value) is int for value in (self.channels, self.blocks, self.skip)):
            raise ModelError("channels, blocks and skip of a generator must be whole numbers.")
        if self.channels < 1 or self.blocks < 1 or self.skip < 0:
            raise ModelError("A generator needs channels >= 1, blocks >= 1 and skip >= 0.")
        if self.skip and (self.graph != "fast" or self.blocks % self.skip):
            raise ModelError("skip belongs to the graph 'fast' and must divide its blocks; use skip = 0 otherwise.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a config from `to_dict`'s result; unknown and missing keys are refused by name (`ModelError`)."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ModelError(f"Unknown generator setting {unknown[0]!r}; the settings are {', '.join(known)}.")
        if missing := [key for key in ("graph", "scale") if key not in values]:
            raise ModelError(f"The generator setting {missing[0]!r} is missing.")
        return cls(**values)

    def to_dict(self) -> dict[str, object]:
        """All settings by name, as JSON can hold them."""
        return asdict(self)

    @property
    def multiple(self) -> int:
        """Input sides must be a multiple of this: 1, since no graph ever reduces its input."""
        return 1


def build(config: GeneratorConfig) -> nn.Module:
    """Build the generator, freshly initialised, in training mode, FP32, on the CPU."""
    if config.graph == "srgan":
        return SRGAN(config)
    return Fast(config) if config.graph == "fast" else Bicubic(config.scale)


def halo(config: GeneratorConfig) -> int:
    """Receptive radius in input pixels, rounded up: tiles that overlap by it reproduce the untiled result."""
    if config.graph == "bicubic":
        return CUBIC_REACH
    if config.graph == "fast":
        return config.blocks + 2
    up = sum(0.5**step for step in range(_upsteps(config)))
    tail = 4 / config.scale  # half of 9x9, seen from the input
    return math.ceil(4 + 2 * config.blocks + 1 + up + tail)


def macs_per_pixel(config: GeneratorConfig) -> int:
    """Multiply-adds of all convolutions per input pixel (2,218,176 for SRGAN x4)."""
    c, s = config.channels, config.scale
    if config.graph == "bicubic":
        return (2 * CUBIC_REACH + 1) ** 2 * 3 * s * s
    if config.graph == "fast":
        return 9 * (3 * c + config.blocks * c * c + c * 3 * s * s)
    up = sum((1 << 2 * step) * 9 * c * 4 * c for step in range(_upsteps(config)))
    return 81 * 3 * c + (2 * config.blocks + 1) * 9 * c * c + up + s * s * 81 * c * 3


def _upsteps(config: GeneratorConfig) -> int:
    return config.scale.bit_length() - 1


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
        self.up = nn.Sequential(*(SubPixel(c) for _ in range(_upsteps(config))))
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
        phases = cubic_phases(scale)
        kernel = torch.einsum("ai,bj->abij", phases, phases).reshape(scale * scale, 1, *[2 * CUBIC_REACH + 1] * 2)
        self.register_buffer("weight", kernel.repeat(3, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H*scale, W*scale); overshoots [0, 1] at sharp edges."""
        padded = _pad_symmetric(_pad_symmetric(x, -1), -2)
        return F.pixel_shuffle(F.conv2d(padded, self.weight, groups=3), self.scale)


def keys_cubic(x: Tensor) -> Tensor:
    """The cubic convolution kernel at distance `x`, a = -0.5 (Keys 1981, equation 15)."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def cubic_phases(scale: int) -> Tensor:
    """(scale, 5) float32: weights of the pixels i-2..i+2 in the output pixels scale*i .. scale*i + scale-1."""
    centres = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    taps = torch.arange(-CUBIC_REACH, CUBIC_REACH + 1, dtype=torch.float64)
    return keys_cubic(centres[:, None] - taps[None, :]).float()


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
