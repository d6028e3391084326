"""What a PNG picture says of itself beside its pixels, by its chunks alone (ISO/IEC 15948, 5.3 and 11.3)."""

from __future__ import annotations

import io
from collections.abc import Iterable

from vidsr.media.png_chunks import chunks_of
from vidsr.media.pyav import VideoPacket

_KINDS = {b"iCCP": "ICC_PROFILE", b"eXIf": "EXIF"}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def kinds_in_png(packets: Iterable[VideoPacket], before: bytes) -> list[str]:
    """FFmpeg's names of what `packets` hold, and, of an animation, the chunks `before` its first picture; each once."""
    pieces = (before, *map(bytes, packets))
    chunks = [chunk for piece in pieces for chunk, _ in chunks_of(io.BytesIO(piece.removeprefix(_SIGNATURE)))]
    return list(dict.fromkeys(_KINDS[chunk] for chunk in chunks if chunk in _KINDS))
