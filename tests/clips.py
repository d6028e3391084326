"""Small clips for tests: every frame carries its number in its pixels, so that it can be recognised after any codec.

`make_clip` writes a file; `read_number` reads a frame's number back at any scale; `cut_off` and `damage` make
broken files of good ones.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
from av.container import OutputContainer
from av.packet import PktSideDataT
from av.stream import Disposition, Stream
from av.video.frame import PictureType
from PIL import Image

from tests.numbered import Planes, draw_number, numbered_frame, read_number
from vidsr.frame import Colour, PixelFormat
from vidsr.media.pyav import new_side_data

__all__ = ["Audio", "Picture", "Subtitles", "cut_off", "damage", "draw_number", "make_clip", "numbered_frame"]
__all__ += ["read_number", "seconds", "shown"]


@dataclass(frozen=True)
class Audio:
    """A sine tone. `start` and `seconds` in seconds; `codec` by FFmpeg's encoder name."""

    codec: str = "aac"
    seconds: float = 1.0
    start: float = 0.0
    hertz: float = 440.0
    rate: int = 48000
    language: str | None = None
    title: str | None = None
    dispositions: int = 0  # flags of av.stream.Disposition


@dataclass(frozen=True)
class Subtitles:
    """Text subtitles; `lines` are (start, seconds, text). `codec`: subrip, ass, webvtt or mov_text."""

    lines: Sequence[tuple[float, float, str]] = ((0.1, 0.5, "One line."),)
    codec: str = "subrip"
    language: str | None = None
    title: str | None = None
    dispositions: int = 0  # flags of av.stream.Disposition


@dataclass(frozen=True)
class Picture:
    """The picture stream. `pts` count in `time_base`; without them frames are `1/rate` apart from 0."""

    frames: int = 24
    width: int = 64
    height: int = 48
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: Fraction = Fraction(24)
    time_base: Fraction | None = None
    pts: Sequence[int] | None = None
    bframes: int = 0
    gop: int = 12
    options: dict[str, str] = field(default_factory=dict)
    colour: Colour | None = None  # None: untagged
    sample_aspect: Fraction | None = None
    display_matrix: Sequence[int] | None = None
    language: str | None = None
    numbers: Sequence[int] | None = None  # what to draw; default: 0, 1, 2, ...
    draw: Callable[[int, PixelFormat, int, int], Planes] | None = None  # instead of `draw_number`
    captions: Sequence[bytes] = ()  # inside the pictures, one for each

    def times(self) -> tuple[Fraction, list[int]]:
        """Time base and the pts of every frame."""
        base = self.time_base or 1 / self.rate
        step = 1 / (self.rate * base)
        return base, list(self.pts) if self.pts is not None else [round(k * step) for k in range(self.frames)]


def make_clip(
    path: Path,
    picture: Picture | None = None,
    *,
    audio: Sequence[Audio] = (),
    subtitles: Sequence[Subtitles] = (),
    chapters: Sequence[tuple[float, float, str]] = (),
    metadata: dict[str, str] | None = None,
    attachments: Sequence[tuple[str, str, bytes]] = (),
    cover: bytes | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
    **picture_options: Any,
) -> Path:
    """Write a clip to `path` and return it. The suffix chooses the container.

    Keyword arguments not named here are fields of `Picture`: ``make_clip(path, frames=10, bframes=2)``.
    `chapters` are (start, end, title) in seconds, `attachments` (name, MIME type, bytes; mkv only), `cover` a
    JPEG (mp4 and mov).
    """
    picture = picture or Picture(**picture_options)
    options = _exact_times(picture) if path.suffix in (".mp4", ".mov", ".m4v") else {}
    with av.open(str(path), "w", format=container_format, options=options | (container_options or {})) as out:
        out.metadata.update(metadata or {})
        video = _add_picture(out, picture)
        sounds = [(_add_audio(out, a), a) for a in audio]
        texts = [(_add_subtitles(out, s), s) for s in subtitles]
        cover_stream = add_cover(out, cover) if cover else None
        for name, mime, data in attachments:
            out.add_attachment(name, mime, data)
        if chapters:
            out.set_chapters(
                [_chapter(k, start, end, title) for k, (start, end, title) in enumerate(chapters)]  # type: ignore[misc]
            )
        out.start_encoding()
        if cover_stream is not None and cover is not None:
            mux_cover(out, cover_stream, cover)
        _encode_picture(out, video, picture)
        for stream, sound in sounds:
            _encode_audio(out, stream, sound)
        for stream, text in texts:
            _mux_subtitles(out, stream, text)
    return path


