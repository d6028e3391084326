"""Whether a file ends before its film does, or has a hole: FFmpeg takes the one for the end, and skips the other."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from av.video.stream import VideoStream

from vidsr.media.boxes import boxes
from vidsr.media.ebml import CHAPTERS, CLUSTER, CRC, EBML, INFO, SEEK_HEAD, SEGMENT, TRACKS, VOID, opening
from vidsr.media.read.claims import claims_more

_CUT = "the file breaks off, it is shorter than its header says"
_CUT_PACKET = "the file breaks off, it ends before its last packet does"
_ASF_PACKETS = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_UNKNOWN = (0, 0xFFFFFFFF)  # lengths of a RIFF chunk that nobody came back to
_CUES, _ATTACHMENTS, _TAGS = 0x1C53BB6B, 0x1941A469, 0x1254C367
_TOP = (CLUSTER, TRACKS, SEEK_HEAD, INFO, _CUES, _ATTACHMENTS, CHAPTERS, _TAGS, VOID, CRC)
_IN_CLUSTER = (0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, VOID, CRC)  # RFC 9559, 5.1.3


def missing_end(path: Path, container: str, stream: VideoStream, last_dts: int | None) -> str | None:
    """What is missing after `last_dts`, that of the last packet that could be read; None: nothing, as far as known.

    In mp4 and mov the index is known from the start; Matroska, AVI and ASF say how long they are, packets of others how
    long these are.
    """
    if container in _IS_CUT:
        return _CUT if _IS_CUT[container](path) else None
    if claims_more(path, container, stream):
        return _CUT_PACKET
    if container.startswith("matroska"):
        if is_cut_matroska(path):
            return _CUT
        hole = hole_in_matroska(path)
        return None if hole is None else f"the file's structure is broken at byte {hole}, and what stood there is lost"
    if "mov" not in container.split(","):
        return None
    if is_cut_fragment(path):
        return _CUT
    if last_dts is None or not len(stream.index_entries):
        return None
    number = len(stream.index_entries)
    if last_dts >= stream.index_entries[number - 1].timestamp:
        return None
    return f"the file breaks off, its index promises {number} pictures"


def is_cut_avi(path: Path) -> bool:
    """Whether the packets of `path` claim more bytes than the file has. What follows them may be missing, or padding.

    Microsoft's RIFF, and the OpenDML extensions of AVI: one RIFF chunk behind the other, each with a list "movi".
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, start, length in _riff(file, 0, size):
            if kind != b"RIFF":
                break
            for inner, place, extent in _riff(file, start + 4, min(start + length, size)):
                file.seek(place)
                if inner == b"LIST" and place + extent > size and extent not in _UNKNOWN and file.read(4) == b"movi":
                    return True
    return False


def is_cut_asf(path: Path) -> bool:
    """Whether the packets of `path` claim more bytes than the file has. Live streams claim none.

    Microsoft's ASF specification, 2 and 5: objects one behind the other, each a GUID of 16 bytes and its size of 8.
    """
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place + 24 <= size:
            file.seek(place)
            kind, length = struct.unpack("<16sQ", file.read(24))
            if kind == _ASF_PACKETS:
                return bool(place + length > size)
            place += max(length, 24)
    return False


def is_cut_fragment(path: Path) -> bool:
    """Whether the last fragment of `path`, an mp4 or mov, claims more bytes than the file has.

    ISO/IEC 14496-12, 4.2 and 8.8: boxes one behind the other, of fragments a moof and an mdat. Without fragments the
    index tells what is missing, whatever an mdat claims.
    """
    size, fragmented = path.stat().st_size, False
    with path.open("rb") as file:
        for kind, _, _, end in boxes(file, 0, size):
            fragmented = fragmented or kind == b"moof"
            if fragmented and end > size:
                return True
    return False


_IS_CUT = {"avi": is_cut_avi, "asf": is_cut_asf}


def _riff(file: BinaryIO, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and length of the chunks from byte `place` to `end`."""
    while place + 8 <= end:
        file.seek(place)
        kind, length = struct.unpack("<4sI", file.read(8))
        yield kind, place + 8, length
        place += 8 + length + length % 2


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
