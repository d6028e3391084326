"""What numpy makes of frames is what torch makes of them, to one code."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch

from vidsr.backends.nearest import NearestBackend
from vidsr.backends.torch.backend import TorchBackend
from vidsr.frame import Canvas, Colour, Frame, Matrix, PixelFormat
from vidsr.models import registry
from vidsr.upscaling import colour, host, host_resize
from vidsr.upscaling.device import DeviceRenderer
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.relight import relit
from vidsr.upscaling.resize import resize

NAMES = ("yuv420p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv420p10le", "yuv444p12le", "yuv420p16le")
OTHERS = ("gbrp", "gbrp16le", "gray", "gray10le")
COLOURS = (
    Colour(),
    Colour(Matrix.BT470BG, full_range=True, siting="center"),
    Colour(Matrix.BT2020_NCL, siting="topleft"),
    Colour(Matrix.YCGCO, siting="bottom"),
    Colour(Matrix.RGB, full_range=True, siting="bottomleft"),
)
SIZES = ((1, 1), (5, 7), (38, 901))  # (height, width): the last in several blocks


def noise(format: PixelFormat, height: int, width: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        rng.integers(0, 1 << format.bits, shape).astype(format.dtype) for shape in format.plane_shapes(width, height)
    )


def worst(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> int:
    assert [(plane.shape, plane.dtype) for plane in ours] == [(plane.shape, plane.dtype) for plane in theirs]
    return max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_colours_are_those_of_torch(name: str) -> None:
    format = PixelFormat.parse(name)
    for meaning, (height, width) in product(COLOURS, SIZES):
        planes = noise(format, height, width)
        rgb = host.to_rgb(planes, format, meaning)
        expected = colour.to_rgb(planes, format, meaning)
        assert rgb.dtype == np.float32
        assert np.abs(rgb - expected.numpy()).max() < 5e-5
        assert worst(host.from_rgb(rgb, format, meaning), colour.from_rgb(expected, format, meaning)) <= 1


@pytest.mark.parametrize(
    ("source", "target"), [((5, 6), (1, 1)), ((9, 1), (1, 13)), ((6, 7), (5, 5)), ((1, 1), (1, 6))]
)
def test_light_is_that_of_torch(source: tuple[int, int], target: tuple[int, int]) -> None:
    one, other = (Colour(primaries=p, transfer=t) for p, t in (source, target))
    rgb = np.random.default_rng(1).random((1, 3, 20, 30), np.float32) * 1.2 - 0.1
    assert np.abs(host.relit(rgb, one, other) - relit(torch.from_numpy(rgb), one, other).numpy()).max() < 1e-5


@pytest.mark.parametrize("size", [(60, 45), (119, 90), (120, 91), (300, 30), (120, 90), (1, 1), (7, 200)])
def test_sizes_are_those_of_torch(size: tuple[int, int]) -> None:
    images = np.random.default_rng(2).random((2, 3, 90, 120), np.float32)
    assert np.abs(host_resize.resize(images, size) - resize(torch.from_numpy(images), size).numpy()).max() < 1e-4


@pytest.mark.parametrize("name", ["yuva420p", "gbrap", "yuva444p10le"])
@pytest.mark.parametrize("flat", [False, True])
def test_frames_with_alpha_are_those_of_torch(name: str, flat: bool) -> None:
    format = PixelFormat.parse(name)
    planes = noise(format, 20, 31)
    planes = (*planes[:3], np.full_like(planes[3], 77)) if flat else planes
    frame = Frame(planes, format, Colour(Matrix.RGB if name == "gbrap" else Matrix.BT709), 0, Fraction(1))
    canvas = Canvas((50, 38), format, replace(frame.colour, siting="center"))
    model = registry.load("fast", 2)
    (sound, (made,)), (_, (expected,)) = (
        kind(Enlarger(model, backend)).start((frame,), canvas).wait()
        for kind, backend in (
            (host.HostRenderer, Torchless(model)),
            (DeviceRenderer, TorchBackend(model, precision="fp32", device=torch.device("cpu"))),
        )
    )
    assert sound
    assert worst(made, expected) <= 1


class Torchless(NearestBackend):
    """The reference, given arrays."""

    def __init__(self, model: registry.Model) -> None:
        super().__init__(model.scale)
        self._module = model.module

    def run(self, batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._module(torch.from_numpy(batch)).numpy()


def test_values_that_are_no_numbers_are_seen() -> None:
    format = PixelFormat.parse("gray")
    frame = Frame(noise(format, 8, 8), format, Colour(), 0, Fraction(1))

    class Broken(NearestBackend):
        def run(self, batch: np.ndarray) -> np.ndarray:
            return super().run(batch) * np.float32(np.nan)

    work = host.HostRenderer(Enlarger(registry.load("bicubic", 2), Broken(2))).start(
        (frame,), Canvas((16, 16), format, Colour())
    )
    assert work.wait() == (False, [])
