"""How a generator is run, to be measured and to be learned from."""

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from train.crops import Sample
from train.inference import SelfEnsemble
from train.recipe import Losses, Recipe
from train.run import Run
from train.stage import Stage
from vidsr.models import registry

WAYS = list(product((False, True), range(4)))


def turned(x: Tensor, mirrored: bool, turns: int) -> Tensor:
    return torch.rot90(x.mT if mirrored else x, turns, (2, 3))


@torch.inference_mode()
def test_a_self_ensemble_is_turned_with_its_picture() -> None:
    """Its network is not; what one that is makes stays what it is."""
    x = torch.rand(1, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    fast, bicubic = (registry.load(name, 2).module for name in ("fast", "bicubic"))
    mean, single = SelfEnsemble(fast)(x), fast(x)
    for way in WAYS:
        assert (SelfEnsemble(fast)(turned(x, *way)) - turned(mean, *way)).abs().max() < 1e-5
        assert way == (False, 0) or (fast(turned(x, *way)) - turned(single, *way)).abs().max() > 1e-3
    assert (SelfEnsemble(bicubic)(x) - bicubic(x)).abs().max() < 1e-5


def test_a_run_learns_from_the_self_ensemble_of_what_it_keeps(recipe: Recipe) -> None:
    lr = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sample = Sample(lr, torch.zeros(2, 3, 8 * recipe.generator.scale, 8 * recipe.generator.scale))
    losses = Losses(pixel=0.0, kept=1.0, keeps="fast")
    for ensemble in (False, True):
        own = Run(replace(recipe, losses=replace(losses, ensemble=ensemble)), torch.device("cpu"))
        keeper = registry.load("fast", recipe.generator.scale).module
        wanted = SelfEnsemble(keeper) if ensemble else keeper
        with torch.inference_mode():
            assert torch.allclose(Stage(own)._drawn(sample), wanted(lr), atol=1e-6)
