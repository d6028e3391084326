"""The networks drawn for runtimes that do without torch: weights as arrays, and the steps between them.

It is the form that moves least memory, by exact algebra:

- An activation with one slope for all channels commutes with the pixel shuffle. Before it, a runtime fuses it into
  the convolution.
- A convolution after a pixel shuffle equals a wider one before it, followed by the shuffle: the last 9x9 of SRGAN
  becomes a 5x5 at half the size, and its 64 channels at full size never exist.

Zeros around the shuffled picture are the shuffle of zeros around the other one, so borders are the same, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vidsr.errors import ModelError
from vidsr.models.config import GeneratorConfig, cubic_kernel, upsteps

SHUFFLE = 2  # of every sub-pixel step

Array = NDArray[Any]
Weights = Mapping[str, Array]
"""By the names of `srgan`'s modules, float32."""
Node = TypeVar("Node")


class Pen(Protocol[Node]):
    """Draws steps into the graph of a runtime: each takes what others gave, (N, C, H, W) all of them."""

    def convolution(self, x: Node, weight: Array, bias: Array | None, *, groups: int = 1, padded: bool = True) -> Node:
        """With zeros around where it keeps the size (`padded`)."""

    def leaky(self, x: Node, slope: float) -> Node:
        """Negative values times `slope`."""

    def add(self, one: Node, other: Node) -> Node:
        """The sum of two."""

    def shuffle(self, x: Node, factor: int) -> Node:
        """Channels to pixels, as torch's pixel shuffle."""

    def bilinear(self, x: Node, factor: int) -> Node:
        """Both sides `factor` times as long, by linear interpolation."""

    def mirrored(self, x: Node) -> Node:
        """Two pixels more at every border, mirrored with the edge; sides are at least two pixels long."""


class Coder(Protocol[Node]):
    """Draws convolutions in its own way, such as `scales` says."""

    def convolution(self, name: str, x: Node) -> Node | None:
        """The one of that name, with its bias; None: as the pen does it."""


def shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    """The names of all weights, and the shape of each."""
    c, s, found = config.channels, config.scale, dict[str, tuple[int, ...]]()

    def convolution(name: str, inputs: int, outputs: int, size: int = 3) -> None:
        found.update({f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)})

    def activation(name: str) -> None:
        found[f"{name}.weight"] = (1,)

    if config.graph == "fast":
        convolution("head", 3, c)
        for number in range(config.blocks):
            convolution(f"body.{number}", c, c)
        for number in range(config.blocks + 1):
            activation(f"acts.{number}")
        convolution("tail", c, 3 * s * s)
    elif config.graph == "srgan":
        convolution("head.0", 3, c, 9)
        activation("head.1")
        for block in (f"blocks.{number}" for number in range(config.blocks)):
            convolution(f"{block}.conv1", c, c)
            activation(f"{block}.act")
            convolution(f"{block}.conv2", c, c)
        convolution("trunk", c, c)
        for step in (f"up.{number}" for number in range(upsteps(config))):
            convolution(f"{step}.conv", c, SHUFFLE**2 * c)
            activation(f"{step}.act")
        convolution("tail", c, 3, 9)
    return found


def read(path: Path, config: GeneratorConfig) -> Weights:
    """The weights in a file.

    Raises:
        ModelError: it is damaged, or they are those of another network.
    """
    try:
        found = load_file(path)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ModelError(f"The weights file {path} is damaged; get it again.") from error
    if {name: array.shape for name, array in found.items()} != shapes(config):
        raise ModelError(f"The weights in {path} do not fit the generator that its header describes.")
    return {name: array.astype(np.float32) for name, array in found.items()}


def draw(
    config: GeneratorConfig, weights: Weights, pen: Pen[Node], picture: Node, coder: Coder[Node] | None = None
) -> Node:
    """The whole network: (N, 3, H, W) RGB in [0, 1] -> (N, 3, H*scale, W*scale), not clamped."""
    if config.graph == "bicubic":
        kernel = cubic_kernel(config.scale)
        return pen.shuffle(pen.convolution(pen.mirrored(picture), kernel, None, groups=3, padded=False), config.scale)
    if config.graph == "fast":
        return pen.add(base(config, pen, picture), residual(config, weights, pen, picture, coder))
    return _srgan(config, weights, pen, picture, coder)


