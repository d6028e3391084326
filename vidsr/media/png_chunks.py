"""Chunks of a PNG beside its pixels: texts, and what it says of its colours (PNG 3rd edition, 5.3 and 11.3)."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

Chunk: TypeAlias = tuple[bytes, bytes]
"""Its kind, and its data."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_COLOURS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_CICP_OF_SRGB = bytes([1, 13])
_GAMMA = 45_455  # times 1/100,000, of sRGB; and where its white, red, green and blue are
_CHRM = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_ELSEWHERE = re.compile(rb"XML:com\.adobe\.xmp\0|Raw profile type (?!iptc)")  # texts that are read as something else
_CHUNK_BYTES = 1 << 24  # more is no text
_HEADER = 8 + 25  # bytes: signature and first chunk


def chunks_of(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk from here on, at whose data the file stands; of the data any part may be read."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        behind = file.tell() + length + 4
        yield kind, length
        file.seek(behind)


def read_chunks(png: Path) -> Iterator[Chunk]:
    """Those of the file that are texts, or describe its colours."""
    with png.open("rb") as file:
        file.seek(8)
        for kind, length in chunks_of(file):
            if kind in (*_TEXTS, *_COLOURS) and length <= _CHUNK_BYTES:
                data = file.read(length)
                if len(data) == length and not _ELSEWHERE.match(data):
                    yield kind, data


def with_chunks(png: bytes, chunks: Iterable[Chunk]) -> bytes:
    """Put them behind the header of a file."""
    return png[:_HEADER] + b"".join(packed(*chunk) for chunk in chunks) + png[_HEADER:]


def have_texts(chunks: Iterable[Chunk]) -> bool:
    """Whether some of them are texts."""
    return any(kind in _TEXTS for kind, _ in chunks)


def have_colours(chunks: Iterable[Chunk], *, profile: bool) -> bool:
    """Whether they say of the colours what is neither sRGB nor left to a `profile` beside them (4.3)."""
    said = dict(chunks)
    if b"cICP" in said:
        return said[b"cICP"][:2] != _CICP_OF_SRGB
    if profile or b"sRGB" in said:
        return False
    gamma = struct.unpack(">I", said.get(b"gAMA", b"")[:4].rjust(4, b"\0"))[0]
    return (gamma != 0 and abs(gamma - _GAMMA) > _GAMMA / 100) or said.get(b"cHRM", _CHRM) != _CHRM


def packed(kind: bytes, data: bytes) -> bytes:
    """A chunk as it is written."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
