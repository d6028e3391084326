"""Super-resolution networks of other projects (Real-ESRGAN, SPAN, Compact, SwinIR, ...), recognised by spandrel.

Only safetensors are read: a pickled checkpoint (.pth, .pt, .ckpt) can run code, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vidsr.errors import BackendError, ModelError
from vidsr.models.work import multiply_adds

MAX_SCALE = 8
HALOS = (8, 16, 32, 48, 64)  # tried in this order; the last is taken where none is enough
HALO_ERROR = 0.5 / 255  # what a cut may change in the output: half an 8-bit code value
CORE = 8  # input pixels of the middle that is compared


@dataclass(frozen=True)
class ForeignConfig:
    """What identifies the network of a weights file that vidsr did not write, beside its weights."""

    graph: str  # spandrel's name of the architecture
    scale: int
    multiple: int
    minimum: int

    def to_dict(self) -> dict[str, object]:
        """All settings by name, as JSON can hold them."""
        return {"graph": self.graph, "scale": self.scale, "multiple": self.multiple, "minimum": self.minimum}


class Foreign(nn.Module):
    """A network behind vidsr's interface: (N, 3, H, W) RGB in [0, 1] -> (N, 3, H*scale, W*scale).

    Pictures below the network's least size are extended by their edge, and the result is cut.
    """

    def __init__(self, network: nn.Module, config: ForeignConfig) -> None:
        super().__init__()
        self.network = network
        self.scale, self.minimum = config.scale, config.minimum

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch whose sides are multiples of the network's `multiple`."""
        height, width = x.shape[-2:]
        if self.minimum > 1:
            missing = (max(self.minimum - width, 0), max(self.minimum - height, 0))
            x = nn.functional.pad(x, (0, missing[0], 0, missing[1]), mode="replicate")
        result: Tensor = self.network(x)
        return result[..., : height * self.scale, : width * self.scale]


@lru_cache(maxsize=2)
def load(path: Path) -> tuple[Foreign, ForeignConfig]:
    """The network in a safetensors file, FP32, on the CPU, in evaluation mode.

    Raises:
        BackendError: spandrel is not installed.
        ModelError: it knows no such architecture, or one that is no RGB upscaler.
    """
    spandrel = _import()
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_state_dict(load_file(path))
    except spandrel.UnsupportedModelError as error:
        raise ModelError(f"{path} holds no network that vidsr or spandrel knows; give another file.") from error
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelError(f"The weights in {path} fit no network: {str(error).splitlines()[0]}") from error
    name = str(found.architecture.name)
    if (found.input_channels, found.output_channels) != (3, 3) or not 2 <= found.scale <= MAX_SCALE:
        raise ModelError(
            f"{path} is a {name} network of {found.input_channels} to {found.output_channels} channels at "
            f"x{found.scale}; vidsr runs RGB networks from x2 to x{MAX_SCALE}."
        )
    needs = found.size_requirements
    config = ForeignConfig(name, found.scale, max(1, needs.multiple_of), max(1, needs.minimum))
    return Foreign(found.model, config).eval().requires_grad_(False), config


def _import() -> ModuleType:
    try:
        return import_module("spandrel")
    except ImportError as error:
        raise BackendError(
            f"Networks of other projects need {error.name}, which is missing: pip install 'vidsr-upscaler[models]'."
        ) from error


def halo(module: Foreign, multiple: int) -> int:
    """Input pixels that a tile needs around it: with fewer, its middle changes by half an 8-bit code value or more.

    Found by cutting noise closer and closer around its middle. Networks that look at the whole picture never settle;
    they get the largest halo.
    """
    for radius in HALOS[:-1]:
        if _change(module, radius, multiple) < HALO_ERROR:
            return radius
    return HALOS[-1]


@torch.no_grad()
def _change(module: Foreign, radius: int, multiple: int) -> float:
    """How much the output's middle differs between a cut at `radius` and one at twice that."""
    near, far = (_rounded(CORE + 2 * r, multiple) for r in (radius, 2 * radius))
    noise = torch.rand(1, 3, far, far, generator=torch.Generator().manual_seed(0))
    offset = (far - near) // 2 // multiple * multiple
    cut = noise[..., offset : offset + near, offset : offset + near]
    s, start = module.scale, (near - CORE) // 2
    small = module(cut)[..., start * s : (start + CORE) * s, start * s : (start + CORE) * s]
    start += offset
    large = module(noise)[..., start * s : (start + CORE) * s, start * s : (start + CORE) * s]
    return float((small - large).abs().max())


def _rounded(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def macs_per_pixel(module: Foreign, multiple: int) -> int:
    """Multiply-adds of all convolutions and linear layers per input pixel, counted on a small picture."""
    side = _rounded(max(16, module.minimum), multiple)
    return max(1, round(multiply_adds(module, torch.zeros(1, 3, side, side)).total() / side**2))
