"""Whether a file whose suffix says nothing is a video: by its first bytes, then by what FFmpeg finds in it."""

from __future__ import annotations

from pathlib import Path

from vidsr.errors import MediaError

_HEAD = 1024  # bytes
_UNFINISHED = (".part", ".crdownload", ".partial", ".download", ".tmp", ".!ut", ".!qb")
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free")
_STILLS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx ")  # brands
_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska
    b"OggS",
    b".RMF",
    b"FLV\x01",
    bytes.fromhex("3026b2758e66cf11"),  # Windows Media
    bytes.fromhex("b7d800203749da11"),  # WTV
    bytes.fromhex("060e2b3402050101"),  # MXF
    bytes.fromhex("0000000001bc"),  # GXF
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG pictures alone
    b"\x1f\x07\x00",  # DV
    b"nut/multimedia container",
    b"YUV4MPEG2 ",
    b"DKIF",
)


def holds_pictures(path: Path) -> bool:
    """Whether `path` is a finished video: a container that is known by its first bytes, with moving pictures."""
    if path.suffix.lower() in _UNFINISHED:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return _is_container(head) and _has_pictures(path)


def _is_container(head: bytes) -> bool:
    if head[4:8] in _BOXES:
        return not (head[4:8] == b"ftyp" and head[8:12] in _STILLS)
    if head.startswith(b"RIFF"):
        return head[8:12] == b"AVI "
    return head.startswith(_BEGINNINGS) or any(_is_transport(head, begin, step) for begin, step in ((0, 188), (4, 192)))


def _is_transport(head: bytes, begin: int, step: int) -> bool:
    """Packets of a transport stream, each after a time stamp or not."""
    marks = head[begin::step]
    return len(marks) >= 5 and marks.count(b"\x47") == len(marks)


def _has_pictures(path: Path) -> bool:
    from av.stream import Disposition

    from vidsr.media.read.open import open_input

    try:
        with open_input(path) as opened:
            return any(not stream.disposition & Disposition.attached_pic for stream in opened.streams.video)
    except MediaError:
        return False
