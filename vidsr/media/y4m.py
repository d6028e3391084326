"""YUV4MPEG2, raw pictures in a pipe: read and written as they come, without seeking and without a copy on the disk.

A header line (``YUV4MPEG2 W352 H288 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED``), then for each picture a line
that begins with FRAME, and its planes. See yuv4mpeg(5) of mjpegtools; depths above 8 bit and the X parameters are those
that FFmpeg reads and writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from vidsr.errors import DamagedError, MediaError
from vidsr.frame import Frame, PixelFormat, Plane, Siting
from vidsr.media.read.colour_tags import MAX_Y4M_LINE, Y4M_SITINGS, assumed_colour
from vidsr.media.read.deinterlace import ByPicture, Deinterlacing, Made
from vidsr.media.read.open import MAX_PIXELS
from vidsr.media.read.pixels import planes_of
from vidsr.media.read.probe import MediaInfo, Stream, Video
from vidsr.media.read.report import ReadReport
from vidsr.media.scan import Deinterlace

CONTAINER = "pipe"
"""What `MediaInfo.container` says of a stream that has no file."""
MAGIC = b"YUV4MPEG2"
DEFAULT_RATE = Fraction(25)

_LAYOUT = re.compile(r"(420|422|444|411)(?:p(9|10|12|14|16))?|mono(9|10|12|14|16)?")
_INTERLACED = ("t", "b", "m")


@dataclass(frozen=True, slots=True)
class Y4mHeader:
    """What the first line says. `rate` in frames per second; None: unknown."""

    width: int
    height: int
    format: PixelFormat
    siting: Siting = "left"
    rate: Fraction | None = None
    sample_aspect: Fraction = Fraction(1)
    scan: str = "p"  # p: progressive; t, b: top or bottom field first; m: mixed
    full_range: bool | None = None  # None: not said

    @classmethod
    def parse(cls, line: bytes, name: str) -> Y4mHeader:
        """From the line without its end; `name` is what errors call the stream.

        Raises:
            MediaError: not such a line, or one that no picture can have.
        """
        words = line.decode("ascii", errors="replace").split(" ")
        if words[0].encode() != MAGIC:
            raise MediaError(f"{name} is not y4m (YUV4MPEG2), the only kind of video that vidsr reads from a pipe.")
        values = {word[0]: word[1:] for word in words[1:] if word and word[0] != "X"}
        extra = dict(word[1:].split("=", 1) for word in words[1:] if word.startswith("X") and "=" in word)
        width, height = (_side(values.get(key, "")) for key in "WH")
        if width < 1 or height < 1:
            raise MediaError(f"{name}: its y4m header names no size.")
        if width * height > MAX_PIXELS:
            raise MediaError(f"{name}: {width}x{height} is above the limit of {MAX_PIXELS} pixels.")
        layout = values.get("C", "420jpeg")
        format, siting = _layout(layout, name)
        return cls(
            width=width,
            height=height,
            format=format,
            siting=siting,
            rate=_ratio(values.get("F", "")),
            sample_aspect=_ratio(values.get("A", "")) or Fraction(1),
            scan=values["I"] if values.get("I") in _INTERLACED else "p",
            full_range=_full_range(extra),
        )

    def line(self) -> bytes:
        """The header line with its end."""
        rate, aspect = self.rate or DEFAULT_RATE, self.sample_aspect
        words = [
            MAGIC.decode(),
            f"W{self.width} H{self.height} F{rate.numerator}:{rate.denominator} I{self.scan}",
            f"A{aspect.numerator}:{aspect.denominator} C{layout_name(self.format, self.siting)}",
        ]
        if self.format.model == "yuv" and self.format.bits > 8:
            words += [f"XYSCSS={layout_name(self.format, self.siting).upper()}"]
        if self.full_range is not None:
            words += [f"XCOLORRANGE={'FULL' if self.full_range else 'LIMITED'}"]
        return " ".join(words).encode() + b"\n"


def writable(format: PixelFormat) -> PixelFormat:
    """The layout that y4m has and that loses least of `format`: it knows no RGB, no 4:4:0 and no alpha."""
    if format.model == "grey":
        return format
    if format.model == "rgb":
        return PixelFormat("yuv", format.bits)
    shift = {(0, 1): (0, 0), (2, 2): (1, 1), (2, 0): (2, 0) if format.bits == 8 else (1, 0)}.get(
        format.chroma_shift, format.chroma_shift
    )
    return PixelFormat("yuv", format.bits, shift)


def layout_name(format: PixelFormat, siting: Siting) -> str:
    """The word behind C for a layout that `writable` returns."""
    depth = f"p{format.bits}" if format.bits > 8 else ""
    if format.model == "grey":
        return f"mono{format.bits if format.bits > 8 else ''}"
    sampling = {(1, 1): "420", (1, 0): "422", (2, 0): "411", (0, 0): "444"}[format.chroma_shift]
    if sampling == "420" and not depth:
        return {"center": "420jpeg", "topleft": "420paldv"}.get(siting, "420mpeg2")
    return sampling + depth


def _layout(name: str, stream: str) -> tuple[PixelFormat, Siting]:
    if name == "444alpha":
        return PixelFormat("yuv", 8, (0, 0), alpha=True), "left"
    if name in Y4M_SITINGS:
        return PixelFormat("yuv", 8, (1, 1)), Y4M_SITINGS[name]
    match = _LAYOUT.fullmatch(name)
    if match is None:
        raise MediaError(
            f"{stream}: its y4m layout C{name[:20]} is unknown; use one such as C420jpeg, C422 or C444p10."
        )
    sampling, bits, grey = match.groups()
    if sampling is None:
        return PixelFormat("grey", int(grey or 8)), "left"
    return PixelFormat.parse(f"yuv{sampling}p{bits}le" if bits else f"yuv{sampling}p"), "left"


def _side(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,6}", text, re.ASCII) else 0


def _ratio(text: str) -> Fraction | None:
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text, re.ASCII)
    if match is None or 0 in (int(match[1]), int(match[2])):
        return None
    return Fraction(int(match[1]), int(match[2]))


def _full_range(extra: Mapping[str, str]) -> bool | None:
    word = extra.get("COLORRANGE", "").upper()
    return {"FULL": True, "LIMITED": False}.get(word)


class Y4MReader:
    """Iterates over the pictures of a y4m stream as they come; `info` is there before the first one is read.

    Frame k stands at k / rate seconds. A stream that breaks off ends the iteration with `DamagedError` after its last
    whole picture, or is noted in `report` with `keep_going`. `deinterlace`: ``auto`` only where the header says so.

    Raises:
        MediaError: not y4m, or a header that no picture can have.
    """

    def __init__(
        self, stream: BinaryIO, name: str = "stdin", *, keep_going: bool = False, deinterlace: Deinterlace = "off"
    ) -> None:
        self._stream, self._name, self._keep_going = stream, name, keep_going
        line = _line(stream)
        if not line:
            raise MediaError(f"{name} is empty: no y4m header came in.")
        self.header = Y4mHeader.parse(line, name)
        self._deinterlace = deinterlace in ("bwdif", "fields") or (
            deinterlace == "auto" and self.header.scan in _INTERLACED
        )
        self.info = _info(self.header, name, combed=deinterlace == "fields" and self.header.scan == "p")
        self._how = Deinterlacing.of(self.info.video, deinterlace)
        self.report = ReadReport()

    def __iter__(self) -> Iterator[Frame]:
        """Every picture once."""
        if not self._deinterlace:
            yield from self._counted(self._frames())
            return
        yield from self._counted(self._progressive())

    def close(self) -> None:
        """Nothing: the stream is the caller's."""

    def _counted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            yield frame
            self.report.num_frames += 1

    def _frames(self) -> Iterator[Frame]:
        header, video = self.header, self.info.video
        shapes = header.format.plane_shapes(header.width, header.height)
        number = 0
        while line := _line(self._stream):
            planes = None if not line.startswith(b"FRAME") else self._planes(shapes)
            if planes is None:
                what = "breaks off in a picture" if line.startswith(b"FRAME") else "holds something that is no picture"
                self._damaged(f"{what} after {number} frames")
                return
            yield Frame(planes, header.format, video.colour, number, video.time_base, 1)
            number += 1
        if number == 0:
            self._damaged("ends before its first picture")

    def _planes(self, shapes: list[tuple[int, int]]) -> tuple[Plane, ...] | None:
        """The planes of one picture; None where the stream ends before they are whole."""
        dtype = self.header.format.dtype.newbyteorder("<")
        planes: list[Plane] = []
        for height, width in shapes:
            plane = np.empty((height, width), dtype)
            if not _read_into(self._stream, plane.data.cast("B")):
                return None
            planes.append(plane.astype(self.header.format.dtype, copy=False))
        return tuple(planes)

    def _progressive(self) -> Iterator[Frame]:
        format, video, clock = self.header.format, self.info.video, self._how.time_base(self.info.video)
        bwdif = ByPicture(self._how, video.time_base, video.rate)

        def framed(made: Made) -> Frame:
            return Frame(planes_of(made.picture, format), format, video.colour, made.pts, clock, made.duration)

        for frame in self._frames():
            yield from map(framed, bwdif(_picture(frame)))
        yield from map(framed, bwdif(None))

    def _damaged(self, what: str) -> None:
        self.report.num_errors += 1
        self.report.errors.append(what)
        if not self._keep_going:
            raise DamagedError(f"{self._name} {what}; --keep-going (keep_going=True) upscales what came in whole.")


