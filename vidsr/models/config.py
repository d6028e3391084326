"""What a generator is, in numbers: settings, reach, work, and the cubic kernel. numpy only.

`srgan` builds the network of a config in torch, `graph` the same one for the runtimes that do without it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

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


def halo(config: GeneratorConfig) -> int:
    """Receptive radius in input pixels, rounded up: tiles that overlap by it reproduce the untiled result."""
    if config.graph == "bicubic":
        return CUBIC_REACH
    if config.graph == "fast":
        return config.blocks + 2
    up = sum(0.5**step for step in range(upsteps(config)))
    tail = 4 / config.scale  # half of 9x9, seen from the input
    return math.ceil(4 + 2 * config.blocks + 1 + up + tail)


def macs_per_pixel(config: GeneratorConfig) -> int:
    """Multiply-adds of all convolutions per input pixel (2,218,176 for SRGAN x4)."""
    c, s = config.channels, config.scale
    if config.graph == "bicubic":
        return (2 * CUBIC_REACH + 1) ** 2 * 3 * s * s
    if config.graph == "fast":
        return 9 * (3 * c + config.blocks * c * c + c * 3 * s * s)
    up = sum((1 << 2 * step) * 9 * c * 4 * c for step in range(upsteps(config)))
    return 81 * 3 * c + (2 * config.blocks + 1) * 9 * c * c + up + s * s * 81 * c * 3


def upsteps(config: GeneratorConfig) -> int:
    """How often an ``srgan`` doubles both sides."""
    return config.scale.bit_length() - 1


def elements_per_pixel(config: GeneratorConfig) -> int:
    """The most elements that input and output of one layer have together, per input pixel: what its memory goes by."""
    c, s = config.channels, config.scale
    if config.graph == "bicubic":
        return 3 + 3 * s * s
    if config.graph == "fast":
        return max(2 * c, c + 3 * s * s)
    return max(2 * c * s * s, (c + 3) * s * s)


def largest_per_pixel(config: GeneratorConfig) -> int:
    """The most elements that one tensor has, per input pixel: what indexes of 32 bits have to count."""
    c, s = config.channels, config.scale
    if config.graph == "bicubic":
        return 3 * s * s
    return max(c, 3 * s * s) if config.graph == "fast" else max(c, 3) * s * s


def keys_cubic(x: Any) -> Any:
    """The cubic convolution kernel at distance `x`, numpy's or torch's, a = -0.5 (Keys 1981, equation 15)."""
    x = abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x < 2))


def cubic_phases(scale: int) -> NDArray[np.float32]:
    """(scale, 5): weights of the pixels i-2..i+2 in the output pixels scale*i .. scale*i + scale-1."""
    centres = (np.arange(scale) + 0.5) / scale - 0.5
    taps = np.arange(-CUBIC_REACH, CUBIC_REACH + 1)
    weights: NDArray[np.float64] = keys_cubic(centres[:, None] - taps[None, :])
    return weights.astype(np.float32)


def cubic_kernel(scale: int) -> NDArray[np.float32]:
    """(3 * scale**2, 1, 5, 5): the convolution, channel by channel, whose shuffled result is the cubic upscale."""
    phases, side = cubic_phases(scale), 2 * CUBIC_REACH + 1
    one = np.einsum("ai,bj->abij", phases, phases).reshape(scale * scale, 1, side, side)
    return np.tile(one, (3, 1, 1, 1))
