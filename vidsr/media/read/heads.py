"""Where another recording begins behind the first one of a file, as where somebody has put files one behind the other.

Only lengths and marks are read, from one to the next. FFmpeg reads Matroska and AVI on into the next recording, as it
does streams that have no head; of the others it reads nothing more, or mixes both up, so that these end where their
first recording does.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

from vidsr.media.boxes import boxes
from vidsr.media.ebml import EBML, SEGMENT, integer
from vidsr.media.unchanged import while_unchanged

Place: TypeAlias = "int | None"

_EBML, _SEGMENT = (one.to_bytes(4, "big") for one in (EBML, SEGMENT))
_DOCTYPE = b"\x42\x82"
_ASF, _NUT = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), b"nut/multimedia container\0"
FLV_TAGS = (8, 9, 18)  # sound, pictures, words
_FIRST_PAGES = b"OggS\0\2"  # of a stream
_CHUNK = 1 << 20  # bytes


def second_head(path: Path) -> Place:
    """The byte of `path` at which another recording of the same kind begins; None where none is known."""
    try:
        return _second_head(path) if path.is_file() else None
    except OSError:
        return None  # whoever reads it will say so


def left_out(path: Path) -> list[str]:
    """What is said of a recording that is not read."""
    place = second_head(path)
    if place is None or has_joint(path):
        return []
    what = "sound may be out of step behind it" if _reads_on(path) else "which is left out"
    return [f"another recording begins at byte {place} of {path.stat().st_size}, {what}; split the file there"]


def has_joint(path: Path) -> bool:
    """Whether FFmpeg reads all recordings of `path`, whose clocks show where each begins."""
    return second_head(path) is not None and _beginning(path) == _EBML


def _reads_on(path: Path) -> bool:
    return _beginning(path) in (_EBML, b"RIFF")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def first_recording(path: Path, name: str) -> tuple[str, str]:
    """`name` as FFmpeg's protocols take it, for `path` up to where its second recording begins; those protocols."""
    place = second_head(path)
    if place is None or _reads_on(path):
        return name, "file"
    return f"subfile,,start,0,end,{place},,:{name}", "file,subfile"


@while_unchanged
def _second_head(path: Path) -> Place:
    with path.open("rb") as file:
        data = _Bytes(file, path.stat().st_size)
        find = _finder(data)
        return find(data) if find else None


class _Bytes:
    """Those of an open file, read where they are asked for; beyond its end there are none."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self._size = file, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        self.file.seek(place.start or 0)
        return self.file.read(place.stop - (place.start or 0))

    def find(self, mark: bytes, begin: int) -> Place:
        """The first `mark` from `begin` on."""
        while begin < self._size:
            found = self[begin : begin + _CHUNK].find(mark)
            if found >= 0:
                return begin + found
            begin += _CHUNK - len(mark) + 1
        return None


def _finder(data: _Bytes) -> Callable[[_Bytes], Place] | None:
    if data[4:8] == b"ftyp":
        return _in_mp4
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return _in_avi
    beginnings = {_EBML: _in_matroska, _ASF: _in_asf, b"FLV\1": _in_flv, b"OggS": _in_ogg, _NUT: _in_nut}
    return next((find for mark, find in beginnings.items() if data[: len(mark)] == mark), None)


def _in_mp4(data: _Bytes) -> Place:
    return next((start for kind, start, *_ in boxes(data.file, 0, len(data)) if start and kind == b"ftyp"), None)


def _in_avi(data: _Bytes) -> Place:
    place = 0
    while data[place : place + 4] == b"RIFF":
        if place and data[place + 8 : place + 12] == b"AVI ":
            return place
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return None


def _in_asf(data: _Bytes) -> Place:
    place = 0
    while place + 24 <= len(data):
        if place and data[place : place + 16] == _ASF:
            return place
        length = int.from_bytes(data[place + 16 : place + 24], "little")
        if length < 24:
            return None  # a stream that was never finished
        place += length
    return None


def _in_flv(data: _Bytes) -> Place:
    place = int.from_bytes(data[5:9], "big") + 4
    while place + 11 <= len(data):
        head = data[place : place + 4]
        if not head or head[0] & 31 not in FLV_TAGS:
            return place if head == b"FLV\1" else None
        place += 11 + int.from_bytes(head[1:], "big") + 4
    return None


def _in_ogg(data: _Bytes) -> Place:
    """The first pages of all streams stand together; the next such page belongs to another recording."""
    place = 0
    while (page := data[place : place + 27])[:6] == _FIRST_PAGES and len(page) == 27:
        lengths = data[place + 27 : place + 27 + page[26]]
        place += 27 + len(lengths) + sum(lengths)
    return data.find(_FIRST_PAGES, place)


def _in_nut(data: _Bytes) -> Place:
    return data.find(_NUT, len(_NUT))


def _in_matroska(data: _Bytes) -> Place:
    header = _length(data, 4)
    segment = header[0] + (header[1] or 0)
    if data[segment : segment + 4] != _SEGMENT:
        return None
    begin, length = _length(data, segment + 4)
    if length is not None:
        end = begin + length
        return end if data[end : end + 4] == _EBML else None
    place = data.find(_EBML, begin)
    while place is not None and _DOCTYPE not in data[place : place + 64]:
        place = data.find(_EBML, place + 4)
    return place


def _length(data: _Bytes, place: int) -> tuple[int, int | None]:
    """Where the element begins whose length stands at `place` (RFC 8794, 4), and that length; None: unknown."""
    head = BytesIO(data[place : place + 8])
    length, unknown = integer(head, marked=False)
    return place + head.tell(), None if unknown else length
