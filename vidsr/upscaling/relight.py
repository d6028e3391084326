"""R'G'B' of one set of primaries and one transfer function into that of another, through light. In torch."""

from __future__ import annotations

import torch
from torch import Tensor

from vidsr import light
from vidsr.frame import Colour


def relit(rgb: Tensor, source: Colour, target: Colour) -> Tensor:
    """(N, 3, H, W) R'G'B' of `source`, nominally in [0, 1] -> that of `target`, which shows the same light.

    `rgb` itself where both mean the same, or where one is of HDR, whose light has no place in the other.
    """
    if not light.differs(source, target) or not (light.is_known(source) and light.is_known(target)):
        return rgb
    mixing = torch.tensor(light.conversion(source.primaries, target.primaries), dtype=rgb.dtype, device=rgb.device)
    linear = _linear(rgb, light.TRANSFERS[source.transfer])
    mixed = (mixing[None, :, :, None, None] * linear[:, None]).sum(2)  # no product of matrices: those may be of TF32
    return _coded(mixed, light.TRANSFERS[target.transfer])


def _linear(values: Tensor, curve: tuple[float, float, float, float]) -> Tensor:
    a, b, slope, exponent = curve
    size = values.abs()
    powered = ((size + (a - 1)) / a).pow(1 / exponent)
    return values.sign() * torch.where(size < slope * b, size / slope, powered)


def _coded(light: Tensor, curve: tuple[float, float, float, float]) -> Tensor:
    a, b, slope, exponent = curve
    size = light.abs()
    return light.sign() * torch.where(size < b, size * slope, a * size.pow(exponent) - (a - 1))
