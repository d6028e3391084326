"""What stands inside coded pictures beside their samples, out of decoded ones: captions, HDR10+, Dolby Vision.

`vidsr.media.write.messages` puts it into new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import SupportsBytes

import av
from av.video.reformatter import Interpolation

from vidsr.frame import Inside, PixelFormat
from vidsr.media import dolby_vision, hdr, hdr10_plus
from vidsr.media.containers import CONTAINERS, Container
from vidsr.media.encoders import CARRYING
from vidsr.media.pyav import side_data_of
from vidsr.media.read.probe import Video

KINDS = {  # fields of `Inside`: the names of side data, FFmpeg's, that tell of it
    "captions": ("A53_CC",),
    "hdr10_plus": ("DYNAMIC_HDR_PLUS",),
    "dolby_vision": ("DOVI_METADATA", "DOVI_RPU_BUFFER"),
    "ambient": ("AMBIENT_VIEWING_ENVIRONMENT",),
}
_WANTED = frozenset(name for names in KINDS.values() for name in names)
NAMES = {
    "captions": "captions inside the pictures (CEA-608/708)",
    "hdr10_plus": "HDR10+",
    "dolby_vision": "Dolby Vision",
    "ambient": "the ambient viewing environment",
}
"""What each is called."""
_LATE = {  # of the kinds that may begin late
    "captions": "begin {}: H.264, HEVC, AV1 and MPEG-2 keep them",
    "hdr10_plus": "begins {}: HEVC and AV1 keep it",
}
_MARKS = (b"GA94", b"\xb5\x00\x3c\x00\x01\x04")  # captions and HDR10+ in H.264, HEVC, MPEG-2 and AV1
_CODED = ("h264", "hevc", "mpeg2video", "av1")
_SIDE = 16  # pixels of a picture that is made for its side data


def has(video: Video, kind: str) -> bool:
    """Whether the first picture has one of that kind."""
    return any(name in video.extras for name in KINDS[kind])


def may_hold(video: Video, packet: SupportsBytes) -> bool:
    """Whether pictures of `video` from `packet` on may have any. Cheap; `packet` is PyAV's, or bytes.

    Some begin late. Where they are wrapped in another way than by a mark, the first picture tells.
    """
    if any(has(video, kind) for kind in KINDS):
        return True
    if video.codec not in _CODED:
        return False
    data = bytes(packet)
    return any(mark in data for mark in _MARKS)


def late(video: Video, inside: Inside) -> Iterator[str]:
    """Kinds that a picture of `video` has and its first one has not."""
    return (kind for kind in _LATE if getattr(inside, kind) and not has(video, kind))


def said_late(kind: str, where: str) -> str:
    """What is said of one whose first picture is `where`, such as "at 3 s": the job began before anybody knew of it."""
    return f"{NAMES[kind]} {_LATE[kind].format(where)}"


def inside_of(picture: av.VideoFrame) -> Inside:
    """All that a decoded picture has.

    PyAV reads side data only at the price of a reference cycle, which here holds a picture of a few bytes.
    """
    small = picture.reformat(_SIDE, _SIDE, "gray", interpolation=Interpolation.POINT)
    raw = {item.type.name: bytes(item) for item in side_data_of(small) if item.type.name in _WANTED}
    return Inside(
        captions=raw.get("A53_CC", b""),
        hdr10_plus=hdr10_plus.message(raw.get("DYNAMIC_HDR_PLUS", b"")),
        dolby_vision=raw.get("DOVI_RPU_BUFFER", b""),
        active_area=dolby_vision.bars(raw.get("DOVI_METADATA", b"")),
        ambient=hdr.ambient(raw.get("AMBIENT_VIEWING_ENVIRONMENT", b"")),
    )


def lost(
    video: Video, codec: str, container: Container, layout: PixelFormat, *, live: bool
) -> Iterator[tuple[str, str]]:
    """Kinds that the first picture of `video` has and pictures by `codec` in `container` do not keep, and why.

    `live`: the film is written as it is made.
    """
    for kind in KINDS:
        if has(video, kind) and (why := why_lost(kind, video, codec, container, layout, live=live)):
            yield kind, why


def why_lost(
    kind: str, video: Video, codec: str, container: Container, layout: PixelFormat, *, live: bool
) -> str | None:
    """The same of one kind, wherever it is; None where it is kept."""
    if kind == "dolby_vision" and video.dolby_vision is None:
        return "only profile 8 is kept; of profile 7 HDR10 is left, and pictures of profile 5 look green and purple"
    if codec not in CARRYING[kind]:
        *others, last = CARRYING[kind]
        does = f"{', '.join(others)} or {last} does" if others else f"{last} does"
        return f"{codec} does not carry {'them' if kind == 'captions' else 'it'}; {does}"
    if kind != "dolby_vision":
        return None
    if layout.name != "yuv420p10le":
        return "it needs pictures of 10 bits, 4:2:0"
    if live:
        return "a film that is written as it is made has no place for it"
    able = [row.name for row in CONTAINERS.values() if row.dolby_vision and row.offered]
    return None if container.dolby_vision else f"{container} has no place for it; {', '.join(able)} have"
