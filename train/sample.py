"""What one training step sees, whether it comes from photos or from a baked cache."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from train.cache import Cache
from train.data import Bank, batches
from train.filters import sharpen
from train.processes import World
from train.recipe import Recipe
from vidsr.errors import UsageError

Source = Bank | Cache


@dataclass(frozen=True)
class Sample:
    """lr: (N, 3, patch, patch), hr: (N, 3, patch*scale, patch*scale), float32 RGB in [0, 1].

    `hr` is what the output should be: the original, sharpened where the recipe says so.
    Where `shifts` is given, (N/2, 2) as `shift_loss` takes it, the second half of N shows the first half's places
    shifted by it.
    """

    lr: Tensor
    hr: Tensor
    shifts: Tensor | None = None


def samples(
    source: Source, recipe: Recipe, random: torch.Generator, device: torch.device, world: World | None = None
) -> Iterator[Sample]:
    """Endless samples of `recipe.batch` crops, or of as many shifted pairs where the recipe weighs shifts.

    All processes draw the same; each keeps its share. All choices come from `random`.

    Raises:
        UsageError: the source is of another scale, or too small for the recipe's patch.
    """
    world = world or World()
    if isinstance(source, Cache) and source.scale != recipe.generator.scale:
        raise UsageError(f"The cache holds pairs for x{source.scale}, the recipe trains x{recipe.generator.scale}.")
    share = slice(world.rank, None, world.size)
    if recipe.losses.shift and isinstance(source, Cache):
        for lr, other_lr, hr, other_hr, shifts in source.shift_batches(recipe.batch, recipe.patch, random, device):
            originals = torch.cat((hr[share], other_hr[share]))
            yield Sample(torch.cat((lr[share], other_lr[share])), _target(originals, recipe), shifts[share])
        return
    scale = recipe.generator.scale
    pairs = (
        batches(source, recipe.batch, recipe.patch, scale, random, device)
        if isinstance(source, Bank)
        else source.batches(recipe.batch, recipe.patch, random, device)
    )
    for lr, hr in pairs:
        yield Sample(lr[share], _target(hr[share], recipe))


def _target(hr: Tensor, recipe: Recipe) -> Tensor:
    return sharpen(hr, recipe.sharpen) if recipe.sharpen else hr
