"""One graph from codes to codes against the same frames operation by operation, on an NVIDIA GPU.

    python -m pytest tests/conformance/test_step.py -q

``VIDSR_REQUIRE_GPU=1`` makes the absence of a GPU a failure. PyAV is not needed.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conformance.test_backends import make_model
from tests.conformance.test_gpu import gpu
from tests.upscaling.test_upscaler import make_frame
from vidsr.backends.torch.backend import TorchBackend
from vidsr.backends.torch.kernels import why_none
from vidsr.backends.torch.speedups import Speedups
from vidsr.bench.network import GPU_PATHS, synthetic_frames
from vidsr.errors import Cancelled
from vidsr.frame import Canvas, Colour, Frame, Matrix, PixelFormat, Siting, output_colour
from vidsr.models import registry
from vidsr.upscaling import upscaler as module
from vidsr.upscaling.stepper import why_not
from vidsr.upscaling.upscaler import Upscaler

__all__ = ["gpu"]
CAPTURED = Speedups(True, False, True)


def opened(gpu: torch.device, name: str = "fast", scale: float = 4, path: Speedups = CAPTURED) -> Upscaler:
    backend = TorchBackend(registry.load(name, 4), precision="fp16", device=gpu, speedups=path)
    return Upscaler(name, scale=scale, backend=backend, reuse=False)


def both(upscaler: Upscaler, clip: list[Frame], canvas: Canvas) -> tuple[list[Frame], list[Frame]]:
    """Frames as one graph makes them, and without it."""
    upscaler.renderer.stepping = True
    made = list(upscaler.stream(clip, canvas))
    assert upscaler.notes == []
    assert upscaler.renderer.stepped
    upscaler.renderer.stepping = False
    return made, list(upscaler.stream(clip, canvas))


def alike(made: list[Frame], expected: list[Frame]) -> None:
    """One code at most, of 8 bits, and that rarely; every frame has its time and its layout."""
    assert [frame.pts for frame in made] == [frame.pts for frame in expected]
    for one, other in zip(made, expected, strict=True):
        assert (one.format, one.colour) == (other.format, other.colour)
        unit = 1 << (one.format.bits - 8)
        for x, y in zip(one.planes, other.planes, strict=True):
            assert (x.shape, x.dtype) == (y.shape, y.dtype)
            difference = np.abs(x.astype(np.int32) - y)
            assert difference.max() <= unit
            assert (difference >= unit).mean() < 0.01


@pytest.fixture
def three_at_once(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """A size of which a batch has three; eleven frames end in a batch of two."""
    width, height = 131, 67
    monkeypatch.setattr(module, "GPU_BATCH_PIXELS", 3 * width * height)
    return width, height


def test_the_device_does_it(gpu: torch.device) -> None:
    assert why_not(gpu) is None


@pytest.mark.parametrize(
    ("source", "target", "siting"),
    [
        ("yuv420p", "yuv420p", "left"),
        ("yuv420p", "yuv420p10le", "topleft"),
        ("yuv420p10le", "yuv420p10le", "center"),
        ("yuv422p", "yuv420p", "bottomleft"),
        ("yuv411p", "yuv422p10le", "left"),
        ("yuv440p", "yuv440p", "top"),
        ("yuv410p", "yuv444p", "center"),
        ("yuv444p16le", "yuv444p16le", "left"),
        ("yuva420p", "yuv420p", "left"),
        ("gbrp", "gbrp", "left"),
        ("gbrp16le", "yuv420p", "left"),
        ("gray", "gray", "left"),
        ("gray16le", "gray10le", "left"),
    ],
)
def test_layouts(gpu: torch.device, three_at_once: tuple[int, int], source: str, target: str, siting: Siting) -> None:
    width, height = three_at_once
    formats = [PixelFormat.parse(name) for name in (source, target)]
    matrix = Matrix.RGB if formats[0].model == "rgb" else Matrix.BT2020_NCL
    colour = Colour(matrix, full_range=siting == "center" or matrix is Matrix.RGB, siting=siting)
    frames = [make_frame(width, height, formats[0], pts=index, seed=index) for index in range(11)]
    clip = [replace(frame, colour=colour) for frame in frames]
    with opened(gpu) as upscaler:
        canvas = Canvas((4 * width, 4 * height), formats[1], output_colour(colour, *formats))
        alike(*both(upscaler, clip, canvas))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (37, 1), (640, 16), (517, 259)])
def test_sizes(gpu: torch.device, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GPU_BATCH_PIXELS", 1)
    clip = [make_frame(*size, pts=index, seed=index) for index in range(7)]
    with opened(gpu) as upscaler:
        alike(*both(upscaler, clip, upscaler.canvas(clip[0])))


@pytest.mark.parametrize(("scale", "size"), [(2.5, (96, 54)), (4, (80, 50))])
def test_a_scale_between(
    gpu: torch.device, scale: float, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GPU_BATCH_PIXELS", 1)
    clip = [make_frame(*size, pts=index, seed=index) for index in range(5)]
    with opened(gpu, scale=scale) as upscaler:
        alike(*both(upscaler, clip, upscaler.canvas(clip[0])))


@pytest.mark.parametrize("name", ["fast-video", "srgan"])
@pytest.mark.parametrize("size", [(480, 270), (960, 540)])
def test_kernels_in_the_same_graph(gpu: torch.device, name: str, size: tuple[int, int]) -> None:
    if (why := why_none(gpu)) is not None:
        pytest.skip(why)
    clip = synthetic_frames(*size, 14)
    with opened(gpu, name, path=GPU_PATHS["kernels+graph"]) as upscaler:
        alike(*both(upscaler, clip, upscaler.canvas(clip[0])))


def test_colour_by_torch_in_the_same_graph(
    gpu: torch.device, three_at_once: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Triton has no compiler."""
    monkeypatch.setattr("vidsr.upscaling.colour.why_not_fused", lambda _: "there is no C compiler")
    clip = [make_frame(*three_at_once, pts=index, seed=index) for index in range(11)]
    with opened(gpu) as upscaler:
        alike(*both(upscaler, clip, upscaler.canvas(clip[0])))


