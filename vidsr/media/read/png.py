"""What a PNG picture says of itself beside its pixels, by its chunks alone (ISO/IEC 15948, 5.3 and 11.3)."""

from __future__ import annotations

from collections.abc import Iterable

from vidsr.media.pyav import VideoPacket

_KINDS = {b"iCCP": "ICC_PROFILE", b"eXIf": "EXIF"}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def kinds_in_png(packets: Iterable[VideoPacket], before: bytes) -> list[str]:
    """FFmpeg's names of what `packets` hold, and, of an animation, the chunks `before` its first picture; each once."""
    chunks = [*_chunks(before), *(chunk for packet in packets for chunk in _chunks(bytes(packet)))]
    return list(dict.fromkeys(_KINDS[chunk] for chunk in chunks if chunk in _KINDS))


def _chunks(data: bytes) -> Iterable[bytes]:
    place = len(_SIGNATURE) if data.startswith(_SIGNATURE) else 0
    while place + 8 <= len(data):
        yield data[place + 4 : place + 8]
        place += 12 + int.from_bytes(data[place : place + 4], "big")
