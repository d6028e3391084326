"""Run by `warm.py` as a process: loads the libraries, and forks for each request that comes through a socket.

What is forked goes on below `serve()`, as ``python -m`` or ``python -c`` would, and ends as Python ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
import types
from contextlib import suppress
from pathlib import Path

PATH = list(sys.path[1:])
LOADED = (
    *("vidsr.cli.app", "vidsr.cli.upscale", "vidsr.cli.shower", "vidsr.cli.live", "vidsr.cli.json_show"),
    *("vidsr.jobs.run", "vidsr.jobs.log", "vidsr.jobs.dry_run", "vidsr.jobs.local_maker"),
    *("vidsr.models.srgan", "vidsr.backends.torch.backend"),
)


def load() -> None:
    """Everything that an ordinary job loads. Without a thread of its own, or a fork would not be safe."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in LOADED:
        importlib.import_module(name)
    with suppress(ImportError):
        importlib.import_module("pydantic.type_adapter")  # of typer, in some of its versions
    sys.modules["vidsr.cli.app"].command()
    os.fsync = os.fstat  # type: ignore[assignment]  # as in this one's parent
    assert len(list(Path("/proc/self/task").iterdir())) == 1
    gc.collect()
    gc.freeze()


def serve(connection: socket.socket) -> list[str]:
    """Fork for every request until nobody is left to ask. Comes back in what was asked for, with its arguments."""
    read, write = os.pipe()
    connection.sendall(b"!")  # ready
    while True:
        try:
            head, streams, *_ = socket.recv_fds(connection, 8, 3)
            request = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if head else b""
        except (KeyboardInterrupt, ConnectionError):
            request = b""
        if not request:
            os._exit(0)
        between = os.fork()
        if not between:
            number = os.getpid()
            if child := os.fork():
                os.write(write, child.to_bytes(8, "big"))
                os._exit(0)  # its child becomes one of who asked
            while os.getppid() == number:
                time.sleep(0.001)
            os.close(read)
            os.close(write)
            connection.close()
            return settle(request, streams)
        for stream in streams:
            os.close(stream)
        os.waitpid(between, 0)
        connection.sendall(os.read(read, 8))


def settle(request: bytes, streams: list[int]) -> list[str]:
    """Take on the folder, the variables and the streams of a request; its arguments."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)
    words, folder, variables = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    if threads := variables.get("OMP_NUM_THREADS"):
        sys.modules["torch"].set_num_threads(int(threads))
    added = [entry for entry in variables.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = ["" if words[0] == "-c" else folder, *added, *(entry for entry in PATH if entry not in added)]
    return list(words)


def main(how: str, what: str, arguments: list[str]) -> None:
    """As Python's command line does it."""
    sys.argv[:] = [how, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        exec(compile(what, "<string>", "exec"), module.__dict__)


if __name__ == "__main__":
    load()
    how, what, *arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    main(how, what, arguments)
