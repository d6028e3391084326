"""Elements of EBML (RFC 8794), and those of Matroska (RFC 9559) that are looked for. A leaf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
TRACKS, TRACK_ENTRY, TRACK_TYPE, VIDEO = 0x1654AE6B, 0xAE, 0x83, 0xE0
INFO, FILM_TITLE = 0x1549A966, 0x7BA9
CHAPTERS, EDITION, CHAPTER, CHAPTER_TITLE = 0x1043A770, 0x45B9, 0xB6, 0x80
PICTURES = 1  # a track's type
VOID, CRC = 0xEC, 0xBF


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


def elements(file: BinaryIO, start: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the bodies of the `wanted` ones among the elements from `start` on begin and end, up to a cluster.

    Raises:
        ValueError: what begins there is no element.
    """
    while start < stop:
        file.seek(start)
        kind, _ = integer(file, marked=True)
        size, unknown = integer(file, marked=False)
        if kind is None or size is None:
            raise ValueError("no element")
        body = file.tell()
        start = stop if unknown else body + size
        if kind == CLUSTER:
            return
        if kind == wanted:
            yield body, min(start, stop)
