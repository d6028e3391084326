"""ONNX Runtime's providers: their order, their proof, and what is said of one that fails. The CPU plays the GPUs."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conformance.test_backends import make_model
from vidsr.backends import AUTO, Unit
from vidsr.backends.selection import open_backend
from vidsr.errors import BackendError, OutOfMemoryError
from vidsr.models.registry import Model
from vidsr.models.srgan import Fast

real = pytest.importorskip("onnxruntime")

from vidsr.backends import onnxruntime  # noqa: E402

BUILT = ["DmlExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class Played:
    """An ONNX Runtime whose providers are all the CPU. `broken` do not start, `failing` do not end."""

    def __init__(self, built: list[str]) -> None:
        self.built = built
        self.opened: list[tuple[str, dict[str, str]]] = []
        self.broken: set[str] = set()
        self.failing: set[str] = set()
        self.plugged: list[str] = []
        self.RunOptions = real.RunOptions

    def get_available_providers(self) -> list[str]:
        return self.built

    def get_ep_devices(self) -> list[Any]:
        return [SimpleNamespace(ep_name=name) for name in self.plugged]

    def SessionOptions(self) -> Any:  # noqa: N802
        class Options(real.SessionOptions):  # type: ignore[misc, name-defined]
            plugged = None

            def add_provider_for_devices(self, devices: list[Any], settings: dict[str, str]) -> None:
                self.plugged = devices[0].ep_name

        return Options()

    def InferenceSession(self, graph: bytes, options: Any, providers: Any = ()) -> Any:  # noqa: N802
        name, settings = providers[0] if providers else (options.plugged, {})
        self.opened.append((name, settings))
        session = real.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        names = ["CPUExecutionProvider"] if name in self.broken else [name, "CPUExecutionProvider"]
        failed = name in self.failing

        def run(binding: Any, run_options: Any) -> None:
            session.run_with_iobinding(binding, run_options)
            if failed:
                raise real.capi.onnxruntime_pybind11_state.Fail("the driver was reset")

        return SimpleNamespace(get_providers=lambda: names, io_binding=session.io_binding, run_with_iobinding=run)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    made = Played(list(BUILT))
    monkeypatch.setattr(onnxruntime, "_import", lambda: made)
    return made


def test_a_vendors_own_comes_before_everybodys(played: Played) -> None:
    backend, reason = open_backend("onnxruntime", make_model("fast", 2), device="gpu", precision="fp32")
    assert backend.unit == "CUDA"
    assert "FP32: as asked; by CUDA: any NVIDIA GPU, by cuDNN, 120 dB from FP32 on a film frame" in reason
    assert played.opened[0] == ("CUDAExecutionProvider", {"use_tf32": "0", "device_id": "0"})
    backend.close()


def test_halves_are_for_gpus(played: Played) -> None:
    assert onnxruntime.ONNXRuntimeBackend.best_precision(torch.device("cpu")) == ("fp16", "faster by CUDA")
    backend, reason = open_backend("onnxruntime", make_model("fast", 2))
    assert (backend.precision, backend.dtype) == ("fp16", torch.float32)
    assert "FP16: faster by CUDA; by CUDA" in reason


def test_one_that_does_not_start_is_named_and_left(played: Played) -> None:
    played.broken = {"CUDAExecutionProvider"}
    backend, reason = open_backend("onnxruntime", make_model("fast", 2), precision="fp32", device=1)
    assert backend.unit == "DirectML"
    assert reason.endswith("without CUDA in fp32 (CUDA does not start)")
    assert ("DmlExecutionProvider", {"device_id": "1"}) in played.opened


def test_one_that_fails_is_named_and_left(played: Played) -> None:
    played.failing = {"CUDAExecutionProvider"}
    backend, reason = open_backend("onnxruntime", make_model("fast", 2))
    assert (backend.unit, backend.precision) == ("DirectML", "fp16")
    assert "CUDA in fp16 (onnxruntime failed on a batch of 1x3x96x128: the driver was reset)" in reason


def test_halves_that_differ_are_not_trusted(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = onnxruntime.graph  # type: ignore[attr-defined]

    def wrong_in_halves(model: Model, precision: str, **names: Any) -> bytes:
        if precision == "fp16":
            model = make_model("fast", 2)
            assert isinstance(model.module, Fast)
            model.module.tail.weight.mul_(30)
        return graph(model, precision, **names)

    monkeypatch.setattr(onnxruntime, "graph", wrong_in_halves)
    backend, reason = open_backend("onnxruntime", make_model("fast", 2))
    assert (backend.unit, backend.precision) == ("CUDA", "fp32")
    assert "CUDA in fp16 (its result is " in reason


def test_a_plugin_is_found_by_its_devices(played: Played) -> None:
    played.plugged = ["NvTensorRTRTXExecutionProvider"]
    backend, reason = open_backend("onnxruntime", make_model("fast", 2), precision="fp32")
    assert backend.unit == "TensorRT-RTX"
    assert "by TensorRT-RTX: compiles for the GPU's tensor cores" in reason
    for height in (8, 16, 24):
        assert backend(torch.rand(1, 3, height, 8)).shape == (1, 3, 2 * height, 16)
    assert len(backend._sessions) == onnxruntime.MAX_SESSIONS  # type: ignore[attr-defined]


def test_without_a_gpu_a_gpu_is_refused_and_so_are_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "_import", lambda: Played(["CPUExecutionProvider"]))
    assert onnxruntime.providers(AUTO) == [onnxruntime.CPU]
    with pytest.raises(BackendError, match=r"no provider for a GPU here; it knows TensorRT-RTX, CUDA"):
        onnxruntime.providers(Unit("gpu"))
    with pytest.raises(BackendError, match="computes in fp32 on the CPU, not in fp16"):
        open_backend("onnxruntime", make_model("fast", 2), precision="fp16")


def test_memory_that_is_missing_is_told_from_other_failures() -> None:
    batch = torch.zeros(1, 3, 8, 8)
    kinds = vars(real.capi.onnxruntime_pybind11_state)
    assert kinds["Fail"] in onnxruntime._errors()
    full = onnxruntime._translate(RuntimeError("Failed to allocate memory for requested buffer of size 12"), batch)
    assert isinstance(full, OutOfMemoryError)
    broken = onnxruntime._translate(kinds["Fail"]("no such kernel\nat line 1"), batch)
    assert str(broken) == "onnxruntime failed on a batch of 1x3x8x8: no such kernel"


def test_threads_are_those_that_were_named() -> None:
    backend = onnxruntime.ONNXRuntimeBackend(make_model("fast", 2), threads=1)
    assert backend._session((1, 8, 8)).get_session_options().intra_op_num_threads == 1
    assert torch.equal(backend(torch.ones(1, 3, 8, 8)), backend(torch.ones(1, 3, 8, 8)))
    backend.close()


def test_it_needs_no_exporter() -> None:
    """onnxscript and torch's exporter take half a minute; the graph is written without them."""
    code = (
        "import sys; sys.modules['onnxscript'] = None\n"
        "from vidsr import Upscaler; import numpy as np\n"
        "print(Upscaler('fast', scale=2, backend='onnxruntime')(np.zeros((8, 8, 3), np.uint8)).shape)\n"
        "print([name for name in ('torch.onnx._internal.exporter', 'openvino') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(16, 16, 3)\n[]\n"
