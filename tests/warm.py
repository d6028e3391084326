"""Python processes that begin with the libraries loaded: a tenth of a second of processor time instead of three.

`run` and `Popen` are those of `subprocess`. One process loads the libraries and forks (`warm_server.py`) whenever
``[sys.executable, "-m" or "-c", ...]`` is asked for: a child of this one, with its own arguments, folder, variables,
standard streams, signals, limits and end. What is not its own are its imports: tests of those, of how a start goes, and
of variables that libraries read when they are loaded begin a process with `subprocess`.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


class Server:
    """The process that has loaded everything, as the one that asks sees it. It ends with that one."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            number = other.fileno()
            command = [sys.executable, "-m", "tests.warm_server", str(number)]
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[number], stdin=quiet, stdout=quiet)
        self._prctl = ctypes.CDLL(None).prctl
        self.is_ready = bool(self._socket.recv(1))

    def fork(self, words: Sequence[str], folder: str, variables: Mapping[str, str], streams: Sequence[int]) -> int:
        """Begin a child of this process, and say its number."""
        request = json.dumps([list(words), folder, dict(variables)]).encode()
        self._prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # it becomes ours when the one that forked it has ended
        try:
            socket.send_fds(self._socket, [len(request).to_bytes(8, "big")], streams)
            self._socket.sendall(request)
            answer = self._socket.recv(8, socket.MSG_WAITALL)
        finally:
            self._prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if len(answer) < 8:
            raise ChildProcessError("the process that has loaded everything has ended")
        return int.from_bytes(answer, "big")


@cache
def _server() -> Server:
    return Server()


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen`, with the libraries loaded where that is possible."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *more: Any) -> None:
        _, pass_fds, folder, variables, _, _, shell, *pipes = more
        python = isinstance(args, list) and args[0] == sys.executable and args[1] in ("-c", "-m")
        if sys.platform != "linux" or not python or preexec_fn or pass_fds or shell or not _server().is_ready:
            super()._execute_child(args, executable, preexec_fn, *more)  # type: ignore[misc]
            return
        streams = [own if given == -1 else given for own, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        words = [os.fspath(word) for word in args[1:]]
        self.pid = _server().fork(words, os.fspath(folder or Path.cwd()), variables or os.environ, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes[:6])  # type: ignore[attr-defined]


def run(
    command: Sequence[str],
    *,
    check: bool = False,
    input: Any = None,
    capture_output: bool = False,
    timeout: float | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run`."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, err)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def said(module: str, *words: str) -> list[Any]:
    """What ``python -m module`` prints: a line of JSON each."""
    done = run([sys.executable, "-m", module, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
