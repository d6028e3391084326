"""INT8 in torch: what every convolution gets is measured, and the network that computes in codes, exactly emulated."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidsr.models.scales import CODES, Scale, coded

CUT = 1e-5  # share of the values of one picture that may lie beyond either end of the range
FAINT = 1e-3  # of the strongest channel: what is weaker counts as this much
BALANCE = 0.5  # how much of the channels' differences goes into the weights (arXiv:2211.10438)

Look = Callable[[str, nn.Conv2d, Tensor, Tensor], None]  # name of a convolution, itself, what came in, what came out


@dataclass
class Ends:
    """Of what came into one convolution."""

    low: float = 0.0
    high: float = 0.0


def emulated(module: nn.Module, scales: Mapping[str, Scale]) -> nn.Module:
    """A copy of a generator whose convolutions compute as `scales` say, in numbers that are whole steps of codes."""
    made = copy.deepcopy(module)
    for name, scale in scales.items():
        conv = convolution(made, name)
        with torch.no_grad():
            conv.weight.copy_(_weight(conv, scale))
            assert conv.bias is not None
            conv.bias.add_(torch.from_numpy(scale.bias))
        conv.register_forward_pre_hook(lambda _, given, scale=scale: (rounded(given[0], scale),))
    return made


def rounded(x: Tensor, scale: Scale) -> Tensor:
    """(N, C, H, W) without its gains, in whole steps, cut off at both ends."""
    codes = (x / (_gain(scale) * scale.step)).round().add(scale.zero).clamp(0, CODES - 1)
    return codes.sub(scale.zero).mul(scale.step)


def measured(module: nn.Module, names: Sequence[str], pictures: Sequence[Tensor]) -> dict[str, Scale]:
    """The scale of every convolution in `names`, by what `pictures` bring to it; three times over them.

    A range reaches over all pictures, of each without the few values that lie farthest out.

    Args:
        module: a generator in evaluation mode.
        names: of its convolutions.
        pictures: (3, h, w) in [0, 1].
    """
    strength: dict[str, Tensor] = {}

    def channels(name: str, _: nn.Conv2d, x: Tensor, __: Tensor) -> None:
        found = x.abs().amax((0, 2, 3))
        strength[name] = torch.maximum(strength.get(name, found), found)

    _watch(module, names, pictures, channels)
    scales = {name: Scale(1.0, 0, _balanced(convolution(module, name), strength[name]), _NONE) for name in names}
    ends = {name: Ends() for name in names}
    _watch(module, names, pictures, partial(_widen, ends, scales))
    for name, one in ends.items():
        step = max(one.high - one.low, 1e-6) / (CODES - 1)
        scales[name] = replace(scales[name], step=step, zero=round(-one.low / step))
    return _with_biases(module, scales, pictures)


_NONE = np.zeros(0, np.float32)


def _balanced(conv: nn.Conv2d, strength: Tensor) -> "np.ndarray":
    """The gains: strong channels get large ones, those with large weights small ones; the largest is 1."""
    strong = strength.clamp(min=max(float(strength.max()) * FAINT, 1e-6))
    heavy = conv.weight.abs().amax((0, 2, 3)).clamp(min=1e-6)
    gain = strong**BALANCE / heavy ** (1 - BALANCE)
    return (gain / gain.max()).numpy().astype(np.float16).astype(np.float32)


def _widen(
    ends: Mapping[str, Ends], scales: Mapping[str, Scale], name: str, _: nn.Conv2d, x: Tensor, __: Tensor
) -> None:
    values, one = (x / _gain(scales[name])).flatten(), ends[name]
    least = 1 + int(CUT * values.numel())
    one.high = max(one.high, float(values.topk(least).values[-1]))
    one.low = min(one.low, float(values.topk(least, largest=False).values[-1]))


def _with_biases(module: nn.Module, scales: Mapping[str, Scale], pictures: Sequence[Tensor]) -> dict[str, Scale]:
    """The same with what rounding moves each output channel by on average, to be taken back."""
    weights = {name: _weight(convolution(module, name), scale) for name, scale in scales.items()}
    moved = {name: torch.zeros(len(weight), dtype=torch.float64) for name, weight in weights.items()}

    def compare(name: str, conv: nn.Conv2d, x: Tensor, y: Tensor) -> None:
        made = F.conv2d(rounded(x, scales[name]), weights[name], conv.bias, padding=conv.kernel_size[0] // 2)
        moved[name] += (y - made).double().mean((0, 2, 3))

    _watch(module, list(scales), pictures, compare)
    found = {name: (off / len(pictures)).numpy().astype(np.float16).astype(np.float32) for name, off in moved.items()}
    return {name: replace(scale, bias=found[name]) for name, scale in scales.items()}


@torch.inference_mode()
def _watch(module: nn.Module, names: Iterable[str], pictures: Iterable[Tensor], look: Look) -> None:
    hooks = [
        convolution(module, name).register_forward_hook(lambda conv, given, y, name=name: look(name, conv, given[0], y))
        for name in names
    ]
    try:
        for picture in pictures:
            module(picture[None])
    finally:
        for hook in hooks:
            hook.remove()


def _weight(conv: nn.Conv2d, scale: Scale) -> Tensor:
    codes, steps = coded(conv.weight.detach().numpy(), scale.gain)
    return torch.from_numpy(codes * steps)


def _gain(scale: Scale) -> Tensor:
    return torch.from_numpy(scale.gain)[:, None, None]


def convolution(module: nn.Module, name: str) -> nn.Conv2d:
    """The one of that name in a generator."""
    found = module.get_submodule(name)
    assert isinstance(found, nn.Conv2d)
    return found
