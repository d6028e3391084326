"""Samples of either source, whole and shared, and training on shifted pairs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train import losses
from train.cache import Cache, Header
from train.data import Bank
from train.filters import sharpen
from train.fit import Trainer
from train.processes import World
from train.recipe import Recipe
from train.run import Run, start
from train.sample import samples
from train.stage import Stage
from vidsr.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def cache() -> Cache:
    """Two scenes of three variants, 12 LR pixels at x2, of noise."""
    header = Header(2, 12, 3, 1, 2, 0, "photos", "maker", {"photos": 1, "licences": {}})
    random = torch.Generator().manual_seed(0)
    hr = torch.randint(0, 256, (2, header.window, header.window, 3), dtype=torch.uint8, generator=random)
    offsets = [[(0, 0), (3, 1), (2, 5)], [(1, 2), (0, 1), (7, 0)]]
    crops = [[hr[s, y : y + 24 : 2, x : x + 24 : 2] for y, x in scene] for s, scene in enumerate(offsets)]
    return Cache(header, hr, torch.stack([torch.stack(scene) for scene in crops]), torch.tensor(offsets))


def baked(recipe: Recipe, **values: object) -> Recipe:
    return Recipe.from_dict(recipe.to_dict() | {"data": "baked"} | values)


def test_processes_share_what_one_would_draw(recipe: Recipe, bank: Bank, cache: Cache) -> None:
    shifting = baked(recipe, losses={"shift": 1.0}, batch=4)
    for source, one in ((bank, recipe), (cache, baked(recipe)), (cache, shifting)):
        whole, first, second = (
            next(samples(source, one, torch.Generator().manual_seed(1), CPU, world))
            for world in (None, World(0, 2), World(1, 2))
        )
        assert whole.lr.shape[1:] == (3, 8, 8)
        together = torch.cat((first.hr, second.hr))
        assert sorted(together.mean((1, 2, 3)).tolist()) == sorted(whole.hr.mean((1, 2, 3)).tolist())
        assert (whole.shifts is None) == (one is not shifting)


def test_the_second_half_shows_the_first_shifted(recipe: Recipe, cache: Cache) -> None:
    sample = next(samples(cache, baked(recipe, losses={"shift": 1.0}, batch=6), torch.Generator(), CPU))
    assert sample.lr.shape == (12, 3, 8, 8)
    assert sample.shifts is not None
    assert losses.shift_loss(sample.hr[:6], sample.hr[6:], sample.shifts) == 0
    assert losses.shift_loss(sample.hr[:6], sample.hr[6:], sample.shifts * 0) > 0.1


def test_pairs_are_those_cut_one_by_one(cache: Cache) -> None:
    """Against loops over the same draws: crops turned by `rot90`, and their shifts a quarter turn at a time."""
    random = torch.Generator().manual_seed(5)
    draws = (torch.rand(48, 5, dtype=torch.float64, generator=random) * torch.tensor([2, 3, 5, 5, 8])).long().tolist()
    steps = torch.randint(1, 3, (48,), generator=random).tolist()
    lr, hr, shifts = next(cache.shift_batches(48, 8, torch.Generator().manual_seed(5), CPU))
    for number, ((scene, variant, top, left, way), step) in enumerate(zip(draws, steps, strict=True)):
        other = (variant + step) % 3
        places = [cache.offsets[scene, one].tolist() for one in (variant, other)]
        turns, mirrored = divmod(way, 2)
        for half, (one, (y, x)) in enumerate(zip((variant, other), places, strict=True)):
            small = cache.lr[scene, one, top : top + 8, left : left + 8]
            large = cache.hr[scene, y + 2 * top : y + 2 * top + 16, x + 2 * left : x + 2 * left + 16]
            for made, cut in ((lr, small), (hr, large)):
                turned = torch.rot90(cut, turns, (0, 1))
                turned = turned.flip(1) if mirrored else turned
                assert torch.equal(made[48 * half + number], turned.permute(2, 0, 1) / 255)
        down, right = places[1][0] - places[0][0], places[1][1] - places[0][1]
        for _ in range(turns):
            down, right = -right, down
        assert shifts[number].tolist() == [down, -right if mirrored else right]


def test_sharpened_targets(recipe: Recipe, bank: Bank, cache: Cache) -> None:
    """The same crops, and only what they are compared to is another."""
    for source, one in ((bank, recipe), (cache, baked(recipe)), (cache, baked(recipe, losses={"shift": 1.0}))):
        plain, sharp = (
            next(samples(source, replace(one, sharpen=amount), torch.Generator().manual_seed(1), CPU))
            for amount in (0.0, 0.7)
        )
        assert torch.equal(sharp.lr, plain.lr)
        assert torch.equal(sharp.hr, sharpen(plain.hr, 0.7))
        assert sharp.hr.std() > 1.02 * plain.hr.std()


def test_shifted_pairs_make_a_network_steadier(recipe: Recipe, cache: Cache) -> None:
    """The same steps with and without the weight: the shift loss falls only where it counts."""
    after = []
    for weight in (1e-9, 10.0):
        one = baked(recipe, losses={"shift": weight}, rate=1e-2, optimiser="adam", batch=4)
        run = Run(one, CPU)
        run.bf16 = False
        stage, stream = Stage(run), samples(cache, one, run.random, CPU)
        shown = [float(stage.step(next(stream))["shift"]) for run.step in range(100)]
        after.append(sum(shown[-10:]))
    assert after[1] < 0.7 * after[0]


def test_training_on_a_cache_resumes_to_the_bit(recipe: Recipe, cache: Cache, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    one = baked(recipe, losses={"shift": 1.0})
    Trainer(start(one, whole, CPU), cache, whole).train()
    Trainer(start(baked(one, steps=5), parts, CPU), cache, parts).train()
    resumed = start(one, parts, CPU, resume=True)
    Trainer(resumed, cache, parts).train()
    straight = start(one, whole, CPU, resume=True)
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_cache_of_another_scale(recipe: Recipe, cache: Cache) -> None:
    other = baked(recipe, generator=recipe.generator.to_dict() | {"scale": 4})
    with pytest.raises(UsageError, match="holds pairs for x2, the recipe trains x4"):
        next(samples(cache, other, torch.Generator(), CPU))
