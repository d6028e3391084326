"""`--backend auto` where there is a GPU: TensorRT, or CUDA with the reason why not."""

from __future__ import annotations

import subprocess
import sys
from typing import Self

import pytest
import torch

from tests.conformance.test_backends import make_model
from vidsr.backends import LISTED, NAMES, PRECISIONS, RUNTIMES, Runtime, find, may_use_gpu, selection
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
        def best_precision(cls, device: torch.device) -> tuple[str, str]:
            return TorchBackend.best_precision(device)

    monkeypatch.setattr(selection, "cuda", Claimed)
    monkeypatch.setattr(selection, "_kind", lambda row: Failing if row.name == "tensorrt" else Here)
    return raised


class Claimed:
    """`torch.cuda` of a machine with one GPU."""

    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    get_device_name = staticmethod(lambda _: "a GPU")


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
    monkeypatch.setattr(type(RUNTIMES[0]), "is_installed", property(lambda row: not row.package))
    backend, reason = open_backend("auto", make_model("fast", 2), precision="fp32")
    assert backend.name == "cpu"
    assert reason == "cpu: no NVIDIA GPU, and openvino is not installed; FP32: as asked"


@pytest.mark.parametrize("row", RUNTIMES, ids=lambda row: row.name)
def test_a_row_says_what_its_backend_is(row: Runtime) -> None:
    kind = selection._kind(row)
    assert issubclass(kind, Backend)
    assert set(row.precisions) < set(PRECISIONS)
    place = torch.device("cuda" if row.gpu else "cpu")
    if row.is_installed:
        assert kind.best_precision(place)[0] in row.precisions


@pytest.mark.parametrize("row", [row for row in RUNTIMES if not row.gpu and row.is_installed], ids=lambda row: row.name)
def test_a_precision_that_is_not_in_the_row_is_refused(row: Runtime) -> None:
    for precision in set(PRECISIONS) - {"auto", *row.precisions}:
        with pytest.raises(BackendError, match=f"not in {precision}; use precision auto"):
            open_backend(row.name, make_model("fast", 2), precision=precision)


def test_unknown_names_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"Unknown backend 'gpu'; use auto, tensorrt, cuda, openvino, cpu\."):
        open_backend("gpu", make_model("fast", 2))
    with pytest.raises(UsageError, match=r"Unknown precision 'fp64'; use auto, fp16, bf16, fp32\."):
        open_backend("cpu", make_model("fast", 2), precision="fp64")


def test_what_follows_from_the_table() -> None:
    assert find("tensorrt").precisions == recipes.PRECISIONS == tuple(DTYPES)
    assert ("auto", *(row.name for row in LISTED)) == NAMES
    assert [name for name in NAMES if may_use_gpu(name)] == ["auto", "tensorrt", "cuda"]


def test_the_table_loads_no_runtime() -> None:
    code = "import sys, vidsr.backends; print([m for m in ('torch', 'openvino', 'tensorrt') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
