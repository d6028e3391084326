"""The generator: shapes, cost, receptive radius, initialisation, and that it can learn."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vidsr.errors import ModelError
from vidsr.models.srgan import GeneratorConfig, build, cubic_phases, halo, icnr_, keys_cubic, macs_per_pixel

SMALL = [
    GeneratorConfig("srgan", 4, channels=8, blocks=2),
    GeneratorConfig("srgan", 2, channels=8, blocks=2),
    GeneratorConfig("fast", 4, channels=8, blocks=4, skip=2),
    GeneratorConfig("fast", 2, channels=8, blocks=3),
    GeneratorConfig("bicubic", 4),
    GeneratorConfig("bicubic", 2),
]


def ids(config: GeneratorConfig) -> str:
    return f"{config.graph}-x{config.scale}"


def awake(config: GeneratorConfig) -> nn.Module:
    """A generator whose every weight matters: the initialisation leaves some branches almost silent."""
    torch.manual_seed(1)
    module = build(config)
    for parameter in module.parameters():
        if parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter, a=0.25)
    return module


def counted_macs(module: nn.Module, size: int) -> float:
    """Multiply-adds per input pixel, by watching the convolutions of one call."""
    total = 0

    def watch(conv: nn.Module, _args: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        nonlocal total
        total += conv.weight.numel() * out.shape[-1] * out.shape[-2]

    hooks = [m.register_forward_hook(watch) for m in module.modules() if isinstance(m, nn.Conv2d)]
    module(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total / size**2


@pytest.mark.parametrize("config", SMALL, ids=ids)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (13, 6)])
def test_every_size_comes_out_scaled(config: GeneratorConfig, height: int, width: int) -> None:
    out = build(config)(torch.rand(2, 3, height, width))
    assert out.shape == (2, 3, height * config.scale, width * config.scale)


def test_cost_of_the_paper_generator() -> None:
    config = GeneratorConfig("srgan", 4)
    assert macs_per_pixel(config) == 2_218_176
    assert counted_macs(build(config), 4) == 2_218_176


@pytest.mark.parametrize("config", SMALL[:4], ids=ids)
def test_stated_cost_is_what_runs(config: GeneratorConfig) -> None:
    assert macs_per_pixel(config) == counted_macs(build(config), 6)


def test_fast_is_about_seven_times_cheaper() -> None:
    ratio = macs_per_pixel(GeneratorConfig("srgan", 4)) / macs_per_pixel(GeneratorConfig("fast", 4, blocks=6))
    assert 7 < ratio < 9


def test_fast_has_eight_convolutions() -> None:
    module = build(GeneratorConfig("fast", 4, blocks=6))
    assert sum(isinstance(part, nn.Conv2d) for part in module.modules()) == 8


def test_halo_of_the_paper_generator_is_40() -> None:
    assert halo(GeneratorConfig("srgan", 4)) == 40
    assert halo(GeneratorConfig("srgan", 2)) == 40


@pytest.mark.parametrize("config", [*SMALL, GeneratorConfig("srgan", 4, channels=1)], ids=ids)
def test_halo_is_the_reach_of_the_gradient(config: GeneratorConfig) -> None:
    """The farthest input pixel that any output pixel of one input pixel depends on is exactly `halo` away."""
    reach = halo(config)
    size, middle = 2 * reach + 5, reach + 2
    x = torch.rand(1, 3, size, size, requires_grad=True, dtype=torch.float64)
    module = awake(config).double()
    for act in (part for part in module.modules() if isinstance(part, nn.PReLU)):
        nn.init.ones_(act.weight)  # linear: nothing on the path can be dead
    first, last = middle * config.scale, (middle + 1) * config.scale
    module(x)[..., first:last, first:last].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert int((seen - middle).abs().max()) == reach


@pytest.mark.parametrize("config", SMALL[:4], ids=ids)
def test_config_rebuilds_the_same_graph(config: GeneratorConfig) -> None:
    again = GeneratorConfig.from_dict(config.to_dict())
    assert again == config
    build(again).load_state_dict(build(config).state_dict())


def test_unknown_and_missing_settings_are_named() -> None:
    with pytest.raises(ModelError, match="'depth'"):
        GeneratorConfig.from_dict({"graph": "fast", "scale": 4, "depth": 3})
    with pytest.raises(ModelError, match="'scale'"):
        GeneratorConfig.from_dict({"graph": "fast"})


@pytest.mark.parametrize(
    "values",
    [
        {"graph": "edsr", "scale": 4},
        {"graph": "fast", "scale": 3},
        {"graph": "fast", "scale": 4, "channels": 0},
        {"graph": "fast", "scale": 4, "blocks": "6"},
        {"graph": "fast", "scale": 4, "blocks": 6, "skip": 4},
        {"graph": "srgan", "scale": 4, "skip": 2},
    ],
)
def test_impossible_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        GeneratorConfig.from_dict(values)


def test_every_prelu_has_one_slope() -> None:
    for config in SMALL[:4]:
        slopes = [part.weight.numel() for part in build(config).modules() if isinstance(part, nn.PReLU)]
        assert slopes
        assert set(slopes) == {1}


def test_untrained_fast_is_close_to_bilinear() -> None:
    x = torch.rand(1, 3, 12, 12)
    expected = nn.functional.interpolate(x, scale_factor=4.0, mode="bilinear")
    torch.manual_seed(0)
    assert (build(GeneratorConfig("fast", 4, blocks=6))(x) - expected).abs().mean() < 0.05


def test_icnr_starts_without_checkerboard() -> None:
    """Right after initialisation, a sub-pixel step is the nearest-neighbour enlargement of a convolution."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 16, 3, padding=1, bias=False)
    icnr_(conv.weight, 2)
    out = nn.functional.pixel_shuffle(conv(torch.rand(1, 4, 7, 7)), 2)
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        assert torch.equal(out[..., dy::2, dx::2], out[..., ::2, ::2])
    assert out[..., ::2, ::2].std() > 0.01


