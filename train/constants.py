"""Constant colours as a loss: what a generator makes of wide flat places, exactly and at hardly any cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COUNT = 128  # colours at every step; each costs a pixel
COARSE = 16  # HR pixels: differences wider than this are a colour's, not a detail's


def constants_loss(generator: nn.Module, colours: Tensor) -> Tensor:
    """Mean square of how far wide constant places come out off, in codes / 255: what L1 is for one that is a code off.

    Squared, so that the worst colour counts; taken pixel by pixel, so that a grid on flat places counts, too.

    Args:
        generator: maps (N, 3, h, w) in [0, 1] to (N, 3, h * scale, w * scale).
        colours: (N, 3) whole code values.
    """
    flat = (colours / 255)[:, :, None, None]
    with endless(generator):
        off = generator(flat) - flat
    loss: Tensor = (255 * off.float()).square().mean() / 255
    return loss


@contextmanager
def endless(module: nn.Module) -> Iterator[None]:
    """Until it ends the convolutions of `module` see their input repeated beyond every border.

    One LR pixel is then an endless place of its colour, at the cost of a pixel.
    """
    zeros = [one for one in module.modules() if isinstance(one, nn.Conv2d) and one.padding_mode == "zeros"]
    for one in zeros:
        one.forward = partial(_repeated, one)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for one in zeros:
            del one.forward


def _repeated(conv: nn.Conv2d, x: Tensor) -> Tensor:
    reach = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
    rows, columns = (
        torch.arange(-far, side + far, device=x.device) % side for far, side in zip(reach, x.shape[-2:], strict=True)
    )
    return F.conv2d(x[..., rows[:, None], columns], conv.weight, conv.bias)


def draw_colours(count: int, random: torch.Generator) -> Tensor:
    """(count, 3) whole code values, vivid ones more often, where `random` lies."""
    even = torch.rand(count, 3, generator=random, device=random.device)
    return (torch.sin(even * torch.pi / 2) ** 2 * 255).round()


def recoloured(own: Tensor, hr: Tensor) -> Tensor:
    """(N, 3, H, W): the details of `own` over the coarse colours of `hr`; no side shorter than COARSE pixels."""
    off = F.avg_pool2d(hr - own, COARSE)
    return own + F.interpolate(off, own.shape[-2:], mode="bilinear", align_corners=False)
