"""`--backend auto` where there is a GPU: TensorRT, or CUDA with the reason why not."""

from __future__ import annotations

import pytest
import torch

from tests.conformance.test_backends import make_model
from vidsr import backends
from vidsr.backends import Backend, open_backend
from vidsr.backends.torch.backend import EagerBackend
from vidsr.errors import BackendError, Cancelled
from vidsr.models.registry import Model


@pytest.fixture
def failure(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What opening TensorRT raises, on a machine that claims a GPU."""
    raised: list[Exception] = []

    def start(name: str, model: Model, *_: object) -> Backend:
        if name == "tensorrt":
            raise raised[0]
        return EagerBackend(model, precision="fp32", device=torch.device("cpu"))

    monkeypatch.setattr(backends, "_choose", lambda *_: ("cuda", "a GPU"))
    monkeypatch.setattr(backends, "_require", lambda *_: None)
    monkeypatch.setattr(backends, "_open", start)
    return raised


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
