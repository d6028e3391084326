"""One encoder, fully told what to do: size, layout, clock, colour, quality, threads, HDR10 metadata."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from vidsr.errors import OutputError
from vidsr.frame import Canvas, Colour, Frame, PixelFormat
from vidsr.media import encoders
from vidsr.media.dolby_vision import DolbyVision
from vidsr.media.encoders import Encoder
from vidsr.media.hdr import bitstream_params
from vidsr.media.write.layouts import encoder_layouts

_SMALL = 256  # pixels of a picture for which an encoder is tried
_PACKED_RGB = ("bgr0", "bgra")
_INTERLEAVED = {"nv12": 0, "p010le": 6}  # layout -> bits that its samples are shifted up by


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """Everything that the picture stream of the output is made from. `format` is that of the frames written."""

    encoder: str
    format: PixelFormat
    colour: Colour
    width: int
    height: int
    time_base: Fraction
    rate: Fraction | None = None  # frames per second, for rate control and keyframes only
    sample_aspect: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None  # as the source's; `join` scales its translation
    crf: float | None = None
    preset: str | None = None
    threads: int | None = None  # None: as `Encoder.num_threads` says
    keyframe_seconds: float = 5.0
    mastering_display: bytes | None = None  # raw AVMasteringDisplayMetadata
    light_level: bytes | None = None  # raw AVContentLightMetadata
    spherical: bytes | None = None  # raw AVSphericalMapping
    stereo: bytes | None = None  # raw AVStereo3D
    dolby_vision: DolbyVision | None = None  # None: pictures carry none
    gpu: int | None = None  # on which NVENC runs; None: the first that has it

    @property
    def num_threads(self) -> int:
        """What the encoder is given."""
        return self.threads or encoders.encoder(self.encoder).num_threads(self.height)

    @property
    def dolby_vision_box(self) -> bytes:
        """Of the sample entry; empty where pictures carry none."""
        told = self.dolby_vision
        return told.box(self.width, self.height, self.rate or Fraction(25)) if told else b""

    @property
    def canvas(self) -> Canvas:
        """What the frames must be."""
        return Canvas((self.width, self.height), self.format, self.colour)


def encoder_clock(time_base: Fraction) -> Fraction:
    """The clock that encoder and segment count in: `time_base`, or 10 microseconds where that is finer.

    Encoders and mp4 overflow on finer ones. The exact times are kept beside (see `segments`).
    """
    return max(time_base, Fraction(1, 100_000))


def scaled_matrix(matrix: tuple[int, ...] | None, sx: Fraction, sy: Fraction) -> tuple[int, ...] | None:
    """A display matrix for a picture `sx` times as wide and `sy` times as high: its translation grows with it."""
    if matrix is None:
        return None
    a, b, _, c, d, _, x, y, _ = matrix
    along_x = sx if abs(a) >= abs(c) else sy  # the side of the stored picture that lies along the shown x axis
    along_y = sy if abs(d) >= abs(b) else sx
    return (*matrix[:6], round(x * along_x), round(y * along_y), matrix[8])


def configure(context: VideoCodecContext, spec: VideoSpec) -> None:
    """Set up an encoder's context, not yet open, for `spec`."""
    context.width, context.height = spec.width, spec.height
    context.pix_fmt = _stored_name(spec)
    context.time_base = encoder_clock(spec.time_base)
    context.framerate = _nominal_rate(spec.rate)
    context.gop_size = max(1, round(context.framerate * Fraction(spec.keyframe_seconds)))
    context.colorspace = int(spec.colour.matrix)
    context.color_primaries, context.color_trc = spec.colour.primaries, spec.colour.transfer
    context.color_range = 2 if spec.colour.full_range else 1
    context.sample_aspect_ratio = spec.sample_aspect
    context.thread_count = spec.num_threads
    options = _options(spec)
    if spec.format.model == "yuv" and spec.format.chroma_shift == (1, 1):
        options["chroma_sample_location"] = spec.colour.siting
    context.options = options
    for name, value in encoders.encoder(spec.encoder).environment.items():
        os.environ.setdefault(name, value)


def open_alone(spec: VideoSpec) -> None:
    """Open the encoder of `spec` once, without an output. Raises what FFmpeg raises."""
    context = av.CodecContext.create(spec.encoder, "w")
    if not isinstance(context, VideoCodecContext):
        raise ValueError(f"{spec.encoder} is not a video encoder")
    configure(context, spec)
    open_politely(context)


def check_starts(spec: VideoSpec) -> None:
    """Open the encoder of `spec` once.

    Raises:
        OutputError: it does not start here, or does not take this size or layout.
    """
    row = encoders.encoder(spec.encoder)
    if spec.width < row.narrowest:
        sizes = f"pictures {spec.width} pixels wide"
        raise OutputError(f"{row.name} cannot encode {sizes}: choose another codec or size.")
    tried = spec
    if row.opens_small:
        tried = replace(spec, width=min(spec.width, _SMALL), height=min(spec.height, _SMALL))
    try:
        open_alone(tried)
    except (av.FFmpegError, ValueError) as error:
        raise _no_start(row, tried.width, tried.height, tried.format.name) from error


def check_encoder(name: str) -> None:
    """Open FFmpeg's encoder `name` once, for a small picture in the first layout that it takes.

    Raises:
        OutputError: it does not start here.
    """
    row = encoders.encoder(name)
    try:
        layout = encoder_layouts(row)[0]
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise _no_start(row, _SMALL, _SMALL, "pictures") from error
    check_starts(VideoSpec(name, layout, Colour(), _SMALL, _SMALL, Fraction(1, 25)))


