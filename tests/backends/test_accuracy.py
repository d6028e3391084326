"""The comparison with FP32 passes what half precision can do, and nothing worse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.backends.tensorrt.making import CPU, STATIC, Emulated, half_precision, make_maker, make_model
from vidsr.backends.accuracy import MAX_P999, MIN_PSNR, check, compare, exact, real_frame
from vidsr.backends.tensorrt.build import prepare
from vidsr.backends.tensorrt.cache import BuiltEngine
from vidsr.backends.tensorrt.key import Shape
from vidsr.errors import BackendError
from vidsr.models import registry

SHAPES: list[Shape] = [(1, 72, 96), (2, 40, 30)]
TRAINED = [info for info in registry.available_models() if info.path is not None]


def test_the_frame_is_real_and_fills_any_shape() -> None:
    frame = real_frame((2, 400, 1000))
    assert frame.shape == (2, 3, 400, 1000)
    assert torch.equal(frame[0], frame[1].flip(-1))
    assert float(frame.std()) > 0.1
    assert 0 <= float(frame.min()) < float(frame.max()) <= 1
    assert torch.equal(frame[0, :, :136], frame[0, :, 136:272].flip(1))


@pytest.mark.parametrize("info", TRAINED, ids=lambda info: f"{info.name}-x{info.scale}")
@pytest.mark.parametrize("shape", SHAPES)
def test_shipped_models_in_half_precision_pass(info: registry.ModelInfo, shape: Shape) -> None:
    """The network that is compiled, emulated on the CPU, is within the tolerance of FP32 and differs from it."""
    model = registry.load(info.name, info.scale)
    found = check(half_precision(model), model, shape, CPU, torch.float32)
    assert found.passed
    assert MIN_PSNR <= found.psnr < 100
    assert 0 < found.p999 <= MAX_P999


def test_the_fp32_engine_is_equal() -> None:
    model = make_model("srgan")
    assert check(prepare(model.module, "fp32"), model, (1, 48, 64), CPU, torch.float32).psnr > 100


def test_the_reference_is_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidsr.backends.accuracy.REFERENCE_PIXELS", 2 * 40 * 40)
    model, batch = make_model("srgan"), real_frame((2, 70, 60))
    assert float((exact(model, batch) - model.module(batch)).abs().max()) < 1e-5


def test_what_is_refused() -> None:
    reference = real_frame((1, 100, 100))
    assert compare(reference, reference).passed
    few, many = torch.zeros_like(reference), torch.zeros_like(reference)
    few[..., 0, :15] = 2.0 / 255  # 0.15 % of the values, far above 55 dB
    many[:] = 0.5 / 255
    assert not compare((reference + few).clamp(0, 1), reference).passed
    assert compare((reference + many).clamp(0, 1), reference).psnr < 55
    broken = reference.clone()
    broken[0, 0, 0, 0] = float("nan")
    assert not compare(broken, reference).passed
    assert not compare(reference[..., :-1], reference).passed


def test_a_failing_engine_is_refused_for_good(tmp_path: Path) -> None:
    model = make_model()
    loader = Emulated(model)
    loader.spoil = 0.01
    maker = make_maker(model, tmp_path, loader)
    maker.cache.open(maker.key(STATIC), lambda: BuiltEngine(b"engine", {}))
    for _ in range(2):
        with pytest.raises(BackendError, match=r"64x48 is not used: .* dB .*needed: 55 dB, 1.*engine build --force"):
            maker.load(STATIC)
    (engine,) = maker.cache.engines()
    assert engine.check is not None
    assert not engine.check.passed
    assert engine.ms is None