def keys_by_hand(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def bicubic_by_hand(line: np.ndarray, scale: int) -> np.ndarray:
    """One line enlarged as MATLAB's documentation describes: output k lies at (k + .5) / scale - .5 of the input."""
    mirrored = np.concatenate([line, line[::-1]])
    out = []
    for k in range(len(line) * scale):
        centre = (k + 0.5) / scale - 0.5
        taps = range(math.floor(centre) - 1, math.floor(centre) + 3)
        out.append(sum(keys_by_hand(centre - t) * mirrored[t % len(mirrored)] for t in taps))
    return np.array(out)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("width", [1, 2, 11])
def test_bicubic_is_keys_interpolation_with_mirrored_borders(scale: int, width: int) -> None:
    image = np.random.default_rng(0).random((5, width))
    rows = np.stack([bicubic_by_hand(row, scale) for row in image])
    expected = np.stack([bicubic_by_hand(column, scale) for column in rows.T]).T
    out = build(GeneratorConfig("bicubic", scale))(torch.from_numpy(image).float().expand(1, 3, -1, -1))
    for channel in out[0]:
        assert np.abs(channel.numpy() - expected).max() < 1e-5


def test_cubic_weights() -> None:
    assert keys_cubic(torch.tensor([0.0, 1.0, 2.0, 0.5, -1.5])).tolist() == [1, 0, 0, 0.5625, -0.0625]
    assert np.allclose(cubic_phases(4).sum(1), 1)


@pytest.mark.parametrize(
    ("config", "rate"),
    [(GeneratorConfig("srgan", 4, channels=24, blocks=2), 3e-3), (GeneratorConfig("fast", 4, 32, blocks=4), 4e-3)],
    ids=["srgan", "fast"],
)
def test_it_overfits_one_patch(config: GeneratorConfig, rate: float) -> None:
    """Above 40 dB on one smooth patch with edges: gradients reach every weight, and the last layers fit their scale."""
    torch.manual_seed(0)
    module = build(config)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    hr = torch.stack([(x + y) / 32, (x > 7) * 0.6 + 0.2, (y / 5).sin() * 0.4 + 0.5])[None]
    lr = nn.functional.avg_pool2d(hr, 4)
    optimiser = torch.optim.Adam(module.parameters(), rate, betas=(0.9, 0.99))
    steps = 300
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        loss = nn.functional.mse_loss(module(lr), hr)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert -10 * math.log10(loss.item()) > 40
