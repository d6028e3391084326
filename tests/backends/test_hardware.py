"""What is done ahead of torch's import where a GPU is likely, seen without one."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from vidsr.backends import hardware

Calls = list[tuple[object, ...]]


class Library:
    """A library of C that notes its calls; `codes` are what they return, 0 where nothing stands there."""

    def __init__(self, calls: Calls, codes: dict[str, int]) -> None:
        self._calls, self._codes = calls, codes

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: object) -> int:
            self._calls.append((name, *(value for value in arguments if isinstance(value, (int, bytes)))))
            return self._codes.get(name, 0)

        return call


def opened(monkeypatch: pytest.MonkeyPatch, package: Path, index: int, codes: dict[str, int] | None = None) -> Calls:
    """What `open_ahead` calls, with a torch in `package` that is not loaded; without `codes` there is no driver."""
    calls: Calls = []

    def load(name: str | None) -> Library:
        if name is not None and codes is None:
            raise OSError(f"{name}: cannot open shared object file")
        return Library(calls, codes or {})

    monkeypatch.setenv("CUDA_MODULE_LOADING", "EAGER")
    monkeypatch.delenv("CUDA_MODULE_LOADING")
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(hardware, "find_spec", lambda _: ModuleSpec("torch", None, origin=str(package / "__init__.py")))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    hardware.open_ahead(index)
    for thread in threading.enumerate():
        if thread.name == "vidsr-gpu":
            thread.join()
    return calls


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A build of torch for NVIDIA's GPUs, as far as it is looked at."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtorch_cuda.so").touch()
    return tmp_path


def test_libraries_are_loaded_and_the_gpu_opened_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, package: Path
) -> None:
    needed = str(package / "lib" / "libtorch_global_deps.so").encode()
    loads, *driver = opened(monkeypatch, package, 3, {})
    assert loads[:2] == ("dlopen", needed)
    assert driver == [("cuInit", 0), ("cuDeviceGet", 3), ("cuDevicePrimaryCtxRetain",)]
    assert os.environ["CUDA_MODULE_LOADING"] == "LAZY"


def test_a_gpu_that_is_not_there_is_left_to_torch(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    for codes, last in (({"cuInit": 100}, "cuInit"), ({"cuDeviceGet": 101}, "cuDeviceGet")):
        assert opened(monkeypatch, package, 0, codes)[-1][0] == last


def test_nothing_is_done_without_a_driver_or_a_build_for_gpus(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    assert opened(monkeypatch, package, 0, None) == []
    (package / "lib" / "libtorch_cuda.so").unlink()
    assert opened(monkeypatch, package, 0, {}) == []
