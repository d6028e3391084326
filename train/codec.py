"""A real codec round trip in memory: frames through one of FFmpeg's encoders and its decoder, by PyAV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import torch
from av.video.codeccontext import VideoCodecContext
from torch import Tensor

from vidsr.frame import Colour, Frame, Matrix, PixelFormat
from vidsr.media.read.pixels import planes_of
from vidsr.media.write.encoder import VideoSpec, configure, to_video_frame
from vidsr.upscaling.colour import from_rgb, to_rgb

YUV420 = PixelFormat("yuv", 8, (1, 1))
DECODERS = {"libx264": "h264", "libx265": "hevc", "mpeg4": "mpeg4", "mpeg2video": "mpeg2video", "libvpx-vp9": "vp9"}
X264_REPEATABLE = {
    "x264-params": "no-asm=1"
}  # its fast mbtree reads stray memory at some widths, 96 and 320 among them
SUBSAMPLED = "4:2:0"  # no codec, only the chroma reduction that comes before every one
MIN_SIDE = 96  # pixels: libx265 reads and overwrites memory beyond the border of smaller pictures
_LAMBDA = 118  # FFmpeg's units of one quantiser step, for the MPEG encoders


@dataclass(frozen=True)
class Codec:
    """An encoder of `DECODERS`, or ``4:2:0``; its quality (CRF; quantiser scale for the MPEG ones), preset and matrix.

    `preset` is libx264's and libx265's; libvpx-vp9 takes a number as its ``cpu-used``; the others have none.
    """

    encoder: str
    quality: int = 0
    preset: str = ""
    matrix: Matrix = Matrix.BT709


def round_trip(frames: Sequence[Tensor], codec: Codec, keep: int) -> Tensor:
    """The frame number `keep` of `frames` after encoding all of them and decoding them again.

    Each is (3, H, W) float code values, even sides; so is the result, in whole numbers. The chroma is reduced and
    interpolated as `vidsr.upscaling.colour` does for every video that vidsr upscales.

    Raises:
        ValueError: a side is odd or below `MIN_SIDE`.
    """
    height, width = frames[0].shape[-2:]
    if min(height, width) < MIN_SIDE or height % 2 or width % 2:
        raise ValueError(f"A round trip needs even sides of at least {MIN_SIDE} pixels, not {width}x{height}.")
    colour = Colour(codec.matrix)
    planes = [from_rgb(frame[None] / 255, YUV420, colour) for frame in frames]
    if codec.encoder == SUBSAMPLED:
        return _codes(to_rgb(planes[keep], YUV420, colour))
    spec = VideoSpec(codec.encoder, YUV420, colour, width, height, Fraction(1, 25), Fraction(25), threads=1)
    encoder = _encoder(spec, codec)
    packets = []
    for number, one in enumerate(planes):
        picture = to_video_frame(Frame(one, YUV420, colour, number, spec.time_base), spec)
        picture.pts, picture.time_base = number, spec.time_base
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    decoder = _context(DECODERS[codec.encoder], "r")
    decoder.thread_count = 1
    decoded = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    if len(decoded) != len(frames):
        raise RuntimeError(f"{codec.encoder} gave back {len(decoded)} of {len(frames)} frames")
    return _codes(to_rgb(planes_of(decoded[keep], YUV420), YUV420, colour))


def _encoder(spec: VideoSpec, codec: Codec) -> VideoCodecContext:
    context = _context(codec.encoder, "w")
    configure(context, spec)
    context.options = {**context.options, **_options(codec, context.options)}
    return context


def _context(name: str, mode: Literal["r", "w"]) -> VideoCodecContext:
    context = av.CodecContext.create(name, mode)
    if not isinstance(context, VideoCodecContext):
        raise TypeError(f"{name} is no video codec")
    return context


def _options(codec: Codec, given: Mapping[str, str]) -> dict[str, str]:
    match codec.encoder:
        case "libx264":
            return {"crf": str(codec.quality), "preset": codec.preset, **X264_REPEATABLE}
        case "libx265":  # its cutree writes beyond its buffers where a picture is small
            params = given["x265-params"] + ":cutree=0"
            return {"crf": str(codec.quality), "preset": codec.preset, "x265-params": params}
        case "libvpx-vp9":
            return {"crf": str(codec.quality), "cpu-used": codec.preset, "row-mt": "0"}
    return {"global_quality": str(codec.quality * _LAMBDA)}


def _codes(rgb: Tensor) -> Tensor:
    return torch.floor(rgb[0].clamp(0, 1) * 255 + 0.5)
