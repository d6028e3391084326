"""What FFmpeg reads over in Matroska: languages with a region or a script, and much of chapters.

And the film's own title, which is replaced by the last one in its tags, be it that of a series or of a part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from vidsr.media import ebml
from vidsr.media.ebml import elements, integer, sections, unsigned
from vidsr.media.read.pixels import Edges
from vidsr.media.unchanged import while_unchanged

_Found = TypeVar("_Found")

_LONGEST = 1 << 16  # bytes of a title; more is damage
_MOST = 1 << 22  # bytes of chapters
_WEBVTT = "S_TEXT/WEBVTT"
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}")


@dataclass(frozen=True, slots=True)
class Head:
    """What FFmpeg reads over, or takes another thing for; nothing in a file of another kind, or where it is damaged.

    `languages`, by RFC 5646, such as "pt-BR", and `crops`, in pixels a side, are those of streams, by FFmpeg's index.
    `webvtt` are the heads of streams of text that has no codec for FFmpeg (see `vidsr.media.read.webvtt`).
    `chapters` is the body of their section, unless it names tracks, which have other numbers in an output;
    `unread_chapters` says in words what FFmpeg does not read of them, and how often.
    """

    title: str | None = None
    languages: Mapping[int, str] = field(default_factory=dict)
    crops: Mapping[int, Edges] = field(default_factory=dict)
    webvtt: Mapping[int, str] = field(default_factory=dict)
    chapters: bytes | None = None
    unread_chapters: Mapping[str, int] = field(default_factory=dict)


def head_of(path: Path) -> Head:
    """That of the file `path`, which is read once."""
    try:
        return _head(path)
    except OSError:
        return Head()  # which the demuxer has to say


@while_unchanged
def _head(path: Path) -> Head:
    with path.open("rb") as file:
        if integer(file, marked=True)[0] != ebml.EBML:
            return Head()
        return Head(
            title=_unless_damaged(_title, file, None),
            languages=_unless_damaged(_languages, file, {}),
            crops=_unless_damaged(_crops, file, {}),
            webvtt=_unless_damaged(_webvtt, file, {}),
            chapters=_unless_damaged(_chapters, file, None),
            unread_chapters=_unless_damaged(_unread_chapters, file, {}),
        )


def _unless_damaged(read: Callable[[BinaryIO], _Found], file: BinaryIO, otherwise: _Found) -> _Found:
    try:
        return read(file)
    except ValueError:
        return otherwise  # the demuxer has to say why


def _title(file: BinaryIO) -> str | None:
    return next((_text(file, *place) for place in _within(file, ebml.INFO, ebml.FILM_TITLE)), "") or None


def _languages(file: BinaryIO) -> dict[int, str]:
    found = {
        number: _text(file, *place)
        for number, entry in enumerate(_streams(file))
        for place in elements(file, *entry, ebml.LANGUAGE_IETF)
    }
    return {number: language for number, language in found.items() if _LANGUAGE.fullmatch(language)}


def _text(file: BinaryIO, start: int, stop: int) -> str:
    file.seek(start)
    return file.read(min(stop - start, _LONGEST)).rstrip(b"\0").decode()


def _crops(file: BinaryIO) -> dict[int, Edges]:
    found: dict[int, Edges] = {}
    for number, entry in enumerate(_streams(file)):
        for start, stop in elements(file, *entry, ebml.VIDEO):
            left, top, right, bottom = (next(_numbers(file, start, stop, side), 0) for side in ebml.CROPS)
            found[number] = left, top, right, bottom
    return found


def _webvtt(file: BinaryIO) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, entry in enumerate(_streams(file)):
        if any(_text(file, *place) == _WEBVTT for place in elements(file, *entry, ebml.CODEC)):
            found[number] = "".join(_text(file, *place) for place in elements(file, *entry, ebml.CODEC_HEAD))
    return found


def _streams(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """The tracks of which FFmpeg makes streams."""
    for tracks in islice(sections(file, ebml.TRACKS), 1):
        for entry in elements(file, *tracks, ebml.TRACK_ENTRY):
            known = any(
                kind in (ebml.PICTURES, ebml.SOUND, ebml.TEXT, ebml.DATA)
                for kind in _numbers(file, *entry, ebml.TRACK_TYPE)
            )
            if known and any(elements(file, *entry, ebml.CODEC)):
                yield entry


def _numbers(file: BinaryIO, start: int, stop: int, kind: int) -> Iterator[int]:
    return (unsigned(file, *place) for place in elements(file, start, stop, kind))


def _chapters(file: BinaryIO) -> bytes | None:
    for start, stop in sections(file, ebml.CHAPTERS):
        if stop - start > _MOST or any(map(partial(_names_tracks, file), _within(file, ebml.CHAPTERS, ebml.EDITION))):
            return None
        file.seek(start)
        return file.read(stop - start)
    return None


def _unread_chapters(file: BinaryIO) -> dict[str, int]:
    found: Counter[str] = Counter()
    for start, stop in _within(file, ebml.CHAPTERS, ebml.EDITION):
        found["orders of chapters"] += any(_numbers(file, start, stop, ebml.EDITION_ORDERED))
        for chapter in elements(file, start, stop, ebml.CHAPTER):
            titles = sum(1 for _ in elements(file, *chapter, ebml.CHAPTER_TITLE))
            found["further titles of chapters"] += max(titles - 1, 0)
            found["marks of hidden chapters"] += any(_numbers(file, *chapter, ebml.CHAPTER_HIDDEN))
            found["chapters inside chapters"] += sum(1 for _ in _chapters_of(file, chapter))
    return {what: number for what, number in found.items() if number}


def _names_tracks(file: BinaryIO, edition: tuple[int, int]) -> bool:
    return any(
        place for chapter in _chapters_of(file, edition) for place in elements(file, *chapter, ebml.CHAPTER_TRACKS)
    )


def _chapters_of(file: BinaryIO, outer: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Those inside an edition, or inside a chapter, at any depth."""
    waiting = [outer]
    while waiting:
        for chapter in elements(file, *waiting.pop(), ebml.CHAPTER):
            yield chapter
            waiting.append(chapter)


def _within(file: BinaryIO, section: int, kind: int) -> Iterator[tuple[int, int]]:
    """The bodies of elements of this `kind` in such sections, as they are found."""
    for place in sections(file, section):
        yield from elements(file, *place, kind)
