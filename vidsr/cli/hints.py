"""What a wrong command line may have meant: said below the error, with the line to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

from vidsr.media.containers import VIDEO_SUFFIXES

_FACTOR = re.compile(r"[xX]?(\d+(?:\.\d+)?)[xX]?")


def hint(arguments: Sequence[str], commands: Collection[str]) -> str:
    """The way that `arguments` missed; nothing where none is known."""
    if not arguments:
        return ""
    first = arguments[0]
    meant = arguments if first.startswith("-") else [first]  # an option before the command, or none at all
    if not set(arguments) & set(commands) and any(map(_is_media, meant)):
        return f"try: vidsr upscale {shlex.join(arguments)}"
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for before, word in pairwise(words):
        if before == "--scale" and (factor := _FACTOR.fullmatch(word)) and factor[1] != word:
            return f"try: --scale {factor[1]}"
    dashes = [word for word in arguments[1:] if word.startswith("-") and _is_media(word)]
    return f"a file whose name begins with a dash is written {shlex.quote(f'./{dashes[0]}')}" if dashes else ""


def _is_media(word: str) -> bool:
    try:
        return Path(word).suffix.lower() in VIDEO_SUFFIXES or Path(word).exists()
    except (OSError, ValueError):  # longer than a name may be
        return False
