"""Whether the kernels do what torch does: each way of them is tried once on a GPU, and what came out is remembered.

Imported only where Triton is at hand.
"""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn

from vidsr import findings
from vidsr.backends import accuracy
from vidsr.backends.accuracy import Accuracy
from vidsr.backends.torch.kernels.network import kinds, with_kernels
from vidsr.backends.torch.kernels.tuner import Strip, strips_for
from vidsr.models.config import GeneratorConfig
from vidsr.models.fused import fuse
from vidsr.models.registry import Model
from vidsr.stages import stage

SHAPE = (1, 45, 270)  # (N, H, W) of the film frame: more than two of the widest strips across
SLACK = 3.0  # dB that kernels may be farther from FP32 than torch's half precision is


def trusted_strips(model: Model, device: torch.device) -> tuple[tuple[Strip, ...], str]:
    """The strips with which the network of kernels is as close to FP32 as torch's half precision; why none is.

    Those of the first and the last convolution are tried with one of the others that has agreed.

    Raises:
        torch.OutOfMemoryError: there is no room to try them.
    """
    trial, agreed, reasons = Trial(model, device), list[Strip](), list[str]()
    with stage("kernels"):
        first, *others = kinds(fuse(model.module))
        for strip in strips_for(device, first):
            if (why := trial.answer(strip)) is None:
                agreed.append(strip)
            else:
                reasons.append(why)
        for strip in (strip for kind in others for strip in strips_for(device, kind)) if agreed else ():
            if trial.answer(strip, agreed[0]) is None:
                agreed.append(strip)
    return tuple(agreed), "" if agreed else next(iter(reasons), "there is none for it")


class Trial:
    """One model on a film frame, by torch and by kernels; nothing runs before it is asked for."""

    def __init__(self, model: Model, device: torch.device) -> None:
        config = model.config
        assert isinstance(config, GeneratorConfig)
        self._model, self._device = model, device
        self._name = f"{config.graph} x{config.scale} {config.channels}x{config.blocks}"
        self._facts = findings.machine(device) | {"network": config.to_dict(), "precision": "fp16"}
        self._reference = cache(self._made)

    def answer(self, *strips: Strip) -> str | None:
        """`why_not`, unless it is known of this machine."""
        return findings.why_not_trusted(f"{self._name} {strips[0]}", self._facts, lambda: self.why_not(strips))

    def why_not(self, strips: tuple[Strip, ...]) -> str | None:
        """Why kernels with these strips are not used, in a few words.

        Raises:
            OSError: torch itself cannot tell.
        """
        reference, torchs = self._reference()
        made = self._error(with_kernels(fuse(self._model.module), self._device, strips), reference)
        if made.passed or made.psnr >= torchs.psnr - SLACK:
            return None
        return f"they are {made.psnr:.0f} dB from FP32 here, torch is {torchs.psnr:.0f}"

    def _made(self) -> tuple[Tensor, Accuracy]:
        batch = accuracy.real_frame(SHAPE).to(self._device)
        reference = accuracy.exact(self._model, batch)
        torchs = self._error(fuse(self._model.module), reference)
        if torchs.psnr == 0:
            raise OSError("half precision does not do for these weights")  # of these alone: not to be remembered
        return reference, torchs

    def _error(self, network: nn.Module, reference: Tensor) -> Accuracy:
        """Of `network` in half precision."""
        half = copy.deepcopy(network).to(self._device).half().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batch = accuracy.real_frame(SHAPE).to(self._device).half()
        with torch.no_grad():
            return accuracy.compare(half(batch.contiguous(memory_format=torch.channels_last)), reference)
