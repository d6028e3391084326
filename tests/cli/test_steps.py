"""What commands show that are no jobs, and what Ctrl-Z does to a terminal."""

from __future__ import annotations

import io
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from rich.console import Console

from tests.clips import make_clip
from tests.conftest import ROOT
from vidsr.cli.steps import Steps
from vidsr.verify import compare

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


def console(text: io.StringIO, *, terminal: bool) -> Console:
    return Console(file=text, force_terminal=terminal, width=80, highlight=False, markup=False)


def test_the_time_left_follows_a_slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that slows down from one percent a second to a tenth of it says so within ten seconds."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    tell = Steps(console=console(io.StringIO(), terminal=False))
    share, said = 0.0, {}
    for second in range(1, 61):
        clock[0] = float(second)
        share += 0.01 if second <= 40 else 0.001
        said[second] = tell._time_left(clock[0], share)
    assert said[40] == ", 40%, 1 min 00 s left"
    assert said[41] != said[40]
    assert said[60] == ", 42%, 9 min 40 s left"
    assert tell._time_left(61.0, 0.01) == ", 1%"  # something else has begun


def test_without_a_terminal_there_is_a_line_every_fifteen_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    text = io.StringIO()
    with Steps(console=console(text, terminal=False)) as tell:
        for second in range(50):
            clock[0] = float(second)
            tell(f"frame {second} of \x1b[31mred", second / 100)
    lines = text.getvalue().splitlines()
    assert [line.split(" of")[0] for line in lines] == ["  frame 15", "  frame 30", "  frame 45"]
    assert "\x1b" not in text.getvalue()
    with Steps(console=console(text := io.StringIO(), terminal=False), quiet=True) as tell:
        clock[0] = 1000.0
        tell("anything", 0.5)
    assert text.getvalue() == ""


def test_a_terminal_gets_a_line_that_goes_away() -> None:
    text = io.StringIO()
    with Steps(console=console(text, terminal=True)) as tell:
        tell("choosing moments")
        tell("0:00:01.0: 24 frames", 0.5)
        tell._bar.refresh()
    assert "24 frames, 50%" in text.getvalue()
    assert text.getvalue().rindex(SHOW_CURSOR) > text.getvalue().rindex(HIDE_CURSOR)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self._main, other = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
        self.job = subprocess.Popen(command, cwd=ROOT, stderr=other, stdout=subprocess.DEVNULL, env=environment)
        os.close(other)
        os.set_blocking(self._main, False)
        self.text = ""

    def read(self) -> str:
        """All that was written so far."""
        try:
            while part := os.read(self._main, 65536):
                self.text += part.decode(errors="replace")
        except OSError:  # nothing more for now, or for good
            pass
        return self.text

    def wait_for(self, words: str, seconds: float = 60.0) -> None:
        """Until `words` were written."""
        deadline = time.monotonic() + seconds
        while words not in self.read():
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)


def test_the_shell_has_its_cursor_back_while_a_job_is_suspended(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=144, width=160, height=96)
    terminal = Terminal(sys.executable, "-m", "vidsr", "upscale", str(clip), "--model", "bicubic", "--backend", "cpu")
    terminal.wait_for(" left, limited by")
    terminal.job.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(terminal.job.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert terminal.read().rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)
    before = len(terminal.text)
    terminal.job.send_signal(signal.SIGCONT)
    assert terminal.job.wait(120) == 0
    assert HIDE_CURSOR in terminal.read()[before:]
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)
    assert "clip_x4.mp4:144framesin" in "".join(terminal.text.split())  # wherever the lines break


def test_errors_break_between_words_on_a_terminal_and_show_no_control_characters() -> None:
    name = "no\x1b[31m" + "x" * 20 + ".mp4"
    terminal = Terminal(sys.executable, "-m", "vidsr", "compare", name, name, name)
    assert terminal.job.wait(60) == 2
    lines = ["vidsr: compare takes one or two files, not 3; put an original behind", "--reference."]
    assert terminal.read().splitlines() == lines
    terminal = Terminal(sys.executable, "-m", "vidsr", "probe", name)
    assert terminal.job.wait(60) == 1
    assert terminal.read().startswith("vidsr: no?[31mxxxxxxxxxxxxxxxxxxxx.mp4 does not exist; check the name.")


@pytest.mark.parametrize(("start", "end"), [(None, None), (Fraction(1, 2), Fraction(1))])
def test_verify_says_how_far_it_is(start: Fraction | None, end: Fraction | None, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=48)
    steps: list[tuple[str, float]] = []
    same = Path(shutil.copy(clip, tmp_path / "same.mp4"))
    compare(clip, same, start=start, end=end, on_step=lambda *step: steps.append(step))
    shares = [share for text, share in steps if text.endswith("pictures")]
    assert len(shares) == (12 if end else 48)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, pytest.approx(1, abs=0.1))
