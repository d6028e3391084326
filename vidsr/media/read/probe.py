"""What a media file holds: its streams, times, colour and extras, resolved once and passed around."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vidsr.arguments import checked_name
from vidsr.errors import MediaError
from vidsr.frame import Colour, PixelFormat
from vidsr.media import dolby_vision
from vidsr.media.animations import clears
from vidsr.media.pyav import VideoPacket, picture_stream, side_data_of
from vidsr.media.read.colour_tags import chroma_siting, resolve, y4m_siting
from vidsr.media.read.crop import crop_of
from vidsr.media.read.open import MAX_PIXELS, decoder_of, demux, gif_length, limit_pixels, open_input
from vidsr.media.read.pixels import Edges, on_grid, planar_format, planes_of
from vidsr.media.read.png import kinds_in_png
from vidsr.media.read.tags import tags
from vidsr.media.read.undecoded import undecoded_codec


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a file. Times in seconds; None: unknown."""

    index: int
    kind: str  # video, audio, subtitle, data, attachment
    codec: str  # FFmpeg's name; "none" where FFmpeg knows none
    language: str | None
    title: str | None
    dispositions: tuple[str, ...]  # default, forced, attached_pic, ...
    start: Fraction | None
    duration: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """The picture stream that is upscaled. `colour` is resolved: untagged sources get what players assume."""

    index: int
    codec: str
    width: int  # as `Reader` yields it, without what the container crops
    height: int
    pix_fmt: str  # as stored, FFmpeg's name
    format: PixelFormat  # as `Reader` yields it
    colour: Colour
    colour_tagged: bool  # False: the matrix was assumed from the height
    time_base: Fraction
    rate: Fraction | None  # average frames per second, for display and the encoder's rate control only
    start_pts: int | None
    duration: Fraction | None = None  # seconds
    num_frames: int | None = None  # as the container claims or the rate implies: an estimate
    sample_aspect: Fraction = Fraction(1)  # 1 where unknown
    display_matrix: tuple[int, ...] | None = None  # 9 int32 as FFmpeg's DISPLAYMATRIX side data
    interlaced: bool = False  # as the stream says
    bits_per_second: int | None = None
    extras: tuple[str, ...] = ()  # side data by FFmpeg's name: MASTERING_DISPLAY_METADATA, DOVI_METADATA, A53_CC, ...
    dolby_vision: int | None = None  # profile 8: what pictures are without it (1 HDR10, 2 SDR, 4 HLG)
    mastering_display: bytes | None = None  # raw AVMasteringDisplayMetadata
    light_level: bytes | None = None  # raw AVContentLightMetadata
    spherical: bytes | None = None  # raw AVSphericalMapping
    stereo: bytes | None = None  # raw AVStereo3D
    fields_flagged: bool = False  # pictures say themselves that they are interlaced, not only their container
    crop: Edges = (0, 0, 0, 0)  # what the container cuts away from the decoded pictures
    coded_aspect: Fraction | None = None  # of the first picture, where not the container but the codec decides on it
    combed: bool = False  # interlaced without saying so: see `vidsr.media.read.interlace`, which alone finds out
    bottom_first: bool = False  # the order of fields, where the container says it or the pictures show it
    num_flagged: int | None = None  # pictures that say that they are interlaced, where they were counted

    @property
    def stored(self) -> tuple[int, int]:
        """(width, height) of the pictures as they are decoded."""
        left, top, right, bottom = self.crop
        return self.width + left + right, self.height + top + bottom


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A probed file."""

    path: Path
    container: str  # FFmpeg's demuxer names, such as "mov,mp4,m4a,3gp,3g2,mj2"
    size: int  # bytes
    start: Fraction | None
    duration: Fraction | None
    video: Video
    streams: tuple[Stream, ...]  # all of them, the upscaled one included
    num_chapters: int
    metadata: dict[str, str] = field(default_factory=dict)


MAX_PACKETS_WITHOUT_PICTURE = 600  # from a keyframe on: then nothing will come any more
_KNOW_PACKETS_ONLY = ("mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu")
"""Demuxers: what they say of pictures is the codec's word."""
_UNNAMED = ("DISPLAYMATRIX", "SEI_UNREGISTERED")  # carried over, or an encoder's signature
_OF_DECODERS = ("MOTION_VECTORS", "VIDEO_ENC_PARAMS", "REGIONS_OF_INTEREST", "VIDEO_HINT")
_INTERLACED_ORDERS = (2, 3, 4, 5)  # AVFieldOrder: tt, bb, tb, bt
_BOTTOM_FIRST = (3, 4)  # as they are shown
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def probe(path: str | PathLike[str], index: int | None = None) -> MediaInfo:
    """Open `path`, decode its first picture, and say what the file holds.

    The picture stream is the default one, else the largest, never a cover picture nor a stream without packets; or
    the stream `index`.

    Raises:
        MediaError: the file is missing, empty, not media, has no picture stream, or none that can be decoded.
        UsageError: `path` is no path.
    """
    path = Path(checked_name("path", path))
    with open_input(path) as container:
        streams = tuple(_stream(s) for s in container.streams)
        candidates = _picture_streams(container) if index is None else [index]
    if not candidates:
        raise MediaError(f"{path} holds no picture stream, so there is nothing to upscale.")
    for index in candidates:
        with open_input(path) as container:
            video = _video(container, index, path)
            if video is not None:
                return _info(path, container, streams, video)
    raise MediaError(f"{path} names a picture stream but holds no pictures; it is damaged or was never finished.")