def base(config: GeneratorConfig, pen: Pen[Node], picture: Node) -> Node:
    """Of ``fast`` the bilinear upsampling that it corrects; it holds the whole brightness: keep it in FP32."""
    return pen.bilinear(picture, config.scale)


def residual(
    config: GeneratorConfig, weights: Weights, pen: Pen[Node], picture: Node, coder: Coder[Node] | None = None
) -> Node:
    """Of ``fast`` what it adds to `base`: values near zero, of which half precision keeps enough."""
    bridge = y = _activated(pen, weights, "acts.0", _convolved(pen, weights, "head", picture, coder))
    for count in range(1, config.blocks + 1):
        y = _convolved(pen, weights, f"body.{count - 1}", y, coder)
        ends = bool(config.skip) and count % config.skip == 0
        y = _activated(pen, weights, f"acts.{count}", pen.add(y, bridge) if ends else y)
        bridge = y if ends else bridge
    return pen.shuffle(_convolved(pen, weights, "tail", y, coder), config.scale)


def _srgan(config: GeneratorConfig, weights: Weights, pen: Pen[Node], picture: Node, coder: Coder[Node] | None) -> Node:
    head = y = _activated(pen, weights, "head.1", _convolved(pen, weights, "head.0", picture, coder))
    for number in range(config.blocks):
        block = f"blocks.{number}"
        inner = _activated(pen, weights, f"{block}.act", _convolved(pen, weights, f"{block}.conv1", y, coder))
        y = pen.add(y, _convolved(pen, weights, f"{block}.conv2", inner, coder))
    y = pen.add(head, _convolved(pen, weights, "trunk", y, coder))
    steps = upsteps(config)
    for number in range(steps):
        y = _activated(pen, weights, f"up.{number}.act", _convolved(pen, weights, f"up.{number}.conv", y, coder))
        if number < steps - 1:
            y = pen.shuffle(y, SHUFFLE)
    weight, bias = before_shuffle(weights["tail.weight"], SHUFFLE), np.repeat(weights["tail.bias"], SHUFFLE**2)
    return pen.shuffle(pen.convolution(y, weight, bias), SHUFFLE)


def _convolved(pen: Pen[Node], weights: Weights, name: str, x: Node, coder: Coder[Node] | None) -> Node:
    if coder is not None and (made := coder.convolution(name, x)) is not None:
        return made
    return pen.convolution(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _activated(pen: Pen[Node], weights: Weights, name: str, x: Node) -> Node:
    return pen.leaky(x, float(weights[f"{name}.weight"].item()))


def before_shuffle(weight: Array, factor: int) -> Array:
    """The kernel (O, C, k, k) of a convolution after a pixel shuffle by `factor` as a wider one, for before it.

    With u the tap, a the place of an output pixel within its block and p the padding: the tap reads the pixel
    a + u - p, which lies in the block floor((a + u - p) / factor), at the place that remains. The convolution keeps the
    size, its k is odd. The new one is (O*factor**2, C*factor**2, m, m), and keeps it, too.
    """
    size = weight.shape[-1]
    padding = size // 2
    reach, place = -(-padding // factor), range(factor)
    out, channels = weight.shape[:2]
    wide = np.zeros((out, factor, factor, channels, factor, factor, 2 * reach + 1, 2 * reach + 1), weight.dtype)
    for a, b, u, v in product(place, place, range(size), range(size)):
        block_y, y = divmod(a + u - padding, factor)
        block_x, x = divmod(b + v - padding, factor)
        wide[:, a, b, :, y, x, block_y + reach, block_x + reach] = weight[:, :, u, v]
    return wide.reshape(out * factor**2, channels * factor**2, 2 * reach + 1, 2 * reach + 1)
