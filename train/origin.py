"""Where a run's weights begin: shipped weights by name, a weights file, or another run's folder."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from train import export, morph
from train.run import Run, below
from vidsr.errors import ModelError
from vidsr.models import registry
from vidsr.models.names import is_path
from vidsr.models.srgan import SRGAN, Fast, ResidualBlock

log = logging.getLogger("train")


@dataclass(frozen=True)
class Origin:
    """Weights to begin with, and what they are in words."""

    words: str
    weights: dict[str, Tensor]


def read_origin(name_or_path: str, scale: int) -> Origin:
    """Weights by a shipped model's name (of `scale` where it exists, else of the other), a file, or a run's folder.

    Raises:
        ModelError: there is no such model, file or run, or it is damaged.
    """
    path = Path(name_or_path)
    if path.is_dir():
        trained = export.read_run(path)
        made = f"{trained.recipe.name} x{trained.recipe.generator.scale}"
        return Origin(f"{made} at step {trained.saved.state['step']:,}", below(trained.saved.tensors, "ema."))
    if is_path(name_or_path):
        scale = registry.read_info(path).scale
    else:
        scales = [info.scale for info in registry.available_models() if info.name == name_or_path]
        scale = scale if scale in scales or not scales else scales[0]
    model = registry.load(name_or_path, scale)
    shipped = "shipped " if not is_path(name_or_path) else ""
    return Origin(f"{shipped}{model.name} x{scale} ({model.weights_hash[:12]})", dict(model.module.state_dict()))


def initialise(run: Run, origin: Origin) -> None:
    """Begin a new run with `origin`'s weights wherever name and shape are the same.

    Blocks that it does not have begin as identity, so that a grown network computes what the smaller one did; an
    ``srgan`` begins as the ``fast`` of the same scale (`train.morph`).

    Raises:
        ModelError: nothing fits.
    """
    if morph.fits(run.model, origin.weights):
        assert isinstance(run.model, SRGAN)
        morph.morph(run.model, origin.weights)
        run.ema.load_state_dict(run.model.state_dict())
        run.origin = f"what {origin.words} computes"
        log.info("%s: begins as %s", run.recipe.name, run.origin)
        return
    own = run.model.state_dict()
    fitting = {
        name: origin.weights[name].to(own[name].dtype)
        for name in own
        if name in origin.weights and origin.weights[name].shape == own[name].shape
    }
    if not any(name.endswith("weight") and value.dim() > 1 for name, value in fitting.items()):
        raise ModelError(f"No weight of {origin.words} fits into {run.recipe.name}; leave out --init.")
    run.model.load_state_dict(own | fitting)
    grown = grow(run.model, set(fitting))
    run.ema.load_state_dict(run.model.state_dict())
    run.origin = origin.words
    log.info("%s: %d of %d weights from %s", run.recipe.name, len(fitting), len(own), run.origin)
    if grown:
        log.info("%s: new blocks %s begin as identity", run.recipe.name, ", ".join(map(str, grown)))


def grow(model: nn.Module, known: set[str]) -> list[int]:
    """Make the blocks of which no weight is in `known` pass on what they get; their numbers, counted from 0."""
    if isinstance(model, SRGAN):
        new = _unknown("blocks", len(model.blocks), known)
        for number in new:
            block = model.blocks[number]
            assert isinstance(block, ResidualBlock)
            _zero(block.conv2)
        return new
    if not isinstance(model, Fast):
        return []
    new = _unknown("body", len(model.body), known)
    for number in new:
        conv, act = model.body[number], model.acts[number + 1]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(act, nn.PReLU)
        if model.skip and (number + 1) % model.skip:
            continue  # the last convolution of a bridged group decides alone
        _zero(conv)
        if not model.skip:
            nn.init.dirac_(conv.weight)
        nn.init.ones_(act.weight)
    return new


def _unknown(part: str, count: int, known: set[str]) -> list[int]:
    found = {int(match[1]) for name in known if (match := re.match(rf"{part}\.(\d+)\.", name))}
    return [number for number in range(count) if number not in found]


def _zero(conv: nn.Conv2d) -> None:
    with torch.no_grad():
        conv.weight.zero_()
        if conv.bias is not None:
            conv.bias.zero_()
