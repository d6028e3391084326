"""Constants, slow slopes and noise: what no photo holds enough of, and where a network's drift and hatching show."""

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from train.crops import Sample
from vidsr.models.srgan import Bicubic

STEEPEST = 1.0  # codes per LR pixel
MOVED = 4  # LR pixels by which a pair may be shifted, at most
CONSTANT = 0.5  # of the patches; the others slope
NOISY = 0.5  # of the constants of unshifted samples
GREY = 0.5  # of the noise: the same in all three channels
NOISE = 4.0  # codes: deviation of the noise at most


def put_patches(sample: Sample, count: int, random: torch.Generator) -> Sample:
    """The same sample with its last `count` crops, of a shifted pair both, replaced by constants, slopes and noise.

    The LR side is rounded to 8 bit, the other is the slope itself: antialiased bicubic leaves a slope as it is. Noise
    stands on constants that are not shifted, and its other side is its cubic enlargement: it is nothing to be drawn.
    All choices come from `random`.
    """
    pairs = len(sample.lr) if sample.shifts is None else len(sample.lr) // 2
    lr, hr = sample.lr.clone(), sample.hr.clone()
    colour = torch.sin(_draw(random, lr, count, 3) * torch.pi / 2) ** 2 * 255  # vivid ones more often
    slope = (_draw(random, lr, count, 3, 2) * 2 - 1) * STEEPEST
    slope *= (_draw(random, lr, count, 1, 1) >= CONSTANT).float()
    reach = slope.abs().sum(2) * (lr.shape[-1] / 2 + MOVED)  # of a slope, which must not be cut off
    colour = torch.minimum(torch.maximum(colour, reach), 255 - reach)
    scale = hr.shape[-1] // lr.shape[-1]
    for at, moved in _places(sample, pairs, count):
        codes = colour[:, :, None, None] + _plane(slope, lr.shape[-1], 1, moved / scale)
        fine = colour[:, :, None, None] + _plane(slope, hr.shape[-1], scale, moved / scale)
        lr[at] = (codes.round() / 255).to(lr)
        flat = slope.abs().amax((1, 2))[:, None, None, None] == 0  # of a constant, the code itself
        hr[at] = (torch.where(flat, fine.round(), fine) / 255).to(hr)
    if sample.shifts is None:
        _put_noise(lr, hr, count, random)
    return replace(sample, lr=lr, hr=hr, made=count)


@lru_cache
def _cubic(scale: int, device: torch.device) -> Bicubic:
    return Bicubic(scale).to(device)


def _put_noise(lr: Tensor, hr: Tensor, count: int, random: torch.Generator) -> None:
    """Noise on some of the constants among the last `count` crops; of one colour in some, of all in others."""
    codes = lr[-count:] * 255
    flat = (codes == codes[..., :1, :1]).all((1, 2, 3))
    noisy = (flat & (_draw(random, lr, count) < NOISY))[:, None, None, None]
    grain = torch.randn(codes.shape, generator=random, device=random.device).to(lr)
    grain = torch.where(_draw(random, lr, count, 1, 1, 1) < GREY, grain[:, :1].expand_as(grain), grain)
    rough = ((codes + NOISE * _draw(random, lr, count, 1, 1, 1) * grain).round().clamp(0, 255)) / 255
    lr[-count:] = torch.where(noisy, rough, lr[-count:])
    enlarged = _cubic(hr.shape[-1] // lr.shape[-1], lr.device)(rough)
    hr[-count:] = torch.where(noisy, enlarged, hr[-count:])


def _draw(random: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    """Numbers in [0, 1) where `like` lies."""
    return torch.rand(shape, generator=random, device=random.device).to(like)


def _places(sample: Sample, pairs: int, count: int) -> list[tuple[slice, Tensor]]:
    """Where the patches go in the batch, and by how many HR pixels (down, right) each is moved there: (count, 2)."""
    still = torch.zeros(count, 2, device=sample.lr.device)
    if sample.shifts is None:
        return [(slice(pairs - count, pairs), still)]
    moved = sample.shifts[pairs - count :].to(still)
    return [(slice(pairs - count, pairs), still), (slice(2 * pairs - count, 2 * pairs), moved)]


def _plane(slope: Tensor, side: int, scale: int, moved: Tensor) -> Tensor:
    """(N, 3, side, side): `slope` (N, 3, 2) times the LR pixels from the centre, seen `moved` (N, 2) further."""
    line = (torch.arange(side, device=slope.device) - (side - 1) / 2) / scale
    down = line[None, :] + moved[:, :1]
    right = line[None, :] + moved[:, 1:]
    return slope[..., 0, None, None] * down[:, None, :, None] + slope[..., 1, None, None] * right[:, None, None, :]
