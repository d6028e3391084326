"""Every backend against eager FP32, at a written tolerance."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from train.codes import emulated
from vidsr.backends import LISTED, Unit, find, selection
from vidsr.backends.accuracy import Nearness, compare, real_frame
from vidsr.backends.base import Backend, activation_bytes, countable_pixels
from vidsr.backends.nearest import NearestBackend
from vidsr.backends.selection import open_backend
from vidsr.errors import BackendError, Cancelled, UsageError
from vidsr.models import registry, scales, srgan

SHAPES = [(1, 33, 29), (2, 8, 8), (1, 5, 41), (1, 2, 3), (3, 17, 16)]
FP32_TOLERANCE, GPU_TOLERANCE = 1e-5, 1e-4  # largest difference, of values around 1; a GPU's algorithms round more
HALF_TOLERANCE = 2e-2  # of what has no FP32, as an NPU
BF16_PSNR = 50.0  # dB to FP32, on real frames
INT8_PSNR, INT8_CODES = (
    48.0,
    3.0,
)  # dB, and 99.9th percentile in codes, to FP32 on film; noise is not what scales are for
INT8_EXACT = (
    60.0  # dB to the same whole numbers in torch, on anything: a value on the edge of two codes may fall either way
)


def make_model(graph: str, scale: int, *, blocks: int = 2, channels: int = 32) -> registry.Model:
    """A small generator with random weights, whose output fills [0, 1]."""
    torch.manual_seed(0)
    config = srgan.GeneratorConfig(graph, scale, channels=channels, blocks=blocks)
    module = srgan.build(config).eval().requires_grad_(False)
    if graph == "srgan":
        tail = module.tail
        assert isinstance(tail, torch.nn.Conv2d)
        tail.weight.mul_(12)
        tail.bias.fill_(0.5)  # type: ignore[union-attr]
    macs = srgan.macs_per_pixel(config)
    return registry.Model(graph, scale, config, module, srgan.halo(config), 1, macs, "none", {}, None)


def missing(name: str, device: int | str) -> str:
    """Why a backend does not run on such a device of this machine; empty where it may."""
    row, unit = find(name), Unit.of(device)
    if not row.is_installed:
        return f"{row.package} is not installed"
    try:
        selection._kind(row).best_precision(selection._place(row, unit), unit)
    except BackendError as error:
        return str(error)
    return ""


def places() -> Iterator[tuple[str, str]]:
    """Every backend but the reference with each kind of device that it knows, and with each GPU that is here."""
    for row in LISTED:
        for kind in row.units if row.name != "cpu" else ():
            yield row.name, kind
            if kind == "gpu" and not row.torch:
                yield from ((row.name, str(number)) for number in range(1, 9) if not missing(row.name, number))


PLACES = [
    pytest.param(place, marks=pytest.mark.skipif(bool(why := missing(*place)), reason=why), id="-".join(place))
    for place in places()
]


def available() -> list[str]:
    """The backends that can run here, the reference left out."""
    return list(dict.fromkeys(name for name, device in places() if not missing(name, device)))


def openvino_precisions() -> list[str]:
    """Those that OpenVINO computes in on this CPU; none without it."""
    if missing("openvino", "cpu"):
        return []
    from vidsr.backends.openvino import _core, _precisions

    return _precisions(_core(), "CPU")


def tolerance(backend: Backend) -> float:
    if backend.precision != "fp32":
        return HALF_TOLERANCE
    return FP32_TOLERANCE if backend.unit == "CPU" else GPU_TOLERANCE


def frames() -> Tensor:
    """(2, 3, 72, 96): crops of a real frame; without PyAV, which a machine that only measures the GPU may lack."""
    return real_frame((2, 120, 200))[..., 30:102, 100:196]


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(((a.clamp(0, 1) - b.clamp(0, 1)) ** 2).mean()))


@pytest.fixture(scope="module", params=[("srgan", 4), ("srgan", 2), ("fast", 4), ("fast", 2), ("bicubic", 4)])
def model(request: pytest.FixtureRequest) -> registry.Model:
    return make_model(*request.param)


@pytest.fixture(params=PLACES)
def backend(
    request: pytest.FixtureRequest,
    model: registry.Model,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Backend]:
    monkeypatch.setenv("VIDSR_ENGINE_DIR", str(tmp_path_factory.getbasetemp() / "engines"))
    name, device = request.param
    precision = "fp32" if device != "npu" else "auto"
    opened, _ = open_backend(name, model, precision=precision, device=device)
    yield opened
    opened.close()


def reference(model: registry.Model, batch: Tensor) -> Tensor:
    with torch.no_grad():
        return model.module(batch)


def test_random_inputs(model: registry.Model, backend: Backend) -> None:
    for num, height, width in SHAPES:
        batch = torch.rand(num, 3, height, width)
        result = backend(batch.to(backend.device, backend.dtype)).cpu().float()
        assert result.shape == (num, 3, height * model.scale, width * model.scale)
        assert float((result - reference(model, batch)).abs().max()) < tolerance(backend)


def test_real_frames(model: registry.Model, backend: Backend) -> None:
    batch = frames()
    result = backend(batch.to(backend.device, backend.dtype)).cpu().float()
    assert float((result - reference(model, batch)).abs().max()) < tolerance(backend)


def test_eager_is_the_module(model: registry.Model) -> None:
    batch = frames()
    eager, _ = open_backend("cpu", model, precision="fp32")
    assert float((eager(batch) - reference(model, batch)).abs().max()) < FP32_TOLERANCE
    assert torch.equal(eager(batch), eager(batch))


def test_results_outlive_the_next_call(model: registry.Model, backend: Backend) -> None:
    batch = torch.rand(1, 3, 12, 20).to(backend.device, backend.dtype)
    first = backend(batch)
    copy = first.clone()
    backend(1 - batch)
    assert torch.equal(first, copy)
    assert torch.equal(backend(batch), copy)


@pytest.mark.parametrize(("graph", "scale"), [("srgan", 4), ("fast", 4), ("fast", 2)])
def test_bf16_stays_close(graph: str, scale: int) -> None:
    model, batch = make_model(graph, scale), frames()
    eager, _ = open_backend("cpu", model, precision="bf16")
    result = eager(batch)
    assert eager.dtype == result.dtype == torch.float32
    assert psnr(result, reference(model, batch)) > BF16_PSNR
    assert not torch.equal(result, reference(model, batch))


@pytest.mark.parametrize("scale", [2, 4])
def test_shipped_weights_in_bf16(scale: int) -> None:
    if not any((info.name, info.scale) == ("fast", scale) for info in registry.available_models()):
        pytest.skip(f"no fast x{scale} is shipped")
    model, batch = registry.load("fast", scale), frames()
    eager, _ = open_backend("cpu", model, precision="bf16")
    assert psnr(eager(batch), reference(model, batch)) > BF16_PSNR


@pytest.mark.parametrize("scale", [2, 4])
def test_openvino_in_bf16_does_not_tint(scale: int) -> None:
    """A bf16 step is a whole code value near 1.0: the base of the picture must not pass through it."""
    pytest.importorskip("openvino")
    from vidsr.backends.openvino import OpenVINOBackend

    if OpenVINOBackend.best_precision(torch.device("cpu"))[0] != "bf16":
        pytest.skip("this CPU has no bf16 units")
    model = registry.load("fast", scale)
    half, _ = open_backend("openvino", model, precision="bf16")
    for level in (0.25, 0.6, 0.95):
        flat = torch.full((1, 3, 24, 24), level)
        drift = (half(flat) - reference(model, flat)).mean() * 255
        assert abs(float(drift)) < 0.02
    assert psnr(half(frames()), reference(model, frames())) > 60


CODED = [info for info in registry.available_models() if scales.KEY in info.metadata]


@pytest.mark.skipif("int8" not in openvino_precisions(), reason="no OpenVINO that computes in INT8")
@pytest.mark.parametrize("info", CODED, ids=lambda info: f"{info.name}-x{info.scale}")
def test_shipped_weights_in_int8(info: registry.ModelInfo) -> None:
    model = registry.load(info.name, info.scale)
    opened, _ = open_backend("openvino", model, precision="int8", device="cpu")
    film, noise = real_frame((1, 96, 128)), torch.rand(1, 3, 24, 32)
    assert compare(opened(film), reference(model, film), Nearness(INT8_PSNR, INT8_CODES)).passed
    exactly = emulated(model.module, model.scales.layers)
    for batch in (film[..., :48, :64].contiguous(), noise):
        with torch.no_grad():
            assert compare(opened(batch), exactly(batch)).psnr > INT8_EXACT
    opened.close()


@pytest.mark.parametrize("name", ["cpu", "nearest", *available()])
def test_refuses_what_is_no_batch(name: str) -> None:
    opened, _ = open_backend(name, make_model("fast", 2))
    good = torch.rand(1, 3, 8, 8, dtype=opened.dtype, device=opened.device)
    for bad in (good[0], good[:, :1], good[:, :, :0], good[:0], good.double()):
        with pytest.raises(BackendError, match=r"takes"):
            opened(bad)
    assert opened(good).shape == (1, 3, 16, 16)
    opened.close()
    opened.close()
    with pytest.raises(BackendError, match="closed"):
        opened(good)


def test_nearest_repeats_pixels_and_sleeps_until_cancelled() -> None:
    batch = torch.arange(12.0).reshape(1, 3, 2, 2)
    assert torch.equal(
        NearestBackend(2)(batch)[0, 0], torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    )
    slow = NearestBackend(2, delay=3600)
    threading.Timer(0.05, slow.cancel).start()
    with pytest.raises(Cancelled):
        slow(batch)


def test_auto_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSR_ENGINE_DIR", str(tmp_path))
    opened, reason = open_backend("auto", make_model("fast", 2), device="auto")
    there = {"cuda", "tensorrt"} if torch.cuda.is_available() else {"openvino" if find_spec("openvino") else "cpu"}
    assert opened.name in there
    assert reason.startswith(f"{opened.name}: ")
    assert opened.precision.upper() in reason


def test_nothing_falls_back_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("fast", 2)
    for name, precision, match in [
        ("cpu", "fp16", "fp16"),
        ("cpu", "int8", "not in int8"),
        *([] if torch.cuda.is_available() else [(name, "auto", "NVIDIA GPU") for name in ("cuda", "tensorrt")]),
        *([("openvino", "fp16", "fp16")] if find_spec("openvino") else []),
    ]:
        with pytest.raises(BackendError, match=match):
            open_backend(name, model, precision=precision)
    for name, precision in (("gpu", "auto"), ("cpu", "int4")):
        with pytest.raises(UsageError, match="Unknown"):
            open_backend(name, model, precision=precision)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(BackendError, match="not installed"):
        open_backend("openvino", model)


def test_memory_bounds_the_call() -> None:
    """SRGAN x4 holds 256 channels at twice the side, in and out of its last activation; `fast` is narrow."""
    large = make_model("srgan", 4)
    assert activation_bytes(large.module) == 1.5 * 4 * 2 * 32 * 16
    assert countable_pixels(large.module) == (2**31 - 1) // (32 * 16)
    assert 1920 * 1080 <= countable_pixels(registry.load("srgan", 4).module) < 1920 * 1096  # Full HD goes through whole
    opened, _ = open_backend("cpu", large)
    assert opened.max_pixels is not None
    assert opened.max_pixels * activation_bytes(large.module) <= 1 << 30
    assert all(not parameter.is_meta for parameter in large.module.parameters())


def test_a_signal_after_closed_openvino_backends_does_not_crash() -> None:
    """Its CPU plugin swaps the signal stack of the thread that opens it; with two of them closed in turn it dangled."""
    pytest.importorskip("openvino")
    script = (
        "import os, signal, numpy as np\n"
        "from vidsr.upscaling.upscaler import Upscaler\n"
        "image = np.zeros((8, 8, 3), np.uint8)\n"
        "first, second = (Upscaler('bicubic', scale=s, backend='openvino') for s in (2, 4))\n"
        "first(image), second(image), first.close(), second.close()\n"
        "del first, second\n"
        "signal.signal(signal.SIGINT, lambda *_: print('alive', flush=True))\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "alive\n"), result.stderr
