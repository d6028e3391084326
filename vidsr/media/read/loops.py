"""How often an animation is shown, which FFmpeg reads over."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

_LOOPING = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # extensions of GIF that mean the same


def plays_of(path: Path, demuxer: str) -> int:
    """How often the animation in `path` is shown, 0 for without end; so is a film that becomes one."""
    read = _READERS.get(demuxer)
    if read is None:
        return 0
    with path.open("rb") as file:
        return read(file)


def _of_gif(file: BinaryIO) -> int:
    """By its extension before the first picture (GIF89a, 17 to 26); it counts how often it comes again."""
    head = file.read(13)
    file.seek(3 << (1 + (head[10] & 7)) if head[10] & 0x80 else 0, 1)
    while file.read(1) == b"!":
        label, blocks = file.read(1), []
        while size := file.read(1)[:1].rstrip(b"\0"):
            blocks.append(file.read(size[0]))
        if label == b"\xff" and len(blocks) > 1 and blocks[0] in _LOOPING and blocks[1][:1] == b"\1":
            again = int.from_bytes(blocks[1][1:3], "little")
            return again + 1 if again else 0
    return 1


def _of_png(file: BinaryIO) -> int:
    """By its animation control chunk (PNG 3rd edition, 11.3.6.1)."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] == b"acTL":
            return int.from_bytes(file.read(8)[4:], "big")
        file.seek(length + 4, 1)
    return 0


_READERS: Mapping[str, Callable[[BinaryIO], int]] = {"gif": _of_gif, "apng": _of_png}
