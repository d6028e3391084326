"""The kernel that makes planes: by Triton's interpreter, which needs no GPU, and compiled for every GPU of a recipe."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import warm
from tests.backends.torch.kernels.compiling import compiled
from vidsr import findings
from vidsr.backends.tensorrt.recipes import recipes
from vidsr.backends.torch import kernels
from vidsr.frame import Colour, PixelFormat
from vidsr.upscaling import colour as colours

CPU = torch.device("cpu")
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed (pip install --group gpu)"
)


@needs_triton
def test_planes_and_pictures_are_those_of_torch() -> None:
    lines = warm.said("tests.upscaling.interpret_colour")
    rows, steps = ([line for line in lines if name in line] for name in ("layout", "step"))
    assert len(rows) > 35
    for row in rows:
        assert (row["shapes"], row["types"]) == (row["expected_shapes"], row["expected_types"]), row
        assert row["most"] <= 1, row
        assert row["decoded"] < 1e-6, row
    assert sum(row["differing"] for row in rows) < 1e-3 * sum(row["samples"] for row in rows)  # ties, rounded otherwise
    assert any(row["spread"] > 200 for row in rows)
    assert len(steps) == 4
    for step in steps:
        assert step["most"] <= 1, step
        assert step["differing"] < 0.01, step
        assert step["marks"] == [[1, 0], [1, 1]]  # the kernels' second picture had an infinite value in it


@needs_triton
@pytest.mark.parametrize("capability", sorted({each.capability for each in recipes().values() if each.capability}))
@pytest.mark.parametrize(("rgb", "codes", "unit"), [("*fp16", "*u8", "column_stride"), ("*fp32", "*i16", None)])
def test_it_compiles_for_every_gpu(
    capability: tuple[int, int], rgb: str, codes: str, unit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from vidsr.upscaling.colour_kernel import BLOCK, encode_plane

    constants: dict[str, object] = {"marks": bool(unit), "fx": 2, "fy": 2, "ox": 0.0, "oy": 0.5, "block": BLOCK}
    constants |= {unit: 1} if unit else {}  # Triton compiles arguments that are 1 into the kernel
    pointers = {"rgb": rgb, "codes": codes, "sound": codes}
    pointers |= dict.fromkeys(("red", "green", "blue", "bias", "top"), "fp32")
    made = compiled(encode_plane, capability, pointers, constants, enable_fp_fusion=False)
    assert f".target sm_{capability[0]}{capability[1]}" in made.asm["ptx"]
    assert made.asm["cubin"].startswith(b"\x7fELF")


@needs_triton
@pytest.mark.parametrize("capability", sorted({each.capability for each in recipes().values() if each.capability}))
def test_what_reads_pictures_compiles_for_every_gpu(
    capability: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from vidsr.upscaling.colour_kernel import BLOCK, decode_planes

    constants: dict[str, object] = {
        "grey": False, "clamped": True, "fx": 2, "fy": 2, "ox": 0.0, "oy": 0.5, "block": BLOCK
    }  # fmt: skip
    weights = ("ry", "ru", "rv", "gy", "gu", "gv", "by", "bu", "bv", "r0", "g0", "b0")
    pointers = {"rgb": "*fp16", "codes": "*u8"} | dict.fromkeys(weights, "fp32")
    made = compiled(decode_planes, capability, pointers, constants, enable_fp_fusion=False)
    assert f".target sm_{capability[0]}{capability[1]}" in made.asm["ptx"]
    assert made.asm["cubin"].startswith(b"\x7fELF")
    assert "fma.rn.f32" in made.asm["ptx"]  # in one rounding, as torch's operations on a GPU


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[types.ModuleType]:
    """The kernel's module as it would be where Triton works, to be filled; nothing is remembered of other tests."""
    module = types.ModuleType("vidsr.upscaling.colour_kernel")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(kernels, "why_none", lambda _: None)
    monkeypatch.setattr(findings, "folder", lambda: tmp_path)
    colours.why_not_fused.cache_clear()
    yield module
    colours.why_not_fused.cache_clear()


def pictures_by_torch(planes: list[torch.Tensor], *how: Any, clamped: bool) -> None:
    """What the kernel of this name does, for the layouts and the colour of the trial."""
    *_, rgb = how
    name = {(1, torch.uint8): "yuv420p", (2, torch.int16): "yuv422p10le"}
    rows = 3 - (planes[0].shape[1] > planes[1].shape[1]) - (planes[0].shape[2] > planes[1].shape[2])
    format = PixelFormat.parse(name.get((rows, planes[0].dtype), "gbrp"))
    for index, picture in enumerate(rgb):
        picture.copy_(colours.decode([plane[index] for plane in planes], format, Colour())[0])


def test_a_kernel_that_agrees_is_used(as_on_a_gpu: Any) -> None:
    calls = []

    def plane(rgb: torch.Tensor, *how: Any) -> torch.Tensor:
        calls.append(rgb.shape)
        return colours._plane(rgb, *how)

    as_on_a_gpu.plane, as_on_a_gpu.pictures = plane, pictures_by_torch
    assert colours.why_not_fused(CPU) is None
    num_checks = len(calls)
    colours.why_not_fused.cache_clear()  # as another process begins
    assert colours.why_not_fused(CPU) is None
    assert len(calls) == num_checks
    rgb = torch.rand(1, 3, 6, 8)
    format, colour = PixelFormat.parse("yuv420p"), Colour()
    made = colours.encode(rgb, format, colour)
    assert calls[num_checks:] == [(3, 6, 8)] * 3
    assert all(map(torch.equal, made, colours._planes(colours._plane, rgb[0], format, colour)))


def test_a_wrong_kernel_is_not(as_on_a_gpu: Any) -> None:
    as_on_a_gpu.plane = lambda *arguments: colours._plane(*arguments).roll(1, 0)
    as_on_a_gpu.pictures = pictures_by_torch
    assert colours.why_not_fused(CPU) == "its kernel is wrong here in yuv420p"
    codes = colours.encode(torch.zeros(1, 3, 2, 2), PixelFormat.parse("gray"), Colour())
    assert codes[0].tolist() == [[16, 16], [16, 16]]


def test_one_that_reads_wrongly_is_not(as_on_a_gpu: Any) -> None:
    def pictures(planes: list[torch.Tensor], *how: Any, clamped: bool) -> None:
        pictures_by_torch(planes, *how, clamped=clamped)
        how[-1][1, 2, 5, 7] += 0.01

    as_on_a_gpu.plane, as_on_a_gpu.pictures = colours._plane, pictures
    assert colours.why_not_fused(CPU) == "its kernel reads yuv420p wrongly here"


def test_a_failing_kernel_is_not(as_on_a_gpu: Any) -> None:
    def plane(*_: object) -> torch.Tensor:
        raise RuntimeError("ptxas fatal\nmore")

    as_on_a_gpu.plane = as_on_a_gpu.pictures = plane
    assert colours.why_not_fused(CPU) == "it fails here: ptxas fatal"
