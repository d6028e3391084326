"""What is said on a terminal, whatever names it holds. A leaf."""

from __future__ import annotations

import shutil
import sys
import textwrap


def printable(text: str) -> str:
    """`text` without the control characters of a hostile name."""
    return "".join(character if character.isprintable() else "?" for character in text)


def complain(sentence: str) -> None:
    """One sentence on stderr: one line for programs, broken between words on a terminal."""
    text = f"vidsr: {printable(sentence)}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(text, max(width, 20), break_long_words=False, break_on_hyphens=False)
    print(text, file=sys.stderr)