class Y4MWriter:
    """Writes frames of one `header` to a stream, each at once. Their times are lost: y4m has only a rate.

    Raises:
        BrokenPipeError: whoever read the stream has gone.
    """

    def __init__(self, stream: BinaryIO, header: Y4mHeader) -> None:
        self._stream = stream
        self._rate = header.rate or DEFAULT_RATE
        self._origin: Fraction | None = None  # seconds, of the first frame
        self._number = self._moved = 0
        self.num_bytes = stream.write(header.line())

    def write(self, frame: Frame) -> None:
        """Append one picture, whose layout and size are the header's."""
        time = frame.pts * frame.time_base
        self._origin = time if self._origin is None else self._origin
        self._moved += abs((time - self._origin) * self._rate - self._number) > Fraction(1, 2)
        self._number += 1
        self.num_bytes += self._stream.write(b"FRAME\n")
        dtype = frame.format.dtype.newbyteorder("<")
        for plane in frame.planes:
            self.num_bytes += self._stream.write(np.ascontiguousarray(plane, dtype).data.cast("B"))

    @property
    def notes(self) -> list[str]:
        """How many frames y4m's constant rate has moved in time."""
        if not self._moved:
            return []
        return [f"{self._moved} frames stand elsewhere in time: y4m has only a rate, {float(self._rate):.3f} fps"]

    def close(self) -> None:
        """Hand over what is buffered; the stream is the caller's."""
        self._stream.flush()

    def abort(self) -> None:
        """Nothing is held open."""


