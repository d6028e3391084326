"""Quality of an upscaled picture against its original, by the conventions of published super-resolution tables.

All functions take float tensors of code values 0 to 255, (..., H, W), and return Python floats. The published
figures are measured on Y, `scale` pixels cropped on every side, both pictures rounded to 8 bit first.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PEAK = 255.0
RGB_TO_Y = (65.481, 128.553, 24.966)  # MATLAB's rgb2ycbcr (ITU-R BT.601, limited range): 16 + these, for RGB in [0, 1]
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang et al. 2004
SSIM_C1, SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def rgb_to_y(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) code values -> (..., H, W) luma in 16..235, not rounded, as MATLAB's ``rgb2ycbcr`` on doubles."""
    weights = torch.tensor(RGB_TO_Y, dtype=rgb.dtype, device=rgb.device) / PEAK
    return torch.einsum("...chw,c->...hw", rgb, weights) + 16


def crop_border(image: Tensor, border: int) -> Tensor:
    """Cut `border` pixels off each of the four sides of (..., H, W).

    Raises:
        ValueError: nothing would be left, or `border` is negative.
    """
    height, width = image.shape[-2:]
    if border < 0 or 2 * border >= min(height, width):
        raise ValueError(f"A border of {border} pixels does not fit into a picture of {width}x{height}.")
    return image[..., border : height - border, border : width - border]


def psnr(image: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all values together; infinite for equal pictures."""
    _check(image, reference)
    error = (image.double() - reference.double()).square().mean().item()
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def ssim(image: Tensor, reference: Tensor) -> float:
    """Structural similarity (Wang et al. 2004, their MATLAB code without its automatic downsampling).

    A Gaussian window of 11x11, sigma 1.5, placed only where it fits whole; the mean over all places and channels.

    Raises:
        ValueError: the shapes differ, or a side is below 11 pixels.
    """
    _check(image, reference)
    if min(image.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels.")
    height, width = image.shape[-2:]
    a = image.double().reshape(-1, 1, height, width)
    b = reference.double().reshape(-1, 1, height, width)
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a**2
    var_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)
    bottom = (mean_a**2 + mean_b**2 + SSIM_C1) * (var_a + var_b + SSIM_C2)
    return float((top / bottom).mean().item())


def _blur(x: Tensor) -> Tensor:
    offsets = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    line = line / line.sum()
    return F.conv2d(F.conv2d(x, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))


def _check(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"The pictures differ in shape: {tuple(image.shape)} and {tuple(reference.shape)}.")
