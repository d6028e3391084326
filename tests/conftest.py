"""Fixtures for all tests: the command line called in this process, and nothing left running after a test."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is loaded for the tests stays: looking it over for garbage takes a quarter of the time that loading does."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_disk_is_waited_for() -> None:
    """Nobody pulls the plug: a job waits for the disk six times. Whether it asks, and when, see `test_files.py`."""
    os.fsync = os.fstat  # type: ignore[assignment]


@dataclass(frozen=True)
class Result:
    """How a call of the command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def vidsr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """`vidsr("upscale", path, ...)` runs the command line and returns its exit code and both of its outputs."""
    from vidsr.cli import main

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["vidsr", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture(autouse=True)
def _ordinary_priority() -> Iterator[None]:
    """Clips of AV1 are made with PyAV alone: run by root, that encoder makes this whole process real-time."""
    yield
    if sys.platform == "linux" and os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(autouse=True)
def _no_thread_survives() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("vidsr-")] == []
