"""By what a model runs on a GPU: the decision alone, with stand-ins for the GPU and its kernels."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from tests.conformance.test_backends import make_model
from vidsr.backends.torch import backend, speedups
from vidsr.backends.torch.speedups import Choice, Speedups, best
from vidsr.models import registry
from vidsr.models.registry import Model

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed (pip install --group gpu)"
)
CUDA = torch.device("cuda", 0)
SRGAN = make_model("srgan", 4, channels=64, blocks=1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models whose kernels were asked for, on a GPU that has a compiler and agrees with two of three strips."""
    from vidsr.backends.torch import trust

    calls: list[str] = []

    def trusted(model: Model, device: torch.device) -> tuple[tuple[object, ...], str]:
        calls.append(model.config.graph)
        return ("128x2x8", "64x3x4"), ""

    monkeypatch.setattr(trust, "trusted_strips", trusted)
    monkeypatch.setattr(speedups, "why_none", lambda _: None)
    return calls


@needs_triton
def test_kernels_that_agree_are_the_path(asked: list[str]) -> None:
    choice = best(SRGAN, "fp16", CUDA)
    assert choice.speedups == Speedups(fused=True, compiled=False, captured=True, kernels=True)
    assert choice.strips == ("128x2x8", "64x3x4")
    assert choice.why == "our kernels, which do what torch does here"
    assert asked == ["srgan"]


@needs_triton
def test_kernels_that_do_not_agree_are_refused_with_the_reason(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidsr.backends.torch import trust

    monkeypatch.setattr(trust, "trusted_strips", lambda *_: ((), "they are 20 dB from FP32 here, torch is 73"))
    choice = best(SRGAN, "fp16", CUDA)
    assert choice == Choice(
        Speedups(fused=True, compiled=True, captured=True),
        why="without our kernels: they are 20 dB from FP32 here, torch is 73",
    )


@needs_triton
def test_what_they_are_not_for_is_compiled(asked: list[str]) -> None:
    assert best(SRGAN, "fp32", CUDA).why == "without our kernels: they are for half precision"
    narrow = best(make_model("fast", 2), "fp16", CUDA)
    assert (narrow.speedups, narrow.strips) == (Speedups(), ())
    assert narrow.why == "without our kernels: they are for generators of 64 channels"
    assert best(registry.load("bicubic", 2), "fp16", CUDA).speedups == Speedups(fused=False, compiled=False)
    assert asked == []


def test_without_a_compiler_there_are_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedups, "why_none", lambda _: "there is no C compiler")
    choice = best(SRGAN, "fp16", CUDA)
    assert choice == Choice(Speedups(compiled=False), why="without our kernels: there is no C compiler")


def test_without_room_to_try_them_torch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Choice:
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(backend, "best", fail)
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.no_grad())
    choice = backend._tried(SRGAN, "fp16", CUDA)
    assert (choice.speedups, choice.strips) == (Speedups(compiled=False), ())
    assert "no room" in choice.why


@needs_triton
def test_the_backend_runs_by_what_was_chosen_and_says_so(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a machine without a GPU goes: which network is assembled, of which strips."""
    from vidsr.backends.torch.kernels import network

    made: list[object] = []
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 34, 1 << 34))
    monkeypatch.setattr(backend, "why_none", lambda _: None)
    monkeypatch.setattr(backend, "Graphs", lambda *_: SimpleNamespace(clear=lambda: None))
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *_, **__: module)
    monkeypatch.setattr(network, "with_kernels", lambda module, _, strips: made.append(strips) or module)
    opened = backend.TorchBackend.open(SRGAN, precision="fp16", device=CUDA, threads=None)
    assert made == [("128x2x8", "64x3x4")]
    assert opened.reason == "our kernels, which do what torch does here"
    assert opened.prepare((1, 540, 960)) == ""  # nothing is compiled
    opened.close()