def why_not(row: Encoder, width: int, height: int) -> str:
    """Why an encoder may not have started for that size, and what to do."""
    if row.hardware and row.widest and max(width, height) > row.widest:
        return f"its {row.title} ends at {row.widest} pixels; {row.wider} takes more"
    if row.hardware:
        return f"it needs {row.needs or 'a GPU with a video encoder (an H100 has none) and its driver'}"
    only = f"it takes {row.takes}; " if row.takes else ""
    return f"{only}choose another codec{'' if only else ', pixel format or size'}"


def _no_start(row: Encoder, width: int, height: int, what: str) -> OutputError:
    hint = why_not(row, width, height)
    return OutputError(f"The encoder {row.name} does not start for {width}x{height} {what} here: {hint}.")


def open_politely(context: VideoCodecContext) -> None:
    """Open an encoder that is set up, and leave the process as it was.

    Run by root, SVT-AV1 gives all threads of the process, and so every program that it starts, real-time priority:
    one busy thread then takes its core from everything else on the machine.
    """
    before = _scheduling()
    context.open()
    if before is not None and _scheduling() != before:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # ended meanwhile
                os.sched_setscheduler(int(thread.name), before, os.sched_param(0))


def _scheduling() -> int | None:
    """The scheduling policy of this process, where the system has such a thing (Linux)."""
    return os.sched_getscheduler(0) if sys.platform == "linux" else None


def to_video_frame(frame: Frame, spec: VideoSpec) -> av.VideoFrame:
    """`frame` in memory that an encoder may keep: one copy, row by row where FFmpeg pads its lines."""
    picture = av.VideoFrame(frame.width, frame.height, _stored_name(spec))
    _tag(picture, spec.colour)
    if picture.format.name in _INTERLEAVED:
        _fill_interleaved(picture, frame)
        return picture
    if picture.format.name in _PACKED_RGB:
        _fill_packed(picture, frame)
        return picture
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        height, width = samples.shape
        _rows(plane, frame.format.dtype, height)[:, :width] = samples
    return picture


def _tag(picture: av.VideoFrame, colour: Colour) -> None:
    """ProRes takes the tags of its frame headers from its pictures, not from its context."""
    picture.colorspace, picture.color_range = int(colour.matrix), 2 if colour.full_range else 1
    picture.color_primaries, picture.color_trc = colour.primaries, colour.transfer


def _fill_interleaved(picture: av.VideoFrame, frame: Frame) -> None:
    """4:2:0 as hardware takes it: both chroma planes interleaved, ten bits as the upper ones of sixteen."""
    luma, *chroma = frame.planes
    height, width = luma.shape
    shift = _INTERLEAVED[picture.format.name]
    _rows(picture.planes[0], frame.format.dtype, height)[:, :width] = luma << shift
    height, width = chroma[0].shape
    rows = _rows(picture.planes[1], frame.format.dtype, height)
    for offset, samples in enumerate(chroma):
        rows[:, offset : 2 * width : 2] = samples << shift


def _fill_packed(picture: av.VideoFrame, frame: Frame) -> None:
    """Blue, green, red, and alpha where there is one, beside each other."""
    height, width = frame.planes[0].shape
    rows = _rows(picture.planes[0], frame.format.dtype, height)
    green, blue, red, *alpha = frame.planes
    for offset, samples in enumerate((blue, green, red, *alpha)):
        rows[:, offset : 4 * width : 4] = samples


def _rows(plane: av.video.plane.VideoPlane, dtype: np.dtype[np.generic], height: int) -> NDArray[np.generic]:
    samples: NDArray[np.generic] = np.frombuffer(memoryview(plane), dtype)
    return samples.reshape(height, plane.line_size // dtype.itemsize)


def _stored_name(spec: VideoSpec) -> str:
    name = spec.format.name
    return encoders.encoder(spec.encoder).packed.get(name, name)


def _nominal_rate(rate: Fraction | None) -> Fraction:
    """Encoders refuse absurd rates, and take none at all where the clock rules; 1 to 240 is what all accept."""
    return min(max((rate or Fraction(25)).limit_denominator(1001), Fraction(1)), Fraction(240))


def _options(spec: VideoSpec) -> dict[str, str]:
    """Private options of the encoder. Whatever changes its bytes is written out, threads too."""
    row = encoders.encoder(spec.encoder)
    options = dict(row.options)
    if row.quality and spec.crf is not None:
        options[row.quality.option] = str(row.quality.value(spec.crf))
    if row.presets:
        options[row.presets.option] = spec.preset or row.presets.default
    if spec.format.alpha:
        options |= row.alpha_options
    if row.params and (params := _params(row, spec)):
        options[row.params] = ":".join(params)
    if row.gpu_option and spec.gpu is not None:
        options[row.gpu_option] = str(spec.gpu)
    return options


def _params(row: Encoder, spec: VideoSpec) -> list[str]:
    """``key=value`` parameters of the encoder behind FFmpeg's: its threads, and HDR10's metadata."""
    num = spec.num_threads
    threads = [f"{key}={min(num, most or num)}" for key, most in row.thread_params.items()]
    return [*threads, *row.fixed_params, *bitstream_params(row.hdr, spec.mastering_display, spec.light_level)]
