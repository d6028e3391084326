"""How much work a network is."""

from __future__ import annotations

from collections import Counter
from functools import partial

import torch
from torch import Tensor, nn


@torch.no_grad()
def multiply_adds(module: nn.Module, batch: Tensor) -> Counter[str]:
    """Of each of `module`'s convolutions and linear layers, by name, on the whole `batch`; counted on one row of it."""
    found = Counter[str]()

    def count(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        values = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        found[name] += values.numel() * layer.weight[0].numel() * len(batch)

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [
        layer.register_forward_hook(partial(count, name))
        for name, layer in module.named_modules()
        if isinstance(layer, kinds)
    ]
    try:
        module(batch[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return found
