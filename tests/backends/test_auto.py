"""`--backend auto` where there is a GPU: TensorRT, or CUDA with the reason why not."""

from __future__ import annotations

import subprocess
import sys
from typing import Self

import pytest
import torch

from tests.conformance.test_backends import make_model
from vidsr.backends import AUTO, LISTED, NAMES, PRECISIONS, RUNTIMES, Runtime, Unit, find, may_use_gpu, selection
from vidsr.backends.base import Backend
from vidsr.backends.nearest import NearestBackend
from vidsr.backends.selection import open_backend
from vidsr.backends.tensorrt import recipes
from vidsr.backends.tensorrt.build import DTYPES
from vidsr.backends.torch.backend import TorchBackend
from vidsr.errors import BackendError, Cancelled, UsageError
from vidsr.models.registry import Model


@pytest.fixture
def failure(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What opening TensorRT raises, on a machine that claims a GPU."""
    raised: list[Exception] = []

    class Failing(NearestBackend):
        @classmethod
        def open(cls, model: Model, **_: object) -> Self:
            raise raised[0]

    class Here(NearestBackend):
        @classmethod
        def open(cls, model: Model, *, precision: str, **_: object) -> Self:
            opened = cls(model.scale)
            opened.precision = precision
            return opened

        @classmethod
        def best_precision(cls, device: torch.device | None, unit: Unit = AUTO) -> tuple[str, str]:
            return TorchBackend.best_precision(device)

    claim(monkeypatch)
    monkeypatch.setattr(selection, "_kind", lambda row: Failing if row.name == "tensorrt" else Here)
    return raised


def claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `torch.cuda` that of a machine with one GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")


@pytest.mark.parametrize(
    "error",
    [
        BackendError("An engine is damaged."),
        ModuleNotFoundError("No module named 'tensorrt'"),
        OSError("libnvinfer.so.10: cannot open shared object file"),
        TypeError("create_network(): incompatible function arguments.\nInvoked with: 1"),
        ValueError("no such flag"),
    ],
)
def test_whatever_tensorrt_raises_cuda_takes_over(failure: list[Exception], error: Exception) -> None:
    failure.append(error)
    _, reason = open_backend("auto", make_model("fast", 2))
    first = str(error).splitlines()[0].rstrip(".")
    assert reason == f"cuda: a GPU, without TensorRT ({first}); FP16: twice as fast on a GPU"


def test_ctrl_c_is_no_reason_to_take_another(failure: list[Exception]) -> None:
    failure.append(Cancelled("stopped"))
    with pytest.raises(Cancelled):
        open_backend("auto", make_model("fast", 2))


def test_a_gpu_that_is_not_there_is_not_passed_by(failure: list[Exception]) -> None:
    failure.append(BackendError("never asked"))
    with pytest.raises(BackendError, match=r"no GPU 3; this machine has 1"):
        open_backend("auto", make_model("fast", 2), device=3)


def test_without_a_gpu_the_reason_names_what_was_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(type(RUNTIMES[0]), "is_installed", property(lambda row: row.package in ("", "torch")))
    backend, reason = open_backend("auto", make_model("fast", 2), precision="fp32")
    assert backend.name == "cpu"
    assert reason == "cpu: no NVIDIA GPU, and openvino is not installed; FP32: as asked"


@pytest.mark.parametrize("row", RUNTIMES, ids=lambda row: row.name)
def test_a_row_says_what_its_backend_is(row: Runtime) -> None:
    kind = selection._kind(row)
    assert issubclass(kind, Backend)
    assert set(row.precisions) < set(PRECISIONS)
    place = torch.device(row.torch) if row.torch else None
    if row.is_installed:
        assert kind.best_precision(place)[0] in row.precisions


@pytest.mark.parametrize(
    "row", [row for row in RUNTIMES if row.torch in ("", "cpu") and row.is_installed], ids=lambda row: row.name
)
def test_a_precision_that_is_not_in_the_row_is_refused(row: Runtime) -> None:
    for precision in set(PRECISIONS) - {"auto", *row.precisions}:
        with pytest.raises(BackendError, match=f"not in {precision}; use precision auto"):
            open_backend(row.name, make_model("fast", 2), precision=precision)


def test_unknown_names_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        UsageError, match=r"Unknown backend 'gpu'; use auto, tensorrt, cuda, mps, openvino, onnxruntime, cpu\."
    ):
        open_backend("gpu", make_model("fast", 2))
    with pytest.raises(UsageError, match=r"Unknown precision 'fp64'; use auto, fp16, bf16, fp32, int8\."):
        open_backend("cpu", make_model("fast", 2), precision="fp64")


@pytest.mark.parametrize(
    ("device", "unit"),
    [("auto", Unit()), ("CPU", Unit("cpu")), ("gpu", Unit("gpu")), (0, Unit("gpu")), ("2", Unit("gpu", 2))],
)
def test_a_device_is_a_kind_or_the_number_of_a_gpu(device: int | str, unit: Unit) -> None:
    assert Unit.of(device) == unit


def test_a_device_that_does_not_exist_is_one_sentence() -> None:
    model = make_model("fast", 2)
    for device in (-1, "tpu", "gpu.1"):
        with pytest.raises(UsageError, match=r"device must be auto, cpu, gpu, npu, or the number of a GPU, not "):
            open_backend("auto", model, device=device)
    with pytest.raises(BackendError, match="torch on the CPU runs on the device cpu, not on gpu; use device auto"):
        open_backend("cpu", model, device="gpu")


def test_a_named_device_leaves_out_what_does_not_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert [row.name for row, _ in selection._candidates(Unit("cpu"))] == ["openvino", "onnxruntime", "cpu"]
    assert [row.name for row, _ in selection._candidates(Unit("npu"))] == ["openvino"]
    backend, reason = open_backend("auto", make_model("fast", 2), device="cpu", precision="fp32")
    assert backend.unit == "CPU"
    assert "device cpu, as asked" in reason


def test_a_gpu_that_torch_does_not_know_comes_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(RUNTIMES[0]), "is_accelerated", property(lambda row: bool(row.accelerators)))
    found = [(row.name, unit.kind) for row, unit in selection._candidates(AUTO)]
    assert found.index(("onnxruntime", "gpu")) == found.index(("openvino", "auto")) - 1
    assert found[-2:] == [("onnxruntime", "auto"), ("cpu", "auto")]
    backend, reason = open_backend("auto", make_model("fast", 2), precision="fp32")
    assert backend.unit == "CPU"
    assert "without ONNX Runtime (ONNX Runtime has no provider for a GPU here" in reason


def test_an_apple_gpu_is_taken_only_once_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room of Apple's GPUs, on the CPU: what is off by more than half precision is passed by."""
    from vidsr.backends import accuracy
    from vidsr.backends.torch import backend as torch_backend

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch_backend, "_shared_pixels", lambda *_: 1 << 16)

    class Mac:
        type, index = "mps", None

    built = TorchBackend._built
    monkeypatch.setattr(TorchBackend, "_built", lambda self: built(_on_cpu(self)))
    place = selection._place
    monkeypatch.setattr(selection, "_place", lambda row, unit: Mac() if row.name == "mps" else place(row, unit))
    proofs = iter([accuracy.Accuracy(70.0, 0.1, True), accuracy.Accuracy(20.0, 9.0, False)])
    monkeypatch.setattr(accuracy, "check", lambda *_: next(proofs))
    first, reason = open_backend("auto", make_model("fast", 2), precision="fp32")
    assert (first.name, first.unit) == ("mps", "Apple GPU")
    assert reason == "mps: an Apple GPU; FP32: as asked; 70 dB from FP32 on a film frame"
    second, reason = open_backend("auto", make_model("fast", 2), precision="fp32")
    assert second.name != "mps"
    assert "without torch on an Apple GPU (its result is 20 dB and 9 codes from FP32" in reason


def _on_cpu(backend: TorchBackend) -> TorchBackend:
    backend.device = torch.device("cpu")
    return backend


def test_what_follows_from_the_table() -> None:
    assert find("tensorrt").precisions == recipes.PRECISIONS == tuple(DTYPES)
    assert ("auto", *(row.name for row in LISTED)) == NAMES
    assert [name for name in NAMES if may_use_gpu(name)] == ["auto", "tensorrt", "cuda"]


def test_the_table_loads_no_runtime() -> None:
    code = "import sys, vidsr.backends; print([m for m in ('torch', 'openvino', 'tensorrt') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
