"""The mean of each colour set right at export."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train.centre import centre, mean_error
from train.checkpoint import Checkpoint
from train.data import find_photos
from train.recipe import Recipe
from train.trained import Trained
from vidsr.models.srgan import build


@pytest.mark.parametrize("graph", ["fast", "srgan"])
def test_the_means_over_photos_are_right_afterwards(recipe: Recipe, photos: Path, graph: str) -> None:
    generator = {"graph": graph, "scale": 2, "channels": 4, "blocks": 1}
    recipe = Recipe.from_dict(recipe.to_dict() | {"generator": generator})
    torch.manual_seed(0)
    network = build(recipe.generator).eval().requires_grad_(False)
    network.get_parameter("tail.weight").mul_(0)  # fast is then its bilinear base, srgan the same grey everywhere
    bias = network.get_parameter("tail.bias")
    bias.copy_(torch.tensor([0.05, 0.0, -0.02]).repeat_interleave(len(bias) // 3) + 0.4 * (graph == "srgan"))
    found = find_photos([photos])
    off = mean_error(network, found, 2)
    assert off[0] - off[2] > 7
    tensors = {f"ema.{name}": value.clone() for name, value in network.state_dict().items()}
    state = {"anneal": None, "step": 7, "origin": None, "seconds": 1.0}
    moved = centre(Trained(recipe, Checkpoint(tensors, state), {}), found)
    network.load_state_dict({name.removeprefix("ema."): value for name, value in moved.saved.tensors.items()})
    assert mean_error(network, found, 2).abs().max() < 0.3  # what is cut off at 0 and 255
    assert f"over 5 photos then moved by {-off[0]:+.2f}, " in moved.phase
    changed = [name for name, value in tensors.items() if not torch.equal(value, moved.saved.tensors[name])]
    assert changed == ["ema.tail.bias"]
    assert "(made elsewhere), 7 steps" in replace(moved, notes={"history": "made elsewhere"}).phase
