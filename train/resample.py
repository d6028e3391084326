"""Antialiased bicubic downscaling as MATLAB's ``imresize`` does it, on any device, as two matrix products.

The borders and the rounding are those of the benchmarks' LR pictures, found by comparing: the edge pixel is
repeated beyond the border, and an 8-bit picture is rounded after the columns and again after the rows.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from vidsr.models.srgan import keys_cubic

CPU = torch.device("cpu")
MARGIN = 2  # output pixels: what one output pixel sees beyond its own cell, on either side


@lru_cache(maxsize=64)
def downscale_matrix(size: int, scale: int, device: torch.device = CPU) -> Tensor:
    """(ceil(size / scale), size) float32, kept on `device`: row i holds the weights of output pixel i.

    The cubic kernel (a = -0.5) is widened by `scale` and each row normalised.
    """
    out = math.ceil(size / scale)
    centres = (torch.arange(out, dtype=torch.float64) + 0.5) * scale - 0.5
    first = torch.floor(centres - 2 * scale).long()
    taps = first[:, None] + torch.arange(4 * scale + 2)
    weights = keys_cubic((centres[:, None] - taps) / scale)
    weights = weights / weights.sum(1, keepdim=True)
    inside = taps.clamp(0, size - 1)
    return torch.zeros(out, size, dtype=torch.float64).scatter_add_(1, inside, weights).float().to(device)


def downscale(image: Tensor, scale: int) -> Tensor:
    """(..., H, W) float in [0, 1] -> (..., ceil(H/scale), ceil(W/scale)), rounded to 8 bit."""
    rows = downscale_matrix(image.shape[-2], scale, image.device)
    columns = downscale_matrix(image.shape[-1], scale, image.device)
    codes = image * 255  # the weights of x2 and x4 are dyadic: in code values, ties of rounding are exact
    return _round(_round(rows @ codes) @ columns.T) / 255


def _round(codes: Tensor) -> Tensor:
    """Clamp to 0..255 and round to the nearest whole number, ties upwards."""
    return codes.clamp(0, 255).add(0.5).floor()


def turned(size: int, width: Tensor, way: Tensor) -> Tensor:
    """(N, size, size) int64: which pixels, numbered row by row from a square's first, make it up in orientation `way`.

    `width` (N) is that of the pictures that the squares stand in. An orientation, 0 to 7, is two to each quarter turn
    counter-clockwise, the odd ones mirrored left to right.
    """
    line, turns = torch.arange(size, device=way.device), way // 2
    lying = turns % 2 == 1  # a row of the result is a column of the picture
    back = (turns == 1) | (turns == 2), (turns >= 2) ^ (way % 2 == 1)
    down, right = (torch.where(one[:, None], size - 1 - line, line) for one in back)
    one = torch.ones_like(width)
    down, right = down * torch.where(lying, one, width)[:, None], right * torch.where(lying, width, one)[:, None]
    return down[:, :, None] + right[:, None, :]
