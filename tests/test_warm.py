"""Processes that begin with the libraries loaded are processes as any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

TELL = """
import json, os, sys
told = sys.argv, os.getcwd(), os.environ.get("WORD"), os.getppid(), sys.stdin.read(), "torch" in sys.modules
print(json.dumps(told))
sys.exit("words")
"""


def test_it_has_its_own_arguments_folder_variables_streams_and_end(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-c", TELL, "one", "two"], os.environ | {"WORD": "of its own"}
    done = warm.run(command, cwd=tmp_path, env=environment, input="typed", capture_output=True, text=True)
    loaded = sys.platform == "linux"
    told = [["-c", "one", "two"], str(tmp_path), "of its own", os.getpid(), "typed", loaded]
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (1, told, "words\n")
    assert "WORD" not in os.environ


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_it(number: signal.Signals) -> None:
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with warm.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(30) == -number
