"""What a job does while no frame comes out, and how long each of that takes. A leaf.

Whoever does such a thing wraps it in `stage`; whoever wants to know wraps all in `heard`. Threads hear what the
context in which they were started hears.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

Listener = Callable[[str, float | None], None]
"""Is told of a stage's name when it begins (None), and at its end the seconds that it took, without stages within."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
_INNER: ContextVar[list[float] | None] = ContextVar("inner", default=None)  # seconds of the stages within this one


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Tell `listener` of all stages within. It may be called by several threads at a time."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """What is done within is called `name`, for people."""
    listener = _LISTENER.get()
    if listener is None:
        yield
        return
    listener(name, None)
    outer, inner, began = _INNER.get(), [0.0], time.perf_counter()
    token = _INNER.set(inner)
    try:
        yield
    finally:
        _INNER.reset(token)
        seconds = time.perf_counter() - began
        if outer is not None:
            outer[0] += seconds
        listener(name, max(seconds - inner[0], 0.0))


@contextmanager
def loading() -> Iterator[None]:
    """The stage of imports. Nobody looks for garbage meanwhile: modules leave none, and torch's are 240,000 objects."""
    collected = gc.isenabled()
    gc.disable()
    try:
        with stage("imports"):
            yield
    finally:
        if collected:
            gc.enable()


class StageTimes:
    """Seconds of each stage so far, in the order in which they first began, and which ones last. Thread-safe.

    `seconds` are those of stages before.
    """

    def __init__(self, seconds: Mapping[str, float] = MappingProxyType({})) -> None:
        self._lock = threading.Lock()
        self._seconds = dict(seconds)
        self._lasting: list[str] = []

    def __call__(self, name: str, seconds: float | None) -> None:
        """A `Listener`."""
        with self._lock:
            self._seconds.setdefault(name, 0.0)
            if seconds is None:
                self._lasting.append(name)
            else:
                self._lasting.remove(name)
                self._seconds[name] += seconds

    @property
    def now(self) -> str:
        """The stage that began last and is not over; empty where there is none."""
        with self._lock:
            return self._lasting[-1] if self._lasting else ""

    @property
    def seconds(self) -> dict[str, float]:
        """By the names of the stages."""
        with self._lock:
            return dict(self._seconds)