def _info(path: Path, container: InputContainer, streams: tuple[Stream, ...], video: Video) -> MediaInfo:
    return MediaInfo(
        path=path,
        container=container.format.name,
        size=path.stat().st_size,
        start=_seconds(container.start_time, Fraction(1, av.time_base)),
        duration=video.duration if video.codec == "gif" else _seconds(container.duration, Fraction(1, av.time_base)),
        video=video,
        streams=streams,
        num_chapters=len(container.chapters()),
        metadata=tags(container, path),
    )


def _seconds(value: int | None, unit: Fraction | None) -> Fraction | None:
    return value * unit if value is not None and unit else None


def _stream(stream: av.stream.Stream) -> Stream:
    timed = stream.type != "attachment"
    return Stream(
        index=stream.index,
        kind=stream.type if stream.type != "unknown" else "data",
        codec=_codec(stream),
        language=stream.metadata.get("language"),
        title=stream.metadata.get("title"),
        dispositions=tuple(d.name.lower() for d in Disposition if d.name and d in stream.disposition),
        start=_seconds(stream.start_time, stream.time_base) if timed else None,
        duration=_duration(stream) if timed else None,
    )


def _codec(stream: av.stream.Stream) -> str:
    """FFmpeg's codec name, such as av1 (not its decoder's, libdav1d); "none" where it knows none."""
    if stream.codec_context is not None:
        return str(stream.codec_context.codec.canonical_name)
    if stream.type == "attachment":
        return "none"
    return undecoded_codec(stream) or str(getattr(stream, "name", None) or "none")


def _duration(stream: av.stream.Stream) -> Fraction | None:
    """In seconds; Matroska keeps it in a tag of the stream."""
    if stream.duration:
        return _seconds(stream.duration, stream.time_base)
    tag = next((v for k, v in stream.metadata.items() if k.upper().startswith("DURATION")), "")
    if clock := _CLOCK.fullmatch(tag.strip()):
        hours, minutes, seconds = clock.groups()
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    return None


