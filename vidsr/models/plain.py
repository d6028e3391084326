"""Our networks computed in numpy, slowly: what a runtime is held to where torch is not installed."""

from __future__ import annotations

import numpy as np

from vidsr.models.config import CUBIC_REACH, GeneratorConfig
from vidsr.models.graph import Array, Weights, draw


def run(config: GeneratorConfig, weights: Weights, pictures: Array) -> Array:
    """(N, 3, H, W) -> (N, 3, H*scale, W*scale), in the type of pictures and weights; sides are at least two."""
    return draw(config, weights, _Numbers(), pictures)


class _Numbers:
    """A `graph.Pen` that computes each step at once."""

    def convolution(
        self, x: Array, weight: Array, bias: Array | None, *, groups: int = 1, padded: bool = True
    ) -> Array:
        edge = weight.shape[-1] // 2 * padded
        around = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
        parts = zip(np.split(around, groups, 1), np.split(weight.astype(x.dtype), groups), strict=True)
        y = np.concatenate([_convolved(*part) for part in parts], 1)
        return y if bias is None else y + bias.astype(x.dtype)[:, None, None]

    def leaky(self, x: Array, slope: float) -> Array:
        return np.where(x < 0, x * x.dtype.type(slope), x)

    def add(self, one: Array, other: Array) -> Array:
        return one + other

    def shuffle(self, x: Array, factor: int) -> Array:
        num, channels, height, width = x.shape
        split = x.reshape(num, channels // factor**2, factor, factor, height, width)
        return split.transpose(0, 1, 4, 2, 5, 3).reshape(num, -1, height * factor, width * factor)

    def bilinear(self, x: Array, factor: int) -> Array:
        for axis in (2, 3):
            size = x.shape[axis]
            place = ((np.arange(size * factor) + 0.5) / factor - 0.5).clip(0, size - 1)
            first = np.minimum(place.astype(int), max(size - 2, 0))
            way = (place - first).astype(x.dtype).reshape((-1, 1) if axis == 2 else (-1,))
            x = x.take(first, axis) * (1 - way) + x.take(np.minimum(first + 1, size - 1), axis) * way
        return x

    def mirrored(self, x: Array) -> Array:
        edge = (CUBIC_REACH, CUBIC_REACH)
        return np.pad(x, ((0, 0), (0, 0), edge, edge), mode="symmetric")


def _convolved(x: Array, weight: Array) -> Array:
    """Without anything around it: a matrix product for each place of the kernel."""
    size = weight.shape[-1]
    height, width = (side - size + 1 for side in x.shape[2:])
    total = np.zeros((x.shape[0], weight.shape[0], height, width), x.dtype)
    for row in range(size):
        for column in range(size):
            part = x[:, :, row : row + height, column : column + width]
            total += np.einsum("oc,nchw->nohw", weight[:, :, row, column], part, optimize=True)
    return total
