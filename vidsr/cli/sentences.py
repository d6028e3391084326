"""What is said on a terminal, whatever names it holds."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TextIO

from vidsr.words import printable


def filled(text: str, stream: TextIO, indent: int = 0) -> str:
    """One line for programs, broken between words where `stream` is a terminal; those that follow are indented."""
    return broken(text, shutil.get_terminal_size().columns, indent) if stream.isatty() else text


def broken(text: str, width: int, indent: int = 0) -> str:
    """Lines of that width, broken between words; those that follow are indented."""
    rest = " " * indent
    return textwrap.fill(text, max(width, 20), subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)


def complain(sentence: str) -> None:
    """One sentence on stderr."""
    print(filled(f"vidsr: {printable(sentence)}", sys.stderr), file=sys.stderr)
