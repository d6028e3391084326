"""A signal whose handler does not run ends the process; signals whose handler has run do not."""

from __future__ import annotations

import signal
import socket
import threading

import pytest

from vidsr.cli import interrupts


@pytest.mark.parametrize(("num_signals", "runs", "ended"), [(1, True, []), (2, True, []), (1, False, [130])])
def test_signals_that_come_together_are_handled_by_one_handler(
    num_signals: int, runs: bool, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(interrupts, "leave", lambda code, _sentence: left.append(code))
    monkeypatch.setattr(interrupts, "PATIENCE_SECONDS", 0.2)
    reading, writing = socket.socketpair()
    handled = threading.Event()
    writing.sendall(bytes([signal.SIGINT] * num_signals))
    if runs:
        handled.set()
    watch = threading.Thread(target=interrupts._watch, args=(reading, handled))
    watch.start()
    watch.join(1.0)
    writing.close()
    watch.join()
    assert left == ended
