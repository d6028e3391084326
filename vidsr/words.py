"""Numbers and names as people read them. A leaf."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` without the control characters of a hostile name."""
    return "".join(character if character.isprintable() else "?" for character in text)


def first_line(error: Exception) -> str:
    """What an error says in its first line, which may not be there; then its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def counted(number: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def num_bytes(number: float, *, exact: bool = False) -> str:
    """``12.3 MB``; `exact` by four digits, ``12.34 MB``."""
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if round(number, 1) < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.4g} {unit}" if exact else f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
