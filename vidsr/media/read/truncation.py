"""Whether a file ends before its film does, or has a hole: FFmpeg takes the one for the end, and skips the other."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from av.video.stream import VideoStream

from vidsr.media.ebml import CHAPTERS, CLUSTER, CRC, EBML, INFO, SEEK_HEAD, SEGMENT, TRACKS, VOID, opening

_CUES, _ATTACHMENTS, _TAGS = 0x1C53BB6B, 0x1941A469, 0x1254C367
_TOP = (CLUSTER, TRACKS, SEEK_HEAD, INFO, _CUES, _ATTACHMENTS, CHAPTERS, _TAGS, VOID, CRC)
_IN_CLUSTER = (0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, VOID, CRC)  # RFC 9559, 5.1.3


def missing_end(path: Path, container: str, stream: VideoStream, last_dts: int | None) -> str | None:
    """What is missing after `last_dts`, that of the last packet that could be read; None: nothing, as far as known.

    In mp4 and mov the index is known from the start; a Matroska file says how long it is.
    """
    if container.startswith("matroska"):
        if is_cut_matroska(path):
            return "the file breaks off, it is shorter than its header says"
        hole = hole_in_matroska(path)
        return None if hole is None else f"the file's structure is broken at byte {hole}, and what stood there is lost"
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
        for wanted in (EBML, SEGMENT):
            identifier, size, unknown = opening(file)
            if identifier != wanted or size is None or unknown:
                return False
            end = file.tell() + size
            file.seek(min(end, path.stat().st_size))
        return end > path.stat().st_size


def hole_in_matroska(path: Path) -> int | None:
    """The first byte of `path` where no element stands that RFC 9559 allows there; None: the file is whole.

    Only identifiers and sizes are read. FFmpeg goes on at the next cluster that it finds, or takes the place for the
    end, and says so to nobody.
    """
    end = path.stat().st_size
    with path.open("rb") as file:
        _, size, _ = opening(file)
        file.seek(size or 0, 1)
        _, size, unknown = opening(file)
        end = end if unknown or size is None else min(end, file.tell() + size)
        return _first_hole(file, end)


def _first_hole(file: BinaryIO, end: int) -> int | None:
    inside = 0  # where the cluster that is being read ends
    while (here := file.tell()) < end:
        identifier, size, unknown = opening(file)
        allowed = _IN_CLUSTER if here < inside else _TOP
        open_end = here < inside and inside == end  # a cluster of unknown size ends where the next one begins
        if identifier == EBML:
            return None  # another recording, behind one of unknown size
        if size is None or (identifier not in allowed and not (open_end and identifier in _TOP)):
            return here
        if identifier == CLUSTER:
            inside = end if unknown else file.tell() + size
        elif unknown or file.tell() + size > (inside if here < inside else end):
            return here
        else:
            file.seek(size, 1)
    return None