def _line(stream: BinaryIO) -> bytes:
    """The next line without its end; empty at the end of the stream, cut where it is too long to be one."""
    return stream.readline(MAX_Y4M_LINE).rstrip(b"\n")


def _read_into(stream: BinaryIO, buffer: memoryview) -> bool:
    """Fill `buffer`; False where the stream ends before that."""
    done = 0
    while done < len(buffer):
        chunk = stream.read(min(len(buffer) - done, 1 << 22))
        if not chunk:
            return False
        buffer[done : done + len(chunk)] = chunk
        done += len(chunk)
    return True


def _picture(frame: Frame) -> av.VideoFrame:
    """A copy of `frame` for FFmpeg's filters, flagged as interlaced by no means: the filter takes every picture."""
    picture = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        rows = np.frombuffer(memoryview(plane), frame.format.dtype).reshape(samples.shape[0], -1)
        rows[:, : samples.shape[1]] = samples
    picture.pts, picture.time_base, picture.duration = frame.pts, frame.time_base, frame.duration
    return picture


def _info(header: Y4mHeader, name: str, *, combed: bool) -> MediaInfo:
    rate = header.rate or DEFAULT_RATE
    colour = replace(assumed_colour(header.format, header.height), siting=header.siting)
    if header.full_range is not None:
        colour = replace(colour, full_range=header.full_range)
    video = Video(
        index=0,
        codec="rawvideo",
        width=header.width,
        height=header.height,
        pix_fmt=header.format.name,
        format=header.format,
        colour=colour,
        colour_tagged=False,
        time_base=1 / rate,
        rate=rate,
        start_pts=0,
        sample_aspect=header.sample_aspect,
        interlaced=header.scan in _INTERLACED,
        combed=combed,
        bottom_first=header.scan == "b",
    )
    streams = (Stream(0, "video", "rawvideo", None, None, (), Fraction(0), None),)
    return MediaInfo(Path(name), CONTAINER, 0, Fraction(0), None, video, streams, 0)
