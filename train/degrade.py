"""What happens to a picture before it reaches the upscaler: reduced, softened, noisy, compressed. Pure functions.

The distribution is mild on purpose: most pairs are H.264 as the web serves it and some are clean, so that a model
trained on them stays faithful to good sources.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from train.camera import Shot, render
from train.codec import SUBSAMPLED, Codec, round_trip
from train.filters import Blur, blur
from vidsr.frame import Matrix

CLEAN = 0.15  # share of pairs that are only reduced, by the antialiased bicubic of the benchmarks
KERNELS = {"bicubic": 0.5, "lanczos": 0.2, "bilinear": 0.15, "area": 0.15}
BLUR, NOISE = 0.25, 0.2  # shares of the other pairs
CODECS = {"libx264": 0.6, "libx265": 0.1, "libvpx-vp9": 0.09, "mpeg4": 0.08, "mpeg2video": 0.07, SUBSAMPLED: 0.06}
QUALITIES = {"libx264": (18, 32), "libx265": (20, 34), "libvpx-vp9": (24, 44), "mpeg4": (2, 8), "mpeg2video": (2, 8)}
PRESETS = {
    "libx264": (("ultrafast", 0.1), ("veryfast", 0.5), ("medium", 0.4)),
    "libx265": (("ultrafast", 0.4), ("veryfast", 0.6)),
    "libvpx-vp9": (("5", 1.0),),
}


def version() -> str:
    """A digest of the distribution: caches with another one are not continued."""
    settings = (CLEAN, KERNELS, BLUR, NOISE, CODECS, QUALITIES, PRESETS)
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Noise:
    """`strength` is the standard deviation in code values, for ``poisson`` at mid-grey. Grey noise has no colour."""

    kind: Literal["gaussian", "poisson"]
    strength: float
    grey: bool
    seed: int


@dataclass(frozen=True)
class Degradation:
    """One way from HR to LR, in this order; all parts but the reduction may be missing."""

    kernel: str = "bicubic"
    blur: Blur | None = None
    noise: Noise | None = None
    codec: Codec | None = None


def draw_degradation(random: np.random.Generator) -> Degradation:
    """One of the distribution at the head of this module. All choices come from `random`."""
    if random.random() < CLEAN:
        return Degradation()
    return Degradation(
        str(random.choice(list(KERNELS), p=list(KERNELS.values()))),
        _draw_blur(random) if random.random() < BLUR else None,
        _draw_noise(random) if random.random() < NOISE else None,
        _draw_codec(random),
    )


def _draw_blur(random: np.random.Generator) -> Blur:
    major = float(random.uniform(0.2, 0.7))
    ratio = 1.0 if random.random() < 0.5 else float(random.uniform(0.5, 1.0))
    return Blur(major, major * ratio, float(random.uniform(0, math.pi)))


def _draw_noise(random: np.random.Generator) -> Noise:
    kind: Literal["gaussian", "poisson"] = "gaussian" if random.random() < 0.5 else "poisson"
    return Noise(kind, float(random.uniform(0.5, 4.0)), bool(random.random() < 0.6), int(random.integers(2**31)))


def _draw_codec(random: np.random.Generator) -> Codec:
    encoder = str(random.choice(list(CODECS), p=list(CODECS.values())))
    matrix = Matrix.BT709 if random.random() < 0.6 else Matrix.SMPTE170M
    if encoder == SUBSAMPLED:
        return Codec(encoder, matrix=matrix)
    low, high = QUALITIES[encoder]
    names, shares = zip(*PRESETS.get(encoder, (("", 1.0),)), strict=True)
    preset = str(random.choice(names, p=shares))
    return Codec(encoder, int(random.integers(low, high + 1)), preset, matrix)


def degrade(
    photo: Tensor, views: Sequence[Shot], keep: int, size: tuple[int, int], scale: int, how: Degradation
) -> Tensor:
    """Frame `keep` of a clip over `photo`, reduced by `scale` and degraded; (3, H, W) float code values -> uint8.

    `views` are those of the unreduced frames, `size` is the (height, width) of the reduced ones; codecs need even sides
    of at least `train.codec.MIN_SIDE`. The LR pixel (i, j) covers exactly the HR pixels from (scale*i, scale*j) to
    (scale*(i+1), scale*(j+1)) of its view.
    """
    if how.codec is None:
        return _reduce(photo, views[keep], size, scale, how, keep).to(torch.uint8)
    frames = [_reduce(photo, view, size, scale, how, number) for number, view in enumerate(views)]
    return round_trip(frames, how.codec, keep).to(torch.uint8)


def _reduce(photo: Tensor, view: Shot, size: tuple[int, int], scale: int, how: Degradation, number: int) -> Tensor:
    frame = render(photo, view, size, scale, how.kernel)
    if how.blur:
        frame = blur(frame, how.blur)
    if how.noise:
        frame = add_noise(frame, how.noise, number)
    return frame.clamp(0, 255).add(0.5).floor()


def add_noise(frame: Tensor, how: Noise, number: int) -> Tensor:
    """(3, H, W) code values plus noise that is different for every frame `number` and seed."""
    random = np.random.default_rng((how.seed, number))
    signal = frame.mean(0, keepdim=True) if how.grey else frame
    if how.kind == "gaussian":
        noise = random.normal(0, how.strength, signal.shape)
    else:
        photons = 128 / how.strength**2  # per code value: their variance at mid-grey is then strength squared
        counts = random.poisson(np.maximum(signal.double().numpy(), 0) * photons)
        noise = counts / photons - signal.double().numpy()
    return frame + torch.from_numpy(noise).float()
