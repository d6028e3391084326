"""Boxes that FFmpeg's mp4 muxer does not write: added to a finished file whose moov box stands last.

ISO/IEC 14496-12 (boxes), Apple's QuickTime File Format (the meta box with its keys). Nothing before moov moves, so no
chunk offset changes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import av

from vidsr.media.read.open import local_name

_LANGUAGE = re.compile("[a-z]{3}")
_APPLES_STEREO = b"vexu"
_SAMPLE_ENTRY = 86  # bytes of a picture track's before its boxes
_UTF8 = 1  # type of a metadata value


def extend_sample_entry(path: Path, boxes: bytes, track: int = 0) -> None:
    """Append `boxes` (mdcv, clli, ...) to the sample entry of a track. ValueError where moov is not last."""
    if not boxes:
        return
    with path.open("rb+") as file:
        start, moov = _read_moov(file)
        file.seek(start)
        file.write(_extended(moov, boxes, track))


def complete(path: Path, metadata: Mapping[str, str], languages: Sequence[str | None]) -> None:
    """Add what FFmpeg has left out of the file's `metadata` and of the `languages` of its streams, in their order."""
    with av.open(local_name(path), metadata_errors="replace") as written:
        there = dict(written.metadata)
        found = [stream.metadata.get("language") for stream in written.streams]
    lost = {
        number: language
        for number, (language, other) in enumerate(zip(languages, found, strict=False))
        if language and language != other and _LANGUAGE.fullmatch(language)
    }
    set_languages(path, lost)
    add_metadata(path, {key: value for key, value in metadata.items() if key not in there})


def add_metadata(path: Path, values: Mapping[str, str]) -> None:
    """Add `values` under their own names, in a QuickTime metadata box. ValueError where moov is not last."""
    if not values:
        return
    with path.open("rb+") as file:
        start, moov = _read_moov(file)
        added = _metadata_box(values)
        file.seek(0, 2)
        file.write(added)
        file.seek(start)
        file.write(struct.pack(">I", len(moov) + len(added)))


def set_languages(path: Path, languages: Mapping[int, str]) -> None:
    """Give tracks, by their number from 0, a language: three letters of ISO 639-2, packed as mp4 does.

    FFmpeg writes mov with Apple's old table, which has no "swe", "fre" or "deu"; QuickTime reads both.
    ValueError where moov is not last.
    """
    if not languages:
        return
    with path.open("rb+") as file:
        start, moov = _read_moov(file)
        for number, track in enumerate(_tracks(moov)):
            if number in languages:
                header = _find(moov, _find(moov, track + 8, b"mdia") + 8, b"mdhd")
                file.seek(start + header + (40 if moov[header + 8] == 1 else 28))  # behind times of 8 or of 4 bytes
                a, b, c = (ord(letter) - 0x60 for letter in languages[number])
                file.write(struct.pack(">H", a << 10 | b << 5 | c))


def _read_moov(file: BinaryIO) -> tuple[int, bytes]:
    """Position and bytes of the moov box, which must end the file."""
    end, position = file.seek(0, 2), 0
    while position + 8 <= end:
        file.seek(position)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        if kind == b"moov" and position + size == end:
            file.seek(position)
            return position, file.read(size)
        if size < 8:
            break
        position += size
    raise ValueError("the file does not end with a moov box")


def _extended(moov: bytes, boxes: bytes, track: int) -> bytes:
    """`moov` with `boxes` at the end of the first sample entry of `track`, and every size around them grown."""
    place = list(_tracks(moov))[track]
    out, position, around = bytearray(moov), place + 8, [0, place]
    for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
        position = _find(moov, position, kind)
        around.append(position)
        position += 8
    position += 8  # stsd: version, flags, number of entries
    (size,) = struct.unpack_from(">I", moov, position)
    end = position + size
    for kind, start in list(_boxes(moov, position + _SAMPLE_ENTRY, position + size)):
        if kind == _APPLES_STEREO and boxes:  # incomplete by FFmpeg, and refused by it beside the others
            out[start + 4 : start + 8] = b"free"
        end = start + struct.unpack_from(">I", moov, start)[0]
    for place in (*around, position):
        (old,) = struct.unpack_from(">I", moov, place)
        struct.pack_into(">I", out, place, old + len(boxes))
    out[end:end] = boxes
    return bytes(out)


def _boxes(moov: bytes, position: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Kind and beginning of the boxes in a sample entry; in mov, four zeros may stand behind the last."""
    while position + 8 <= end:
        size, kind = struct.unpack_from(">I4s", moov, position)
        if size < 8:
            return
        yield kind, position
        position += size


def _find(data: bytes, position: int, kind: bytes) -> int:
    while position + 8 <= len(data):
        size, found = struct.unpack_from(">I4s", data, position)
        if found == kind:
            return position
        position += max(size, 8)
    raise ValueError(f"no {kind.decode()} box")


def _tracks(moov: bytes) -> Iterator[int]:
    position = 8
    while position + 8 <= len(moov):
        size, kind = struct.unpack_from(">I4s", moov, position)
        if kind == b"trak":
            yield position
        position += max(size, 8)


def _metadata_box(values: Mapping[str, str]) -> bytes:
    """A meta box as QuickTime writes it: handler, the table of keys, one value for each."""
    handler = _box(b"hdlr", struct.pack(">II4s12xB", 0, 0, b"mdta", 0))
    names = b"".join(_box(b"mdta", name.encode()) for name in values)
    keys = _box(b"keys", struct.pack(">II", 0, len(values)) + names)
    items = b"".join(
        _box(struct.pack(">I", number), _box(b"data", struct.pack(">II", _UTF8, 0) + value.encode()))
        for number, value in enumerate(values.values(), start=1)
    )
    return _box(b"meta", handler + keys + _box(b"ilst", items))


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body
