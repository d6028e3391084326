"""The networks that are drawn for runtimes are those of torch: to rounding in float64, borders included."""

from __future__ import annotations

import operator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vidsr.backends.base import _largest
from vidsr.errors import ModelError
from vidsr.models import graph, plain
from vidsr.models.config import GRAPHS, SCALES, GeneratorConfig, elements_per_pixel, largest_per_pixel
from vidsr.models.srgan import build

CONFIGS = [GeneratorConfig(name, scale, channels=6, blocks=4) for name in GRAPHS for scale in SCALES]
CONFIGS.append(GeneratorConfig("fast", 2, channels=6, blocks=4, skip=2))


def made(config: GeneratorConfig) -> torch.nn.Module:
    """With random weights, slopes and biases: nothing is zero by its initialisation."""
    torch.manual_seed(config.scale)
    module = build(config).double().eval()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * parameter.shape[-1] ** -1.5
    return module.requires_grad_(False)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.graph}-{config.scale}-{config.skip}")
def test_what_is_drawn_is_the_network_of_torch(config: GeneratorConfig) -> None:
    module = made(config)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    assert graph.shapes(config) == {name: array.shape for name, array in weights.items()}
    assert elements_per_pixel(config) == _largest(build(config), operator.add)
    assert largest_per_pixel(config) == _largest(build(config), max)
    for num, height, width in ((1, 7, 5), (2, 2, 3)):
        picture = torch.rand(num, 3, height, width, dtype=torch.float64)
        expected = module(picture)
        exact = np.abs(plain.run(config, weights, picture.numpy()) - expected.numpy()).max()
        assert exact < 1e-12 * max(1.0, float(expected.abs().max()))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    config, path = GeneratorConfig("fast", 2, channels=6, blocks=2), tmp_path / "small.safetensors"
    save_file(build(config).half().state_dict(), path)
    read = graph.read(path, config)
    assert {array.dtype for array in read.values()} == {np.dtype(np.float32)}
    with pytest.raises(ModelError, match="do not fit"):
        graph.read(path, GeneratorConfig("fast", 2, channels=6, blocks=4))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match="damaged"):
        graph.read(path, config)
