"""The same network in a form that moves less memory: the algebra of `graph`, on a module of torch that is built."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vidsr.models import graph
from vidsr.models.graph import SHUFFLE
from vidsr.models.srgan import SRGAN, SubPixel


def fuse(module: nn.Module) -> nn.Module:
    """A copy of a generator, same device and type, that maps every input to the same output in another order.

    A generator without a sub-pixel step before its end (``fast``, ``bicubic``), or fused already, is copied as it is.
    """
    fused = copy.deepcopy(module)
    if isinstance(fused, SRGAN) and isinstance(last := fused.up[-1], SubPixel):
        steps = [step for step in list(fused.up)[:-1] if isinstance(step, SubPixel)]
        fused.up = nn.Sequential(*(_step(step) for step in steps), nn.Sequential(last.conv, last.act))
        fused.set_submodule("tail", nn.Sequential(before_shuffle(fused.tail, SHUFFLE), nn.PixelShuffle(SHUFFLE)))
    return fused


def _step(step: SubPixel) -> nn.Sequential:
    return nn.Sequential(step.conv, step.act, nn.PixelShuffle(SHUFFLE))


def before_shuffle(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """The convolution C -> O after a pixel shuffle by `factor`, as one C*factor**2 -> O*factor**2 before it.

    Raises:
        ValueError: the convolution has strides, dilation or groups, or does not keep the size.
    """
    size = conv.kernel_size[0]
    padding = size // 2
    plain = (conv.stride, conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
    if not plain or conv.kernel_size != (size, size) or conv.padding != (padding, padding) or size % 2 == 0:
        raise ValueError(f"Only a plain convolution that keeps the size can move before a pixel shuffle, not {conv}.")
    weight = conv.weight.detach()
    wide = before_shuffle_weight(weight, before_shuffle_places(weight.shape, factor))
    moved = nn.Conv2d(
        wide.shape[1], wide.shape[0], wide.shape[2], padding=wide.shape[2] // 2, bias=conv.bias is not None
    )
    moved.to(weight.device, weight.dtype)
    with torch.no_grad():
        moved.weight.copy_(wide)
        if moved.bias is not None and conv.bias is not None:
            moved.bias.copy_(conv.bias.repeat_interleave(factor**2))
    return moved.train(conv.training).requires_grad_(conv.weight.requires_grad)


def before_shuffle_places(shape: Sequence[int], factor: int) -> Tensor:
    """Where in a weight of `shape` (O, C, k, k) each number of the wider one is found; O*C*k*k where it is zero.

    See `graph.before_shuffle`.

    Returns:
        (O*factor**2, C*factor**2, K, K) int64.
    """
    numel = math.prod(shape)
    numbered = np.arange(1, numel + 1).reshape(shape)
    return torch.from_numpy((graph.before_shuffle(numbered, factor) - 1) % (numel + 1))


def before_shuffle_weight(weight: Tensor, places: Tensor) -> Tensor:
    """The wider weight, of `places` as `before_shuffle_places` gives them; gradients reach `weight`."""
    return torch.cat((weight.flatten(), weight.new_zeros(1)))[places]


def lower_prelu(module: nn.Module) -> nn.Module:
    """A copy in which every PReLU with a single slope is a LeakyReLU with that slope, which runtimes fuse."""
    lowered = copy.deepcopy(module)
    for name, child in list(lowered.named_modules()):
        if isinstance(child, nn.PReLU) and child.num_parameters == 1:
            lowered.set_submodule(name, nn.LeakyReLU(float(child.weight.detach().item())))
    return lowered


def inference_form(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """What compilers are given: the fused graph without parametric ReLUs, wholly in `dtype`, as a copy."""
    return lower_prelu(fuse(module)).to(dtype).eval().requires_grad_(False)
