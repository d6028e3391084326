"""An ``srgan`` that begins as a trained ``fast`` computes what that computes, and all of it can learn."""

import pytest
import torch
from torch import nn

from train.morph import bilinear_phases, fits
from train.origin import Origin, initialise, read_origin
from train.recipe import Recipe
from train.run import Run
from vidsr.models.srgan import GeneratorConfig, build

CPU = torch.device("cpu")


def recipe_of(scale: int, blocks: int, channels: int = 64) -> Recipe:
    generator = {"graph": "srgan", "scale": scale, "channels": channels, "blocks": blocks}
    return Recipe.from_dict({"name": "large", "steps": 10, "generator": generator})


def inside(x: torch.Tensor, scale: int) -> torch.Tensor:
    return x.clamp_min(0)[..., scale:-scale, scale:-scale]


@pytest.mark.parametrize("scale", [2, 4])
def test_an_srgan_begins_as_the_shipped_fast(scale: int) -> None:
    origin = read_origin("fast", scale)
    groups = sum(name.endswith("weight") and name.startswith("body") for name in origin.weights) // 2
    run = Run(recipe_of(scale, blocks=2 + 2 * groups + 1), CPU)
    small = build(GeneratorConfig("fast", scale, blocks=2 * groups, skip=2))
    small.load_state_dict(origin.weights)
    x = torch.rand(1, 3, 20, 23, generator=torch.Generator().manual_seed(2))
    fresh = inside(run.model(x), scale)
    initialise(run, origin)
    assert run.origin == f"what {origin.words} computes"
    wanted = inside(small(x), scale)
    for module in (run.model, run.ema):
        assert (inside(module(x), scale) - wanted).abs().max() < 1e-5
    assert (fresh - wanted).abs().max() > 0.1


def test_every_part_of_it_can_learn() -> None:
    run = Run(recipe_of(2, blocks=12), CPU)
    random = torch.Generator().manual_seed(3)
    small = {name: torch.randn(value.shape, generator=random) * 0.1 for name, value in small_weights(2).items()}
    initialise(run, Origin("a small one", small))
    optimiser = torch.optim.SGD(run.model.parameters(), lr=1e-3)
    for _ in range(3):  # what is read by nothing gets a gradient once its reader has moved
        optimiser.zero_grad()
        run.model(torch.rand(1, 3, 16, 16, generator=random)).abs().mean().backward()
        optimiser.step()
    still = [name for name, value in run.model.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


def small_weights(scale: int) -> dict[str, torch.Tensor]:
    return dict(build(GeneratorConfig("fast", scale, blocks=6, skip=2)).state_dict())


@pytest.mark.parametrize(
    ("scale", "blocks", "channels", "why"),
    [(4, 8, 64, "another scale"), (2, 7, 64, "too few blocks"), (2, 8, 32, "another width")],
)
def test_what_does_not_fit_is_not_written(scale: int, blocks: int, channels: int, why: str) -> None:
    model = build(GeneratorConfig("srgan", scale, channels, blocks))
    assert not fits(model, small_weights(2)), why
    assert fits(build(GeneratorConfig("srgan", 2, 64, 8)), small_weights(2))


def test_bilinear_phases() -> None:
    x = torch.tensor([[[0.0, 1.0, 4.0, 9.0]]])
    wanted = nn.functional.interpolate(x, scale_factor=4, mode="linear", align_corners=False)[0, 0, 4:12]
    found = [bilinear_phases(4) @ x[0, 0, k - 1 : k + 2] for k in (1, 2)]
    assert torch.allclose(torch.cat(found), wanted)
