"""What makes torch faster on a GPU, and which of it a model runs by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from vidsr.backends.torch.kernels import why_none
from vidsr.models.fused import fuse
from vidsr.models.registry import Model

if TYPE_CHECKING:
    from vidsr.backends.torch.kernels.tuner import Strip


@dataclass(frozen=True, slots=True)
class Speedups:
    """What makes torch faster on a GPU: the fused graph, `torch.compile`, one CUDA graph for each shape.

    `autotuned` lets `torch.compile` try Triton's convolutions beside cuDNN's; those take the activations and sums in.
    `kernels` stands for our own (`kernels.conv`), which do so, too: of 64 channels, in half precision; with `ends` for
    the first and the last convolution as well.
    """

    fused: bool = True
    compiled: bool = True
    captured: bool = True
    autotuned: bool = False
    kernels: bool = False
    ends: bool = True


PLAIN = Speedups(fused=False, compiled=False, captured=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a model runs: by what, with which ways of the kernels, and why."""

    speedups: Speedups
    strips: tuple[Strip, ...] = ()
    why: str = ""


def best(model: Model, precision: str, device: torch.device) -> Choice:
    """Our kernels where they do what torch does; else what torch has, compiled where that can be done.

    A model without weights is done before anything could be compiled.

    Raises:
        torch.OutOfMemoryError: there is no room to try the kernels.
    """
    if not any(True for _ in model.module.parameters()):
        return Choice(Speedups(fused=False, compiled=False))
    strips, why = trusted(model, precision, device)
    if strips:
        return Choice(Speedups(compiled=False, kernels=True), strips, "our kernels, which do what torch does here")
    return Choice(Speedups(compiled=why_none(device) is None), why=f"without our kernels: {why}")


def trusted(model: Model, precision: str, device: torch.device) -> tuple[tuple[Strip, ...], str]:
    """The ways by which kernels do what torch does for this model on `device`; and why, where there is none.

    Raises:
        torch.OutOfMemoryError: there is no room to try them.
    """
    if (why := why_none(device)) is not None:
        return (), why
    if precision != "fp16":
        return (), "they are for half precision"
    from vidsr.backends.torch.kernels.network import serves

    if not serves(fuse(model.module)):
        return (), "they are for generators of 64 channels"
    from vidsr.backends.torch.trust import trusted_strips

    return trusted_strips(model, device)
