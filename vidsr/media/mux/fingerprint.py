"""The mark of a finished output: which job it is the result of."""

from __future__ import annotations

from pathlib import Path

from vidsr.errors import MediaError
from vidsr.media.read.open import open_input

KEY = "vidsr"
"""The metadata key, where a container has metadata."""

_PACKET = 188  # bytes of a transport stream packet
_NULL_PACKET = b"\x47\x1f\xff\x10" + b"vidsr\0"  # a packet that every player skips (ISO/IEC 13818-1, PID 0x1FFF)


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint in the file `path`; None where it has none or cannot be read. Decodes nothing."""
    try:
        with open_input(path) as container:
            found = next((value for key, value in container.metadata.items() if key.lower() == KEY), None)
            return found or _read_null_packet(path)
    except (MediaError, OSError):
        return None


def append_null_packet(path: Path, fingerprint: str) -> None:
    """Mark a transport stream, which keeps no metadata: a null packet at its end. At most 177 bytes."""
    text = _NULL_PACKET + fingerprint.encode()
    with path.open("ab") as file:
        file.write(text[: _PACKET - 1].ljust(_PACKET, b"\0"))


def _read_null_packet(path: Path) -> str | None:
    with path.open("rb") as file:
        file.seek(-_PACKET, 2)
        last = file.read(_PACKET)
    if not last.startswith(_NULL_PACKET):
        return None
    return last[len(_NULL_PACKET) :].rstrip(b"\0").decode(errors="replace") or None
