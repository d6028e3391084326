"""A camera moving over a photo: where each frame looks, and what it sees, reduced or not, in two matrix products."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidsr.models.srgan import keys_cubic

BLOCK = 48  # output rows that are computed by one matrix product


@dataclass(frozen=True)
class Shot:
    """The part of a photo that a frame shows: its left and top edge and its pixel pitch, all in photo pixels.

    The pixel (x, y) of a frame is centred at photo position ``left + pitch * (x + 0.5)``; the photo's own first pixel
    is centred at 0.5. With whole `left` and `top` and a pitch of 1 a frame is a plain crop of the photo.
    """

    left: float
    top: float
    pitch: float = 1.0

    def affine(self) -> list[list[float]]:
        """2x3: frame pixel (x, y, 1) -> photo pixel, both counted from the centre of their first pixel."""
        p = self.pitch
        return [[p, 0.0, self.left + (p - 1) / 2], [0.0, p, self.top + (p - 1) / 2]]

    def motion(self, after: "Shot") -> Tensor:
        """(2, 3) float64: what stands at pixel (x, y) of this frame stands at ``motion @ (x, y, 1)`` of `after`."""
        a, b = (torch.tensor([*view.affine(), [0, 0, 1]], dtype=torch.float64) for view in (self, after))
        moved: Tensor = torch.linalg.solve(b, a)
        return moved[:2]


@dataclass(frozen=True)
class Motion:
    """Camera motion per frame, in photo pixels; `zoom` is the log of the pitch, `shake` a displacement on top."""

    velocity: tuple[float, float] = (0.0, 0.0)  # x, y
    zoom: float = 0.0
    shake: tuple[tuple[float, float], ...] = ()  # x, y of each frame; empty: none

    def views(self, anchor: Shot, keep: int, num_frames: int, size: tuple[int, int]) -> list[Shot]:
        """One view a frame; frame `keep` looks exactly where `anchor` does. `size`: (height, width) in frame pixels."""
        height, width = size
        rest = self.shake[keep] if self.shake else (0.0, 0.0)
        found = []
        for frame in range(num_frames):
            steps = frame - keep
            pitch = anchor.pitch * math.exp(self.zoom * steps)
            shake = self.shake[frame] if self.shake else (0.0, 0.0)
            x = self.velocity[0] * steps + shake[0] - rest[0] - (pitch - anchor.pitch) * width / 2
            y = self.velocity[1] * steps + shake[1] - rest[1] - (pitch - anchor.pitch) * height / 2
            found.append(Shot(anchor.left + x, anchor.top + y, pitch))
        return found


def draw_motion(random: np.random.Generator, num_frames: int) -> Motion:
    """A motion as videos have them: still, panned, zoomed, or held in the hand."""
    kind = random.choice(["still", "pan", "zoom", "shake"], p=[0.2, 0.45, 0.15, 0.2])
    angle = random.uniform(0, 2 * math.pi)
    speed = math.exp(random.uniform(math.log(0.25), math.log(20.0)))
    velocity = (speed * math.cos(angle), speed * math.sin(angle))
    if kind == "still":
        return Motion()
    if kind == "pan":
        return Motion(velocity)
    if kind == "zoom":
        return Motion((velocity[0] / 4, velocity[1] / 4), zoom=float(random.uniform(-0.02, 0.02)))
    jitter = random.normal(0, random.uniform(0.3, 3.0), (num_frames, 2))
    return Motion((velocity[0] / 8, velocity[1] / 8), shake=tuple((float(x), float(y)) for x, y in jitter))


@dataclass(frozen=True)
class Kernel:
    """An interpolation kernel: its weight at a distance in output pixels, 0 beyond `radius`."""

    weight: Callable[[Tensor], Tensor]
    radius: float


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def _box(x: Tensor) -> Tensor:
    return (x.abs() < 0.5).to(x.dtype) + 0.5 * (x.abs() == 0.5).to(x.dtype)


def _lanczos(x: Tensor) -> Tensor:
    return torch.sinc(x) * torch.sinc(x / 3) * (x.abs() < 3)


KERNELS = {
    "bicubic": Kernel(keys_cubic, 2),
    "bilinear": Kernel(_triangle, 1),
    "area": Kernel(_box, 0.5),
    "lanczos": Kernel(_lanczos, 3),
}


def render(photo: Tensor, view: Shot, size: tuple[int, int], scale: int, kernel: str) -> Tensor:
    """What a frame of `size` (height, width) shows of `photo`, reduced by `scale`, with the kernel widened to suit.

    `view` is that of the unreduced frame. (3, H, W) float code values -> (3, height, width), whole code values: rounded
    after the columns and again after the rows, as `train.resample.downscale` does. The photo is mirrored at its edges.
    """
    pitch, shape = view.pitch * scale, KERNELS[kernel]
    down = _resample(photo, size[0], view.top, pitch, shape)
    return _resample(down.mT, size[1], view.left, pitch, shape).mT


def _resample(image: Tensor, num: int, start: float, pitch: float, kernel: Kernel) -> Tensor:
    """(3, H, W) -> (3, num, W), rounded: output row i is centred at ``start + pitch * (i + 0.5)``."""
    rows = []
    for first in range(0, num, BLOCK):  # most of a whole matrix would be zeros
        weights, low, high = _matrix(min(BLOCK, num - first), image.shape[1], start + pitch * first, pitch, kernel)
        rows.append(weights @ image[:, low:high])
    return torch.cat(rows, 1).clamp_(0, 255).add_(0.5).floor_()


def _matrix(num: int, size: int, start: float, pitch: float, kernel: Kernel) -> tuple[Tensor, int, int]:
    """(num, last - first) float32, first, last: row i has the weights of output pixel i for the pixels from `first`."""
    widen = max(pitch, 1.0)
    centres = start + pitch * (torch.arange(num, dtype=torch.float64) + 0.5) - 0.5
    reach = kernel.radius * widen
    taps = torch.floor(centres - reach).long()[:, None] + torch.arange(math.ceil(2 * reach) + 2)
    weights = kernel.weight((centres[:, None] - taps) / widen)
    weights = weights / weights.sum(1, keepdim=True)
    mirrored = taps.remainder(2 * size)
    inside = torch.minimum(mirrored, 2 * size - 1 - mirrored)
    first, last = int(inside.min()), int(inside.max()) + 1
    matrix = torch.zeros(num, last - first, dtype=torch.float64)
    return matrix.scatter_add_(1, inside - first, weights).float(), first, last
