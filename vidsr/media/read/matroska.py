"""What FFmpeg reads over in Matroska: chapters inside others, all titles of one but the last, and the film's own title.

That is replaced by the last title in its tags, be it that of a series or of a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer

from vidsr.media.ebml import (
    CHAPTER,
    CHAPTER_TITLE,
    CHAPTER_TRACKS,
    CHAPTERS,
    EDITION,
    FILM_TITLE,
    INFO,
    elements,
    sections,
)

_LONGEST = 1 << 16  # bytes of a title; more is damage
_MOST = 1 << 22  # bytes of chapters


def own_title(path: Path, container: str) -> str | None:
    """That of the film in the file `path`, which FFmpeg calls a `container`; None: it has none, or no Matroska."""
    if "matroska" not in container:
        return None
    try:
        with path.open("rb") as file:
            for start, stop in _within(file, INFO, FILM_TITLE):
                file.seek(start)
                return file.read(min(stop - start, _LONGEST)).rstrip(b"\0").decode() or None
    except (OSError, ValueError):
        pass  # damaged, which the demuxer has to say
    return None


def tags(container: InputContainer, path: Path) -> dict[str, str]:
    """What the open file says of itself as a whole."""
    said, own = dict(container.metadata), own_title(path, container.format.name)
    if own is None:
        return said
    return {key: value for key, value in said.items() if key.lower() != "title"} | {"title": own}


def chapters(path: Path) -> bytes | None:
    """The body of the section of chapters in the file `path`.

    None where there is none, as in a file of another kind, or one that names tracks: those have other numbers in an
    output.
    """
    try:
        with path.open("rb") as file:
            for start, stop in sections(file, CHAPTERS):
                if stop - start > _MOST or any(_within(file, CHAPTERS, EDITION, CHAPTER, CHAPTER_TRACKS)):
                    return None
                file.seek(start)
                return file.read(stop - start)
    except (OSError, ValueError):
        pass
    return None


def unread_chapters(path: Path, container: str) -> tuple[int, int]:
    """How many chapters of the file `path`, which FFmpeg calls a `container`, are inside others, and further titles."""
    if "matroska" not in container:
        return 0, 0
    inner = titles = 0
    try:
        with path.open("rb") as file:
            for start, stop in _within(file, CHAPTERS, EDITION, CHAPTER):
                num, further = _told(file, start, stop)
                inner, titles = inner + num, titles + further
    except (OSError, ValueError):
        return 0, 0
    return inner, titles


def _told(file: BinaryIO, start: int, stop: int) -> tuple[int, int]:
    """How many chapters are inside one, at any depth, and further titles of it."""
    titles = max(sum(1 for _ in elements(file, start, stop, CHAPTER_TITLE)) - 1, 0)
    num, waiting = 0, [(start, stop)]
    while waiting:
        inner = list(elements(file, *waiting.pop(), CHAPTER))
        num += len(inner)
        waiting += inner
    return num, titles


def _within(file: BinaryIO, section: int, *kinds: int) -> Iterator[tuple[int, int]]:
    """The bodies of elements of the last of `kinds` inside those of the one before, and so on, as they are found."""
    places = sections(file, section)
    for kind in kinds:
        places = _inside(file, places, kind)
    return places


def _inside(file: BinaryIO, places: Iterator[tuple[int, int]], kind: int) -> Iterator[tuple[int, int]]:
    for place in places:
        yield from elements(file, *place, kind)
