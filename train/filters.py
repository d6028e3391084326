"""Gaussian blur, which the degradations draw, and the sharpening of training targets that is made of it."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 3  # pixels: the taps are 7x7
SHARPEN_SIGMA = 1.0  # HR pixels


@dataclass(frozen=True)
class Blur:
    """A Gaussian, in pixels: the two standard deviations and the angle of the first in radians."""

    major: float
    minor: float
    angle: float = 0.0


def blur(image: Tensor, how: Blur) -> Tensor:
    """Convolve each channel of (..., H, W) with a Gaussian; the edge pixel is repeated beyond the border."""
    planes = image.reshape(-1, 1, *image.shape[-2:])
    padded = F.pad(planes, [RADIUS] * 4, mode="replicate")
    return F.conv2d(padded, _taps(how, image.device).to(image.dtype)).reshape(image.shape)


@lru_cache(maxsize=16)
def _taps(how: Blur, device: torch.device) -> Tensor:
    """(1, 1, 7, 7) float32, kept on `device`."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    along = (x * math.cos(how.angle) + y * math.sin(how.angle)) / how.major
    across = (y * math.cos(how.angle) - x * math.sin(how.angle)) / how.minor
    taps = torch.exp(-(along**2 + across**2) / 2)
    return (taps / taps.sum())[None, None].float().to(device)


def sharpen(image: Tensor, amount: float) -> Tensor:
    """Unsharp masking of (..., H, W) in [0, 1]: the picture plus `amount` times what a blur takes from it, clamped.

    As the targets of Real-ESRGAN are sharpened (arXiv:2107.10833, section 4.1), with a smaller and milder mask.
    """
    return (image + amount * (image - blur(image, Blur(SHARPEN_SIGMA, SHARPEN_SIGMA)))).clamp(0, 1)