def seconds(timed: av.Packet[Any] | av.VideoFrame | av.AudioFrame) -> Fraction:
    """When a packet or frame is due."""
    assert timed.pts is not None
    assert timed.time_base is not None
    return timed.pts * timed.time_base


def shown(path: Path) -> list[tuple[int, Fraction]]:
    """(number drawn into it, time) of every frame."""
    with av.open(str(path)) as container:
        return [(read_number(frame.to_ndarray(format="gray")), seconds(frame)) for frame in container.decode(video=0)]


def _exact_times(picture: Picture) -> dict[str, str]:
    """Options that make an mp4 keep the time base and the start offset as given."""
    base = picture.times()[0]
    track = {"video_track_timescale": str(base.denominator)} if base.numerator == 1 else {}
    return {"movie_timescale": "90000", **track}


def _chapter(number: int, start: float, end: float, title: str) -> dict[str, Any]:
    base = Fraction(1, 1000)
    times = {"start": round(start * 1000), "end": round(end * 1000), "time_base": base}
    return {"id": number + 1, **times, "metadata": {"title": title}}


def _describe(stream: Stream, language: str | None, title: str | None, dispositions: int) -> None:
    stream.metadata.update({k: v for k, v in (("language", language), ("title", title)) if v})
    stream.disposition = Disposition(dispositions)


