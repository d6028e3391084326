"""Constants and slopes in the place of photos."""

import pytest
import torch

from train import losses
from train.crops import Sample
from train.data import Bank
from train.patches import NOISE, STEEPEST, put_patches
from train.recipe import Recipe
from train.resample import downscale
from train.sample import samples
from vidsr.errors import UsageError
from vidsr.models.srgan import Bicubic

CPU = torch.device("cpu")


def noise(shifts: torch.Tensor | None = None) -> Sample:
    count = 6 if shifts is None else 2 * len(shifts)
    return Sample(torch.rand(count, 3, 8, 8), torch.rand(count, 3, 32, 32), shifts)


def test_only_the_last_crops_are_replaced() -> None:
    before = noise()
    after = put_patches(before, 2, torch.Generator().manual_seed(0))
    assert torch.equal(after.lr[:4], before.lr[:4])
    assert torch.equal(after.hr[:4], before.hr[:4])
    assert (after.hr[4:] - before.hr[4:]).abs().max() > 0.1


def test_a_patch_is_constant_or_slopes_and_its_small_side_is_its_reduction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.patches.NOISY", 0.0)
    sample = put_patches(noise(), 6, torch.Generator().manual_seed(3))
    spread = (sample.hr.amax((2, 3)) - sample.hr.amin((2, 3))) * 255
    assert 0 < (spread.amax(1) == 0).sum() < 6
    assert spread.max() <= 2 * 8 * STEEPEST
    reduced = downscale(sample.hr, 4)[..., 2:-2, 2:-2]
    assert (reduced - sample.lr[..., 2:-2, 2:-2]).abs().max() * 255 < 1.01  # two roundings against one
    assert torch.equal(sample.lr * 255, (sample.lr * 255).round())


def test_noise_on_constants_is_to_become_its_cubic_enlargement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.patches.NOISY", 1.0)
    monkeypatch.setattr("train.patches.CONSTANT", 1.0)
    sample = put_patches(noise(), 4, torch.Generator().manual_seed(3))
    assert sample.made == 4
    rough = sample.lr[-4:] * 255
    assert torch.allclose(rough, rough.round(), atol=1e-4)
    assert 0.2 < rough.std((2, 3)).max() < 3 * NOISE
    assert torch.allclose(sample.hr[-4:], Bicubic(4)(sample.lr[-4:]))
    grey = (
        (rough - rough.mean((2, 3), keepdim=True)).diff(dim=1).abs().amax((1, 2, 3)) < 2
    ).sum()  # clipped apart, at most
    assert 0 < grey < 4


def test_a_pair_of_patches_shows_the_same_slope_shifted() -> None:
    shifts = torch.tensor([[3, -2], [1, 7], [0, 5], [-6, 1]])
    sample = put_patches(noise(shifts), 4, torch.Generator().manual_seed(3))
    assert sample.hr.std((2, 3)).max() > 0
    first, second = sample.hr.chunk(2)
    assert losses.shift_loss(first, second, shifts) < 1e-6
    assert losses.shift_loss(first, second, -shifts) > 1e-4


def test_a_recipe_asks_for_them(recipe: Recipe, bank: Bank) -> None:
    asked = Recipe.from_dict(recipe.to_dict() | {"batch": 3, "patches": 2})
    first, again = (next(samples(bank, asked, torch.Generator().manual_seed(1), CPU)) for _ in range(2))
    assert torch.equal(first.hr, again.hr)
    rough = first.hr.diff(n=2, dim=3).abs().amax((1, 2, 3)) * 255
    assert rough[0] > 5
    assert rough[1:].max() < 0.01
    assert asked.digest() != Recipe.from_dict(asked.to_dict() | {"patches": 0}).digest()
    for count in (-1, 3):
        with pytest.raises(UsageError, match="patches must be from 0 to below its batch"):
            Recipe.from_dict(asked.to_dict() | {"patches": count})
