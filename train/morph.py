"""The quick generator written into the paper's: a new network that begins with what a trained one computes.

Network morphism (Wei et al., arXiv:1603.01670): the weights of ``srgan`` are set so that it equals a trained ``fast``
wherever that is not negative, but for the picture's outermost pixel, and every weight can still learn. A large network
then spends its time on what the small one cannot do.

An activation after an addition, which only ``fast`` has, becomes a block of its own: x + w * PReLU_b(x) is, for w != 0,
(1 + w) * PReLU_a(x) with b = ((1 + w) * a - 1) / w.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vidsr.models.srgan import SRGAN, ResidualBlock, SubPixel

RGB = 3
ENTRY_BLOCKS = 2  # that turn the picture into the features of fast's first convolution


def fits(model: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Whether `weights` are those of a ``fast`` bridged by twos that can be written into `model`."""
    if not isinstance(model, SRGAN) or "body.0.weight" not in weights:
        return False
    width, groups = model.head[0].out_channels, _groups(weights)
    scale = 2 ** len(model.up)
    return (
        groups > 0
        and weights["head.weight"].shape == (width, RGB, 3, 3)
        and weights["tail.weight"].shape == (RGB * scale**2, width, 3, 3)
        and width >= RGB + RGB * scale**2
        and len(model.blocks) >= ENTRY_BLOCKS + 2 * groups
    )


def _groups(weights: Mapping[str, Tensor]) -> int:
    count = sum(name.startswith("body.") and name.endswith(".weight") for name in weights)
    return 0 if count % 2 else count // 2


@torch.no_grad()
def morph(model: SRGAN, weights: Mapping[str, Tensor]) -> None:
    """Make `model` compute what the ``fast`` of `weights` computes; ask `fits` first.

    The picture travels in the first three channels of the long skip, the correction in those after them; what is left
    of the network stays freshly initialised and is read by nothing yet.
    """
    head = model.head[0]
    assert isinstance(head, nn.Conv2d)
    _clear(head)
    _pass(head, RGB)
    blocks = [block for block in model.blocks if isinstance(block, ResidualBlock)]
    _enter(blocks[0], blocks[1], weights)
    size = 1.0  # the features are those of fast times this
    for group in range(_groups(weights)):
        bridged, activated = blocks[ENTRY_BLOCKS + 2 * group :][:2]
        _convolve(bridged, weights, group, size)
        growth = 1.0 if group % 2 == 0 else -0.5
        _activate(activated, float(weights[f"acts.{2 * group + 2}.weight"]), growth)
        size *= 1 + growth
    for block in blocks[ENTRY_BLOCKS + 2 * _groups(weights) :]:
        _clear(block.conv2)
    _leave(model, weights, size)


def _enter(most: ResidualBlock, last: ResidualBlock, weights: Mapping[str, Tensor]) -> None:
    """Put the features of fast's first convolution into all channels, last those that take the picture's place."""
    weight, bias, slope = weights["head.weight"], weights["head.bias"], weights["acts.0.weight"]
    for block in (most, last):
        _clear(block.conv2)
        block.act.weight.copy_(slope)
    _clear(most.conv1)
    most.conv1.weight[RGB:, :RGB] = weight[RGB:]
    most.conv1.bias[RGB:] = bias[RGB:]  # type: ignore[index]
    _pass(most.conv2, len(weight), start=RGB)
    last.conv1.weight[: 2 * RGB] = 0
    last.conv1.weight[:RGB, :RGB] = weight[:RGB]
    last.conv1.bias[:RGB] = bias[:RGB]  # type: ignore[index]
    for colour in range(RGB):
        last.conv1.weight[RGB + colour, colour, 1, 1] = 1
        last.conv1.bias[RGB + colour] = 0  # type: ignore[index]
        last.conv2.weight[colour, colour, 1, 1] = 1
        last.conv2.weight[colour, RGB + colour, 1, 1] = -1


def _convolve(block: ResidualBlock, weights: Mapping[str, Tensor], group: int, size: float) -> None:
    for conv, number, factor in ((block.conv1, 2 * group, 1 / size), (block.conv2, 2 * group + 1, size)):
        conv.weight.copy_(weights[f"body.{number}.weight"] * factor)
        bias = weights[f"body.{number}.bias"]
        conv.bias.copy_(bias if conv is block.conv1 else bias * size)  # type: ignore[union-attr]
    block.act.weight.copy_(weights[f"acts.{2 * group + 1}.weight"])


def _activate(block: ResidualBlock, slope: float, growth: float) -> None:
    """Make `block` compute (1 + growth) * PReLU of `slope`."""
    for conv, value in ((block.conv1, 1.0), (block.conv2, growth)):
        _clear(conv)
        _pass(conv, conv.out_channels, value=value)
    block.act.weight.fill_(((1 + growth) * slope - 1) / growth)


def _leave(model: SRGAN, weights: Mapping[str, Tensor], size: float) -> None:
    """The correction of every sub-pixel, then the picture's bilinear upsampling added to it, then the shuffles."""
    correction = weights["tail.weight"]
    rest = RGB + len(correction)
    model.trunk.weight[:rest] = 0
    model.trunk.weight[RGB:rest] = correction / size
    model.trunk.bias[:rest] = 0  # type: ignore[index]
    model.trunk.bias[RGB:rest] = weights["tail.bias"]  # type: ignore[index]
    side = 2 ** len(model.up)
    for step, part in enumerate(model.up):
        assert isinstance(part, SubPixel)
        _shuffle(part.conv, side >> step, picture=step == 0)
    model.tail.weight.zero_()
    model.tail.bias.zero_()  # type: ignore[union-attr]
    _pass(model.tail, RGB)


def _shuffle(conv: nn.Conv2d, side: int, picture: bool) -> None:
    """Make `conv` pass on, for each colour, side x side sub-pixels in the order of its own pixel shuffle by two.

    With `picture` the sub-pixels follow the three channels of the picture, whose bilinear upsampling is added.
    """
    half, first = side // 2, RGB if picture else 0
    used = RGB * half**2 * 4
    conv.weight[:used] = 0
    conv.bias[:used] = 0  # type: ignore[index]
    phases = bilinear_phases(side)
    for colour in range(RGB):
        for down in range(side):
            for right in range(side):
                place = colour * half**2 + down % half * half + right % half
                out = place * 4 + down // half * 2 + right // half
                conv.weight[out, first + (colour * side + down) * side + right, 1, 1] = 1
                if picture:
                    conv.weight[out, colour] = torch.outer(phases[down], phases[right])


def bilinear_phases(scale: int) -> Tensor:
    """(scale, 3) float32: weights of the pixels i-1..i+1 in the output pixels scale*i .. scale*i + scale-1."""
    centres = (torch.arange(scale) + 0.5) / scale - 0.5
    return (1 - (centres[:, None] - torch.arange(-1, 2)).abs()).clamp_min(0)


def _clear(conv: nn.Conv2d) -> None:
    conv.weight.zero_()
    conv.bias.zero_()  # type: ignore[union-attr]


def _pass(conv: nn.Conv2d, channels: int, start: int = 0, value: float = 1.0) -> None:
    """Let the channels from `start` to `channels` through, times `value`."""
    middle = conv.kernel_size[0] // 2
    for channel in range(start, channels):
        conv.weight[channel, channel, middle, middle] = value