def _picture_streams(container: InputContainer) -> list[int]:
    """Indices of the streams that may be the picture, the most likely first."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [s for s in container.streams.video if not s.disposition & stills]
    size = {s.index: s.codec_context.width * s.codec_context.height if s.codec_context else 0 for s in streams}
    streams.sort(key=lambda s: (Disposition.default not in s.disposition, -size[s.index], s.index))
    return [s.index for s in streams]


def _video(container: InputContainer, index: int, path: Path) -> Video | None:
    """Everything about the picture stream `index`; None if it holds no packets."""
    stream = picture_stream(container, index)
    codec = _codec(stream)
    if stream.codec_context is None:
        raise MediaError(f"{path}: its {codec} pictures cannot be decoded; FFmpeg has no decoder for them here.")
    limit_pixels(stream)
    packets: list[VideoPacket] = []
    frame = _first_frame(container, stream, packets, path)
    if frame is None:
        return None
    if codec in ("png", "apng"):
        side_data = dict.fromkeys(kinds_in_png(packets, stream.codec_context.extradata or b""), b"")
    else:
        side_data = _side_data(frame)
    meant = {name: raw for name, raw in side_data.items() if not _is_idle(name, raw, frame.width, frame.height)}
    fmt = _yielded_format(frame, codec, path)
    y4m = container.format.name == "yuv4mpegpipe"
    siting = y4m_siting(path) if y4m else chroma_siting(stream, packets, codec, fmt)
    colour, tagged = resolve(frame, stream, siting, str(path))
    duration = _duration(stream) or _seconds(container.duration, Fraction(1, av.time_base))
    rate = _rate(stream)
    if codec == "gif":
        num, shown = gif_length(path)
        if shown > (duration or 0):  # pictures that players show more slowly
            duration, rate = shown, num / shown
    crop = on_grid(_crop(container, stream, frame, path), fmt)
    fields = stream.codec_context.field_order in _INTERLACED_ORDERS
    alpha_beside = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    return Video(
        index=index,
        codec=codec,
        width=frame.width - crop[0] - crop[2],
        height=frame.height - crop[1] - crop[3],
        pix_fmt=frame.format.name,
        format=fmt,
        colour=colour,
        colour_tagged=tagged,
        time_base=stream.time_base or Fraction(1, av.time_base),
        rate=rate,
        start_pts=stream.start_time if frame.pts is None or container.format.name == "avi" else frame.pts,
        duration=duration,
        num_frames=stream.frames or (round(duration * rate) if duration and rate else None),
        sample_aspect=stream.sample_aspect_ratio or Fraction(1),
        display_matrix=_display_matrix(side_data),
        crop=crop,
        coded_aspect=(stream.sample_aspect_ratio or Fraction(1))
        if container.format.name in _KNOW_PACKETS_ONLY
        else None,
        fields_flagged=bool(frame.interlaced_frame) or (fields and container.format.name in _KNOW_PACKETS_ONLY),
        interlaced=bool(frame.interlaced_frame) or fields,
        bottom_first=stream.codec_context.field_order in _BOTTOM_FIRST,
        bits_per_second=stream.codec_context.bit_rate or None,
        extras=tuple(meant) + (("ALPHA",) if alpha_beside and not fmt.alpha else ()),
        dolby_vision=dolby_vision.compatibility(side_data.get("DOVI_RPU_BUFFER", b""), colour.transfer),
        mastering_display=side_data.get("MASTERING_DISPLAY_METADATA"),
        light_level=side_data.get("CONTENT_LIGHT_LEVEL"),
        spherical=meant.get("SPHERICAL"),
        stereo=meant.get("STEREO3D"),
    )


def _crop(container: InputContainer, stream: VideoStream, frame: av.VideoFrame, path: Path) -> Edges:
    return crop_of(path, container.format.name, stream.index, stream.id, (frame.width, frame.height))


def _rate(stream: VideoStream) -> Fraction | None:
    """Frames per second: the average, but what the codec says where times are missing or grains of a coarse clock."""
    average, guessed = stream.average_rate or None, stream.guessed_rate or None
    if average and guessed and (stream.start_time is None or average > 2 * guessed):
        return guessed
    return average or guessed


def _first_frame(
    container: InputContainer, stream: VideoStream, packets: list[VideoPacket], path: Path
) -> av.VideoFrame | None:
    """The first picture that decodes; `packets` collects what it took. None if there are no packets at all."""
    decoder = decoder_of(stream)
    decoder.thread_count = 1
    reason, empty = "", True
    try:
        for packet in demux(container, stream):
            empty = empty and not packet.size
            if packet.is_keyframe and not any(early.is_keyframe for early in packets[:1]):
                packets.clear()  # what comes before is of no use
            packets.extend([packet] if packet.size else [])
            try:
                frames = decoder.decode(packet)
            except av.ArgumentError:  # what decoders say of a size above the limit
                reason, frames = f" (a picture claims an impossible size, or one above {MAX_PIXELS} pixels)", []
            except av.FFmpegError as error:
                reason, frames = f" ({error.strerror})", []
            if frames:
                return frames[0]
            if len(packets) >= MAX_PACKETS_WITHOUT_PICTURE:
                if packets[0].is_keyframe:
                    break
                packets.clear()  # a recording that begins in the middle of a long group
    except av.FFmpegError as error:
        reason = f" ({error.strerror})"
    if empty and not reason:
        return None
    raise MediaError(f"{path}: none of its {_codec(stream)} pictures can be decoded{reason}; the file is damaged.")


def _side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """Side data by FFmpeg's name. For a first frame only: every read leaves a reference cycle behind."""
    return {item.type.name: bytes(item) for item in side_data_of(frame)}


def _is_idle(name: str, raw: bytes, width: int, height: int) -> bool:
    """Whether side data says nothing of the film: MPEG-2 has a timecode and a window to pan over in every picture."""
    if name == "PANSCAN" and len(raw) >= 24:
        _, wide, high, *moved = struct.unpack("<3i6h", raw[:24])
        return not any(moved) and (wide // 16, high // 16) in ((0, 0), (width, height))
    if name == "STEREO3D":
        return not any(raw[:4])  # one picture
    return name in (*_UNNAMED, *_OF_DECODERS) or (name in ("GOP_TIMECODE", "S12M_TIMECODE") and not any(raw))


def _display_matrix(side_data: dict[str, bytes]) -> tuple[int, ...] | None:
    raw = side_data.get("DISPLAYMATRIX")
    return struct.unpack("<9i", raw[:36]) if raw else None


def _yielded_format(frame: av.VideoFrame, codec: str, path: Path) -> PixelFormat:
    """As planar as `planar_format` says; a GIF needs no alpha if its first picture is opaque and all stay."""
    fmt = planar_format(frame.format.name)
    if codec == "gif" and fmt.alpha:
        alpha = planes_of(frame.reformat(format=fmt.name), fmt)[-1]
        return replace(fmt, alpha=bool((alpha != 255).any()) or clears(path))
    return fmt
