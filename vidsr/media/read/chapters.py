"""What FFmpeg reads over in the chapters of Matroska: those inside others, and all titles of one but the last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vidsr.media.ebml import CHAPTER, CHAPTER_TITLE, CHAPTERS, EDITION, SEGMENT, elements


def unread(path: Path, container: str) -> tuple[int, int]:
    """How many chapters of the file `path`, which FFmpeg calls a `container`, are inside others, and further titles.

    Where chapters stand behind the pictures, none are found.
    """
    if "matroska" not in container:
        return 0, 0
    inner = titles = 0
    try:
        with path.open("rb") as file:
            for start, stop in _within(file, SEGMENT, CHAPTERS, EDITION, CHAPTER):
                inner += sum(1 for _ in elements(file, start, stop, CHAPTER))
                titles += max(sum(1 for _ in elements(file, start, stop, CHAPTER_TITLE)) - 1, 0)
    except (OSError, ValueError):
        return 0, 0
    return inner, titles


def _within(file: BinaryIO, *kinds: int) -> Iterator[tuple[int, int]]:
    """The bodies of elements of the last of `kinds` inside those of the one before, and so on."""
    places = [(0, file.seek(0, 2))]
    for kind in kinds:
        places = [inner for place in places for inner in elements(file, *place, kind)]
    yield from places
