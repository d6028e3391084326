"""Ctrl-C, SIGTERM and a terminal that closes: a run ends, with everything closed and removed, and says so.

A signal's handler in Python waits for the call that the main thread is in. One that never comes back, such as the
opening of a pipe that nobody writes, or a file on a share that is gone, would keep the first Ctrl-C from ending
anything: so a thread hears of each signal, too, and ends the process where the handler has not run.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT  # 130, as shells count
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
PATIENCE_SECONDS = 5.0  # with a call of the main thread: the encoding of a very large picture is none that hangs
UNANSWERED = (
    "a file does not answer, or a very large picture is in work. "
    "What was finished before is kept, and the same command goes on after it"
)
SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def watched() -> Iterator[list[int]]:
    """While this lasts the signals of `ENDING` raise KeyboardInterrupt or SystemExit, or end the process.

    Those that came are in the list that this gives: what they raise may end in an error of the terminal that closed.

    A signal that was ignored before, as behind ``nohup``, stays so.
    """
    handled, came = threading.Event(), list[int]()

    def handle(number: int, _frame: FrameType | None) -> None:
        handled.set()
        came.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    reading, writing = socket.socketpair()  # Windows takes no pipe for this before Python 3.12
    writing.setblocking(False)
    before = {number: signal.getsignal(number) for number in ENDING}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number in ENDING:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handle)
    threading.Thread(target=_watch, args=(reading, handled), name="watch", daemon=True).start()
    try:
        yield came
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()  # which ends the thread


def _watch(reading: socket.socket, handled: threading.Event) -> None:
    with reading:
        while number := reading.recv(1):
            if number[0] not in ENDING:
                continue
            if not handled.wait(PATIENCE_SECONDS):
                leave(number[0] + 128, f"interrupted; {UNANSWERED}")
            handled.clear()
            reading.setblocking(False)
            with suppress(BlockingIOError):
                reading.recv(64)  # of signals that came together, as from `timeout`, Python runs the handler once
            reading.setblocking(True)


def leave(exit_code: int, sentence: str = "") -> NoReturn:
    """End at once: neither threads that stand in a read nor the network libraries' own ends are waited for."""
    with suppress(OSError, ValueError):
        if sentence:
            print(f"{SHOW_CURSOR if sys.stderr.isatty() else ''}vidsr: {sentence}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)
