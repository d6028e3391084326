"""Quality of upscaled pictures: against their originals, against each other in a moving scene, and on flat grey.

All functions take float tensors of code values 0 to 255, (..., H, W), and return Python floats. The published
figures of PSNR and SSIM are measured on Y, `scale` pixels cropped on every side, both pictures rounded to 8 bit first.
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


def colour_drift(image: Tensor, reference: Tensor) -> float:
    """The mean difference of the channel that drifted most, in code values, always positive: (..., C, H, W).

    Details cancel out in it, a tint of the whole picture does not.
    """
    _check(image, reference)
    return float((image.double() - reference.double()).mean((-2, -1)).abs().max().item())


def shift_flicker(first: Tensor, second: Tensor, down: int, right: int, border: int = 0) -> float:
    """Mean absolute difference in code values of two outputs for a scene that moved by whole output pixels.

    What stands at (y, x) in `first` stands at (y + down, x + right) in `second`; the two are laid on each other, and
    the places that both show are compared, `border` pixels off each side of either picture left out. An upscaler
    that commutes with the shift scores 0, and so does one that blurs everything away: read it beside a perceptual
    distance.

    Raises:
        ValueError: the shapes differ, or nothing is seen in both.
    """
    _check(first, second)
    first, second = crop_border(first, border), crop_border(second, border)
    height, width = first.shape[-2:]
    if abs(down) >= height or abs(right) >= width:
        raise ValueError(f"A shift of {right}x{down} leaves nothing that two pictures of {width}x{height} share.")
    top, left = max(-down, 0), max(-right, 0)
    rows, columns = height - abs(down), width - abs(right)
    before = first[..., top : top + rows, left : left + columns]
    after = second[..., top + down : top + down + rows, left + right : left + right + columns]
    return float((before.double() - after.double()).abs().mean().item())


def warp_error(first: Tensor, second: Tensor, affine: Tensor, border: int = 0) -> float:
    """Mean absolute difference in code values of `first` and of `second` brought back by a known motion.

    As E_warp (Lai et al. 2018) with an exact flow and absolute values, so that it compares with `shift_flicker`;
    it includes what the bilinear sampling of `second` smooths away.

    Args:
        first: (C, H, W).
        second: (C, H, W), the same scene later.
        affine: (2, 3); what stands at pixel (x, y) in `first` stands at affine @ (x, y, 1) in `second`.
        border: pixels at each side of either picture that do not count.

    Raises:
        ValueError: the shapes differ, or nothing is seen in both.
    """
    _check(first, second)
    height, width = first.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    place = torch.stack([x, y, torch.ones_like(x)], -1) @ affine.double().T
    sides = torch.tensor([width - 1.0, height - 1.0], dtype=torch.float64)
    inside = ((place >= border) & (place <= sides - border)).all(-1)
    inside &= (x >= border) & (x <= width - 1 - border) & (y >= border) & (y <= height - 1 - border)
    if not inside.any():
        raise ValueError("The motion leaves nothing that both pictures show.")
    grid = (place / sides.clamp(min=1) * 2 - 1)[None]
    warped = F.grid_sample(second.double()[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    return float((warped - first.double()).abs()[..., inside].mean().item())


def checkerboard(image: Tensor, period: int) -> float:
    """Strength of the pattern that repeats every `period` pixels, as a root mean square in code values.

    An upscaler repeats its own pattern with the period of its scale, wherever the picture is flat. The mean over all
    places of equal phase keeps it and averages everything else away; a flat picture without a pattern scores 0.

    Raises:
        ValueError: a side is below `period`.
    """
    height, width = image.shape[-2:]
    rows, columns = height // period, width // period
    if not rows or not columns:
        raise ValueError(f"A picture of {width}x{height} does not hold a pattern of {period} pixels.")
    whole = image.double()[..., : rows * period, : columns * period]
    pattern = whole.reshape(*image.shape[:-2], rows, period, columns, period).mean((-4, -2))
    return float((pattern - pattern.mean((-2, -1), keepdim=True)).square().mean().sqrt().item())


def _blur(x: Tensor) -> Tensor:
    offsets = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    line = line / line.sum()
    return F.conv2d(F.conv2d(x, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))


def _check(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"The pictures differ in shape: {tuple(image.shape)} and {tuple(reference.shape)}.")
