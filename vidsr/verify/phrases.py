"""Values in the words of a table."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from vidsr.words import printable


def seconds(value: Fraction | float | None) -> str:
    """``1.500 s``."""
    return "unknown" if value is None else f"{float(value):.3f} s"


def ms(value: Fraction) -> str:
    """``0.42 ms``."""
    return f"{float(value) * 1000:.2f} ms"


def ratio(value: Fraction) -> str:
    """``64:45``."""
    return f"{value.numerator}:{value.denominator}"


def some(items: Sequence[str], most: int = 5) -> str:
    """The first of `items`, and how many more there are."""
    more = f", and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more


def plain(text: str, length: int = 60) -> str:
    """One short line of printable characters: what a hostile file says reaches a terminal, too."""
    line = printable(text)
    return line if len(line) <= length else line[: length - 3] + "..."
