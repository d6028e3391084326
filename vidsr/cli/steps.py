"""What commands show that are no jobs: a line on a terminal, with a bar where the end is known; else sparse lines."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from vidsr.cli.output import span
from vidsr.cli.sentences import broken
from vidsr.words import printable

LOG_SECONDS = 15.0  # between two lines where there is no terminal
WINDOW_SECONDS = 10.0  # the time left follows the rate of these


def open_console() -> Console:
    """stderr for people: a terminal breaks lines between words, elsewhere they are not broken."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    return console


def say(console: Console, text: str) -> None:
    """A line that stays; where it has to be broken, the rest is indented by two more.

    Control characters of a hostile name do not reach the terminal.
    """
    line = printable(text)
    indent = len(line) - len(line.lstrip()) + 2
    console.print(line if console.soft_wrap else broken(line, console.width, indent))


def is_live(console: Console) -> bool:
    """Whether a line can be written over."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def suspendable(bar: Progress) -> Iterator[None]:
    """Ctrl-Z takes the bar away and gives the shell its cursor back; `fg` brings the bar again."""
    if not hasattr(signal, "SIGTSTP") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def suspend(_number: int, _frame: object) -> None:
        shown = bar.live.is_started
        bar.stop()
        signal.raise_signal(signal.SIGSTOP)
        if shown:
            bar.start()

    before = signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


class Steps:
    """Tells what a command does. Call it with a text, and how far it is: a share from 0 to 1, 0 where nobody knows."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or open_console()
        self._quiet = quiet
        self._live = not quiet and is_live(self._console)
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=min(20, self._console.width // 8)),  # the words come first
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
        )
        self._suspendable = suspendable(self._bar)
        self._task: TaskID | None = None
        self._shown = time.monotonic()
        self._recent: deque[tuple[float, float]] = deque()

    def __enter__(self) -> Self:
        if self._live:
            self._suspendable.__enter__()
            self._task = self._bar.add_task("", total=None, visible=False)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()
            self._suspendable.__exit__(None, None, None)

    def __call__(self, text: str, share: float = 0.0) -> None:
        """Show `text`; the time left follows from how `share` grew in the last ten seconds."""
        now = time.monotonic()
        line = printable(text) + self._time_left(now, share)
        if self._task is not None:
            total = 1.0 if share else None
            self._bar.update(self._task, description=line, total=total, completed=share, visible=True)
        elif not self._quiet and now - self._shown >= LOG_SECONDS:
            self._shown = now
            self._console.print(f"  {line}")

    def say(self, text: str) -> None:
        """A line that stays."""
        say(self._console, text)

    def _time_left(self, now: float, share: float) -> str:
        if not share:
            return ""
        if self._recent and share < self._recent[-1][1]:
            self._recent.clear()  # something else has begun
        self._recent.append((now, share))
        while len(self._recent) > 2 and self._recent[1][0] < now - WINDOW_SECONDS:
            self._recent.popleft()
        then, before = self._recent[0]
        if share <= before:
            return f", {share:.0%}"
        return f", {share:.0%}, {span((1 - share) * (now - then) / (share - before))} left"
