"""A signal whose handler does not run ends the process; signals whose handler has run do not."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import NoReturn

import pytest

from vidsr import cli
from vidsr.cli import app, interrupts

ROOT = Path(__file__).parents[2]
INTERRUPTED_IMPORT = """
import signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "vidsr.cli":
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals, but exit codes")
def test_an_interrupt_while_the_command_line_loads_says_nothing() -> None:
    start = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["vidsr"]
    module, _, name = start.partition(":")
    script = f"{INTERRUPTED_IMPORT}\nfrom {module} import {name}"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows closes consoles by another signal")
def test_a_terminal_that_closes_is_an_interruption_though_it_takes_no_more_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(prog_name: str, **_more: object) -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        except SystemExit as ended:
            raise OSError(errno.EIO, f"Input/output error in what {prog_name} says of its end") from ended

    def leave(code: int, _sentence: str) -> NoReturn:
        raise SystemExit(code)

    monkeypatch.setattr(app, "command", lambda: work)
    monkeypatch.setattr(cli, "leave", leave)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # behind nohup it is ignored, and stays so
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert left.value.code == 129
