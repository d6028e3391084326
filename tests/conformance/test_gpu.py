"""What only an NVIDIA GPU can show. ``VIDSR_REQUIRE_GPU=1`` makes its absence a failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.backends.torch.kernels.making import error, untrained
from tests.conformance.test_backends import frames, make_model, psnr
from tests.upscaling.test_upscaler import make_frame
from vidsr.backends.accuracy import real_frame
from vidsr.backends.selection import open_backend
from vidsr.backends.torch.backend import TorchBackend
from vidsr.backends.torch.graphs import MAX_GRAPHS
from vidsr.backends.torch.kernels import why_none
from vidsr.backends.torch.speedups import Speedups
from vidsr.bench.network import GPU_PATHS
from vidsr.errors import OutOfMemoryError
from vidsr.frame import PixelFormat
from vidsr.models import registry
from vidsr.models.srgan import GeneratorConfig
from vidsr.upscaling.colour import why_not_fused
from vidsr.upscaling.upscaler import Upscaler

REQUIRED = os.environ.get("VIDSR_REQUIRE_GPU") == "1"
FP16_PSNR, FP16_CODES = 55.0, 1.0  # dB, and 8-bit codes at the 99.9th percentile
GPU = torch.device("cuda", 0)


@pytest.fixture
def gpu() -> torch.device:
    """The first GPU; without one the test is skipped, or fails where a GPU is required."""
    if not torch.cuda.is_available():
        (pytest.fail if REQUIRED else pytest.skip)("torch finds no NVIDIA GPU")
    return GPU


def shipped() -> list[tuple[str, int]]:
    return [(info.name, info.scale) for info in registry.available_models()]


def test_a_gpu_is_there_where_one_is_required(gpu: torch.device) -> None:
    assert torch.ones(2, device=gpu).sum().item() == 2


@pytest.mark.parametrize(("name", "scale"), shipped())
def test_fp16_is_within_a_code_of_fp32(gpu: torch.device, name: str, scale: int) -> None:
    model, batch = registry.load(name, scale), frames()
    with torch.no_grad():
        expected = model.module(batch).clamp(0, 1)
    opened, reason = open_backend("cuda", model)
    result = opened(batch.to(opened.device, opened.dtype)).float().cpu().clamp(0, 1)
    assert reason.startswith("cuda: ")
    assert psnr(result, expected) >= FP16_PSNR
    assert float((result - expected).abs().flatten().quantile(0.999)) * 255 <= FP16_CODES
    opened.close()


@pytest.mark.parametrize("path", [path for path in GPU_PATHS.values() if not path.kernels])
@pytest.mark.parametrize("graph", ["srgan", "fast"])
def test_every_path_is_the_module(gpu: torch.device, path: Speedups, graph: str) -> None:
    model = make_model(graph, 4)
    opened = TorchBackend(model, precision="fp32", device=gpu, speedups=path)
    for num, height, width in [(1, 40, 56), (2, 24, 32)]:
        assert opened.prepare((num, height, width)) == ""
    for shape in [(1, 3, 40, 56), (2, 3, 24, 32)] * 3:  # at the second time captured, then replayed
        batch = torch.rand(shape)
        with torch.no_grad():
            expected = model.module(batch)
        result = opened(batch.to(gpu))
        assert result.is_contiguous()
        assert float((result.cpu() - expected).abs().max()) < 1e-4
    assert (opened.speedups, opened.notes) == (path, [])
    opened.close()


@pytest.mark.parametrize("graph", ["srgan", "fast"])
def test_kernels_make_the_network(gpu: torch.device, graph: str) -> None:
    """In half precision no worse than torch, where every layer shows; wider and higher than a strip, and replayed."""
    if (why := why_none(gpu)) is not None:
        pytest.skip(why)
    torch.manual_seed(0)
    path = GPU_PATHS["kernels+graph"]
    config = GeneratorConfig(graph, 4, blocks=2)
    module = untrained(config)
    model = replace(make_model(graph, 4, channels=64), config=config, given=module)
    ways = [TorchBackend(model, precision="fp16", device=gpu, speedups=each) for each in (path, GPU_PATHS["fused"])]
    for shape in [(1, 3, 150, 300), (2, 3, 33, 129)] * 3:
        batch = torch.rand(shape)
        kernels, torchs = (error(way(batch.to(gpu).half()), module(batch)) for way in ways)
        assert kernels < max(2 * torchs, 1e-3)
    assert (ways[0].speedups, ways[0].notes) == (path, [])
    for way in ways:
        way.close()


def test_more_shapes_than_graphs(gpu: torch.device) -> None:
    model = make_model("fast", 2)
    opened = TorchBackend(model, precision="fp32", device=gpu, speedups=Speedups(True, False, True))
    results: dict[int, torch.Tensor] = {}
    for turn in range(4):
        for side in range(8, 8 + MAX_GRAPHS + 2):
            batch = torch.full((1, 3, side, side), side / 20, device=gpu)
            result = opened(batch).cpu()
            assert turn == 0 or torch.equal(result, results[side])
            results[side] = result
    opened.close()


def test_planes_are_made_by_one_kernel_each_where_triton_is(gpu: torch.device) -> None:
    assert why_not_fused(gpu) == why_none(gpu)


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv444p12le", "gbrp16le", "gray", "yuva420p"])
def test_frames_on_the_gpu_are_those_of_the_cpu(gpu: torch.device, name: str) -> None:
    """Pinned copies, colour on the device, batches in flight; 50 frames, so that memory is used again and again."""
    format = PixelFormat.parse(name)
    clip = [make_frame(64, 48, format, pts=index, seed=index % 7) for index in range(50)]
    with (
        Upscaler("bicubic", scale=2, backend="cuda", precision="fp32") as fast,
        Upscaler("bicubic", scale=2, backend="cpu") as slow,
    ):
        results, expected = list(fast.stream(clip)), list(slow.stream(clip))
    assert [frame.pts for frame in results] == list(range(50))
    for a, b in zip(results, expected, strict=True):
        for x, y in zip(a.planes, b.planes, strict=True):
            assert x.dtype == y.dtype
            assert np.abs(x.astype(int) - y).max() <= 1


def test_the_largest_call_is_its_tiles(gpu: torch.device) -> None:
    """As many elements as cuDNN can count: 1080p of SRGAN x4 in half precision."""
    if torch.cuda.mem_get_info(gpu)[0] < 40 << 30:
        pytest.skip("that takes 40 GB")
    opened = TorchBackend(registry.load("srgan", 4), precision="fp16", device=gpu, speedups=GPU_PATHS["fused"])
    assert opened.max_pixels is not None
    assert opened.max_pixels >= 1920 * 1080
    batch = real_frame((1, 1080, 1920)).to(gpu).half()
    whole = opened(batch)
    for top, left in ((0, 0), (1080 - 200, 1920 - 200)):  # corners: what is behind 2**31 bytes, too
        part = opened(batch[..., top : top + 200, left : left + 200])
        rows = slice(0, 600) if top == 0 else slice(-600, None)
        columns = slice(0, 600) if left == 0 else slice(-600, None)
        there = whole[..., 4 * top : 4 * (top + 200), 4 * left : 4 * (left + 200)]
        assert float((there - part)[..., rows, columns].abs().max()) < 1 / 255
    opened.close()


def test_a_call_that_does_not_fit_is_a_step(gpu: torch.device) -> None:
    """Real memory: the backend claims that a call of half a terabyte fits."""
    model = make_model("srgan", 4, blocks=1)
    opened = TorchBackend(model, precision="fp16", device=gpu, speedups=Speedups(True, False, True))
    with pytest.raises(OutOfMemoryError):
        opened(torch.empty((64, 3, 2048, 2048), dtype=torch.float16, device=gpu))
    batch = torch.rand((1, 3, 32, 32), device=gpu).half()
    assert torch.isfinite(opened(batch)).all()  # and the backend lives on
    opened.close()


def test_super_resolution_of_a_stream_in_fp16(gpu: torch.device) -> None:
    name, scale = next(pair for pair in shipped() if pair[0] != "bicubic")
    clip = [replace(make_frame(96, 72, seed=3), pts=index) for index in range(6)]
    with (
        Upscaler(name, scale=scale, backend="cuda", reuse=False) as fast,
        Upscaler(name, scale=scale, backend="cpu", precision="fp32") as slow,
    ):
        results, expected = list(fast.stream(clip)), slow.upscale(clip[0])
        assert fast.notes == []
    for frame in results:
        error = np.abs(frame.planes[0].astype(int) - expected.planes[0])
        assert np.quantile(error, 0.999) <= 1


def test_a_training_step_by_kernels_has_the_gradients_of_torchs(gpu: torch.device) -> None:
    """In bf16 as near to those in FP32 as torch's are, of layers of 64 and 256 channels; compiled, as the trainer's."""
    if (why := why_none(gpu)) is not None:
        pytest.skip(why)
    from train import kernels
    from train.stage import PreciseTail, quicken

    for channels in (64, 256):
        assert kernels.agreed(gpu, channels)[0], kernels.agreed(gpu, channels)[1]
    torch.manual_seed(0)
    module = untrained(GeneratorConfig("srgan", 4, blocks=1)).to(gpu).requires_grad_(True)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lr = torch.rand((8, 3, 93, 131), device=gpu).contiguous(memory_format=torch.channels_last)
    by_kernels = kernels.by_kernels(module, kernels.layers(module, (8, 93, 131)))
    steps = (PreciseTail(module), quicken(PreciseTail(by_kernels), gpu))
    plain, made = ([each.double() for each in gradients(module, step, lr, bf16=True)] for step in steps)
    exact = [each.double() for each in gradients(module, PreciseTail(module), lr, bf16=False)]
    for ours, torchs, right in zip(made, plain, exact, strict=True):
        assert float((ours - right).norm()) <= max(1.5 * float((torchs - right).norm()), 0.02 * float(right.norm()))


def gradients(
    module: nn.Module, step: Callable[[torch.Tensor], torch.Tensor], lr: torch.Tensor, *, bf16: bool
) -> tuple[torch.Tensor, ...]:
    """Of a module's weights."""
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        sr = step(lr)
    return torch.autograd.grad((sr.float() - 0.5).square().mean(), list(module.parameters()))
