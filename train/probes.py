"""What a network does where there is nothing to draw: its drift on constants, its hatching on slopes and dark noise."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from train.constants import endless
from train.metrics import crop_border

LEVELS = (16, 72, 128, 184, 240)  # of each channel of a constant: 125 colours
SIDE = 4  # LR pixels of a constant, which repeat without an end
INNER = 24  # LR pixels of the other probes that count, beyond the reach of the border
SLOPES = ((64, 0.0, 1.0), (128, 1.5, 0.0), (128, 0.4, 0.7), (176, -0.9, 0.9))  # middle, codes per LR pixel down, right
DARK, NOISE = 20, 2.0  # codes: mean and deviation of the noise of a dark place


@dataclass(frozen=True)
class Drift:
    """Distance in code values of what a constant becomes from the constant: its mean and the worst one's."""

    mean: float
    worst: float


@torch.inference_mode()
def drift(module: nn.Module) -> Drift:
    """Of 125 constant colours, each channel by itself, the mean over its pixels.

    A few pixels that repeat beyond every border show what a wide flat place does.
    """
    device = _device(module)
    colours = torch.tensor(list(product(LEVELS, repeat=3)), dtype=torch.float32, device=device)
    flat = (colours / 255)[:, :, None, None].expand(-1, -1, SIDE, SIDE)
    with endless(module):
        sr = torch.cat([module(part) for part in torch.split(flat, 25)])
    off = ((sr.float().clamp(0, 1) * 255).mean((2, 3)) - colours).abs()
    return Drift(float(off.mean()), float(off.max()))


@torch.inference_mode()
def hatch(module: nn.Module, scale: int, halo: int) -> dict[str, float]:
    """Pattern that a network draws finer than its source's pixels, as a root mean square in code values.

    Under ``hatch_slopes`` and ``hatch_dark``: on slow slopes, and on noise in a dark place, neither of which holds
    anything above the source's Nyquist frequency. Taken before rounding, far from the border.
    """
    found = {}
    for name, lr in _probes(INNER + 2 * halo).items():
        sr = module(lr.to(_device(module)) / 255).float().cpu().clamp(0, 1) * 255
        found[name] = fine_energy(crop_border(sr, halo * scale), scale)
    return found


def _probes(side: int) -> dict[str, Tensor]:
    """(N, 3, side, side) code values by name."""
    noise = DARK + NOISE * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return {"hatch_slopes": slopes(side), "hatch_dark": noise.clamp(0, 255).round()}


def slopes(side: int) -> Tensor:
    """Slow ones in grey: (N, 3, side, side) whole code values."""
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    found = torch.stack([middle + down * y + right * x for middle, down, right in SLOPES])
    return found[:, None].expand(-1, 3, -1, -1).clamp(0, 255).round()


def fine_energy(image: Tensor, scale: int) -> float:
    """Root mean square of (..., H, W) above the Nyquist frequency of a picture `scale` times smaller."""
    height, width = image.shape[-2:]
    window = torch.hann_window(height).double()[:, None] * torch.hann_window(width).double()
    values = image.double() - image.double().mean((-2, -1), keepdim=True)
    spectrum = torch.fft.fft2(values * window, norm="ortho").abs().square()
    fine = torch.maximum(*torch.meshgrid(*[torch.fft.fftfreq(n).abs() for n in (height, width)], indexing="ij"))
    power = (spectrum * (fine > 0.5 / scale)).sum((-2, -1)) / window.square().sum()
    return float(power.mean().sqrt())


def _device(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
