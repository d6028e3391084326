"""What a wrong command line may have meant: said below the error, with the line to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

from vidsr.media.containers import VIDEO_SUFFIXES

_FACTOR = re.compile(r"[xX]?(\d+(?:[.,]\d+)?)[xX]?")
_ELSEWHERE = {
    **dict.fromkeys(("-i", "--input"), ""),
    **dict.fromkeys(("-s", "--outscale", "--scaling-factor"), "--scale"),
    **dict.fromkeys(("-n", "-m", "--model-name", "--model_name"), "--model"),
    **dict.fromkeys(("-t", "--tilesize", "--tile-size"), "--tile"),
    **dict.fromkeys(("-g", "--gpu", "--gpu-id"), "--device"),
    **dict.fromkeys(("-c", "--vcodec", "-c:v"), "--codec"),
}
"""What Real-ESRGAN, waifu2x, Video2X and FFmpeg call an option, and its name here: none where it goes without."""


def hint(arguments: Sequence[str], commands: Collection[str]) -> str:
    """The way that `arguments` missed; nothing where none is known."""
    if not arguments:
        return ""
    first = arguments[0]
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if set(words) & _ELSEWHERE.keys() and not set(words) & set(commands) - {"upscale"}:
        return f"try: vidsr upscale {shlex.join(word for word in _translated(words) if word != 'upscale')}"
    meant = arguments if first.startswith("-") else [first]  # an option before the command, or none at all
    if not set(arguments) & set(commands) and any(map(_is_media, meant)):
        return f"try: vidsr upscale {shlex.join(arguments)}"
    for before, word in pairwise(words):
        if before == "--scale" and (factor := _factor(word)) != word:
            return f"try: --scale {factor}"
    dashes = [word for word in arguments[1:] if word.startswith("-") and _is_media(word)]
    return f"a file whose name begins with a dash is written {shlex.quote(f'./{dashes[0]}')}" if dashes else ""


def _translated(words: Sequence[str]) -> list[str]:
    """The same line by vidsr's names of the options that other programs have."""
    here = [_ELSEWHERE.get(word, word) for word in words]
    return [_factor(word) if before == "--scale" else word for before, word in pairwise(["", *here]) if word]


def _factor(word: str) -> str:
    """``2`` of ``x2`` and ``2x``, ``2.5`` of ``2,5``; any other word as it is."""
    found = _FACTOR.fullmatch(word)
    return found[1].replace(",", ".") if found else word


def _is_media(word: str) -> bool:
    try:
        return Path(word).suffix.lower() in VIDEO_SUFFIXES or Path(word).exists()
    except (OSError, ValueError):  # longer than a name may be
        return False
