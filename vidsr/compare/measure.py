"""Distances between two pictures: PSNR, SSIM and XPSNR by FFmpeg's own filters, and one by a perceptual network."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext

from vidsr.compare.picture import Pixels
from vidsr.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

FILTERS = ("psnr", "ssim", "xpsnr")
KEYS = {"psnr": "lavfi.psnr.psnr.y", "ssim": "lavfi.ssim.Y", "xpsnr": "lavfi.xpsnr.xpsnr.y"}
UNSTEADY = "unsteadiness"
NAMES = {"psnr": "PSNR", "ssim": "SSIM", "xpsnr": "XPSNR"}  # others name themselves, and are distances
UNITS = {"psnr": "dB", "xpsnr": "dB", UNSTEADY: "of 255"}
XPSNR_PIXELS = 2025  # of the smallest picture: below, FFmpeg's filter divides by a block size of zero
_BASE = Fraction(1, 25)


def written(name: str, value: float | None) -> str:
    """A measured value for people: ``43.07 dB``; None and infinity are what equal pictures have."""
    if value is None or math.isinf(value):
        return "equal"
    return f"{value:z.2f} {UNITS[name]}" if name in UNITS else f"{value:.4f}"


class Meter:
    """Measures pictures against a reference, in order: XPSNR weights a frame by what moved since the one before.

    `perceptual` names a network of `vidsr.perceptual`, or is None.

    Raises:
        BackendError, UsageError: the perceptual network is not there.
    """

    def __init__(self, perceptual: str | None = None) -> None:
        self._chains: dict[str, _Chain] = {}
        self._perceptual: Callable[[Tensor, Tensor], float] | None = None
        self._name = perceptual
        if perceptual:
            from vidsr.perceptual import Perceptual

            self._perceptual = Perceptual(perceptual)

    def __call__(self, label: str, picture: Pixels, reference: Pixels) -> dict[str, float]:
        """The measures of one (H, W, 3) picture, by name; `label` tells the films apart that are measured in turn.

        PSNR, SSIM and XPSNR are those of luma (BT.709). Equal pictures have a PSNR and XPSNR of infinity;
        very small ones (below 45x45) have no XPSNR.
        """
        if picture.shape != reference.shape:
            raise UsageError(f"Pictures of {picture.shape} and {reference.shape} cannot be compared; resize one.")
        chain = self._chains.get(label)
        if chain is None or chain.shape != picture.shape:
            chain = self._chains[label] = _Chain(picture.shape)
        figures = chain(picture, reference)
        if self._perceptual is not None:
            import torch

            images = (torch.from_numpy(x).permute(2, 0, 1).float() for x in (picture, reference))
            figures[str(self._name)] = self._perceptual(*images)
        return figures

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._chains.clear()


class _Chain:
    """FFmpeg's filters over pairs of pictures of one shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._num = 0
        names = FILTERS if shape[0] * shape[1] >= XPSNR_PIXELS else FILTERS[:2]
        self._graphs = {name: _graph(name, shape[1], shape[0]) for name in names}

    def __call__(self, picture: Pixels, reference: Pixels) -> dict[str, float]:
        figures: dict[str, float] = {}
        frames = [self._frame(x) for x in (picture, reference)]
        self._num += 1
        for name, (graph, inputs) in self._graphs.items():
            for source, frame in zip(inputs, frames, strict=True):
                source.push(frame)
            figures[name] = _value(graph.pull().metadata[KEYS[name]])
        return figures

    def _frame(self, pixels: Pixels) -> av.VideoFrame:
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = rgb.reformat(format="yuv444p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG")
        frame.pts, frame.time_base = self._num, _BASE
        return frame


def _graph(name: str, width: int, height: int) -> tuple[Graph, list[FilterContext]]:
    graph, form = Graph(), av.VideoFormat("yuv444p")
    inputs = [graph.add_buffer(width=width, height=height, format=form, time_base=_BASE) for _ in range(2)]
    node, sink = graph.add(name), graph.add("buffersink")
    for pad, source in enumerate(inputs):
        source.link_to(node, 0, pad)
    node.link_to(sink)
    graph.configure()
    return graph, inputs


def _value(text: str) -> float:
    value = float(text)
    return math.inf if math.isinf(value) else value
