"""Side data of pictures beside colour and HDR: what each kind is called, where it is kept, and how it is written.

Whatever a stream has is kept or named: a kind that nothing here knows is named by FFmpeg's name for it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from vidsr.media import inside
from vidsr.media.boxes import box
from vidsr.media.containers import HOLDS_ALL, KEEPS_IT, Container
from vidsr.media.read.probe import Video

SPHERICAL, STEREO = "SPHERICAL", "STEREO3D"

_NAMES = {
    SPHERICAL: "spherical mapping (360 degrees)",
    STEREO: "stereo 3D (how the two eyes' pictures stand in the frame)",
    "DISPLAYMATRIX": "rotation",
    "AFD": "active format description",
    "VIEW_ID": "second view (MV-HEVC)",
    "LCEVC": "enhancement layer (LCEVC)",
    "REFERENCE_DISPLAYS": "reference displays of 3D",
    "EXIF": "EXIF data",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "FILM_GRAIN_PARAMS": "film grain parameters",
    "GOP_TIMECODE": "timecode inside the pictures",
    "S12M_TIMECODE": "timecode inside the pictures",
    "ICC_PROFILE": "ICC profile",
    "PANSCAN": "pan and scan",
}
_TOLD_ELSEWHERE = {
    *("ALPHA", "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"),
    *(name for names in inside.KINDS.values() for name in names),
}
_SIDE_BY_SIDE, _TOP_BOTTOM = 1, 2  # AVStereo3DType
_MODES = {  # AVStereo3DType -> Matroska's name, and that of the same with left and right exchanged
    _SIDE_BY_SIDE: ("left_right", "right_left"),
    _TOP_BOTTOM: ("top_bottom", "bottom_top"),
    3: ("block_lr", "block_rl"),
    4: ("checkerboard_lr", "checkerboard_rl"),
    6: ("row_interleaved_lr", "row_interleaved_rl"),
    7: ("col_interleaved_lr", "col_interleaved_rl"),
}
_IN_BOXES = {_SIDE_BY_SIDE: 2, _TOP_BOTTOM: 1}  # AVStereo3DType -> stereo_mode of the st3d box
_EQUIRECTANGULAR, _CUBEMAP, _TILE = range(3)  # AVSphericalProjection


def told(video: Video, codec: str, container: Container, segment: Container | None) -> Iterator[str]:
    """A sentence for all side data of `video` that pictures by `codec` in `container` do not keep, or that is rare."""
    gone = dict(lost_kinds(video, codec, container, segment))
    yield from (f"{word(name)} is dropped: {why}" for name, why in gone.items())
    yield from (f"{word(name)} is kept" for name in (SPHERICAL, STEREO) if name in video.extras and name not in gone)


def lost_kinds(video: Video, codec: str, container: Container, segment: Container | None) -> Iterator[tuple[str, str]]:
    """Its kinds, by FFmpeg's name, and the reasons.

    `segment` is the container of the parts that it is joined of, through which what is kept has to come; None: it
    is written as it is made, where boxes of the sample entry and their like have no place.
    """
    raw, matrix = {SPHERICAL: video.spherical, STEREO: video.stereo}, video.display_matrix
    yield from _lost_rotation(matrix, codec, container) if matrix is not None else ()
    for name in video.extras:
        if name in _TOLD_ELSEWHERE or _is_kept(name, raw.get(name), container, segment):
            continue
        live = segment is None and name in raw
        what = "a film that is written as it is made" if live else f"{codec} in {container}"
        why = f"{what} has no place for it"
        if container != HOLDS_ALL and _is_kept(name, raw.get(name), HOLDS_ALL, segment):
            why += f"; {KEEPS_IT}"
        yield name, why


def word(name: str) -> str:
    """What a kind of side data is called."""
    return _NAMES.get(name, name.lower().replace("_", " "))


def _lost_rotation(matrix: tuple[int, ...], codec: str, container: Container) -> Iterator[tuple[str, str]]:
    turn = turn_of(matrix)
    what, why = ("it", f"; {KEEPS_IT}") if turn else ("one that stretches the picture", "")
    if turn != UNTURNED and (container.rotation is None or (container.rotation == "turn" and not turn)):
        yield "DISPLAYMATRIX", f"{codec} in {container} has no place for {what}{why}"


UNTURNED = (1.0, 0.0, 0.0, 1.0)
"""The `turn_of` a picture that is shown as it is stored."""


def turn_of(matrix: tuple[int, ...]) -> tuple[float, ...] | None:
    """What a display matrix does but for moving and growing: where one step along x leads, and one along y.

    None: it does more than to turn and to mirror, such as to stretch. FFmpeg's muxer for Matroska has the same rule.
    """
    a, b, u, c, d, v = matrix[:6]
    length = math.hypot(a, b)
    if u or v or not length or (c, d) not in ((-b, a), (b, -a)):
        return None
    return a / length, b / length, c / length, d / length


def _is_kept(name: str, raw: bytes | None, container: Container, segment: Container | None) -> bool:
    if raw is None:
        return False
    if name == STEREO and container.ebml:
        return stereo_mode(raw, container) is not None
    if segment is None:
        return False
    if name == STEREO:
        return container.boxes and segment.boxes and bool(_stereo_box(raw))
    return name == SPHERICAL and segment.boxes and bool(_spherical_box(raw)) and (container.boxes or container.ebml)


def essence(name: str, raw: bytes | None) -> tuple[int, ...]:
    """What makes two of a kind the same film: of stereo the arrangement, of spherical mapping all numbers but padding.

    FFmpeg's muxers add a guess of which eye is which.
    """
    return (
        struct.unpack("<2i", (raw or bytes(8))[:8]) if name == STEREO else struct.unpack("<8i", (raw or bytes(32))[:32])
    )


def stereo_mode(raw: bytes | None, container: Container) -> str | None:
    """Matroska's name for an AVStereo3D; None where `container` does not have it."""
    if raw is None or not container.ebml:
        return None
    kind, inverted = struct.unpack("<2i", raw[:8])
    name = _MODES.get(kind, (None, None))[inverted & 1]
    return name if container.stereo_modes is None or name in container.stereo_modes else None


def container_boxes(spherical: bytes | None, stereo: bytes | None) -> bytes:
    """The st3d and sv3d boxes of the sample entry (Google's Spherical Video V2), from which FFmpeg makes all others."""
    return (_stereo_box(stereo) if stereo else b"") + (_spherical_box(spherical) if spherical else b"")


def _stereo_box(raw: bytes) -> bytes:
    kind, inverted = struct.unpack("<2i", raw[:8])
    return b"" if inverted & 1 or kind not in _IN_BOXES else box(b"st3d", bytes(4) + bytes([_IN_BOXES[kind]]))


def _spherical_box(raw: bytes) -> bytes:
    projection, yaw, pitch, roll, left, top, right, bottom, padding = struct.unpack("<4i5I", raw[:36])
    if projection not in (_EQUIRECTANGULAR, _CUBEMAP, _TILE):
        return b""
    if projection == _CUBEMAP:
        shape = box(b"cbmp", bytes(4) + struct.pack(">2I", 0, padding))
    else:
        shape = box(b"equi", bytes(4) + struct.pack(">4I", top, bottom, left, right))
    pose = box(b"prhd", bytes(4) + struct.pack(">3i", yaw, pitch, roll))
    return box(b"sv3d", box(b"svhd", bytes(4) + b"\0") + box(b"proj", pose + shape))
