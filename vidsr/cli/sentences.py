"""What is said on a terminal, whatever names it holds."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TextIO

from vidsr.words import printable


def filled(text: str, stream: TextIO, indent: int = 0) -> str:
    """One line for programs, broken between words where `stream` is a terminal; those that follow are indented."""
    if not stream.isatty():
        return text
    width, rest = max(shutil.get_terminal_size().columns, 20), " " * indent
    return textwrap.fill(text, width, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)


def complain(sentence: str) -> None:
    """One sentence on stderr."""
    print(filled(f"vidsr: {printable(sentence)}", sys.stderr), file=sys.stderr)
