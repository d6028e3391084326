"""Every backend stops when it is told to, and nothing that it still writes is freed before."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch

from tests.conformance.test_backends import available, make_model
from vidsr.backends.base import leaves
from vidsr.backends.selection import open_backend
from vidsr.backends.torch.backend import TorchBackend
from vidsr.errors import BackendError, Cancelled


@pytest.mark.parametrize("name", ["cpu", *available()])
def test_cancel_stops_a_call_in_another_thread(name: str) -> None:
    model = make_model("srgan", 4, blocks=16)
    opened, _ = open_backend(name, model, precision="fp32")
    seen: list[BaseException | float] = []

    def work() -> None:
        try:
            while True:
                opened(torch.rand(1, 3, 64, 64, dtype=opened.dtype, device=opened.device))
        except BackendError as error:
            seen.extend((error, time.monotonic()))

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    opened.cancel()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(seen[0], Cancelled)
    with pytest.raises(Cancelled):
        opened(torch.rand(1, 3, 8, 8, dtype=opened.dtype, device=opened.device))
    opened.close()


def test_eager_stops_between_layers() -> None:
    opened, _ = open_backend("cpu", make_model("fast", 2))
    assert isinstance(opened, TorchBackend)
    assert opened._module is not None
    leaves(opened._module)[0].register_forward_hook(lambda *_: opened.cancel())
    with pytest.raises(Cancelled):
        opened(torch.rand(1, 3, 8, 8))


@pytest.mark.skipif("openvino" not in available(), reason="openvino is not installed")
def test_openvino_stops_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled right before the start of a call that takes a hundred GFLOP: a result would mean that nobody looked."""
    opened, _ = open_backend("openvino", make_model("srgan", 4, blocks=16))
    request = opened._request  # type: ignore[attr-defined]

    def cancel_after(shape: tuple[int, ...]) -> object:
        made = request(shape)
        opened.cancel()
        return made

    monkeypatch.setattr(opened, "_request", cancel_after)
    with pytest.raises(Cancelled):
        opened(torch.rand(1, 3, 300, 300))
    opened.close()


@pytest.mark.skipif("onnxruntime" not in available(), reason="onnxruntime is not installed")
@pytest.mark.parametrize("interrupt", [False, True])
def test_onnxruntime_stops_in_the_middle(monkeypatch: pytest.MonkeyPatch, interrupt: bool) -> None:
    """A call of a hundred GFLOP that is left does not reach its end, and what it writes is not freed before."""
    from vidsr.backends import onnxruntime

    opened, _ = open_backend("onnxruntime", make_model("srgan", 4, blocks=16), device="cpu")
    assert isinstance(opened, onnxruntime.ONNXRuntimeBackend)
    other = torch.rand(1, 3, 8, 8)
    expected = opened(other).clone()
    calls: list[onnxruntime._Call] = []

    class Watched(onnxruntime._Call):
        def join(self, timeout: float | None = None) -> None:
            calls.append(self)
            if timeout is not None and interrupt and not self.stopped:
                raise KeyboardInterrupt
            if timeout is not None and not interrupt:
                opened.cancel()
            super().join(timeout)

        stopped = False

        def stop(self) -> None:
            self.stopped = True
            super().stop()

    monkeypatch.setattr(onnxruntime, "_Call", Watched)
    with pytest.raises(KeyboardInterrupt if interrupt else Cancelled):
        opened(torch.rand(1, 3, 300, 300))
    assert opened._call is calls[0]
    assert [part.shape for part in calls[0]._memory] == [(1, 3, 300, 300), (1, 3, 1200, 1200)]
    monkeypatch.undo()
    if interrupt:
        assert torch.equal(opened(other), expected)
    opened.close()
    assert not calls[0].is_alive()
    assert "terminate" in str(calls[0].error)


@pytest.mark.skipif("openvino" not in available(), reason="openvino is not installed")
def test_after_ctrl_c_openvino_writes_into_nothing_that_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, _ = open_backend("openvino", make_model("srgan", 4, blocks=16))
    batch, other = torch.rand(1, 3, 120, 120), torch.rand(1, 3, 8, 8)
    expected = opened(other).clone()
    request = opened._request  # type: ignore[attr-defined]
    requests: list[Any] = []

    class Interrupted:
        def __init__(self, shape: tuple[int, ...]) -> None:
            requests.extend(request(shape))

        def __getattr__(self, name: str) -> Any:
            return getattr(requests[-1], name)

        def wait_for(self, _: int) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(opened, "_request", lambda shape: (Interrupted(shape),))
    with pytest.raises(KeyboardInterrupt):
        opened(batch)
    assert [part.shape for part in opened._running[1:]] == [(1, 3, 120, 120), (1, 3, 480, 480)]  # type: ignore[attr-defined]
    monkeypatch.setattr(opened, "_request", request)
    assert torch.equal(opened(other), expected)
    with pytest.raises(RuntimeError, match="cancel"):
        requests[-1].wait_for(0)  # the call that was left had ended before another one began
    opened.close()
