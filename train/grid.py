"""A grid on what a network draws, a pattern that repeats at each pixel of the source: as a loss, and taken off.

Adversarial training draws one, and distances between pictures do not see it (train/README.md).
"""

import torch.nn.functional as F
from torch import Tensor

AROUND = 9  # LR pixels: side of the square over which a grid is alike


def grid_loss(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """Mean square of the grid on whole pictures, in codes / 255: what L1 is for one that is a code deep.

    Of each colour, what is off on average at each of the `scale` x `scale` places within the source's pixels, but for
    what is off at all of them. Texture falls on all places alike, so that the mean over a crop holds little of it.
    """
    loss: Tensor = (255 * _by_place(sr - hr, scale).mean((3, 4))).square().mean() / 255
    return loss


def without_grid(own: Tensor, hr: Tensor, scale: int) -> Tensor:
    """`own` (N, 3, H, W) with the original's mean at each place in place of its own, taken of what is around."""
    alike = F.avg_pool2d(_by_place(own - hr, scale).flatten(1, 2), AROUND, 1, AROUND // 2, count_include_pad=False)
    return own - F.pixel_shuffle(alike, scale)


def _by_place(x: Tensor, scale: int) -> Tensor:
    """(N, 3, h*scale, w*scale) -> (N, 3, scale*scale, h, w): what each place in the source's pixels is above all."""
    num, channels, height, width = x.shape
    places = F.pixel_unshuffle(x, scale).view(num, channels, scale**2, height // scale, width // scale)
    return places - places.mean(2, keepdim=True)
