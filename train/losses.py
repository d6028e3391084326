"""What training minimises: small pure functions of (N, 3, H, W) RGB in [0, 1], or of logits (N, 1), to a scalar."""

import torch
import torch.nn.functional as F
from torch import Tensor

ARTEFACT_WINDOW = 7  # pixels: side of the square in which the residual's variance is taken (arXiv:2203.09195)
ARTEFACT_POWER = 0.2  # of the whole patch's variance, by which its map is scaled (same)


def pixel_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference."""
    return F.l1_loss(sr, hr)


def perceptual_loss(sr_features: Tensor, hr_features: Tensor) -> Tensor:
    """Mean absolute difference of two feature maps (N, C, h, w) of the same network and layer."""
    return F.l1_loss(sr_features, hr_features)


def generator_loss(fake: Tensor) -> Tensor:
    """The adversarial loss -log D(G(lr)) (Ledig et al., equation 6), from logits; the mean over the batch."""
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(hr) - log(1 - D(G(lr))) (Goodfellow et al. 2014), from logits; the mean over the batch."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def relative_generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log of how likely the output is taken for the original of its place (arXiv:1807.00734, paired), from logits."""
    return F.softplus(real - fake).mean()


def relative_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The other way round, twice: log 4 where it guesses, as `discriminator_loss`."""
    return 2 * F.softplus(fake - real).mean()


def relative_accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Share of the places whose original has the higher logit: 0.5 is guessing."""
    return (real > fake).float().mean()


def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Share of the logits that tell originals (above 0) from upscaled pictures (below 0): 0.5 is guessing."""
    return ((real > 0).float().mean() + (fake < 0).float().mean()) / 2


def coded(sr: Tensor) -> Tensor:
    """`sr` in whole codes, as originals are and as films will be; gradients pass as if it were not rounded."""
    return sr + ((sr * 255).round() / 255 - sr).detach()


def artefact_map(sr: Tensor, averaged: Tensor, hr: Tensor) -> Tensor:
    """(N, 1, H, W): where `sr` has artefacts rather than texture (Liang et al., arXiv:2203.09195, section 3.3).

    The residual's local variance, scaled by the whole patch's, and zero wherever `sr` is nearer to the original
    than `averaged`, the output of the averaged weights. No gradient passes through it.
    """
    residual = (hr - sr).detach().abs().sum(1, keepdim=True)
    steadier = (hr - averaged).detach().abs().sum(1, keepdim=True)
    whole = residual.var((1, 2, 3), keepdim=True) ** ARTEFACT_POWER
    return torch.where(residual < steadier, 0.0, whole * local_variance(residual))


def local_variance(x: Tensor) -> Tensor:
    """(N, 1, H, W) -> the unbiased variance in the window around each pixel, the border mirrored."""
    window = F.pad(x, [ARTEFACT_WINDOW // 2] * 4, mode="reflect")
    count = ARTEFACT_WINDOW**2
    mean = F.avg_pool2d(window, ARTEFACT_WINDOW, 1)
    return (F.avg_pool2d(window**2, ARTEFACT_WINDOW, 1) - mean**2).clamp_min(0) * count / (count - 1)


def artefact_loss(sr: Tensor, averaged: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference, weighted by `artefact_map`."""
    return (artefact_map(sr, averaged, hr) * (sr - hr).abs()).mean()


def shift_loss(first: Tensor, second: Tensor, shifts: Tensor) -> Tensor:
    """Mean absolute difference of two outputs where they show the same place: how badly a network follows a shift.

    Args:
        first, second: (N, C, H, W).
        shifts: (N, 2) whole numbers (down, right): `second` at (y, x) shows `first` at (y + down, x + right).
    """
    num, channels, height, width = first.shape
    rows = torch.arange(height, device=first.device) + shifts[:, :1]
    columns = torch.arange(width, device=first.device) + shifts[:, 1:]
    both = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    moved = first.gather(2, rows[:, None, :, None].expand(num, channels, height, width))
    moved = moved.gather(3, columns[:, None, None, :].expand(num, channels, height, width))
    apart = ((moved - second).abs() * both[:, None]).sum((1, 2, 3))
    return (apart / (channels * both.sum((1, 2)))).mean()


def colour_drift(sr: Tensor, hr: Tensor) -> Tensor:
    """(3,): mean difference of each colour channel; far from zero, a network shifts colours."""
    return (sr - hr).detach().float().mean((0, 2, 3))
