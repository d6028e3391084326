"""One training step of the generator: the weighted sum of its losses, down the gradient."""

import logging
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train import losses
from train.constants import COUNT, constants_loss, draw_colours, recoloured
from train.crops import Sample
from train.processes import World
from train.run import Run
from train.trunk import FeatureLoss, open_loss
from vidsr.models import registry
from vidsr.models.fused import SHUFFLE, before_shuffle_places, before_shuffle_weight
from vidsr.models.srgan import SRGAN, Fast, SubPixel

log = logging.getLogger("train")

LPIPS = "stlpips-vgg16:lpips3"  # what `losses.lpips` weighs
CLOSING = 0.25  # of an anneal's steps: its end, in FP32
Terms = dict[str, Tensor]  # by name: scalars, and the drift of three colours


class Stage:
    """Moves the generator of `run` by all losses that ask no discriminator, as the recipe weighs them.

    Raises:
        UsageError, ModelError: the perceptual loss's feature network, or the model whose details stay, cannot be had.
    """

    def __init__(self, run: Run, world: World | None = None) -> None:
        self.run, self.world, self.weights = run, world or World(), run.recipe.losses
        self.trunk: FeatureLoss | None = None
        if self.weights.perceptual:
            self.trunk = open_loss(self.weights.trunk, self.weights.trunk_file, run.device)
            self.distance = quicken(self.trunk.distance, run.device)
        if self.weights.lpips:
            self.lpips = quicken(open_loss(LPIPS, "", run.device).distance, run.device)
        if self.weights.kept:
            keeper = registry.load(self.weights.keeps, run.recipe.generator.scale).module
            self.keeper = quicken(keeper.to(run.device, memory_format=torch.channels_last), run.device)  # type: ignore[call-overload]
        self.upscale = quicken(PreciseTail(run.model), run.device)

    def autocast(self) -> torch.autocast:
        """The precision of the networks' layers; the losses themselves, and the end of an anneal, are in FP32."""
        return torch.autocast(self.run.device.type, torch.bfloat16, enabled=bool(self.run.bf16) and not self.closing)

    @property
    def closing(self) -> bool:
        """Whether the run is in the last steps of its anneal: bf16 leaves colours a code or two off."""
        anneal = self.run.anneal
        return anneal is not None and self.run.step >= anneal.start + (1 - CLOSING) * anneal.steps

    def step(self, sample: Sample) -> Terms:
        """One step on one sample; its losses by name, `loss` their weighted sum, detached."""
        run = self.run
        run.set_rates()
        with self.autocast():
            sr = self.upscale(sample.lr.contiguous(memory_format=torch.channels_last))
        sr = sr.float()
        terms = self.terms(sample, sr)
        loss = torch.stack([self.weight(name) * term for name, term in terms.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.mean_gradients(run.model.parameters())
        for optimiser in run.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seen = {name: term.detach() for name, term in terms.items()}
        return {"loss": loss.detach(), **seen, **self.follow(sample, sr.detach())}

    def terms(self, sample: Sample, sr: Tensor) -> Terms:
        """The losses that the recipe weighs, not yet weighted."""
        terms: Terms = {}
        if self.weights.pixel:
            terms["pixel"] = losses.pixel_loss(sr, sample.hr)
        whole = len(sr) if sample.shifts is None else len(sr) // 2  # of a shifted pair one: half the time
        seen = min(self.weights.seen or whole, whole)
        with self.autocast():
            if self.weights.perceptual:
                terms["perceptual"] = self.distance(sr[:seen], sample.hr[:seen])
            if self.weights.lpips:
                terms["lpips"] = self.lpips(sr[:seen], sample.hr[:seen])
        if self.weights.shift and sample.shifts is not None:
            first, second = sr.chunk(2)
            terms["shift"] = losses.shift_loss(first, second, sample.shifts)
        if self.weights.kept:
            with torch.no_grad():
                own = self.keeper(sample.lr.contiguous(memory_format=torch.channels_last)).float()
            terms["kept"] = losses.pixel_loss(sr, recoloured(own, sample.hr))
        if self.weights.flat:
            colours = draw_colours(COUNT, self.run.random).to(sr.device)
            terms["flat"] = constants_loss(self.run.model, colours)
        return terms

    def weight(self, name: str) -> float:
        """The weight of one loss at this step."""
        return float(getattr(self.weights, name))

    def follow(self, sample: Sample, sr: Tensor) -> Terms:
        """What else is done or seen in a step, after the generator has moved."""
        return {"drift": losses.colour_drift(sr, sample.hr)}


class PreciseTail(nn.Module):
    """A generator whose last convolution, which sets its colours, runs in FP32 under autocast, too.

    That of ``srgan`` is taken before the last pixel shuffle, where it costs least (`vidsr.models.fused`).
    """

    places: Tensor

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        if isinstance(generator, SRGAN):
            weight = generator.tail.weight
            places = before_shuffle_places(weight.shape, SHUFFLE).to(weight.device)
            self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """As the generator's own, (N, 3, H, W) -> (N, 3, H*scale, W*scale)."""
        generator = self.generator
        if isinstance(generator, SRGAN):
            *steps, last = generator.up
            assert isinstance(last, SubPixel)
            y = generator.body(x)
            for step in steps:
                y = step(y)
            y = last.act(last.conv(y))
            with torch.autocast(x.device.type, enabled=False):
                wide = before_shuffle_weight(generator.tail.weight, self.places)
                bias = generator.tail.bias
                assert bias is not None
                bias = bias.repeat_interleave(SHUFFLE**2)
                return F.pixel_shuffle(F.conv2d(y.float(), wide, bias, padding=wide.shape[-1] // 2), SHUFFLE)
        assert isinstance(generator, Fast)
        features = generator.features(x)
        with torch.autocast(x.device.type, enabled=False):
            tail: Tensor = generator.tail(features.float())
            return generator.base(x) + F.pixel_shuffle(tail, generator.scale)


def quicken(function: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """`function` compiled for the GPU `device`, for each shape by itself; as it is elsewhere, or without a compiler."""
    if device.type != "cuda" or not _compiles(device):
        return function
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False)
    return compiled


@lru_cache
def _compiles(device: torch.device) -> bool:
    """Whether a small function can be compiled there, backward too."""
    try:
        x = torch.ones(8, device=device, requires_grad=True)
        torch.compile(lambda y: (y.relu() + 1).sum())(x).backward()
    except (RuntimeError, ImportError, OSError) as error:
        log.info("networks are not compiled: %s", str(error).partition("\n")[0])
        return False
    return True
