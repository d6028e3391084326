"""Decode, upscale and encode at the same time: three stages over queues that are bounded in bytes.

A stage is an iterator computed ahead in its own thread (`Ahead`). The last stage, encoding, is the caller's thread:
there Ctrl-C arrives, and there every error of the others surfaces with its traceback.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from vidsr.frame import Frame

T = TypeVar("T")

QUEUE_BYTES = 96 * 2**20  # each of the two queues: seven 4K frames, or hundreds of small ones
PATIENCE_SECONDS = 5.0  # with a read that does not come back, once its run is over
_POLL_SECONDS = 0.5  # a lock held without a limit cannot be interrupted on every platform


class Ahead(Iterator[T], Generic[T]):
    """Computes the items of `source` ahead in a thread, at most `max_bytes` of them, or one that is larger.

    An exception of the source is raised by `__next__` after the items that came before it. `close` stops the source at
    its next item and joins the thread. `produced` and `waited` count seconds: how long the source took in all, and how
    long the consumer stood waiting.
    """

    def __init__(self, source: Iterable[T], size: Callable[[T], int], *, name: str, max_bytes: int = QUEUE_BYTES):
        self.produced = 0.0
        self.waited = 0.0
        self._source = source
        self._size = size
        self._max_bytes = max_bytes
        self._items: deque[T] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._finished = False
        self._closed = False
        self._changed = threading.Condition()
        run = copy_context().run  # who hears of stages hears of the source's, too
        self._thread = threading.Thread(target=run, args=(self._run,), name=f"vidsr-{name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        started = time.perf_counter()
        with self._changed:
            while not self._items and not self._finished and not self._closed:
                self._changed.wait(_POLL_SECONDS)
            self.waited += time.perf_counter() - started
            if not self._items:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopIteration
            item = self._items.popleft()
            self._bytes -= self._size(item)
            self._changed.notify_all()
            return item

    def close(self, patience: float | None = PATIENCE_SECONDS) -> None:
        """Stop at the next item and join the thread; items not yet taken are dropped. May be called again.

        A source that stands in a read (a pipe, a share that is gone) for `patience` seconds is left to itself, with
        what it holds: the thread ends with the read, or with the process. None waits for ever.
        """
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        self._thread.join(patience)

    def _run(self) -> None:
        try:
            iterator = iter(self._source)
            try:
                while self._put_next(iterator):
                    pass
            finally:
                if (close := getattr(iterator, "close", None)) is not None and not isinstance(iterator, Ahead):
                    close()
        except BaseException as error:  # a thread's top: it surfaces in the consumer
            self._error = error
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _put_next(self, iterator: Iterator[T]) -> bool:
        started = time.perf_counter()
        try:
            item = next(iterator)
        except StopIteration:
            return False
        finally:
            self.produced += time.perf_counter() - started
        size = self._size(item)
        with self._changed:
            while self._items and self._bytes + size > self._max_bytes and not self._closed:
                self._changed.wait(_POLL_SECONDS)
            if self._closed:
                return False
            self._items.append(item)
            self._bytes += size
            self._changed.notify_all()
            return True


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. `busy` is each stage's share of the time so far, from 0 to 1."""

    num_frames: int
    seconds: float
    fps: float  # over the last ten seconds or so
    busy: Mapping[str, float]

    @property
    def limit(self) -> str:
        """The stage that the others wait for."""
        return max(self.busy, key=lambda stage: self.busy[stage])


class _Meter:
    """Times the stages of one run.

    A frame that took longer than the window after frames that did not is a pause (Ctrl-Z, a laptop that slept): the
    rate goes on as it was before. A second one is slowness, and counts.
    """

    WINDOW_SECONDS = 10.0

    def __init__(self, decoded: Ahead[Frame], upscaled: Ahead[Frame]) -> None:
        self._decoded, self._upscaled = decoded, upscaled
        self._started = time.perf_counter()
        self._recent: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._slow = False  # whether the frame before took longer than the window
        self.num_frames = 0
        self.encoding = 0.0

    def progress(self) -> Progress:
        now = time.perf_counter() - self._started
        gap = now - self._recent[-1][0]
        if gap > self.WINDOW_SECONDS and self.num_frames > 1 and not self._slow:
            self._recent = deque((then + gap, num) for then, num in self._recent)
        self._slow = gap > self.WINDOW_SECONDS
        self._recent.append((now, self.num_frames))
        while len(self._recent) > 2 and self._recent[1][0] < now - self.WINDOW_SECONDS:
            self._recent.popleft()
        then, before = self._recent[0]
        busy = {
            "decode": self._decoded.produced,
            "upscale": self._upscaled.produced - self._decoded.waited,
            "encode": self.encoding,
        }
        shares = {stage: min(max(seconds / max(now, 1e-9), 0.0), 1.0) for stage, seconds in busy.items()}
        return Progress(self.num_frames, now, (self.num_frames - before) / max(now - then, 1e-9), shares)


def run(
    frames: Iterable[Frame],
    upscale: Callable[[Iterable[Frame]], Iterator[Frame]],
    write: Callable[[Frame], None],
    *,
    cancel: Callable[[], None] = lambda: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    queue_bytes: int = QUEUE_BYTES,
) -> Progress:
    """Write every upscaled frame, with all three stages at work at once; returns the final figures.

    `frames` is iterated in a thread of its own, `upscale` (an iterator over its argument) in another, `write` here.
    The first error of any stage, or KeyboardInterrupt, ends the run: `cancel` is called to cut a long call of the
    upscaler short, both threads are joined, and the error is raised. What `frames` holds open it closes itself, in its
    own thread, where nobody else may while a read stands.
    """
    decoded = Ahead(frames, _nbytes, name="decode", max_bytes=queue_bytes)
    upscaled = Ahead(upscale(decoded), _nbytes, name="upscale", max_bytes=queue_bytes)
    meter = _Meter(decoded, upscaled)
    try:
        for frame in upscaled:
            started = time.perf_counter()
            write(frame)
            meter.encoding += time.perf_counter() - started
            meter.num_frames += 1
            on_progress(meter.progress())
    except BaseException:
        cancel()
        raise
    finally:
        decoded.close()
        upscaled.close(None)
    return meter.progress()


def _nbytes(frame: Frame) -> int:
    return frame.nbytes
