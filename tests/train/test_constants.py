"""Constants as a loss: what one endless pixel shows, and that colours are mended while details stay."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train import export
from train.constants import constants_loss, draw_colours, endless, recoloured
from train.data import Bank
from train.fit import Trainer
from train.probes import drift
from train.recipe import Recipe
from train.run import Run, start
from train.trained import Trained
from vidsr.models.srgan import GeneratorConfig, build

CPU = torch.device("cpu")


@pytest.mark.parametrize(("graph", "scale"), [("srgan", 2), ("srgan", 4), ("fast", 4)])
def test_one_pixel_shows_the_middle_of_a_wide_place(graph: str, scale: int) -> None:
    torch.manual_seed(0)
    network = build(GeneratorConfig(graph, scale, channels=4, blocks=1)).eval().requires_grad_(False)
    pixel = torch.tensor([0.9, 0.1, 0.4])[None, :, None, None]
    before = network(pixel.expand(-1, -1, 40, 40))
    with endless(network):
        one = network(pixel)
    assert torch.allclose(one, before[..., 20 * scale : 21 * scale, 20 * scale : 21 * scale], atol=1e-6)
    assert torch.equal(network(pixel.expand(-1, -1, 40, 40)), before)  # and all is as it was


class Tinted(torch.nn.Module):
    """Adds so many codes of red."""

    def __init__(self, codes: float) -> None:
        super().__init__()
        self.tint = torch.tensor([codes / 255, 0, 0])[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tint


def test_the_loss_counts_a_code_as_l1_does_and_ten_as_a_hundred() -> None:
    grey = torch.full((2, 3), 100.0)
    found = [255 * float(constants_loss(Tinted(codes), grey)) for codes in (1.0, 10.0)]
    assert found == pytest.approx([1 / 3, 100 / 3], rel=1e-4)


def test_colours_are_whole_and_vivid() -> None:
    colours = draw_colours(1000, torch.Generator().manual_seed(0))
    assert torch.equal(colours, colours.round())
    assert (colours.min(), colours.max()) == (0, 255)
    assert ((colours < 64) | (colours > 191)).float().mean() > 0.6  # half of them, were they even


def test_details_stay_over_other_colours() -> None:
    random = torch.Generator().manual_seed(0)
    hr, detail = torch.rand(2, 3, 64, 64, generator=random), torch.rand(2, 3, 64, 64, generator=random) * 0.1
    detail -= F.avg_pool2d(detail, 16).repeat_interleave(16, 2).repeat_interleave(16, 3)
    assert (recoloured(hr + detail + 0.2, hr) - hr - detail).abs().max() < 1e-5


def test_a_tint_is_mended(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    """A run that keeps what a tinted file draws comes out without its tint, with its details."""
    first = start(recipe, tmp_path / "first", CPU)
    Trainer(first, bank, tmp_path / "first").train()
    with torch.no_grad():
        first.ema.get_parameter("tail.bias")[:4] += 8 / 255  # of red
    tinted = tmp_path / "tinted.safetensors"
    export.write_weights(Trained(recipe, first.freeze(), {}), tinted)
    values = recipe.to_dict() | {"name": "mended", "steps": 60, "optimiser": "adam", "rate": 2e-3}
    table = {"pixel": 0.0, "flat": 1.0, "kept": 1.0, "keeps": str(tinted)}
    mended = Run(Recipe.from_dict(values | {"losses": table}), CPU)
    mended.model.load_state_dict(first.ema.state_dict())
    Trainer(mended, bank, tmp_path / "mended").train()
    assert drift(first.ema).mean > 2.5
    assert drift(mended.ema).mean < 1
