"""The wiring of the GPU runtime: which calls it makes, in which order. Only a GPU can show that the calls are right.

TensorRT and torch's CUDA are stand-ins on the CPU: the "engine" doubles pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.backends.tensorrt.making import CPU, FULL, RTX
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.runtime import LoadedEngine
from vidsr.errors import BackendError, OutOfMemoryError


class Context:
    """An execution context that knows its tensors by their addresses."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.capturable, self.fails = log, True, False
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[2] <= 100

    def update_device_memory_size_for_shapes(self) -> int:
        return 64

    def set_device_memory(self, _address: int, size: int) -> None:
        self.log.append(f"memory {size}")

    def get_tensor_shape(self, _name: str) -> tuple[int, ...]:
        num, channels, height, width = self.shape
        return num, channels, 2 * height, 2 * width

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def is_stream_capturable(self, _stream: int) -> bool:
        return self.capturable

    def execute_async_v3(self, _stream: int) -> bool:
        self.log.append("execute")
        return not self.fails


class Graph:
    context: Context

    def replay(self) -> None:
        self.context.log.append("replay")


class Stream:
    cuda_stream = 7

    def __init__(self, *_: object) -> None: ...

    def wait_stream(self, _other: object) -> None: ...

    def synchronize(self) -> None: ...


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Context:
    """A TensorRT module whose engine has this context, and a torch.cuda that does nothing."""
    log: list[str] = []
    made = Context(log)
    config = SimpleNamespace(
        set_execution_context_allocation_strategy=lambda strategy: log.append(strategy),
        create_runtime_cache=lambda: SimpleNamespace(
            serialize=lambda: b"kernels", deserialize=lambda data: log.append(data)
        ),
        set_runtime_cache=lambda _: None,
    )
    engine = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda index: ["out", "x"][index],
        get_tensor_mode=lambda name: {"out": "output", "x": "input"}[name],
        get_tensor_dtype=lambda _: "half",
        create_runtime_config=lambda: config,
        create_execution_context=lambda _: made,
    )
    trt: Any = SimpleNamespace(
        Runtime=lambda _: SimpleNamespace(deserialize_cuda_engine=lambda data: engine if data == b"engine" else None),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="managed"),
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
        TensorIOMode=SimpleNamespace(OUTPUT="output"),
        DataType=SimpleNamespace(HALF="half"),
    )
    trt.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, _: None})
    monkeypatch.setattr(Flavour, "load", lambda _: trt)
    Graph.context = made

    @contextmanager
    def nothing(*_: object, **__: object) -> Iterator[None]:
        yield

    for name, value in {
        "device": nothing, "stream": nothing, "graph": nothing, "Stream": Stream, "CUDAGraph": Graph,
        "current_stream": Stream,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    return made


def test_a_call_replays_the_graph_on_its_own_memory(context: Context) -> None:
    runner = LoadedEngine(FULL, b"engine", CPU).runner((2, 4, 6))
    assert context.log == ["memory 64", "execute", "execute"]  # the warm-up, then the capture
    assert context.addresses == {"x": runner._input.data_ptr(), "out": runner._output.data_ptr()}
    runner._output.fill_(3)
    batch = torch.rand(1, 3, 4, 6).half()
    result = runner(batch)
    assert context.log[3:] == ["replay"]
    assert torch.equal(runner._input[:1], batch)
    assert result.shape == (1, 3, 8, 12)
    runner._output.fill_(4)
    assert float(result.max()) == 3  # the caller's own


def test_the_stream_is_used_with_its_gpu_as_the_current_one(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving a stream of another GPU makes the first GPU the current one, and takes memory there."""
    runner = LoadedEngine(FULL, b"engine", CPU).runner((1, 4, 6))
    entered: list[str] = []

    def entering(what: str) -> object:
        @contextmanager
        def enter(*_: object) -> Iterator[None]:
            entered.append(what)
            yield

        return enter

    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None, elapsed_time=lambda _: 1.0)
    for name, value in {"device": entering("device"), "stream": entering("stream")}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: event)
    runner(torch.rand(1, 3, 4, 6).half())
    assert runner.measure() == 1.0
    assert entered == ["device", "stream"] * 2


def test_what_cannot_be_captured_is_executed(context: Context) -> None:
    context.capturable = False
    runner = LoadedEngine(FULL, b"engine", CPU).runner((1, 4, 6))
    runner(torch.rand(1, 3, 4, 6).half())
    assert context.log == ["memory 64", "execute", "execute"]  # the warm-up, then the call


def test_rtx_keeps_the_kernels_that_it_compiled(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels, real, written = tmp_path / "a.kernels", Path.write_bytes, []
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: written.append(path) or real(path, data))
    LoadedEngine(RTX, b"engine", CPU, kernels).runner((1, 4, 6))
    assert kernels.read_bytes() == b"kernels"
    assert written != [kernels]  # another process that reads it never sees half of it
    assert list(tmp_path.iterdir()) == [kernels]
    assert context.log[0] == "managed"
    LoadedEngine(RTX, b"engine", CPU, kernels).runner((1, 4, 6))
    assert b"kernels" in context.log


def test_failures_are_ours(context: Context) -> None:
    with pytest.raises(BackendError, match="refuses"):
        LoadedEngine(FULL, b"other", CPU)
    loaded = LoadedEngine(FULL, b"engine", CPU)
    with pytest.raises(BackendError, match="does not take 1 frames of 6x200"):
        loaded.runner((1, 200, 6))
    context.fails = True
    with pytest.raises(BackendError, match="failed"):
        loaded.runner((1, 4, 6))
    loaded._engine.create_execution_context = lambda _: None
    with pytest.raises(OutOfMemoryError):
        loaded.runner((1, 4, 6))
