"""What a container cuts away from its pictures: Matroska's PixelCrop, and the clean aperture of mp4 and mov.

FFmpeg's demuxers read both, but PyAV gives neither out. RFC 9559, 5.1.4.1.28; ISO/IEC 14496-12, 12.1.4.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from vidsr.media.boxes import bodies
from vidsr.media.read.matroska import head_of
from vidsr.media.read.pixels import Edges

NONE: Edges = (0, 0, 0, 0)

_ENTRY_HEADER = 86  # bytes of a picture's sample entry before its boxes


def crop_of(path: Path, container: str, index: int, track: int, size: tuple[int, int]) -> Edges:
    """What is cut away from pictures of `size` (width, height), in pixels a side; nothing where it makes no sense.

    The stream is the one of that `index` in Matroska, or the track with the ID `track` of mp4.
    """
    found = _of_mp4(path, track, size) if "mov" in container.split(",") else head_of(path).crops.get(index, NONE)
    left, top, right, bottom = found
    return found if min(found) >= 0 and left + right < size[0] and top + bottom < size[1] else NONE


def _of_mp4(path: Path, track: int, size: tuple[int, int]) -> Edges:
    try:
        with path.open("rb") as file:
            for moov in bodies(file, 0, path.stat().st_size, b"moov"):
                for trak in bodies(file, *moov, b"trak"):
                    if any(_track_id(file, header) == track for header, _ in bodies(file, *trak, b"tkhd")):
                        return _aperture(file, trak, size)
    except (OSError, ValueError, struct.error, ZeroDivisionError):
        pass  # damaged, which the demuxer has to say
    return NONE


def _track_id(file: BinaryIO, header: int) -> int:
    file.seek(header)
    head: bytes = file.read(24)
    number: int = struct.unpack_from(">I", head, 12 if head[:1] == b"\0" else 20)[0]  # behind times of 8 or of 4 bytes
    return number


def _aperture(file: BinaryIO, trak: tuple[int, int], size: tuple[int, int]) -> Edges:
    places = [trak]
    for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
        places = [inner for place in places for inner in bodies(file, *place, kind)]
    for start, stop in places:
        file.seek(start + 8)  # version, flags, number of entries
        entry = file.read(8 + _ENTRY_HEADER)
        length, wide, high = struct.unpack_from(">I28xHH", entry)
        if (wide, high) != size:
            return NONE  # the decoder has cut something away itself
        for box, _ in bodies(file, start + 8 + _ENTRY_HEADER, min(start + 8 + length, stop), b"clap"):
            file.seek(box)
            return _edges(struct.unpack(">8i", file.read(32)), size)
    return NONE


def _edges(clap: tuple[int, ...], size: tuple[int, int]) -> Edges:
    """Sizes, and how far the middle is off that of the picture, as fractions, to whole pixels."""
    width, height, across, down = (Fraction(a, b) for a, b in zip(clap[::2], clap[1::2], strict=True))
    left, top = round((size[0] - width) / 2 + across), round((size[1] - height) / 2 + down)
    return left, top, size[0] - left - round(width), size[1] - top - round(height)
