"""Whether a file ends before its film does: FFmpeg takes the one for the other."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from av.video.stream import VideoStream

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def missing_end(path: Path, container: str, stream: VideoStream, last_dts: int | None) -> str | None:
    """What is missing after `last_dts`, that of the last packet that could be read; None: nothing, as far as known.

    In mp4 and mov the index is known from the start; a Matroska file says how long it is.
    """
    if container.startswith("matroska"):
        return "the file breaks off, it is shorter than its header says" if is_cut_matroska(path) else None
    if "mov" not in container.split(",") or last_dts is None or not len(stream.index_entries):
        return None
    number = len(stream.index_entries)
    if last_dts >= stream.index_entries[number - 1].timestamp:
        return None
    return f"the file breaks off, its index promises {number} pictures"


def is_cut_matroska(path: Path) -> bool:
    """Whether the segment of `path` claims more bytes than the file has; unknown sizes (live streams) claim nothing.

    See RFC 8794, 4 and 5: variable-size integers, element identifiers and element sizes.
    """
    with path.open("rb") as file:
        for wanted in (_EBML, _SEGMENT):
            identifier, _ = _number(file, keep_marker=True)
            size, unknown = _number(file)
            if identifier != wanted or size is None:
                return False
            if unknown:
                return False
            end = file.tell() + size
            file.seek(min(end, path.stat().st_size))
        return end > path.stat().st_size


def _number(file: BinaryIO, *, keep_marker: bool = False) -> tuple[int | None, bool]:
    """A variable-size integer, and whether all its bits are set; None at the end of the file or on nonsense."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None, False
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    value = int.from_bytes(first + rest, "big")
    mask = (1 << 7 * length) - 1
    return (value if keep_marker else value & mask), value & mask == mask