def test_fifty_frames_that_all_stay(gpu: torch.device, three_at_once: tuple[int, int]) -> None:
    clip = [make_frame(*three_at_once, pts=index, seed=index) for index in range(50)]
    with opened(gpu) as upscaler:
        canvas = upscaler.canvas(clip[0])
        made, expected = both(upscaler, clip, canvas)
        upscaler.renderer.stepping = True
        alike(list(upscaler.stream(clip, canvas)), expected)  # in blocks that come a second time, or are new
    alike(made, expected)  # after the step is gone, too
    assert len({frame.planes[0].tobytes() for frame in made}) == 50


def test_cancel_leaves_the_gpu_to_others(gpu: torch.device, three_at_once: tuple[int, int]) -> None:
    clip = [make_frame(*three_at_once, pts=index, seed=index) for index in range(50)]
    with opened(gpu) as upscaler:
        stream = upscaler.stream(clip)
        for _ in range(13):
            next(stream)
        canceller = threading.Thread(target=upscaler.cancel)
        canceller.start()
        canceller.join()
        with pytest.raises(Cancelled):
            list(stream)
    with opened(gpu) as upscaler:
        alike(*both(upscaler, clip[:9], upscaler.canvas(clip[0])))


def test_values_that_are_no_numbers_go_on_in_fp32(gpu: torch.device, three_at_once: tuple[int, int]) -> None:
    clip = [make_frame(*three_at_once, pts=index, seed=index) for index in range(9)]
    model = make_model("fast", 4)
    backend = TorchBackend(model, precision="fp16", device=gpu, speedups=CAPTURED)
    with Upscaler("fast", scale=4, backend=backend, reuse=False) as upscaler, torch.no_grad():
        list(upscaler.stream(clip))
        assert upscaler.renderer.stepped
        for weight in backend._module.parameters():
            weight.fill_(torch.inf)  # in the memory that the graph reads
        made = list(upscaler.stream(clip))
        assert any("FP32 goes on" in note for note in upscaler.notes)
    with Upscaler("fast", scale=4, backend="cuda", precision="fp32", reuse=False) as upscaler:
        alike(made, list(upscaler.stream(clip)))
