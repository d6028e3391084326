"""Keys, models and engines for tests, without a TensorRT."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vidsr.backends.tensorrt.build import prepare
from vidsr.backends.tensorrt.cache import EngineCache
from vidsr.backends.tensorrt.engines import Maker
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.backends.tensorrt.key import Key, Profile, Shape
from vidsr.errors import OutOfMemoryError
from vidsr.models import registry, srgan

RTX = Flavour("rtx", "tensorrt_rtx", "1.5", "2.13.0")
FULL = Flavour("full", "tensorrt", "11.0", "2.13.0")
ADA = Gpu((8, 9), "NVIDIA GeForce RTX 4090", "580.1", 0)
CPU = torch.device("cpu")
SHAPE: Shape = (1, 48, 64)
STATIC = Profile.static(SHAPE)
DYNAMIC = Profile((1, 2, 2), (1, 48, 64), (1, 96, 128))


def make_model(graph: str = "srgan", scale: int = 4, *, blocks: int = 2) -> registry.Model:
    """A small generator with random weights whose output is near [0, 1]."""
    torch.manual_seed(0)
    config = srgan.GeneratorConfig(graph, scale, channels=16, blocks=blocks)
    module = srgan.build(config).eval().requires_grad_(False)
    macs = srgan.macs_per_pixel(config)
    return registry.Model(graph, scale, config, module, srgan.halo(config), 1, macs, "0" * 64, {}, None)


def write_weights(path: Path, graph: str, scale: int) -> Path:
    """A weights file of `make_model`'s generator."""
    model = make_model(graph, scale)
    config = json.dumps(model.config.to_dict())
    header = {"format": registry.FORMAT, "name": path.stem, "scale": str(scale), "config": config}
    save_file({name: value.half() for name, value in model.module.state_dict().items()}, path, metadata=header)
    return path


def make_key(**changes: object) -> Key:
    """A key of the full flavour, which uses every field."""
    values = {
        "model": "fast", "scale": 4, "weights": "a" * 64, "config": "{}", "shapes": "64x48", "precision": "fp16",
        "converter": "torch-tensorrt", "flavour": "full", "tensorrt": "11.0", "torch_tensorrt": "2.13.0",
        "torch": "2.13.0", "capability": "8.9",
        "gpu": "NVIDIA GeForce RTX 4090", "driver": "580.1", "platform": "linux-x86_64", "format": 1,
    }  # fmt: skip
    return Key.from_dict({**values, **changes})


def half_precision(model: registry.Model) -> nn.Module:
    """What an FP16 engine computes, on the CPU: half weights and half tensors between layers, sums in FP32.

    A CPU's own half convolutions are a hundred times slower.
    """
    module = prepare(model.module, "fp16").float()
    for child in module.modules():
        child.register_forward_hook(lambda _module, _inputs, output: output.half().float())
    return module


class Emulated:
    """Stands for an engine on its device: runs the network that would be compiled, in half precision, on the CPU."""

    spoil = 0.0  # added to every result
    too_large: Shape | None = None
    loads: list[bytes]

    def __init__(self, model: registry.Model) -> None:
        self.module = half_precision(model)
        self.loads = []
        self.shapes: list[Shape] = []

    def __call__(self, flavour: Flavour, data: bytes, device: torch.device, kernels: Path | None) -> Emulated:
        self.loads.append(data)
        return self

    def runner(self, shape: Shape) -> EmulatedRunner:
        if shape == self.too_large:
            self.too_large = None
            raise OutOfMemoryError("too large")
        self.shapes.append(shape)
        return EmulatedRunner(self.module, shape, self.spoil)


class EmulatedRunner:
    def __init__(self, module: nn.Module, shape: Shape, spoil: float) -> None:
        self.module, self.shape, self.spoil = module, shape, spoil

    def __call__(self, batch: Tensor) -> Tensor:
        num, _, height, width = batch.shape
        assert (height, width) == self.shape[1:]
        assert num <= self.shape[0]
        with torch.no_grad():
            return (self.module(batch.float()) + self.spoil).half()

    def measure(self) -> float | None:
        return 4.0


def make_maker(model: registry.Model, folder: Path, loader: Emulated | None = None) -> Maker:
    """A maker whose engines are emulated on the CPU."""
    cache = EngineCache(folder)
    return Maker(model, "fp16", ADA, RTX, cache, CPU, loader=loader or Emulated(model))
