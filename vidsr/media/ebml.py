"""Elements of EBML (RFC 8794), and those of Matroska (RFC 9559) that are looked for. A leaf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
SEEK_HEAD, SEEK, SEEK_KIND, SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
TRACKS, TRACK_ENTRY, TRACK_TYPE, CODEC, CODEC_HEAD, VIDEO = 0x1654AE6B, 0xAE, 0x83, 0x86, 0x63A2, 0xE0
INFO, FILM_TITLE = 0x1549A966, 0x7BA9
CHAPTERS, EDITION, CHAPTER, CHAPTER_TITLE, CHAPTER_TRACKS = 0x1043A770, 0x45B9, 0xB6, 0x80, 0x8F
EDITION_ORDERED, CHAPTER_HIDDEN = 0x45DD, 0x98
CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom
LANGUAGE, LANGUAGE_IETF = 0x22B59C, 0x22B59D
PICTURES, SOUND, TEXT, DATA = 1, 2, 17, 33  # types of tracks
VOID, CRC = 0xEC, 0xBF

Element = tuple[int, int, int, int]  # identifier, start, start of the body, end by its own word


def integer(file: BinaryIO, *, marked: bool) -> tuple[int | None, bool]:
    """An integer of variable size (4), and whether all its bits are set; None at the end of the file or on nonsense.

    It keeps the mark of its length where it is `marked`: an identifier, else a size.
    """
    first = file.read(1)
    if not first or not first[0]:
        return None, False
    length = 9 - first[0].bit_length()
    value, mask = int.from_bytes(first + file.read(length - 1), "big"), (1 << 7 * length) - 1
    return (value if marked else value & mask), value & mask == mask


def opening(file: BinaryIO) -> tuple[int | None, int | None, bool]:
    """With what an element begins: its identifier and its size, each by `integer`, and whether the size is unknown."""
    kind, _ = integer(file, marked=True)
    return kind, *integer(file, marked=False)


def unsigned(file: BinaryIO, start: int, stop: int) -> int:
    """The whole number in the body of an element, which has 8 bytes at most."""
    file.seek(start)
    return int.from_bytes(file.read(min(max(stop - start, 0), 8)), "big")


def children(file: BinaryIO, start: int, stop: int) -> Iterator[Element]:
    """The elements from `start` on, up to `stop`; the last may claim more than there is.

    Raises:
        ValueError: what begins there is no element.
    """
    while start < stop:
        file.seek(start)
        kind, size, unknown = opening(file)
        if kind is None or size is None:
            raise ValueError("no element")
        body = file.tell()
        end = stop if unknown else body + size
        yield kind, start, body, end
        start = end


def elements(file: BinaryIO, start: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the bodies of the `wanted` ones among the elements from `start` on begin and end, up to a cluster.

    Raises:
        ValueError: what begins there is no element.
    """
    for kind, _, body, end in children(file, start, stop):
        if kind == CLUSTER:
            return
        if kind == wanted:
            yield body, min(end, stop)


def sections(file: BinaryIO, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the bodies of a film's `wanted` sections begin and end: before its pictures, then where its heads point to.

    Raises:
        ValueError: what begins before the pictures, or in a head, is no element.
    """
    segment = next(elements(file, 0, file.seek(0, 2), SEGMENT), (0, 0))
    before = list(elements(file, *segment, wanted))
    yield from before
    pointed_to = ((body, stop) for kind, body, stop in _pointed_to(file, *segment) if kind == wanted)
    yield from (place for place in pointed_to if place not in before)


def _pointed_to(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The elements of a segment that its heads point to, further heads among them.

    What is no element is left out, as where the file breaks off before it.
    """
    seen, heads = set[Element](), list(elements(file, start, stop, SEEK_HEAD))
    while heads:
        for entry in elements(file, *heads.pop(), SEEK):
            for position in elements(file, *entry, SEEK_POSITION):
                found = _element(file, start + unsigned(file, *position), stop)
                if found and found not in seen:
                    seen.add(found)
                    kind, _, body, end = found
                    yield kind, body, min(end, stop)
                    heads += [(body, min(end, stop))] if kind == SEEK_HEAD else []


def _element(file: BinaryIO, start: int, stop: int) -> Element | None:
    """The one that begins at `start`; None: it is no element."""
    try:
        return next(children(file, start, stop), None)
    except ValueError:
        return None
