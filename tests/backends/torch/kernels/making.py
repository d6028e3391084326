"""Generators in which every part shows in the result."""

from __future__ import annotations

from torch import Tensor, nn

from vidsr.models.srgan import GeneratorConfig, build


def untrained(config: GeneratorConfig) -> nn.Module:
    """With slopes and biases that show, and no residual that vanishes."""
    module = build(config).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, a=0.2)
        elif "act" in name or name.endswith(".1.weight"):
            parameter.fill_(0.2)
        else:
            parameter.normal_(0, 0.1)
    return module


def error(result: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((result.float().cpu() - expected).abs().max() / expected.abs().max())
