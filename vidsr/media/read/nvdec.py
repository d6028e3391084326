"""Decoders that really open here: software, NVIDIA's (NVDEC), and those that a system has for every vendor's GPU."""

from __future__ import annotations

from fractions import Fraction

import av
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vidsr.errors import MediaError
from vidsr.media.encoders import HARDWARE_DECODERS, software_encoder
from vidsr.media.read.open import MAX_PIXELS, crop_exactly

NVDEC_CODECS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mjpeg")
"""What FFmpeg's own decoders can hand to an NVIDIA GPU; which of them a GPU takes depends on its age."""

TRY_SIDE = 256  # pixels
FROM_GPU = ("nv12", "p010le", "p016le", "yuv444p", "yuv444p16le")
"""Layouts of pictures that come down from a GPU; of these a software decoder gives yuv444p alone."""


def nvdec(stream: VideoStream, gpu: int | str) -> VideoCodecContext:
    """A decoder for `stream` on that GPU of NVIDIA, or by another of `HARDWARE_DECODERS`.

    Its pictures come down to the host as NV12 or P010.

    A profile that the GPU does not take is decoded by software in the same context (see `is_from_gpu`), or, in AV1,
    which FFmpeg's own decoder leaves to hardware, not at all.

    Raises:
        MediaError: there is no such decoder here; the sentence says why.
    """
    own = stream.codec_context
    context = _open_nvdec(own.codec.canonical_name, gpu)
    context.extradata = own.extradata
    context.width, context.height = own.width, own.height
    context.reorder_depth = own.reorder_depth  # else the first pictures of some streams come out of order
    return context


def check_nvdec(codec: str, gpu: int | str = 0) -> None:
    """Decode a picture of `codec` on that GPU, or by another of `HARDWARE_DECODERS`.

    Raises:
        MediaError: the decoder does not open, or the GPU does not know the codec.
    """
    context = _open_nvdec(codec, gpu)
    try:
        pictures = [picture for packet in _grey_picture(codec) for picture in context.decode(packet)]
        pictures += context.decode(None)
    except av.FFmpegError as error:
        raise MediaError(f"{_title(gpu)} does not decode {codec}") from error
    if not pictures or not is_from_gpu(pictures[0]):
        raise MediaError(f"{_title(gpu)} does not decode {codec}")


def is_from_gpu(picture: av.VideoFrame) -> bool:
    """Whether a GPU decoded it, and not software in its place. 8-bit 4:4:4 looks alike, and counts as the GPU's."""
    return picture.format.name in FROM_GPU


def _grey_picture(codec: str) -> list[av.Packet[VideoStream]]:
    """The packets of one small picture."""
    encoder = av.CodecContext.create(software_encoder(codec).name, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.time_base = TRY_SIDE, TRY_SIDE, Fraction(1, 25)
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    picture = av.VideoFrame(TRY_SIDE, TRY_SIDE, encoder.pix_fmt)
    for plane in picture.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    picture.pts, picture.time_base = 0, encoder.time_base
    return [*encoder.encode(picture), *encoder.encode(None)]


def _title(gpu: int | str) -> str:
    return f"GPU {gpu}" if isinstance(gpu, int) else gpu


def _open_nvdec(codec: str, gpu: int | str) -> VideoCodecContext:
    name = "nvdec" if isinstance(gpu, int) else gpu
    (kind, needs), title = HARDWARE_DECODERS[name], "NVDEC" if name == "nvdec" else name
    if codec not in NVDEC_CODECS:
        raise MediaError(f"{title} does not decode {codec}")
    try:
        place = str(gpu) if isinstance(gpu, int) else None  # None: the first
        acceleration = HWAccel(kind, place, allow_software_fallback=True)
        context = av.CodecContext.create(codec, "r", hwaccel=acceleration)
    except (av.FFmpegError, RuntimeError, ValueError, NotImplementedError) as error:
        where = f" on GPU {gpu}" if isinstance(gpu, int) else " here"
        raise MediaError(f"{title} does not open{where}: it needs {needs}") from error
    if not isinstance(context, VideoCodecContext) or not context.is_hwaccel:
        raise MediaError(f"this build of FFmpeg has no {title} for {codec}")
    context.options = {"max_pixels": str(MAX_PIXELS)}
    crop_exactly(context)  # where it falls back to software
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
