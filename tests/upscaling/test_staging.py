from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vidsr.errors import BackendError
from vidsr.upscaling import staging as module
from vidsr.upscaling.staging import Download, Staging, as_plane, as_tensor

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def planes() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    deep = rng.integers(0, 65536, (10, 14), dtype=np.uint16)
    frozen = rng.integers(0, 256, (6, 8), dtype=np.uint8)
    frozen.flags.writeable = False
    return [deep, deep[:, :9], deep[::-1], frozen]


@pytest.mark.parametrize("device", DEVICES)
def test_planes_come_back(device: str) -> None:
    staging = Staging(torch.device(device))
    codes = staging.upload(planes())
    assert {tensor.device.type for tensor in codes} == {device}
    assert [tensor.dtype for tensor in codes] == [torch.int16, torch.int16, torch.int16, torch.uint8]
    download = staging.download(codes)
    for plane, back in zip(planes(), download.wait(), strict=True):
        assert as_plane(back).dtype == plane.dtype
        assert np.array_equal(as_plane(back), plane)
    assert download.wait()[0] is download.wait()[0]


def test_the_cpu_copies_nothing() -> None:
    plane = planes()[0]
    (codes,) = Staging(torch.device("cpu")).upload([plane])
    plane[3, 4] = 51234
    assert as_plane(codes)[3, 4] == 51234
    assert np.shares_memory(as_plane(as_tensor(plane)), plane)


class _Broken:
    def synchronize(self) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")


def test_a_gpu_that_fails_later_is_one_sentence() -> None:
    with pytest.raises(BackendError, match=r"^The GPU failed: CUDA error: an illegal memory access was encountered$"):
        Download((), _Broken()).wait()  # type: ignore[arg-type]


def test_copies_of_the_second_gpu_leave_the_first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entering a stream of another GPU and leaving it makes the first GPU the current one, which takes memory there."""
    entered: list[tuple[str, object]] = []

    def entering(what: str) -> Callable[[object], AbstractContextManager[None]]:
        @contextmanager
        def enter(value: object) -> Iterator[None]:
            entered.append((what, value))
            yield
            entered.pop()

        return enter

    def copied(tensor: torch.Tensor) -> torch.Tensor:
        assert [what for what, _ in entered] == ["device", "stream"]
        assert entered[0] == ("device", "cuda:1")
        return tensor

    stream = SimpleNamespace(device="cuda:1", wait_stream=lambda _: None)
    monkeypatch.setattr(torch.cuda, "device", entering("device"))
    monkeypatch.setattr(torch.cuda, "stream", entering("stream"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: SimpleNamespace(record=lambda _: None, synchronize=int))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(module, "_pin", lambda plane: copied(as_tensor(plane)))
    monkeypatch.setattr(module, "_fetch", copied)
    staging: Any = Staging(torch.device("cpu"))
    staging._up = staging._down = stream
    codes = staging.upload(planes())
    for plane, back in zip(planes(), staging.download(codes).wait(), strict=True):
        assert np.array_equal(as_plane(back), plane)
