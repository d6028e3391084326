"""Threads beside the one that feeds the network. A leaf."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Until(Iterator[T], Generic[T]):
    """The items of `source` as far as they go; what ended them is raised by `check`, once the others are done with."""

    def __init__(self, source: Iterable[T]) -> None:
        self._source = iter(source)
        self._error: Exception | None = None

    def __next__(self) -> T:
        try:
            return next(self._source)
        except StopIteration:
            raise
        except Exception as error:  # it belongs behind what came before it
            self._error = error
            raise StopIteration from error

    def check(self) -> None:
        """Raise the error of `source`, if one ended it."""
        if self._error is not None:
            raise self._error


class Beside(Generic[R]):
    """What `work` returns or raises; a thread of its own computes it from now on."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work, self._made = work, Future[R]()
        self._thread = threading.Thread(target=self._run, name="vidsr-beside", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made.set_result(self._work())
        except BaseException as error:  # a thread's top: it surfaces where the result is asked for
            self._made.set_exception(error)

    def result(self) -> R:
        """Wait for it."""
        self.join()
        return self._made.result()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()


def mapped(function: Callable[[T], R], items: Iterable[T], num: int) -> Iterator[R]:
    """What `function` makes of each item, in their order, of `num` at a time while the next comes; 0: in this thread.

    An error of `items` is raised behind what came before it.
    """
    if not num:
        yield from map(function, items)
        return
    source, begun = Until(items), deque[Beside[R]]()
    try:
        for item in source:
            if len(begun) == num:
                yield begun.popleft().result()
            begun.append(Beside(partial(function, item)))
        while begun:
            yield begun.popleft().result()
    finally:
        for one in begun:
            one.join()
    source.check()
