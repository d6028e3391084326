"""What the samples of a stream mean: its tags, and what players assume where tags are missing. See ITU-T H.273."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import av
from av.video.stream import VideoStream

from vidsr.errors import MediaError
from vidsr.frame import Colour, Matrix, PixelFormat, Siting

UNSPECIFIED = 2
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
SITED = ("h264", "hevc", "av1")  # codecs whose headers say where chroma stands
LIMITED = ("prores", "mpeg2video")  # codecs that have no place for full range: players take all for limited
FULL = ("mjpeg",)  # and codecs that have no other: JPEG's rule
BT601 = ("mjpeg", "vp8")  # codecs whose decoders take all colours for BT.601
HD_LINES = 720  # from this height on, players take an untagged picture for BT.709

_MATRIX_OF_PRIMARIES = {
    1: Matrix.BT709,
    4: Matrix.FCC,
    5: Matrix.BT470BG,
    6: Matrix.SMPTE170M,
    7: Matrix.SMPTE240M,
    9: Matrix.BT2020_NCL,
}
_PRIMARIES = {
    Matrix.BT470BG: 5,
    Matrix.SMPTE170M: 6,
    Matrix.FCC: 4,
    Matrix.SMPTE240M: 7,
    Matrix.BT2020_NCL: 9,
    Matrix.BT2020_CL: 9,
}
_TRANSFER = {
    Matrix.RGB: 13,
    Matrix.BT470BG: 6,
    Matrix.SMPTE170M: 6,
    Matrix.FCC: 4,
    Matrix.SMPTE240M: 7,
    Matrix.BT2020_NCL: 14,
    Matrix.BT2020_CL: 14,
}
_CHROMA_DERIVED = 12  # H.273 MatrixCoefficients: non-constant luminance, from the primaries
_OTHER_MATRICES = {
    11: "Y'D'zD'x",
    13: "chromaticity-derived",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}

_H26X_SITINGS: tuple[Siting, ...] = ("left", "center", "topleft", "top", "bottomleft", "bottom")
_AV1_SITINGS: dict[int, Siting] = {1: "left", 2: "topleft"}
_CODEC_SITINGS: dict[str, Siting] = {
    **dict.fromkeys(("mpeg1video", "mjpeg", "h261", "h263", "flv1", "theora"), "center"),
    "dvvideo": "topleft",
}
Y4M_SITINGS: dict[str, Siting] = {"420jpeg": "center", "420": "center", "420mpeg2": "left", "420paldv": "topleft"}
MAX_Y4M_LINE = 4096  # bytes; FFmpeg's headers are below 200

_TRACED = re.compile(r"(chroma_sample_loc_type_top_field|chroma_sample_position)\s.*=\s*(\d+)")
_TRACE_LOCK = threading.Lock()  # FFmpeg's log level and PyAV's capture of it belong to the whole process


def resolve(frame: av.VideoFrame, stream: VideoStream, siting: Siting, name: str) -> tuple[Colour, bool]:
    """The colour of `frame` and whether its matrix was tagged; `name` is the file, for errors.

    Untagged: RGB for RGB formats; else the matrix of the tagged primaries; else BT.601 below 720 lines (625-line
    constants for 576 and 288 lines) and BT.709 from there. Primaries and transfer follow the matrix. An
    unspecified range is limited for YUV, full for RGB and grey.

    Raises:
        MediaError: the matrix is one that vidsr cannot convert (ICtCp and rarer ones).
    """
    context = stream.codec_context
    fmt = frame.format
    grey = len(fmt.components) <= 2 and not fmt.has_palette
    rgb = fmt.is_rgb or fmt.has_palette or fmt.name.startswith("xyz")
    primaries = _first(frame.color_primaries, context.color_primaries)
    transfer = _first(frame.color_trc, context.color_trc)
    tagged = _first(frame.colorspace, context.colorspace)
    matrix = Matrix.RGB if rgb else _matrix(tagged, primaries, name)
    known = matrix is not Matrix.UNSPECIFIED
    if not known:
        matrix = _MATRIX_OF_PRIMARIES.get(primaries) or _by_height(frame.height)
    value_range = frame.color_range or context.color_range
    colour = Colour(
        matrix=matrix,
        primaries=primaries if primaries != UNSPECIFIED else _PRIMARIES.get(matrix, 1),
        transfer=transfer if transfer != UNSPECIFIED else _TRANSFER.get(matrix, 1),
        full_range=value_range == FULL_RANGE if value_range else rgb or grey or fmt.name.startswith("yuvj"),
        siting=siting,
    )
    return colour, known


def colour_of(frame: av.VideoFrame, first: Colour) -> Colour:
    """The colour of a later picture than the one that `first` is of: what its own tags do not say is as it was."""
    primaries, transfer = _first(frame.color_primaries), _first(frame.color_trc)
    try:
        matrix = first.matrix if first.matrix is Matrix.RGB else _matrix(_first(frame.colorspace), primaries, "")
    except MediaError:  # one that cannot be converted
        matrix = first.matrix
    return replace(
        first,
        matrix=first.matrix if matrix is Matrix.UNSPECIFIED else matrix,
        primaries=first.primaries if primaries == UNSPECIFIED else primaries,
        transfer=first.transfer if transfer == UNSPECIFIED else transfer,
        full_range=frame.color_range == FULL_RANGE if frame.color_range else first.full_range,
    )


def assumed_colour(format: PixelFormat, height: int) -> Colour:
    """The colour of samples that come without any tag: as `resolve` has it for an untagged stream."""
    matrix = Matrix.RGB if format.model == "rgb" else _by_height(height)
    full_range = format.model != "yuv"
    return Colour(matrix, _PRIMARIES.get(matrix, 1), _TRANSFER.get(matrix, 1), full_range, "left")


def _first(*tags: int) -> int:
    """The first tag that says something; 0 and 3 are reserved (a matrix of 0, RGB, on YUV is a writer's slip)."""
    return next((int(t) for t in tags if int(t) not in (0, UNSPECIFIED, 3)), UNSPECIFIED)


def _by_height(height: int) -> Matrix:
    if height >= HD_LINES:
        return Matrix.BT709
    return Matrix.BT470BG if height in (288, 576) else Matrix.SMPTE170M


def _matrix(tag: int, primaries: int, name: str) -> Matrix:
    """Of a YUV or grey picture."""
    if tag == _CHROMA_DERIVED and primaries in _MATRIX_OF_PRIMARIES:
        return _MATRIX_OF_PRIMARIES[primaries]
    try:
        return Matrix(tag)
    except ValueError as error:
        what = _OTHER_MATRICES.get(tag, f"number {tag}")
        raise MediaError(
            f"{name} has the colour matrix {what}, which vidsr cannot convert; convert it first."
        ) from error


def chroma_siting(
    stream: VideoStream, packets: Sequence[av.Packet[VideoStream]], codec: str, fmt: PixelFormat
) -> Siting:
    """Where the chroma samples of `stream` stand, from its first `packets`.

    H.264, HEVC and AV1 say so in their headers, which PyAV does not expose: FFmpeg's ``trace_headers`` filter
    prints them. Otherwise it is the rule of the codec: centred for JPEG, MPEG-1 and their kin, else left.
    """
    default = _CODEC_SITINGS.get(codec, "left")
    if codec not in SITED or fmt.model != "yuv" or fmt.chroma_shift == (0, 0):
        return default
    for line in _header_lines(stream, packets):
        if found := _TRACED.search(line):
            value = int(found[2])
            if found[1] == "chroma_sample_position":
                return _AV1_SITINGS.get(value, default)
            return _H26X_SITINGS[value] if value < len(_H26X_SITINGS) else default
    return default


def stated_siting(siting: Siting, codec: str, fmt: PixelFormat) -> Siting:
    """Where players take the chroma of `codec` to stand that was meant to be at `siting`: not all can say every place.

    Of 4:2:2 none says it.
    """
    if fmt.chroma_shift not in ((1, 0), (1, 1)):
        return siting
    able: dict[str, Iterable[Siting]] = {**dict.fromkeys(("h264", "hevc"), _H26X_SITINGS), "av1": _AV1_SITINGS.values()}
    says = fmt.chroma_shift == (1, 1) and siting in able.get(codec, ())
    return siting if says else _CODEC_SITINGS.get(codec, "left")


def stated(colour: Colour, codec: str, fmt: PixelFormat) -> Colour:
    """What players take samples of `codec` to mean that were meant to be of `colour`."""
    full_range, matrix = colour.full_range, colour.matrix
    if fmt.model == "yuv":
        full_range = (full_range or codec in FULL) and codec not in LIMITED
        matrix = Matrix.BT470BG if codec in BT601 else matrix
    return replace(colour, matrix=matrix, full_range=full_range, siting=stated_siting(colour.siting, codec, fmt))


def y4m_siting(path: Path) -> Siting:
    """Where the first line of a YUV4MPEG2 file says that chroma stands; the demuxer reads it, PyAV does not tell."""
    with path.open("rb") as file:
        words = file.readline(MAX_Y4M_LINE).decode("ascii", errors="replace").split()
    return Y4M_SITINGS.get(next((word[1:] for word in words if word.startswith("C")), "420jpeg"), "left")


def _header_lines(stream: VideoStream, packets: Sequence[av.Packet[VideoStream]]) -> list[str]:
    """What ``trace_headers`` says of the codec's extra data and of the packets up to the first keyframe."""
    with _TRACE_LOCK:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            with av.logging.Capture(local=False) as logs:
                _trace(stream, packets)
        finally:
            av.logging.set_level(level)
    return [message for _, name, message in logs if name == "trace_headers"]


def _trace(stream: VideoStream, packets: Sequence[av.Packet[VideoStream]]) -> None:
    try:
        headers = av.BitStreamFilterContext("trace_headers", stream)
        for packet in packets[:32]:
            headers.filter(packet)
            if packet.is_keyframe:
                return
    except av.FFmpegError:
        return  # a damaged start: what was printed before it still counts
