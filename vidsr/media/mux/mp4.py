"""Boxes that FFmpeg's mp4 muxer does not write: added to a finished file whose moov box stands last.

ISO/IEC 14496-12 (boxes), Apple's QuickTime File Format (the meta box with its keys). Nothing before moov moves, so no
chunk offset changes.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import av

from vidsr.media.boxes import Box, box, boxes
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
                header = _inside(moov, track, b"mdia", b"mdhd")[-1][2]
                file.seek(start + header + (32 if moov[header] == 1 else 20))  # behind times of 8 or of 4 bytes
                a, b, c = (ord(letter) - 0x60 for letter in languages[number])
                file.write(struct.pack(">H", a << 10 | b << 5 | c))


def _read_moov(file: BinaryIO) -> tuple[int, bytes]:
    """Position and bytes of the moov box, which must end the file."""
    end = file.seek(0, 2)
    for kind, start, _, stop in boxes(file, 0, end):
        if kind == b"moov" and stop == end:
            file.seek(start)
            return start, file.read()
    raise ValueError("the file does not end with a moov box")


def _extended(moov: bytes, added: bytes, track: int) -> bytes:
    """`moov` with the boxes `added` at the end of the first sample entry of `track`, and every size around them grown.

    In mov, four zeros may stand behind the last box of an entry.
    """
    out, trak = bytearray(moov), _tracks(moov)[track]
    around = _inside(moov, trak, b"mdia", b"minf", b"stbl", b"stsd")
    entry = around[-1][2] + 8  # behind version, flags, number of entries
    stop = entry + struct.unpack_from(">I", moov, entry)[0]
    there = list(boxes(io.BytesIO(moov), entry + _SAMPLE_ENTRY, stop))
    for kind, start, *_ in there:
        if kind == _APPLES_STEREO:  # incomplete by FFmpeg, and refused by it beside the others
            out[start + 4 : start + 8] = b"free"
    for place in (0, *(start for _, start, *_ in around), entry):
        struct.pack_into(">I", out, place, struct.unpack_from(">I", moov, place)[0] + len(added))
    end = there[-1][3] if there else stop
    out[end:end] = added
    return bytes(out)


def _inside(moov: bytes, outer: Box, *kinds: bytes) -> list[Box]:
    """`outer`, in it the first box of the first kind, in that one of the second, and so on."""
    found = [outer]
    for wanted in kinds:
        inner = next((one for one in boxes(io.BytesIO(moov), *found[-1][2:]) if one[0] == wanted), None)
        if inner is None:
            raise ValueError(f"no {wanted.decode()} box")
        found.append(inner)
    return found


def _tracks(moov: bytes) -> list[Box]:
    return [one for one in boxes(io.BytesIO(moov), 8, len(moov)) if one[0] == b"trak"]


def _metadata_box(values: Mapping[str, str]) -> bytes:
    """A meta box as QuickTime writes it: handler, the table of keys, one value for each."""
    handler = box(b"hdlr", struct.pack(">II4s12xB", 0, 0, b"mdta", 0))
    names = b"".join(box(b"mdta", name.encode()) for name in values)
    keys = box(b"keys", struct.pack(">II", 0, len(values)) + names)
    items = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", _UTF8, 0) + value.encode()))
        for number, value in enumerate(values.values(), start=1)
    )
    return box(b"meta", handler + keys + box(b"ilst", items))
