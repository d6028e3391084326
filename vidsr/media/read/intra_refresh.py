"""Whether decoding can begin at a keyframe. With intra refresh some are none: pictures renew themselves in stripes."""

from __future__ import annotations

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from vidsr.media.pyav import VideoPacket


def decodes_alone(context: VideoCodecContext, packet: VideoPacket) -> bool:
    """Whether `packet`, a keyframe by its flag, holds a picture that needs no other; `context` decodes its stream.

    In H.264 the flag also stands where a refresh begins (a recovery point). What is decoded from there on becomes
    nearly right, never surely the same.
    """
    if context.name != "h264":
        return True
    alone = av.CodecContext.create("h264", "r")
    assert isinstance(alone, VideoCodecContext)
    alone.width, alone.height = context.width, context.height
    alone.extradata = bytes(context.extradata or b"") or None
    alone.thread_count = 1
    try:
        pictures = [*alone.decode(packet), *alone.decode(None)]
    except av.FFmpegError:
        return False
    return bool(pictures) and pictures[0].pict_type == PictureType.I
