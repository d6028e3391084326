"""What FFmpeg reads over in Matroska: languages with a region or a script, and much of chapters.

And the film's own title, which is replaced by the last one in its tags, be it that of a series or of a part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from vidsr.media.ebml import (
    CHAPTER,
    CHAPTER_HIDDEN,
    CHAPTER_TITLE,
    CHAPTER_TRACKS,
    CHAPTERS,
    CODEC,
    DATA,
    EDITION,
    EDITION_ORDERED,
    FILM_TITLE,
    INFO,
    LANGUAGE_IETF,
    PICTURES,
    SOUND,
    TEXT,
    TRACK_ENTRY,
    TRACK_TYPE,
    TRACKS,
    elements,
    sections,
    unsigned,
)

_LONGEST = 1 << 16  # bytes of a title; more is damage
_MOST = 1 << 22  # bytes of chapters
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}")


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


def exact_languages(path: Path, container: str) -> dict[int, str]:
    """Languages of streams by RFC 5646, such as "pt-BR", of those that have one in the file `path`.

    FFmpeg, which calls it a `container`, reads three letters beside them.
    """
    if "matroska" not in container:
        return {}
    found: dict[int, str] = {}
    try:
        with path.open("rb") as file:
            entries = [entry for tracks in islice(sections(file, TRACKS), 1) for entry in _streams(file, *tracks)]
            for number, entry in enumerate(entries):
                for start, stop in elements(file, *entry, LANGUAGE_IETF):
                    file.seek(start)
                    found[number] = file.read(min(stop - start, _LONGEST)).rstrip(b"\0").decode()
    except (OSError, ValueError):
        return {}  # damaged, which the demuxer has to say
    return {number: language for number, language in found.items() if _LANGUAGE.fullmatch(language)}


def _streams(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The tracks of which FFmpeg makes streams."""
    for entry in elements(file, start, stop, TRACK_ENTRY):
        kinds = [unsigned(file, *kind) for kind in elements(file, *entry, TRACK_TYPE)]
        if any(kind in (PICTURES, SOUND, TEXT, DATA) for kind in kinds) and any(elements(file, *entry, CODEC)):
            yield entry


def chapters(path: Path) -> bytes | None:
    """The body of the section of chapters in the file `path`.

    None where there is none, as in a file of another kind, or one that names tracks: those have other numbers in an
    output.
    """
    try:
        with path.open("rb") as file:
            for start, stop in sections(file, CHAPTERS):
                if stop - start > _MOST or any(map(partial(_names_tracks, file), _within(file, CHAPTERS, EDITION))):
                    return None
                file.seek(start)
                return file.read(stop - start)
    except (OSError, ValueError):
        pass
    return None


def unread_chapters(path: Path, container: str) -> dict[str, int]:
    """What is not read of the chapters of the file `path`, a `container` by FFmpeg's name: in words, and how often."""
    if "matroska" not in container:
        return {}
    found: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            for start, stop in _within(file, CHAPTERS, EDITION):
                found["orders of chapters"] += _is_set(file, start, stop, EDITION_ORDERED)
                for chapter in elements(file, start, stop, CHAPTER):
                    _count(file, *chapter, found)
    except (OSError, ValueError):
        return {}
    return {what: number for what, number in found.items() if number}


def _count(file: BinaryIO, start: int, stop: int, found: Counter[str]) -> None:
    """Add what is not read of one chapter to what was `found`."""
    found["further titles of chapters"] += max(sum(1 for _ in elements(file, start, stop, CHAPTER_TITLE)) - 1, 0)
    found["marks of hidden chapters"] += _is_set(file, start, stop, CHAPTER_HIDDEN)
    found["chapters inside chapters"] += sum(1 for _ in _chapters_of(file, (start, stop)))


def _names_tracks(file: BinaryIO, edition: tuple[int, int]) -> bool:
    return any(place for chapter in _chapters_of(file, edition) for place in elements(file, *chapter, CHAPTER_TRACKS))


def _chapters_of(file: BinaryIO, outer: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Those inside an edition, or inside a chapter, at any depth."""
    waiting = [outer]
    while waiting:
        for chapter in elements(file, *waiting.pop(), CHAPTER):
            yield chapter
            waiting.append(chapter)


def _is_set(file: BinaryIO, start: int, stop: int, mark: int) -> bool:
    return any(unsigned(file, *place) for place in elements(file, start, stop, mark))


def _within(file: BinaryIO, section: int, *kinds: int) -> Iterator[tuple[int, int]]:
    """The bodies of elements of the last of `kinds` inside those of the one before, and so on, as they are found."""
    places = sections(file, section)
    for kind in kinds:
        places = _inside(file, places, kind)
    return places


def _inside(file: BinaryIO, places: Iterator[tuple[int, int]], kind: int) -> Iterator[tuple[int, int]]:
    for place in places:
        yield from elements(file, *place, kind)
