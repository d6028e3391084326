"""What one training step sees, whether it comes from photos or from a baked cache."""

from collections.abc import Iterator

import torch
from torch import Tensor

from train.cache import Cache
from train.crops import Sample
from train.data import Bank, batches
from train.filters import sharpen
from train.patches import put_patches
from train.processes import World
from train.recipe import Recipe
from vidsr.errors import UsageError

Source = Bank | Cache


def samples(
    source: Source, recipe: Recipe, random: torch.Generator, device: torch.device, world: World | None = None
) -> Iterator[Sample]:
    """Endless samples of `recipe.batch` crops, or of as many shifted pairs where the recipe weighs shifts.

    All processes draw the same; each keeps its share. All choices come from `random`, best on the device of the source.

    Raises:
        UsageError: the source is of another scale, or too small for the recipe's patch.
    """
    world = world or World()
    if isinstance(source, Cache) and source.scale != recipe.generator.scale:
        raise UsageError(f"The cache holds pairs for x{source.scale}, the recipe trains x{recipe.generator.scale}.")
    share = slice(world.rank, None, world.size)
    for sample in _whole(source, recipe, random, device):
        if recipe.patches:
            sample = put_patches(sample, recipe.patches, random)
        halves = 1 if sample.shifts is None else 2
        pairs = len(sample.lr) // halves
        made = len(range(pairs)[share]) - len(range(pairs - sample.made)[share])
        lr, hr = (torch.cat([half[share] for half in whole.chunk(halves)]) for whole in (sample.lr, sample.hr))
        shifts, drawn = (None if part is None else part[share] for part in (sample.shifts, sample.drawn))
        yield Sample(lr, hr, shifts, made, drawn)


def _whole(source: Source, recipe: Recipe, random: torch.Generator, device: torch.device) -> Iterator[Sample]:
    """Endless samples of the whole batch."""
    batch, patch = recipe.batch, recipe.patch
    if recipe.losses.shift and isinstance(source, Cache):
        for lr, hr, shifts in source.shift_batches(batch, patch, random, device):
            yield Sample(lr, _target(hr, recipe), shifts)
        return
    if recipe.losses.kept and isinstance(source, Cache) and source.drawn is not None:
        for lr, hr, drawn in source.taught_batches(batch, patch, random, device):
            yield Sample(lr, _target(hr, recipe), drawn=drawn)
        return
    pairs = (
        batches(source, batch, patch, recipe.generator.scale, random, device)
        if isinstance(source, Bank)
        else source.batches(batch, patch, random, device)
    )
    for lr, hr in pairs:
        yield Sample(lr, _target(hr, recipe))


def _target(hr: Tensor, recipe: Recipe) -> Tensor:
    return sharpen(hr, recipe.sharpen) if recipe.sharpen else hr
