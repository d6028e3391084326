"""Captions inside the pictures (CEA-608/708, wrapped as in ATSC A/53): out of decoded pictures, and into new ones.

PyAV lets nobody give side data to a picture, but a decoder does: that of packets goes into its pictures. And it reads
side data only at the price of a reference cycle, which here holds a picture of a few bytes.
"""

from __future__ import annotations

from typing import SupportsBytes, get_args

import av
from av.packet import PacketSideData, PktSideDataT
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import Interpolation

from vidsr.media.pyav import new_side_data, side_data_of
from vidsr.media.read.probe import Video

PACKET_SIDE_DATA = get_args(PktSideDataT).index("a53_cc")

_MARK = b"GA94"  # stands before them in H.264, HEVC, MPEG-2 and AV1; other wrappings show in the first picture
_CODED = ("h264", "hevc", "mpeg2video", "av1")
_SIDE = 16  # pixels of a picture that is made for its side data


def may_hold(video: Video, packet: SupportsBytes) -> bool:
    """Whether pictures of `video` from `packet` on may have captions. Cheap; `packet` is PyAV's, or bytes."""
    return "A53_CC" in video.extras or (video.codec in _CODED and _MARK in bytes(packet))


def captions_of(picture: av.VideoFrame) -> bytes:
    """The captions of a decoded picture, three bytes each; empty where it has none."""
    small = picture.reformat(_SIDE, _SIDE, "gray", interpolation=Interpolation.POINT)
    return next((bytes(item) for item in side_data_of(small) if item.type.name == "A53_CC"), b"")


def picture_with(captions: bytes, width: int, height: int, pix_fmt: str) -> av.VideoFrame:
    """A picture of FFmpeg's `pix_fmt`, to be drawn into, that has `captions` for the encoder."""
    packet = av.Packet(bytes(3 * _SIDE * _SIDE))
    packet.set_sidedata(side_data(PACKET_SIDE_DATA, captions))
    decoder = av.CodecContext.create("rawvideo", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.width = decoder.height = _SIDE
    decoder.pix_fmt = "rgb24"  # no layout that is written, so that the next step always copies
    (small,) = decoder.decode(packet)
    picture = small.reformat(width, height, pix_fmt, interpolation=Interpolation.POINT)
    picture.pict_type = PictureType.NONE  # else each would become a keyframe
    return picture


def side_data(kind: int, data: bytes) -> PacketSideData:
    """Side data for a packet, of the kind that FFmpeg numbers `kind`."""
    made = new_side_data(kind, len(data))
    made.update(data)
    return made
