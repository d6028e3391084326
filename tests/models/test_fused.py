"""The fused graph equals the plain one: in float64 to rounding, borders included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vidsr.models import registry, srgan
from vidsr.models.fused import before_shuffle, fuse, lower_prelu

EXACT = 1e-12  # of values around 1, in float64
SHAPES = [(1, 7, 5), (2, 12, 9), (1, 2, 3), (1, 3, 2)]


def make(graph: str, scale: int) -> nn.Module:
    """A generator with random weights, slopes and biases: nothing is zero by its initialisation."""
    torch.manual_seed(scale)
    module = srgan.build(srgan.GeneratorConfig(graph, scale, channels=8, blocks=2)).double().eval()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * parameter.shape[-1] ** -1.5
    return module.requires_grad_(False)


@pytest.mark.parametrize(("graph", "scale"), [(graph, scale) for graph in srgan.GRAPHS for scale in srgan.SCALES])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_and_lowered_equal_plain(graph: str, scale: int, shape: tuple[int, int, int]) -> None:
    module = make(graph, scale)
    num, height, width = shape
    x = torch.rand(num, 3, height, width, dtype=torch.float64)
    plain, fused = module(x), lower_prelu(fuse(fuse(module)))(x)
    assert fused.shape == plain.shape == (num, 3, height * scale, width * scale)
    assert float((fused - plain).abs().max()) < EXACT * max(1.0, float(plain.abs().max()))


@pytest.mark.parametrize("scale", srgan.SCALES)
def test_srgan_never_holds_its_channels_at_full_size(scale: int) -> None:
    """Every picture between two layers of the fused graph is at most half as high as the output, the last one aside."""
    heights: list[tuple[int, int]] = []
    module = fuse(make("srgan", scale))
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.PReLU):
            child.register_forward_hook(lambda _m, _i, output: heights.append((output.shape[1], output.shape[2])))
    module(torch.rand(1, 3, 4, 4, dtype=torch.float64))
    assert max(height for _, height in heights) == 4 * scale // 2
    assert heights[-1] == (12, 4 * scale // 2)
    tail = module.tail[0]  # type: ignore[index]
    assert (tail.in_channels, tail.out_channels, tail.kernel_size) == (32, 12, (5, 5))  # type: ignore[union-attr]


def test_the_module_itself_stays_as_it_is() -> None:
    module = make("srgan", 4)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    lower_prelu(fuse(module))
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert any(isinstance(child, nn.PReLU) for child in module.modules())


def test_lowering_leaves_no_parametric_relu_with_one_slope() -> None:
    model = nn.Sequential(nn.PReLU(init=-0.5), nn.Sequential(nn.PReLU(3)))
    lowered = lower_prelu(model)
    assert [type(child) for child in lowered.modules()].count(nn.PReLU) == 1
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(lowered(x), model(x))


@pytest.mark.parametrize(("size", "factor"), [(3, 2), (9, 2), (9, 4), (1, 2), (5, 3)])
def test_any_plain_convolution_moves_before_a_shuffle(size: int, factor: int) -> None:
    conv = nn.Conv2d(2, 3, size, padding=size // 2).double().requires_grad_(False)
    x = torch.rand(1, 2 * factor**2, 5, 4, dtype=torch.float64)
    shuffle = nn.PixelShuffle(factor)
    assert float((shuffle(before_shuffle(conv, factor)(x)) - conv(shuffle(x))).abs().max()) < EXACT


def test_refuses_a_convolution_that_cannot_move() -> None:
    for conv in (nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, padding=1, groups=2)):
        with pytest.raises(ValueError, match="before a pixel shuffle"):
            before_shuffle(conv, 2)


def test_shipped_weights_survive() -> None:
    for info in registry.available_models():
        model = registry.load(info.name, info.scale)
        x = torch.rand(1, 3, 9, 10, dtype=torch.float64)
        module = model.module.double()
        assert float((lower_prelu(fuse(module))(x) - module(x)).abs().max()) < EXACT
