"""Boxes of mp4 and mov (ISO/IEC 14496-12, 4.2). A leaf."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

Box = tuple[bytes, int, int, int]  # kind, start, start of the body, end by its own word


def box(kind: bytes, body: bytes) -> bytes:
    """One as it is written."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def boxes(file: BinaryIO, start: int, stop: int) -> Iterator[Box]:
    """Those from `start` on, up to `stop` or to what is none; the last may claim more than there is."""
    while start + 8 <= stop:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size == 0 and any(kind):
            size = stop - start
        if size < 8:
            return
        yield kind, start, file.tell(), start + size
        start += size


def bodies(file: BinaryIO, start: int, stop: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Where the bodies of the `wanted` ones among them begin and end."""
    return ((body, min(end, stop)) for kind, _, body, end in boxes(file, start, stop) if kind == wanted)
