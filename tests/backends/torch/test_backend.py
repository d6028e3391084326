"""When torch compiles for a GPU: the decision alone, which needs none. `tests/conformance/test_gpu.py` has the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conformance.test_backends import make_model
from vidsr.backends.torch import backend as torch_backend
from vidsr.backends.torch import graphs
from vidsr.backends.torch.backend import COMPILE_GAIN, COMPILE_SECONDS, MAX_COMPILED, TorchBackend
from vidsr.backends.torch.speedups import Speedups
from vidsr.errors import OutOfMemoryError

CPU = torch.device("cpu")
COMPILED = Speedups(True, True, False)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the calls that a compiled network took."""
    calls: list[tuple[int, ...]] = []

    def compile(module: Callable[[Tensor], Tensor], **_: Any) -> Callable[[Tensor], Tensor]:
        def run(batch: Tensor) -> Tensor:
            calls.append(tuple(batch.shape))
            return module(batch)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(TorchBackend, "_seconds", lambda *_: 0.01)
    return calls


def gpu_like(path: Speedups = COMPILED) -> TorchBackend:
    """A backend on the CPU that decides as one on a GPU would."""
    backend = TorchBackend(make_model("fast", 2), precision="fp32", device=CPU)
    backend.speedups = path
    backend._run = backend._assemble()
    return backend


def test_only_what_pays_is_compiled(compiled: list[tuple[int, ...]]) -> None:
    backend = gpu_like()
    assert backend._run is not None
    batch, pays = torch.rand(1, 3, 8, 10), round(COMPILE_SECONDS / COMPILE_GAIN / 0.01) + 1
    backend._run(batch)
    assert "would save about 0 s, and take about 13 s" in backend.prepare((1, 8, 10), 24)
    plain = backend._run(batch)
    assert compiled == []
    assert backend.prepare((1, 8, 10), pays) == ""
    assert torch.equal(backend._run(batch), plain)
    backend._run(torch.rand(1, 3, 8, 12))
    assert compiled == [(1, 3, 8, 10)]
    assert backend.prepare((1, 8, 12)) == ""  # nobody knows how many: a pipe
    backend._run(torch.rand(1, 3, 8, 12))
    assert compiled[1:] == [(1, 3, 8, 12)]


@pytest.mark.parametrize(("autotuned", "mode"), [(False, None), (True, "max-autotune-no-cudagraphs")])
def test_torch_knows_how_to_compile(monkeypatch: pytest.MonkeyPatch, autotuned: bool, mode: str | None) -> None:
    modes: list[str | None] = []
    monkeypatch.setattr(torch, "compile", lambda module, *, dynamic, mode: modes.append(mode) or module)
    gpu_like(Speedups(True, True, False, autotuned))
    assert modes == [mode]
    assert mode is None or mode in torch._inductor.list_mode_options()


def test_no_more_sizes_than_torch_takes(compiled: list[tuple[int, ...]]) -> None:
    backend = gpu_like()
    said = [backend.prepare((1, 8, side)) for side in range(8, 9 + MAX_COMPILED)]
    assert said == [""] * MAX_COMPILED + [f"not compiled: it is for {MAX_COMPILED} sizes already"]


def test_memory_that_runs_out_while_preparing_is_a_step(
    compiled: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> float:
        raise torch.OutOfMemoryError("no")

    backend = gpu_like()
    monkeypatch.setattr(TorchBackend, "_seconds", fail)
    with pytest.raises(OutOfMemoryError, match="A batch of 1x3x8x10 does not fit into the memory of cpu"):
        backend.prepare((1, 8, 10), 24)


def test_memory_that_runs_out_is_no_reason_to_leave_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says it by several errors; only its own had been told from a failed compilation."""

    def fail(_: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: out of memory")

    backend = gpu_like()
    backend._run = fail
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.no_grad())
    with pytest.raises(RuntimeError, match="out of memory"):
        backend._on_gpu(torch.rand(1, 3, 8, 10))
    assert (backend.speedups, backend.notes) == (Speedups(True, True, False), [])


def test_a_shape_is_captured_when_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    captured: list[tuple[int, ...]] = []

    class Replayed:
        def __init__(self, batch: Tensor) -> None:
            captured.append(tuple(batch.shape))
            self.graph, self.batch, self.result = self, batch.clone(), batch.clone()

        def replay(self) -> None:
            self.result = 2 * self.batch

    runs = graphs.Graphs(lambda batch: 2 * batch, CPU)
    monkeypatch.setattr(runs, "_capture", Replayed)
    sides = [3, 4, 3, 5, 3, 4, 6]
    for side in sides:
        batch = torch.rand(1, 3, side, side)
        assert torch.equal(runs(batch), 2 * batch)
    assert captured == [(1, 3, 3, 3), (1, 3, 4, 4)]


def test_a_failure_without_words_is_told_by_its_kind() -> None:
    told = torch_backend._translate(RuntimeError(""), (1, 3, 8, 8), CPU)
    assert str(told) == "torch failed on a batch of 1x3x8x8: RuntimeError"
