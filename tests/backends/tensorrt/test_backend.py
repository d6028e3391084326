"""Which engine the TensorRT backend runs, and what it does when one is missing, wrong or too large.

The engines are emulated: the network that would be compiled runs in half precision on the CPU. Running real ones takes
a GPU.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.backends.tensorrt.making import ADA, CPU, DYNAMIC, RTX, SHAPE, Emulated, make_maker, make_model
from vidsr.backends.accuracy import MIN_PSNR, compare, real_frame
from vidsr.backends.selection import open_backend
from vidsr.backends.tensorrt import build as compiler
from vidsr.backends.tensorrt.backend import MAX_RUNNERS, TensorRTBackend
from vidsr.backends.tensorrt.cache import BuiltEngine, EngineCache
from vidsr.backends.tensorrt.engines import Maker
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.backends.tensorrt.key import Profile, Shape
from vidsr.errors import BackendError, Cancelled
from vidsr.models.registry import Model


class Builds(list[str]):
    """Stands for the compiler: notes each profile, and gives its name as the engine."""

    def __call__(self, model: Model, profile: Profile, **options: object) -> BuiltEngine:
        self.append(str(profile))
        options["on_progress"]("building", 0.5)  # type: ignore[operator]
        return BuiltEngine(str(profile).encode())


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    made = Builds()
    monkeypatch.setattr(compiler, "build", made)
    return made


def opened(folder: Path, loader: Emulated | None = None) -> TensorRTBackend:
    model = make_model()
    return TensorRTBackend(model, make_maker(model, folder, loader), DYNAMIC)


def batch(shape: Shape) -> Tensor:
    return real_frame(shape).half()


def test_the_first_run_builds_the_dynamic_engine_and_the_next_one_takes_it(builds: Builds, tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert builds == [str(DYNAMIC)]
    assert "built in" in first.reason
    assert "there was none" in first.reason
    second = opened(tmp_path)
    assert builds == [str(DYNAMIC)]
    assert "cached" in second.reason
    (engine,) = EngineCache(tmp_path).engines()
    assert engine.check is not None
    assert engine.check.passed
    assert engine.ms == 4.0


def test_an_engine_from_elsewhere_is_checked_once_and_then_used(builds: Builds, tmp_path: Path) -> None:
    model = make_model()
    loader = Emulated(model)
    away = Maker(model, "fp16", ADA, RTX, EngineCache(tmp_path))
    away.obtain(DYNAMIC)
    assert away.find(DYNAMIC).key.converter == "onnx"  # type: ignore[union-attr]
    backend = opened(tmp_path, loader)
    assert builds == [str(DYNAMIC)]
    assert "cached" in backend.reason
    found = backend._maker.find(DYNAMIC)
    assert found is not None
    assert found.check is not None
    assert found.check.passed
    assert found.key.converter == "onnx"


def test_an_engine_from_elsewhere_that_fails_is_built_here(builds: Builds, tmp_path: Path) -> None:
    model, profile = make_model(), Profile.static((1, 40, 56))
    away = Maker(model, "fp16", ADA, RTX, EngineCache(tmp_path))
    away.obtain(profile)
    backend = opened(tmp_path, SpoiltOnce(model))
    assert "built elsewhere failed" in backend.reason
    assert "differs from FP32" in backend.reason
    assert builds == ["56x40", "56x40"]
    found = backend._maker.find(profile)
    assert found is not None
    assert found.key.converter == "torch-tensorrt"
    assert found.check is not None
    assert found.check.passed


@pytest.mark.parametrize("shape", [(1, 48, 64), (1, 33, 41), (1, 2, 3)])
def test_the_result_is_the_networks(builds: Builds, tmp_path: Path, shape: Shape) -> None:
    backend = opened(tmp_path)
    assert (backend.dtype, backend.precision, backend.scale) == (torch.float16, "fp16", 4)
    x = batch(shape)
    result = backend(x)
    found = compare(result, make_model().module(x.float()))
    assert found.psnr > MIN_PSNR
    assert builds == [str(DYNAMIC)]


def test_static_is_used_where_it_fits_and_built_where_dynamic_ends(builds: Builds, tmp_path: Path) -> None:
    backend = opened(tmp_path)
    wide = (1, 20, 200)
    assert "outside" in backend.prepare(wide)
    assert builds == [str(DYNAMIC), "200x20"]
    assert backend(batch(wide)).shape == (1, 3, 80, 800)
    again = opened(tmp_path)
    assert "200x20" in again.reason
    assert "the static engine for 200x20" in again.prepare(wide)
    assert again(batch((1, 8, 8))).shape == (1, 3, 32, 32)
    assert builds == [str(DYNAMIC), "200x20"]


def test_a_static_engine_is_built_when_that_pays(builds: Builds, tmp_path: Path) -> None:
    """4 ms at the best shape by the emulated clock, of which 0.6 are saved."""
    opened(tmp_path)
    cache = EngineCache(tmp_path)
    (engine,) = cache.engines()
    cache._write_manifest(replace(engine, seconds=60.0))
    backend = opened(tmp_path)
    assert "would save 54 s, and its build takes about 60 s" in backend.prepare(SHAPE, 90_000)
    assert builds == [str(DYNAMIC)]
    assert "saves about 66 s" in backend.prepare(SHAPE, 110_000)
    assert builds == [str(DYNAMIC), "64x48"]


def test_a_short_last_batch_goes_through_the_static_engine(builds: Builds, tmp_path: Path) -> None:
    loader = Emulated(make_model())
    backend = opened(tmp_path, loader)
    backend.prepare((3, 48, 64), 10**6)
    result = backend(batch((2, 48, 64)))
    assert result.shape == (2, 3, 192, 256)
    assert builds == [str(DYNAMIC), "3*64x48"]
    assert loader.shapes[-1] == (3, 48, 64)


def test_a_batch_goes_through_an_engine_for_one_frame_in_turn(builds: Builds, tmp_path: Path) -> None:
    """Small frames come several at a time; an engine for so many is not built for a short clip."""
    loader = Emulated(make_model())
    backend = opened(tmp_path, loader)
    backend.prepare((3, 40, 50))
    frames = torch.rand((3, 3, 40, 50), generator=torch.Generator().manual_seed(1)).half()
    result = backend(frames)
    assert builds == [str(DYNAMIC)]
    assert loader.shapes[-1] == (1, 40, 50)
    assert torch.equal(result, torch.cat([backend(frame[None]) for frame in frames]))
    assert compare(result, make_model().module(frames.float())).psnr > MIN_PSNR


def test_an_engine_far_from_fp32_never_runs(builds: Builds, tmp_path: Path) -> None:
    loader = Emulated(make_model())
    loader.spoil = 0.02
    for _ in range(2):
        with pytest.raises(BackendError, match="differs from FP32"):
            opened(tmp_path, loader)
    assert len(builds) == 1


class SpoiltOnce(Emulated):
    """Engines of which the first one is far from FP32."""

    def __call__(self, flavour: Flavour, data: bytes, device: torch.device, kernels: Path | None) -> Emulated:
        engine = Emulated(make_model())
        engine.spoil = 0.0 if self.loads else 0.02
        self.loads.append(data)
        return engine


class SpoiltStatic(Emulated):
    """Engines of which the static one for 56x40 is far from FP32."""

    def __call__(self, flavour: Flavour, data: bytes, device: torch.device, kernels: Path | None) -> Emulated:
        engine = Emulated(make_model())
        engine.spoil = 0.02 if data == b"56x40" else 0.0
        return engine


def test_where_no_static_engine_can_be_had_the_dynamic_one_goes_on_and_says_so(builds: Builds, tmp_path: Path) -> None:
    shape = (1, 40, 56)
    for _ in range(2):  # the refused engine stays in the cache, and is in nobody's way
        backend = opened(tmp_path, SpoiltStatic(make_model()))
        said = backend.prepare(shape, 10**6)
        assert said.startswith("the dynamic engine, since there is no static one: ")
        assert "differs from FP32" in said
        assert compare(backend(batch(shape)), make_model().module(batch(shape).float())).psnr > MIN_PSNR
    assert builds == [str(DYNAMIC), "56x40"]


def test_outside_of_the_dynamic_engine_a_refused_static_one_is_an_error(builds: Builds, tmp_path: Path) -> None:
    loader = Emulated(make_model())
    backend = opened(tmp_path, loader)
    loader.spoil = 0.02
    with pytest.raises(BackendError, match="differs from FP32"):
        backend.prepare((1, 20, 200))


def test_shapes_are_dropped_when_memory_ends(builds: Builds, tmp_path: Path) -> None:
    loader = Emulated(make_model())
    backend = opened(tmp_path, loader)
    for side in range(8, 8 + MAX_RUNNERS + 2):
        backend(batch((1, side, side)))
    assert len(backend._runners) == MAX_RUNNERS
    loader.too_large = (1, 30, 30)
    assert backend(batch((1, 30, 30))).shape == (1, 3, 120, 120)
    assert list(backend._runners) == [(1, 30, 30)]


def test_cancel_ends_a_build(builds: Builds, tmp_path: Path) -> None:
    backend = opened(tmp_path)
    backend.cancel()
    with pytest.raises(Cancelled):
        backend(batch(SHAPE))
    with pytest.raises(Cancelled):
        backend._maker.obtain(Profile.static(SHAPE))
    assert backend._maker.find(Profile.static(SHAPE)) is None


def test_refuses_what_is_no_batch_and_a_closed_backend(builds: Builds, tmp_path: Path) -> None:
    backend = opened(tmp_path)
    good = batch(SHAPE)
    for bad in (good[0], good.float(), good[:, :1], good[:0]):
        with pytest.raises(BackendError, match="takes"):
            backend(bad)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend(good)


def test_profiles_shrink_to_what_tensorrt_can_count(tmp_path: Path) -> None:
    """SRGAN x4 of 16 channels holds 256 values a pixel at most: 64 at twice the side."""
    maker = make_maker(make_model(), tmp_path)
    huge = Profile((1, 2, 2), (1, 540, 960), (1, 8000, 8000))
    fitted = maker.fit(huge)
    num, height, width = fitted.max
    assert height == width
    assert num * height * width * 256 < 2**31 <= (height + 1) * (width + 1) * 256
    assert maker.fit(DYNAMIC) == DYNAMIC


def test_what_this_tensorrt_cannot_do_is_refused(tmp_path: Path) -> None:
    hopper, cache = Gpu((9, 0), "NVIDIA H100"), EngineCache(tmp_path)
    with pytest.raises(BackendError, match=r"compute capability 9.0; install torch-tensorrt"):
        Maker(make_model(), "fp16", hopper, RTX, cache, CPU)
    assert Maker(make_model(), "fp16", hopper, Flavour("full", "tensorrt", "11.0", "2.13.0"), cache, CPU)
    with pytest.raises(BackendError, match="not bf16"):
        Maker(make_model(), "bf16", ADA, RTX, cache, CPU)


def test_the_key_of_the_full_flavour_alone_names_gpu_and_driver(tmp_path: Path) -> None:
    cache, profile = EngineCache(tmp_path), Profile.static(SHAPE)
    full = Maker(make_model(), "fp16", ADA, Flavour("full", "tensorrt", "11.0", "2.13.0"), cache, CPU).key(profile)
    rtx = Maker(make_model(), "fp16", ADA, RTX, cache, CPU).key(profile)
    assert (full.gpu, full.driver, rtx.gpu, rtx.driver) == (ADA.name, ADA.driver, "", "")
    assert full.capability == rtx.capability == "8.9"
    assert full.platform == f"{sys.platform}-{rtx.platform}"
    assert full.weights == make_model().weights_hash
    assert '"graph": "srgan"' in full.config


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_tensorrt_is_refused_and_never_replaced() -> None:
    with pytest.raises(BackendError, match="finds no NVIDIA GPU"):
        open_backend("tensorrt", make_model())
