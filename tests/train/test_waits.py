"""No training step waits for its device: shown on one that holds no values, where asking for a value fails."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from train.cache import Cache, Header
from train.data import Bank
from train.fit import average
from train.gan import Adversarial
from train.recipe import Recipe
from train.run import Run
from train.sample import Source, samples
from train.stage import Stage
from train.trunk import TrunkLoss

META = torch.device("meta")


class Crossings(TorchDispatchMode):
    """Notes the shapes of all tensors that go from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given, made = (
            {x.device for x in tree_leaves(tree) if isinstance(x, torch.Tensor) and x.dim()} for tree in (args, result)
        )
        if given and made and given != made:
            self.shapes += [tuple(x.shape) for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        return result


@pytest.fixture
def no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.Generator

    class Elsewhere:
        def __new__(cls, *_: object) -> torch.Generator:  # type: ignore[misc]
            return real()

    monkeypatch.setattr(torch, "Generator", Elsewhere)  # that device has none: the choices cross over
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **k: adam(*a, **k | {"fused": False}))  # nor a fused Adam
    monkeypatch.setattr(Stage, "autocast", lambda _: nullcontext())  # nor autocast
    monkeypatch.setattr("train.trunk.torch.autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr("train.stage.PreciseTail", lambda generator: generator)  # which would leave it


def photos() -> Bank:
    return Bank(torch.zeros(2 * 64 * 72 * 3, dtype=torch.uint8, device=META), [0, 64 * 72 * 3], [(64, 72)] * 2)


def pairs() -> Cache:
    header = Header(2, 16, 3, 1, 2, 0, "photos", "maker", {"photos": 1, "licences": {}})
    hr, lr = (torch.zeros(shape, dtype=torch.uint8, device=META) for shape in ((2, 40, 40, 3), (2, 3, 16, 16, 3)))
    return Cache(header, hr, lr, torch.zeros(2, 3, 2, dtype=torch.int64, device=META))


LOSSES = {"pixel": 1.0, "perceptual": 0.1, "trunk": "stlpips-vgg16:relu1_2", "adversarial": 0.1, "artefact": 1.0}


@pytest.mark.parametrize(
    ("source", "settings", "drawn"),
    [
        (photos, {}, [(4, 4)]),
        (photos, {"losses": LOSSES}, [(4, 4)]),
        (photos, {"patches": 1}, [(4, 4), (1, 3), (1, 3, 2), (1, 1, 1), (1,), (1, 3, 16, 16), *[(1, 1, 1, 1)] * 2]),
        (pairs, {"losses": LOSSES | {"shift": 1.0}, "data": "baked", "sharpen": 0.5}, [(4, 5), (4,)]),
    ],
)
def test_nothing_is_asked_of_the_device_nor_brought_there(
    recipe: Recipe,
    source: Any,
    settings: dict[str, object],
    drawn: list[tuple[int, ...]],
    no_values: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {"batch": 4, "patch": 16, "ema": 0.9, "discriminator": {"channels": 4, "rate": 1e-3}}
    one = Recipe.from_dict(recipe.to_dict() | changes | settings)
    monkeypatch.setattr("train.stage.open_loss", lambda name, *_: TrunkLoss(name).to(META))  # of no weights
    run = Run(one, META)
    run.bf16 = False
    stage = Adversarial(run) if one.losses.adversarial else Stage(run)
    stream = steps(stage, source())
    for _ in range(2):
        next(stream)  # matrices and moments are made and brought there once
    with Crossings() as crossings:
        for _ in range(3):
            next(stream)
    assert crossings.shapes == 3 * drawn


def steps(stage: Stage, source: Source) -> Iterator[None]:
    """Steps as `train.fit.Trainer` makes them."""
    run = stage.run
    for sample in samples(source, run.recipe, run.random, META):
        stage.step(sample)
        run.step += 1
        average(run.ema, run.model, 0.9)
        yield


def test_the_device_holds_no_values() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        torch.zeros(2, device=META).sum().item()
    with pytest.raises(NotImplementedError):
        torch.zeros(2, device=META).tolist()
