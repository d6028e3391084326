"""The mark of a finished output: which job it is the result of."""

from __future__ import annotations

import struct
from pathlib import Path

from vidsr.errors import MediaError
from vidsr.media.animations import palette_bytes
from vidsr.media.png_chunks import packed
from vidsr.media.read.open import open_input

KEY = "vidsr"
"""The metadata key, where a container has metadata."""

_PACKET = 188  # bytes of a transport stream packet
_MOST = 4096  # bytes at the end of a file, in which the mark is looked for
_MOVED = 1 << 20  # bytes at a time
_COMMENT = f"{KEY}="  # begins the comment of a GIF
_GIF_HEAD, _GIF_LOOP = 1024, 19  # bytes: header and palette at most; what says how often it is shown
_PNG_TEXT, _PNG_END = b"tEXt" + KEY.encode() + b"\0", b"\0\0\0\0IEND\xae\x42\x60\x82"
_NULL_PACKET = b"\x47\x1f\xff\x10" + b"vidsr\0"  # a packet that every player skips (ISO/IEC 13818-1, PID 0x1FFF)


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint in the file `path`; None where it has none or cannot be read. Decodes nothing."""
    try:
        with open_input(path) as container:
            said = {key.lower(): value for key, value in container.metadata.items()}
            comment = said.get("comment", "") if container.format.name == "gif" else ""
            own = comment.removeprefix(_COMMENT) if comment.startswith(_COMMENT) else None
            return said.get(KEY) or own or _read_end(path)
    except (MediaError, OSError):
        return None


def append_null_packet(path: Path, fingerprint: str) -> None:
    """Mark a transport stream, which keeps no metadata: a null packet at its end. At most 177 bytes."""
    text = _NULL_PACKET + fingerprint.encode()
    with path.open("ab") as file:
        file.write(text[: _PACKET - 1].ljust(_PACKET, b"\0"))


def insert_comment(path: Path, fingerprint: str) -> None:
    """Mark a GIF: a comment before its first picture, behind what says how often it is shown (GIF89a, 24)."""
    with path.open("rb") as file:
        head = file.read(_GIF_HEAD)
        place = 13 + palette_bytes(head[10:11])
        place += _GIF_LOOP if head[place : place + 3] == b"!\xff\x0b" else 0
    text = f"{_COMMENT}{fingerprint}".encode()
    blocks = b"".join(bytes([len(part)]) + part for part in (text[k : k + 255] for k in range(0, len(text), 255)))
    _insert(path, b"!\xfe" + blocks + b"\0", place)


def append_text(path: Path, fingerprint: str) -> None:
    """Mark a PNG: a text before its end (PNG 3rd edition, 11.3.3.2)."""
    chunk = packed(_PNG_TEXT[:4], _PNG_TEXT[4:] + fingerprint.encode())
    _insert(path, chunk, path.stat().st_size - len(_PNG_END))


def _insert(path: Path, block: bytes, place: int) -> None:
    """Put `block` into a file; what stands behind it moves, the last of it first."""
    with path.open("r+b") as file:
        here = file.seek(0, 2)
        while here > place:
            size = min(_MOVED, here - place)
            here -= size
            file.seek(here)
            moved = file.read(size)
            file.seek(here + len(block))
            file.write(moved)
        file.seek(place)
        file.write(block)


def _read_end(path: Path) -> str | None:
    """The mark where metadata has no place: at the end of a transport stream, or of a PNG."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(-min(_MOST, size), 2)
        last = file.read()
    if last[-_PACKET:].startswith(_NULL_PACKET):
        found = last[-_PACKET:][len(_NULL_PACKET) :].rstrip(b"\0")
    elif last.endswith(_PNG_END) and (place := last.rfind(_PNG_TEXT)) >= 4:
        (length,) = struct.unpack(">I", last[place - 4 : place])
        found = last[place + len(_PNG_TEXT) : place + 4 + length]
    else:
        return None
    return found.decode(errors="replace") or None
