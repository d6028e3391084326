"""What networks do to constants, slopes and dark noise."""

import pytest
import torch
from torch import Tensor, nn

from train.probes import drift, fine_energy, hatch
from vidsr.models.srgan import GeneratorConfig, build

SCALE = 4


class Drawn(nn.Module):
    """Bicubic, with `tint` code values added to red where green is bright, and a hatching of `strength` codes."""

    def __init__(self, tint: float = 0.0, strength: float = 0.0) -> None:
        super().__init__()
        self.bicubic, self.tint, self.strength = build(GeneratorConfig("bicubic", SCALE)), tint, strength

    def forward(self, x: Tensor) -> Tensor:
        y = self.bicubic(x)
        tint = (y[:, 1:2] > 0.9) * torch.tensor([1.0, 0, 0])[:, None, None] * self.tint
        stripes = torch.tensor([1.0, -1.0]).repeat(y.shape[-1] // 2) * self.strength
        return y + (tint + stripes) / 255


def test_drift_on_constants() -> None:
    assert drift(Drawn()).worst < 0.01
    tinted = drift(Drawn(tint=3.0))
    assert tinted.worst == pytest.approx(3, abs=0.01)
    assert tinted.mean == pytest.approx(3 / 15, abs=0.01)  # one of three channels, where one of five greens is bright
    assert drift(Drawn(strength=2.0)).worst < 0.01  # a pattern is no drift


def test_a_constant_is_one_up_to_the_border() -> None:
    """A few pixels with repeated borders show what the middle of a wide place does."""
    torch.manual_seed(0)
    network = build(GeneratorConfig("srgan", 2, channels=4, blocks=1)).eval()
    with torch.no_grad():
        wide = network(torch.full((1, 3, 40, 40), 128 / 255))[0, :, 36:44, 36:44].clamp(0, 1).mean((1, 2)) * 255
    one = drift(network)
    assert 0 < float((wide - 128).abs().max()) <= one.worst
    assert all(layer.padding_mode == "zeros" for layer in network.modules() if isinstance(layer, nn.Conv2d))


def test_hatch_finds_a_pattern_of_single_pixels() -> None:
    plain, hatched = (hatch(Drawn(strength=strength), SCALE, 2) for strength in (0.0, 2.0))
    assert set(plain) == {"hatch_slopes", "hatch_dark"}
    for name in plain:
        assert plain[name] < 0.6
        assert hatched[name] == pytest.approx((plain[name] ** 2 + 4) ** 0.5, rel=0.02)


def test_fine_energy_leaves_out_what_the_source_can_hold() -> None:
    x = torch.arange(96) * torch.pi
    coarse, fine = (torch.cos(x * 2 * f).expand(3, 96, 96) for f in (1 / 16, 1 / 4))
    assert fine_energy(coarse, SCALE) < 1e-3
    assert fine_energy(fine, SCALE) == pytest.approx(0.5**0.5, rel=0.01)
    assert fine_energy(fine + 100, SCALE) == pytest.approx(0.5**0.5, rel=0.01)
