"""The end of a job, its join and its check, beside the head of the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

from vidsr.errors import VidsrError
from vidsr.jobs.events import Done, Event, Failed
from vidsr.jobs.memory import memory_for
from vidsr.jobs.video import Unjoined


class Tails:
    """Joins and checks one job after the other in a thread, beside the head of the next job.

    Reports how each ended in the thread that calls its methods, as soon as `poll` is called.
    """

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._end: Callable[[Done | Failed], None] = on_event
        self._executor = ThreadPoolExecutor(1, "vidsr-join")
        self._made: Unjoined | None = None  # waits for the join of the one before
        self._pending: tuple[Unjoined, Future[Done]] | None = None

    @contextmanager
    def reporting(self, end: Callable[[Done | Failed], None]) -> Iterator[None]:
        """Tell `end` how each job ended, the last of them on leaving; Ctrl-C does not keep a finished job from it."""
        self._end = end
        try:
            yield
        finally:
            self._leave()
            self._executor.shutdown()

    def add(self, job: Unjoined) -> None:
        """Begin to join `job`, once the one before it is done."""
        self._made = job
        self.collect()
        self._pending, self._made = (job, self._executor.submit(copy_context().run, _finish, job)), None

    def poll(self) -> None:
        """Report the job that was joined, if it is."""
        if self._pending is not None and self._pending[1].done():
            self.collect()

    def collect(self) -> None:
        """Wait for the job that is being joined, and report it; if Ctrl-C ends the wait, it can be collected again."""
        if self._pending is None:
            return
        job, future = self._pending
        wait([future])
        self._pending = None
        try:
            done = future.result()
        except BaseException as error:
            self._on_event(job.kept(error))
            if not isinstance(error, VidsrError | OSError):
                raise
            self._end(failed(job.plan.source.path, error))
        else:
            self._end(done)

    def _leave(self) -> None:
        """Collect the last job; Ctrl-C, or a second one, ends this, too: the segments are kept."""
        try:
            self.collect()
        except BaseException as error:
            if self._pending is not None:
                self._on_event(self._pending[0].kept(error))
            raise
        finally:
            if (job := self._made) is not None:  # Ctrl-C came before its turn
                job.held.close()
                self._on_event(job.kept(KeyboardInterrupt()))


def _finish(job: Unjoined) -> Done:
    with memory_for(job.plan.source.path):
        return job.finish()


def failed(path: Path, error: VidsrError | OSError) -> Failed:
    """The end of the job of `path`, which raised `error`."""
    return Failed(path, _sentence(error), getattr(error, "exit_code", 1))


def _sentence(error: VidsrError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
