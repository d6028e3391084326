"""Decoders that really open here, NVIDIA's (NVDEC) among them."""

from __future__ import annotations

import av
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vidsr.errors import MediaError
from vidsr.media.open import MAX_PIXELS

NVDEC_CODECS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mjpeg")
"""What FFmpeg's own decoders can hand to an NVIDIA GPU; which of them a GPU takes depends on its age."""


def nvdec(stream: VideoStream, gpu: int) -> VideoCodecContext:
    """A decoder for `stream` on that GPU; its pictures come down to the host as NV12 or P010.

    A profile that the GPU does not take is decoded by software in the same context.

    Raises:
        MediaError: there is no such decoder here; the sentence says why.
    """
    own = stream.codec_context
    context = _open_nvdec(own.codec.canonical_name, gpu)
    context.extradata = own.extradata
    context.width, context.height = own.width, own.height
    context.reorder_depth = own.reorder_depth  # else the first pictures of some streams come out of order
    return context


def check_nvdec(codec: str, gpu: int = 0) -> None:
    """Open the decoder of `codec` on that GPU once.

    Raises:
        MediaError: it does not open.
    """
    _open_nvdec(codec, gpu)


def _open_nvdec(codec: str, gpu: int) -> VideoCodecContext:
    if codec not in NVDEC_CODECS:
        raise MediaError(f"NVDEC does not decode {codec}")
    try:
        acceleration = HWAccel("cuda", str(gpu), allow_software_fallback=True)
        context = av.CodecContext.create(codec, "r", hwaccel=acceleration)
    except (av.FFmpegError, RuntimeError, ValueError, NotImplementedError) as error:
        raise MediaError(f"NVDEC does not open on GPU {gpu}: it needs an NVIDIA GPU and its driver") from error
    if not isinstance(context, VideoCodecContext) or not context.is_hwaccel:
        raise MediaError(f"this build of FFmpeg has no NVDEC for {codec}")
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return context


def check_decoder(name: str) -> None:
    """Open FFmpeg's decoder `name` once.

    Raises:
        MediaError: it does not open here.
    """
    try:
        av.CodecContext.create(name, "r").open()
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"the decoder {name} does not open here") from error
