"""One training step of the generator: the weighted sum of its losses, down the gradient."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train import losses
from train.constants import COUNT, constants_loss, draw_colours, recoloured
from train.crops import Sample
from train.grid import grid_loss, without_grid
from train.inference import SelfEnsemble
from train.processes import World
from train.run import Run
from train.trunk import FeatureLoss, open_loss
from vidsr.backends.torch.kernels import why_none
from vidsr.models import registry
from vidsr.models.fused import before_shuffle_places, before_shuffle_weight
from vidsr.models.graph import SHUFFLE
from vidsr.models.srgan import SRGAN, Fast, SubPixel

log = logging.getLogger("train")

LPIPS = "stlpips-vgg16:lpips3"  # what `losses.lpips` weighs
CLOSING = 0.1  # of an anneal's steps: its end, in FP32
LIFT = 2.0**12  # of gradients in FP16: those of a mean over a million pixels are 1e-7
MOST = 2.0**10  # of a lifted gradient: sums of hundreds of them stay within FP16
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
            self.distance = self.trunk.distance  # not compiled: convolutions and little else
        if self.weights.lpips:
            self.lpips = open_loss(LPIPS, "", run.device).distance
        if self.weights.kept:
            keeper: nn.Module = registry.load(self.weights.keeps, run.recipe.generator.scale).module
            keeper = SelfEnsemble(keeper) if self.weights.ensemble else keeper
            self.keeper = quicken(keeper.to(run.device, memory_format=torch.channels_last), run.device)  # type: ignore[call-overload]
        self.upscale = quicken(PreciseTail(self._generator()), run.device)

    def _generator(self) -> nn.Module:
        """That of the run; on a GPU in bf16 with convolutions by our kernels, where those are right and faster."""
        run, recipe = self.run, self.run.recipe
        if run.device.type != "cuda" or not run.bf16:
            return run.model
        if (why := why_none(run.device)) is not None:
            log.info("3x3 convolutions by torch: %s", why)
            return run.model
        from train.kernels import quickest

        pairs = 2 if self.weights.shift and recipe.data == "baked" else 1
        return quickest(run.model, run.device, (pairs * recipe.batch // self.world.size, recipe.patch, recipe.patch))

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
        tame(run.model.parameters())
        for optimiser in run.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seen = {name: term.detach() for name, term in terms.items()}
        return {"loss": loss.detach(), **seen, **self.follow(sample, sr.detach())}

    def terms(self, sample: Sample, sr: Tensor) -> Terms:
        """The losses that the recipe weighs, not yet weighted."""
        terms: Terms = {}
        scale = self.run.recipe.generator.scale
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
            own = recoloured(self._drawn(sample), sample.hr)
            if self.weights.grid:
                own = without_grid(own, sample.hr, scale)
            for kept, real in zip(_halves(own, sample), _halves(sample.hr, sample), strict=True):
                kept[len(kept) - sample.made :] = real[len(real) - sample.made :]
            terms["kept"] = losses.pixel_loss(sr, own)
        if self.weights.flat:
            colours = draw_colours(COUNT, self.run.random).to(sr.device)
            terms["flat"] = constants_loss(self.run.model, colours)
        if self.weights.grid:
            terms["grid"] = grid_loss(sr, sample.hr, scale)
        return terms

    @torch.no_grad()
    def _drawn(self, sample: Sample) -> Tensor:
        """What the model draws whose details stay: made ahead, or now."""
        if sample.drawn is not None:
            return sample.drawn
        drawn: Tensor = self.keeper(sample.lr.contiguous(memory_format=torch.channels_last)).float()
        return drawn

    def weight(self, name: str) -> float:
        """The weight of one loss at this step."""
        return float(getattr(self.weights, name))

    def follow(self, sample: Sample, sr: Tensor) -> Terms:
        """What else is done or seen in a step, after the generator has moved."""
        return {"drift": losses.colour_drift(sr, sample.hr)}


def _halves(pictures: Tensor, sample: Sample) -> Sequence[Tensor]:
    """The two of a shifted pair apart, as views; others as they are."""
    return [pictures] if sample.shifts is None else pictures.chunk(2)


def tame(parameters: Iterable[Tensor]) -> None:
    """Leave a step out, without waiting for the device, whose gradients are not numbers: zeros in their place."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    finite = torch.stack(torch._foreach_norm(gradients)).sum().isfinite()
    for gradient in gradients:
        gradient.copy_(torch.where(finite, gradient, 0.0))


class PreciseTail(nn.Module):
    """A generator whose last convolution, which sets its colours, keeps eleven bits or more under autocast, too.

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
            bias = generator.tail.bias
            assert bias is not None
            wide = before_shuffle_weight(generator.tail.weight, self.places)
            return F.pixel_shuffle(_precise(y, wide, bias.repeat_interleave(SHUFFLE**2)), SHUFFLE)
        assert isinstance(generator, Fast)
        tail, features = generator.tail, generator.features(x)
        assert tail.bias is not None
        with torch.autocast(x.device.type, enabled=False):
            return generator.base(x) + F.pixel_shuffle(_precise(features, tail.weight, tail.bias), generator.scale)


def _precise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution that keeps the size, with its result in FP32: bf16 would round colours to whole codes.

    On a GPU under autocast it runs in FP16, which rounds to a sixteenth of a code and is as fast there.
    """
    with torch.autocast(x.device.type, enabled=False):
        if x.is_cuda and x.dtype == torch.bfloat16:
            return in_fp16(x, weight, bias)
        return F.conv2d(x.float(), weight, bias, padding=weight.shape[-1] // 2)


def in_fp16(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same in FP16, its gradients lifted on their way: those of a mean over pixels are too small for it."""
    x, weight, bias = (_rescaled(part.float(), 1 / LIFT).half() for part in (x, weight, bias))
    return _rescaled(F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2).float(), LIFT)


def _rescaled(x: Tensor, factor: float) -> Tensor:
    """`x` as it is, and its gradient times a factor."""
    passed: Tensor = _Rescaled.apply(x, factor)  # type: ignore[no-untyped-call]
    return passed


class _Rescaled(torch.autograd.Function):
    """Passes a tensor as it is, and its gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (gradient * ctx.factor).clamp(-MOST, MOST), None


def quicken(function: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """`function` compiled for the GPU `device`, for each shape by itself; as it is elsewhere, or without a compiler.

    Compiled under autocast it stays as it is for the few steps in FP32, which would not make up for compiling again.
    """
    if device.type != "cuda" or not _compiles(device):
        return function
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False)
    in_bf16 = False

    def quick(*inputs: Tensor) -> Tensor:
        nonlocal in_bf16
        cast = torch.is_autocast_enabled(device.type)
        in_bf16 |= cast
        return compiled(*inputs) if cast or not in_bf16 else function(*inputs)

    return quick


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
