"""Standard streams that are closed or full, and names that the libraries of a terminal would change."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import ROOT
from vidsr import cli
from vidsr.cli.output import print_table, table
from vidsr.cli.steps import open_console


def test_a_closed_stream_keeps_nobody_from_working(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its number does not become that of a film, into which libraries would complain."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    cli._speak()
    with closing(sys.stdin), closing(sys.stderr), suppress(OSError), closing(sys.stdout):
        assert sys.stdin.read() == ""
        print("nobody hears that", file=sys.stderr, flush=True)
        with pytest.raises(OSError, match="Bad file descriptor"):
            print("data is missed", flush=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_finds_no_room_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "vidsr", "--version"]
        ended = warm.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "vidsr: the output: No space left on device\n")


def test_a_name_with_colons_is_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    open_console().print("take:100:.mp4")
    print_table(table("name", [["take:100:.mp4"]]))
    out, err = capsys.readouterr()
    assert ("take:100:.mp4" in out, "take:100:.mp4" in err) == (True, True)
