"""Shows jobs on a terminal: a live bar, and lines above it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from vidsr.cli.phrases import starting, state
from vidsr.cli.show import NO_SIZES, LogShow, Show
from vidsr.cli.steps import suspendable
from vidsr.jobs.events import Advanced, Done, Failed, Started
from vidsr.stages import StageTimes

ENDS = ("join", "check")  # stages after a job's last frame


class LiveShow(LogShow):
    """A live bar on a terminal, and lines above it."""

    def __init__(
        self,
        num_inputs: int,
        console: Console,
        *,
        verbose: int,
        sizes: Mapping[Path, int] = NO_SIZES,
        times: StageTimes | None = None,
    ) -> None:
        super().__init__(num_inputs, console, verbose=verbose, sizes=sizes, times=times)
        self._width = min(20, console.width // 8)  # of the bar: its words come first
        self._bar = Progress(
            BarColumn(bar_width=self._width),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._tasks: dict[Path, TaskID] = {}  # one job is joined while the next one begins
        self._begun: set[Path] = set()  # those of them that have made a frame
        self._waiting: TaskID | None = None  # what is done before the first job begins
        self._suspendable = suspendable(self._bar)
        self._lock = threading.RLock()  # stages are told by the threads that they are in, while jobs come and go

    def __enter__(self) -> Show:
        self._suspendable.__enter__()
        return super().__enter__()

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self._suspendable.__exit__(None, None, None)

    def started(self, event: Started) -> None:
        """A fresh bar."""
        super().started(event)
        with self._lock:
            self._stop_waiting()
            self._bar.start()
            self._tasks[event.source] = self._bar.add_task("", total=event.num_frames, state=self._starting())

    def stage(self, name: str, seconds: float | None) -> None:
        """Beside the bar of a job that has made no frame yet, or all; before the first job on a line of its own."""
        super().stage(name, seconds)
        with self._lock:
            words = self._starting()
            if name in ENDS and len(self._tasks) == 1 and seconds is None:
                self._bar.update(next(iter(self._tasks.values())), state=name)
            elif self._tasks:
                for source in self._tasks.keys() - self._begun:
                    self._bar.update(self._tasks[source], state=words)
            elif name not in ENDS and seconds is None:
                if self._waiting is None:
                    self._waiting = self._bar.add_task("", total=None, state=words)
                    self._bar.start()
                self._bar.update(self._waiting, state=words)

    def _starting(self) -> str:
        """What a job that has made no frame does; the end of the one before it is not its own."""
        now = self.times.now
        return starting("" if now in ENDS else now)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._bar.remove_task(self._waiting)
            self._waiting = None

    def advanced(self, event: Advanced) -> None:
        """The bar moves."""
        self._warn_if_slow(event)
        with self._lock:
            self._begun.add(event.source)
        if (task := self._tasks.get(event.source)) is not None:
            total = max(event.num_frames, event.progress.num_frames) if event.num_frames else None
            self._bar.update(task, completed=event.progress.num_frames, total=total, state=self._words(event))

    def _words(self, event: Advanced) -> str:
        """What fits beside the bar."""
        number = self._course.number(event.source)
        room = self.console.width - self._width - 2 - len(number)
        return number + state(event, others=self._course.time_left(event), width=room)

    def done(self, event: Done) -> None:
        """The bar goes, the line stays."""
        self._remove(event.source)
        super().done(event)

    def failed(self, event: Failed) -> None:
        """The bar goes, the line stays."""
        self._remove(event.source)
        super().failed(event)

    def close(self) -> None:
        """Take all bars away."""
        with self._lock:
            self._stop_waiting()
        for source in list(self._tasks):
            self._remove(source)
        self._bar.stop()

    def _remove(self, source: Path) -> None:
        with self._lock:
            if (task := self._tasks.pop(source, None)) is not None:
                self._bar.remove_task(task)
            self._begun.discard(source)
        if not self._tasks and self._waiting is None:
            self._bar.stop()
