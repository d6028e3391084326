"""Whether the last packet of a file claims more bytes than the file has, as where a copy or a recording broke off.

FFmpeg takes that place for the end. Only lengths are read, from one packet to the next; where what stands there is no
packet, nothing is known. A file that breaks off between two packets is whole, unless its head says where its end is.
Recorders leave a transport stream anywhere, within a packet of 188 bytes, too, so that one is never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from av.video.stream import VideoStream

from vidsr.frame import PixelFormat
from vidsr.media.read.heads import FLV_TAGS, second_head

_LONGEST_LINE = 4096  # bytes of a header of y4m
_TAIL = 1 << 18  # bytes at the end of a program stream in which a pack begins
_PACK, _PROGRAM_END = 0xBA, 0xB9
_SMPTE = b"\x06\x0e\x2b\x34"  # how each key of MXF begins
_PARTITION = bytes.fromhex("060e2b34020501010d01020101")  # ST 377-1, 7.1
_RUN_IN = 1 << 16  # bytes that may come before it
_REAL = (b".RMF", b"PROP", b"MDPR", b"CONT", b"DATA", b"INDX")
_REAL_SLACK = 18  # bytes: FFmpeg counts the head of the data twice, in part
_DV_SEQUENCES = {0: 1, 4: 2, 0x14: 4, 0x18: 2}  # type of the signal (SMPTE 314M, 370M) -> channels of a frame


def claims_more(path: Path, container: str, stream: VideoStream) -> bool:
    """Whether `path` breaks off within a packet, or before the end it names. FFmpeg reads it as `container`."""
    if container not in _ENDS:
        return False
    size = second_head(path) or path.stat().st_size  # what follows is not read
    with path.open("rb") as file:
        return any(end > size for end in _ENDS[container](file, size, stream))


def _read(file: BinaryIO, place: int, num: int) -> bytes:
    file.seek(place)
    return file.read(num)


def _walk(file: BinaryIO, place: int, size: int, length: Callable[[bytes], int | None], head: int) -> Iterator[int]:
    """Where each packet from `place` on ends, by the `length` that its first bytes, up to `head`, tell; None: none."""
    while place < size:
        found = length(_read(file, place, head).ljust(head, b"\0"))
        if found is None:
            return
        place += found
        yield place


def _ivf(file: BinaryIO, size: int, _: VideoStream) -> Iterator[int]:
    """Packets behind their length and time; zeros are reserved room, of no packet."""

    def length(data: bytes) -> int | None:
        return 12 + int.from_bytes(data[:4], "little") if any(data) else None

    begin = int.from_bytes(_read(file, 6, 2), "little")
    return _walk(file, begin, size, length, 12)


def _flv(file: BinaryIO, size: int, _: VideoStream) -> Iterator[int]:
    """Tags, each behind the length of the one before."""

    def length(data: bytes) -> int | None:
        return 4 + 11 + int.from_bytes(data[5:8], "big") if data[4] & 31 in FLV_TAGS else None

    begin = int.from_bytes(_read(file, 5, 4), "big")
    return _walk(file, begin, size, length, 8)


def _real(file: BinaryIO, size: int, _: VideoStream) -> Iterator[int]:
    """Chunks, each with a name and its size; that of a stream's data is 0."""

    def length(data: bytes) -> int | None:
        return int.from_bytes(data[4:8], "big") or None if data[:4] in _REAL else None

    return (end - _REAL_SLACK for end in _walk(file, 0, size, length, 8))


def _ogg(file: BinaryIO, size: int, _: VideoStream) -> Iterator[int]:
    """Pages (RFC 3533, 6), with a table of their segments' sizes."""

    def length(data: bytes) -> int | None:
        return 27 + data[26] + sum(data[27 : 27 + data[26]]) if data[:4] == b"OggS" else None

    return _walk(file, 0, size, length, 27 + 255)


def _mxf(file: BinaryIO, size: int, _: VideoStream) -> Iterator[int]:
    """Keys with lengths and values (SMPTE ST 336); the first partition names the place of the last, at the end."""
    begin = _read(file, 0, _RUN_IN + len(_PARTITION)).find(_PARTITION)
    if begin < 0:
        return
    value = begin + 16 + _ber(_read(file, begin + 16, 9))[0]
    footer = int.from_bytes(_read(file, value + 24, 8), "big")  # 0: not known, all is walked
    if footer and begin + footer >= size:
        yield size + 1
    yield from _walk(file, begin + footer, size, _key_length, 16 + 9)


def _key_length(data: bytes) -> int | None:
    head, length = _ber(data[16:])
    return 16 + head + length if data[:4] == _SMPTE else None


def _ber(data: bytes) -> tuple[int, int]:
    """How many bytes a length has, and that length (ST 336, 5.1: short and long form)."""
    num = data[0] & 0x7F if data[0] & 0x80 else 0
    return 1 + num, int.from_bytes(data[1 : 1 + num], "big") if num else data[0]


def _dv(file: BinaryIO, size: int, _: VideoStream) -> Iterator[int]:
    """Frames of one size (SMPTE 314M): sequences of 150 blocks of 80 bytes, 12 in 625 lines, 10 in 525."""
    head = _read(file, 0, 480)
    if len(head) == 480:
        channels = _DV_SEQUENCES.get(head[80 * 5 + 48 + 3] & 0x1F, 1)
        frame = (12 if head[3] & 0x80 else 10) * 150 * 80 * channels
        last = size - size % frame
        if last < size and head.startswith(_read(file, last, min(size - last, 4))):  # not what stands behind the last
            yield last + frame


def _y4m(file: BinaryIO, size: int, stream: VideoStream) -> Iterator[int]:
    context = stream.codec_context
    layout = PixelFormat.parse(context.pix_fmt or "")
    shapes = layout.plane_shapes(context.width, context.height)
    picture = sum(width * height for height, width in shapes) * (2 if layout.bits > 8 else 1)

    def length(data: bytes) -> int | None:
        return data.index(b"\n") + 1 + picture if data.startswith(b"FRAME") and b"\n" in data else None

    begin = _read(file, 0, _LONGEST_LINE).find(b"\n") + 1
    return _walk(file, begin, size, length, 80)


def _mpeg(file: BinaryIO, size: int, _: VideoStream) -> Iterator[int]:
    """Packets with start codes (ISO/IEC 13818-1, 2.5.3.3), from the first pack in the tail that leads on to the end."""
    begin = max(size - _TAIL, 0)
    tail, place = _read(file, begin, _TAIL), -1
    while (place := tail.find(b"\0\0\1" + bytes([_PACK]), place + 1)) >= 0:
        ends = list(_walk(file, begin + place, size, _packet_length, 14))
        if ends and ends[-1] >= size:
            yield ends[-1]
            return


def _packet_length(data: bytes) -> int | None:
    if data[:3] != b"\0\0\1":
        return None
    if data[3] == _PACK:
        return 14 + (data[13] & 7) if data[4] >> 6 == 1 else 12  # of MPEG-2, with stuffing, or of MPEG-1
    if data[3] in (_PROGRAM_END, 0):  # the latter where the file ends before the code does
        return 4
    return 6 + int.from_bytes(data[4:6], "big") if data[3] > _PACK else None


_ENDS: dict[str, Callable[[BinaryIO, int, VideoStream], Iterator[int]]] = {
    "ivf": _ivf,
    "flv": _flv,
    "rm": _real,
    "ogg": _ogg,
    "mxf": _mxf,
    "dv": _dv,
    "yuv4mpegpipe": _y4m,
    "mpeg": _mpeg,
}
