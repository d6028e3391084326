"""The command line: the only place that knows a terminal, and the one that turns errors into exit codes."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import NoReturn

from vidsr.cli.interrupts import ENDING, INTERRUPTED, leave, watched
from vidsr.cli.sentences import complain
from vidsr.errors import UsageError, VidsrError
from vidsr.stages import loading

_NO_ROOM = ("failed to map segment", "annot allocate memory")  # what the loader says of a library


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 bad usage, 130 interrupted.

    An expected error is one sentence on stderr; with ``VIDSR_DEBUG=1`` it is a traceback, as a bug always is.
    """
    _speak()
    atexit.register(_end_soon)
    came, asked = list[int](), set[str]()
    try:
        with watched() as came:
            with loading():
                from vidsr.cli.app import command

                run = command()
            try:
                run(prog_name="vidsr", obj=asked)
            finally:
                _flush()
    except VidsrError as error:
        if os.environ.get("VIDSR_DEBUG"):
            raise
        _fail(str(error), error.exit_code, asked)
    except KeyboardInterrupt:
        leave(INTERRUPTED, "interrupted")
    except SystemExit as leaving:  # typer makes one of Ctrl-C, without a word
        if isinstance(leaving.code, int) and leaving.code - 128 in ENDING:
            leave(leaving.code, "interrupted")
        if leaving.code == UsageError.exit_code:
            _help()
        raise
    except BrokenPipeError:  # whoever read our output has gone
        sys.exit(1)
    except OSError as error:
        if came:  # a terminal that closed takes no word of how the work ended
            leave(128 + came[0], "interrupted")
        if os.environ.get("VIDSR_DEBUG"):
            raise
        _fail(f"{error.filename or 'the output'}: {error.strerror or error}", 1, asked)
    except (MemoryError, ImportError) as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "torch":
            complain("this needs torch, which is not installed: pip install 'vidsr-upscaler[torch]'")
            sys.exit(1)
        no_room = isinstance(error, MemoryError) or any(words in str(error) for words in _NO_ROOM)
        if os.environ.get("VIDSR_DEBUG") or not no_room:
            raise
        complain("the memory does not even suffice to load the libraries; allow 1 GB or more")
        sys.exit(1)
    finally:  # the work is over: Ctrl-C would only tear Python's own end
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.exit(0)


def _fail(sentence: str, exit_code: int, asked: Collection[str]) -> NoReturn:
    """Say so, also as the one document of a command that was asked for JSON; what `upscale` prints are events."""
    complain(sentence)
    if "json" in asked:
        from vidsr.cli.output import print_json

        with suppress(OSError):  # as of whoever read our output and has gone
            print_json({"error": sentence, "exit_code": exit_code})
            _flush()
    sys.exit(exit_code)


def _end_soon() -> None:
    """Let Python end without a look for garbage, but where triton is, which would say that all of it is left."""
    if "triton" not in sys.modules:
        gc.freeze()


def _speak() -> None:
    """Names that a console's encoding does not have, as Windows' of one byte, are written with escapes.

    A standard stream that is closed becomes one that holds nothing and, for output, takes no data: no file that is
    opened later gets its number, and with it what libraries say.
    """
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Find out that stdout takes no more while there is somebody to say it; Python's own end goes to nowhere then."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _help() -> None:
    """After an error of usage that the parser found: what may have been meant."""
    from vidsr.cli.app import COMMANDS
    from vidsr.cli.hints import hint

    if words := hint(sys.argv[1:], COMMANDS):
        complain(words)
