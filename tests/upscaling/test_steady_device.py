"""Blending on a device as the host does it: torch's operations on the CPU, the kernel by Triton's interpreter."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import warm
from tests.backends.torch.kernels.compiling import compiled
from tests.upscaling.test_steady import middle, scene, texture
from vidsr.backends.tensorrt.recipes import recipes
from vidsr.frame import Colour, Frame, Matrix, PixelFormat
from vidsr.upscaling import motion, motion_device, steady_device
from vidsr.upscaling.steady import Steadier
from vidsr.upscaling.steady_device import DeviceSteadier

CPU = torch.device("cpu")
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed (pip install --group gpu)"
)


@pytest.mark.parametrize("size", [(96, 128), (45, 67), (2, 3)])
def test_motion_is_what_the_host_finds(size: tuple[int, int]) -> None:
    picture, others = texture(*size), [texture(*size, *step) for step in ((0.5, -0.25), (2.4, 7.7))]
    shifts, residuals = motion_device.find(torch.from_numpy(picture), torch.from_numpy(np.stack(others)))
    for other, shift, residual in zip(others, shifts, residuals, strict=True):
        field = motion.find(picture, other)
        assert shift.shape == field.shift.shape
        assert np.abs(shift.numpy() - field.shift).max() < 1e-4
        assert np.abs(residual.numpy() - field.residual).max() < 1e-2


@pytest.mark.parametrize("name", ["gray", "gray10le"])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_pictures_are_those_of_the_host(name: str, scale: int) -> None:
    clip, notes = scene(8, scale=scale, format=PixelFormat.parse(name)), list[str]()
    steadier = DeviceSteadier(0.8, CPU, notes)
    dark = [replace(one, planes=(one.planes[0] * 4 // 5,)) for one in clip[0]]
    ways = (middle(clip), (clip[0], [clip[1]]), (clip[1], [(dark[0], dark[1]), clip[2]]))
    for own, others in ways:  # in the middle, where a shot begins, and in a fade
        made, expected = steadier(own, others).planes[0], Steadier(0.8)(own, others).planes[0]
        apart = np.abs(made.astype(np.int32) - expected)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.01
        assert (made != own[1].planes[0]).mean() > 0.3
    assert notes == []


@pytest.mark.parametrize("name", ["gbrp", "gbrp10le", "gbrap", "yuv444p", "yuv420p10le", "yuv422p", "yuva420p"])
def test_all_colours_are_compared_as_on_the_host(name: str) -> None:
    format, random = PixelFormat.parse(name), np.random.default_rng(4)
    clip = []
    for k in range(3):
        parts = [texture(192, 256, 0, 3 * k, seed=place) for place in range(3 + format.alpha)]
        parts[1][64:128, 64:128] += 40 * (k % 2)
        noisy = [part + random.normal(0, 6, part.shape) for part in parts]
        clip.append((colours(format, parts, 4), colours(format, noisy, 1)))
    made, expected = DeviceSteadier(0.8, CPU, [])(*middle(clip)), Steadier(0.8)(*middle(clip))
    for plane, other in zip(made.planes, expected.planes, strict=True):
        apart = np.abs(plane.astype(np.int32) - other)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.01


def colours(format: PixelFormat, parts: list[np.ndarray], side: int) -> Frame:
    """The means of squares of each part, as planes."""
    most = (1 << format.bits) - 1
    shapes = format.plane_shapes(256 // side, 192 // side)
    small = [
        part.reshape(tall, 192 // tall, wide, 256 // wide).mean((1, 3))
        for part, (tall, wide) in zip(parts, shapes, strict=True)
    ]
    planes = tuple((part * (most / 255)).round().clip(0, most).astype(format.dtype) for part in small)
    return Frame(planes, format, Colour(Matrix.RGB, full_range=True), 0, Fraction(1))


def test_the_trial_takes_what_agrees_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steady_device._tried(CPU) is None
    found = motion_device.find
    monkeypatch.setattr(motion_device, "find", lambda *how: (found(*how)[0] + 2, found(*how)[1]))
    assert str(steady_device._tried(CPU)).startswith("its pictures are up to")


def test_what_fails_goes_on_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    clip, notes = scene(8), list[str]()
    steadier = DeviceSteadier(1.0, CPU, notes)
    monkeypatch.setattr(motion_device, "find", fail)
    for _ in range(2):
        made = steadier(*middle(clip))
        assert np.array_equal(made.planes[0], Steadier(1.0)(*middle(clip)).planes[0])
    assert notes == ["pictures are blended by the CPU, not on cpu: CUDA out of memory"]


def test_a_picture_goes_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many neighbours ask for it; and what is a pixel wide is left to the host."""
    steadier, ups = DeviceSteadier(1.0, CPU, []), list[int]()
    assert steadier._staging is not None
    upload = steadier._staging.upload
    monkeypatch.setattr(steadier._staging, "upload", lambda planes: ups.append(id(planes[0])) or upload(planes))
    clip = [
        (replace(small, planes=(small.planes[0].copy(),)), replace(large, planes=(large.planes[0].copy(),)))
        for small, large in scene(8) * 2
    ]
    for first in range(4):
        steadier(*middle(clip[first : first + 3]))
    assert len(ups) == len(set(ups)) == 12
    before, thin = (
        len(ups),
        Frame((np.zeros((1, 8), np.uint8),), clip[0][0].format, clip[0][0].colour, 0, clip[0][0].time_base),
    )
    other = Frame((np.full((1, 8), 9, np.uint8),), thin.format, thin.colour, 1, thin.time_base)
    steadier((other, other), [(thin, thin), (thin, thin)])
    assert len(ups) == before


@needs_triton
def test_the_kernel_does_what_torch_does() -> None:
    rows = warm.said("tests.upscaling.interpret_steady")
    assert len(rows) == 3
    for row in rows:
        assert row["most"] <= 1, row  # where a weight is all but the next whole number
        assert row["apart"] <= 3, row
        assert row["changed"] > 0.5, row


@needs_triton
@pytest.mark.parametrize("capability", sorted({each.capability for each in recipes().values() if each.capability}))
@pytest.mark.parametrize("codes", ["*u8", "*i16"])
def test_it_compiles_for_every_gpu(
    capability: tuple[int, int], codes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from vidsr.upscaling.steady_kernel import BLOCK, blend_plane, filter_plane

    types = dict.fromkeys(("own", "first", "second", "made"), codes)
    types |= {"shift": "*i32", "weights": "*i16", "down": "fp32", "along": "fp32"}
    filtering = {"codes": codes, "made": codes, "taps": "*fp32"}
    for made in (
        compiled(blend_plane, capability, types, {"both": True, "block": BLOCK}, enable_fp_fusion=False),
        compiled(filter_plane, capability, filtering, {"block": BLOCK}, enable_fp_fusion=False),
    ):
        assert f".target sm_{capability[0]}{capability[1]}" in made.asm["ptx"]
        assert made.asm["cubin"].startswith(b"\x7fELF")


def test_the_host_blends_where_the_device_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(steady_device, "why_not", lambda _: "its pictures are up to 9 codes from the host's")
    assert type(steady_device.opened(1.0, CPU, notes)) is Steadier
    assert notes == ["pictures are blended by the CPU, not on cpu: its pictures are up to 9 codes from the host's"]
    monkeypatch.setattr(steady_device, "why_not", lambda _: None)
    assert type(steady_device.opened(1.0, CPU, notes)) is DeviceSteadier
