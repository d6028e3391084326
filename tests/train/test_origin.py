"""Where weights come from, and that a grown network computes what the smaller one did."""

from pathlib import Path

import pytest
import torch
from torch import nn

from train import export
from train.data import Bank
from train.fit import Trainer
from train.origin import Origin, initialise, read_origin
from train.recipe import Recipe
from train.run import Run, start
from vidsr.errors import ModelError

CPU = torch.device("cpu")


def changed(recipe: Recipe, **generator: object) -> Recipe:
    return Recipe.from_dict(recipe.to_dict() | {"generator": recipe.generator.to_dict() | generator})


def randomised(recipe: Recipe) -> Run:
    """A run whose weights are all different, biases and slopes too."""
    run = Run(recipe, CPU)
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
    return run


@pytest.fixture
def trained(recipe: Recipe, bank: Bank, tmp_path: Path) -> Path:
    Trainer(start(recipe, tmp_path / "run", CPU), bank, tmp_path / "run").train()
    return tmp_path / "run"


def test_weights_of_another_run_are_taken_where_they_fit(recipe: Recipe, trained: Path) -> None:
    run = Run(changed(recipe, scale=4), CPU)
    tail = run.model.state_dict()["tail.weight"].clone()
    origin = read_origin(str(trained), 4)
    initialise(run, origin)
    assert run.freeze().state["origin"] == "tiny x2 at step 12"
    for module in (run.model, run.ema):
        state = module.state_dict()
        assert torch.equal(state["body.1.weight"], origin.weights["body.1.weight"])
        assert torch.equal(state["tail.weight"], tail)
    misfit = Run(changed(recipe, graph="srgan", channels=4, blocks=1), CPU)
    with pytest.raises(ModelError, match="No weight of tiny x2 at step 12 fits into tiny"):
        initialise(misfit, origin)


def test_a_weights_file_is_taken_whole(recipe: Recipe, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    export.write_weights(export.read_run(trained), path)
    run = Run(recipe, CPU)
    initialise(run, read_origin(str(path), 4))
    shipped = export.read_run(trained).saved.tensors["ema.body.0.weight"].half().float()
    assert torch.equal(run.model.state_dict()["body.0.weight"], shipped)
    assert run.origin is not None
    assert run.origin.startswith("tiny x2 (")


def test_shipped_weights_by_name_and_the_other_scale_where_one_is_missing(recipe: Recipe) -> None:
    x4 = read_origin("fast", 4)
    assert x4.words.startswith("shipped fast x4 (")
    run = Run(changed(recipe, scale=4, channels=64, blocks=6, skip=2), CPU)
    initialise(run, x4)
    assert all(torch.equal(value, x4.weights[name]) for name, value in run.ema.state_dict().items())
    with pytest.raises(ModelError, match="Unknown model 'fats'"):
        read_origin("fats", 4)
    with pytest.raises(ModelError, match="holds no checkpoint"):
        read_origin(str(Path(__file__).parent), 4)


@pytest.mark.parametrize(
    ("graph", "skip", "before", "after"), [("srgan", 0, 1, 3), ("fast", 2, 2, 6), ("fast", 0, 2, 5)]
)
def test_a_grown_network_computes_the_same_and_learns(
    recipe: Recipe, graph: str, skip: int, before: int, after: int
) -> None:
    small = randomised(changed(recipe, graph=graph, blocks=before, skip=skip))
    large = Run(changed(recipe, graph=graph, blocks=after, skip=skip), CPU)
    initialise(large, Origin("the small one", small.model.state_dict()))
    x = torch.rand(2, 3, 12, 13, generator=torch.Generator().manual_seed(1))
    wanted = small.model(x)
    for module in (large.model, large.ema):
        assert (module(x) - wanted).abs().max() < 1e-5
    assert (nn.functional.l1_loss(Run(large.recipe, CPU).model(x), wanted)) > 1e-3
    large.model(x).square().sum().backward()
    part = large.model.get_submodule("blocks.2.conv2" if graph == "srgan" else f"body.{after - 1}")
    gradient = part.weight.grad
    assert isinstance(gradient, torch.Tensor)
    assert gradient.abs().max() > 0