def _add_picture(out: OutputContainer, picture: Picture) -> Any:
    options = dict(picture.options)
    if picture.codec == "libsvtav1":
        options = {"crf": "20", "preset": "8", **options}  # faster presets lose a changed cell
    if picture.codec == "libx264":
        options = {"crf": "18", "preset": "ultrafast", "bf": str(picture.bframes), **options}
    stream: Any = out.add_stream(picture.codec, rate=picture.rate, options=options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.pix_fmt
    stream.time_base = context.time_base = picture.times()[0]
    context.gop_size, context.thread_count = picture.gop, 1
    context.max_b_frames = picture.bframes
    if picture.codec == "libx264":
        context.flags |= av.codec.context.Flags.frame_duration.value
    if picture.colour:
        _tag(context, picture.colour)
    if picture.sample_aspect:
        context.sample_aspect_ratio = picture.sample_aspect
    if picture.display_matrix:
        stream.set_display_matrix(picture.display_matrix)
    if picture.language:
        stream.metadata["language"] = picture.language
    return stream


def _tag(context: Any, colour: Colour) -> None:
    context.colorspace, context.color_primaries = int(colour.matrix), colour.primaries
    context.color_trc, context.color_range = colour.transfer, 2 if colour.full_range else 1
    context.options = {**context.options, "chroma_sample_location": colour.siting}


def frames_of(picture: Picture) -> Iterable[av.VideoFrame]:
    """The frames of `picture` as PyAV's, numbered, with pts."""
    base, pts = picture.times()
    numbers = picture.numbers or range(len(pts))
    for number, time in zip(numbers, pts, strict=True):
        frame = numbered_frame(number, picture.pix_fmt, picture.width, picture.height, picture.draw)
        frame.pts, frame.time_base = time, base
        if picture.captions:
            frame = captioned(frame, picture.captions[pts.index(time)])
            frame.pts, frame.time_base = time, base
        following = [p for p in pts if p > time]
        frame.duration = (min(following) - time) if following else round(1 / (picture.rate * base))
        yield frame


def captioned(frame: av.VideoFrame, captions: bytes) -> av.VideoFrame:
    """`frame` with captions for FFmpeg's encoders.

    PyAV lets nobody give side data to a picture, but a decoder does: that of packets goes into its pictures.
    """
    if not captions:
        return frame
    packet = av.Packet(bytes(3 * 16 * 16))
    side = new_side_data(get_args(PktSideDataT).index("a53_cc"), len(captions))
    side.update(captions)
    packet.set_sidedata(side)
    decoder: Any = av.CodecContext.create("rawvideo", "r")
    decoder.width = decoder.height = 16
    decoder.pix_fmt = "rgb24"  # none that is written, so that the next step always copies
    (small,) = decoder.decode(packet)
    made: av.VideoFrame = small.reformat(frame.width, frame.height, frame.format.name)
    made.pict_type = PictureType.NONE  # else each would become a keyframe
    for new, old in zip(made.planes, frame.planes, strict=True):
        new.update(bytes(old))
    return made


def _encode_picture(out: OutputContainer, stream: Any, picture: Picture) -> None:
    for frame in frames_of(picture):
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _add_audio(out: OutputContainer, audio: Audio) -> Any:
    stream: Any = out.add_stream(audio.codec, rate=audio.rate)
    stream.codec_context.layout = "stereo"
    _describe(stream, audio.language, audio.title, audio.dispositions)
    return stream


def _encode_audio(out: OutputContainer, stream: Any, audio: Audio) -> None:
    base = Fraction(1, audio.rate)
    total, start = round(audio.seconds * audio.rate), round(audio.start * audio.rate)
    step = stream.codec_context.frame_size or 1024
    for at in range(0, total, step):
        t = np.arange(at, min(at + step, total)) / audio.rate
        wave = np.tile(0.2 * np.sin(2 * math.pi * audio.hertz * t), (2, 1)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = audio.rate, start + at, base
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _add_subtitles(out: OutputContainer, subtitles: Subtitles) -> Stream:
    stream = out.add_mux_stream(subtitles.codec)
    stream.time_base = Fraction(1, 1000)
    _describe(stream, subtitles.language, subtitles.title, subtitles.dispositions)
    return stream


def _mux_subtitles(out: OutputContainer, stream: Stream, subtitles: Subtitles) -> None:
    for start, seconds, text in subtitles.lines:
        data = text.encode()
        packet: av.Packet[Any] = av.Packet(
            len(data).to_bytes(2, "big") + data if subtitles.codec == "mov_text" else data
        )
        packet.pts = packet.dts = round(start * 1000)
        packet.duration, packet.time_base, packet.stream = round(seconds * 1000), Fraction(1, 1000), stream
        packet.is_keyframe = True
        out.mux(packet)


def add_cover(out: OutputContainer, cover: bytes) -> Stream:
    """A stream for the cover picture `cover` (JPEG); its one packet goes in by `mux_cover`."""
    with av.open(io.BytesIO(cover)) as source:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
    stream.disposition = Disposition.attached_pic
    return stream


def mux_cover(out: OutputContainer, stream: Stream, cover: bytes) -> None:
    """Write the cover's packet, which has no time."""
    packet: av.Packet[Any] = av.Packet(cover)
    packet.stream = stream
    out.mux(packet)


def jpeg(width: int = 32, height: int = 24) -> bytes:
    """A small JPEG, for `make_clip(cover=...)`."""
    data = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 40)).save(data, "JPEG")
    return data.getvalue()


def cut_off(source: Path, target: Path, keep: float) -> Path:
    """Write the first part of `source`, `keep` of its bytes (0 to 1), to `target`."""
    data = source.read_bytes()
    target.write_bytes(data[: round(len(data) * keep)])
    return target


def damage(source: Path, target: Path, start: float = 0.5, stop: float = 0.6, every: int = 7) -> Path:
    """Copy `source` to `target` with every seventh byte between two fractions of its length inverted."""
    data = bytearray(source.read_bytes())
    for k in range(round(len(data) * start), round(len(data) * stop), every):
        data[k] ^= 0xFF
    target.write_bytes(bytes(data))
    return target
