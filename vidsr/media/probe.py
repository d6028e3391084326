"""What a media file holds: its streams, times, colour and extras, resolved once and passed around."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from vidsr.frame import Colour, PixelFormat


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


@dataclass(frozen=True, slots=True)
class Video:
    """The picture stream that is upscaled. `colour` is resolved: untagged sources get what players assume."""

    index: int
    codec: str
    width: int
    height: int
    pix_fmt: str  # as stored, FFmpeg's name
    format: PixelFormat  # as `Reader` yields it
    colour: Colour
    colour_tagged: bool  # False: the matrix was assumed from the height
    time_base: Fraction
    rate: Fraction | None  # average frames per second, for display and the encoder's rate control only
    start_pts: int | None
    duration: Fraction | None  # seconds
    num_frames: int | None  # as the container claims or the rate implies: an estimate
    sample_aspect: Fraction  # 1 where unknown
    display_matrix: tuple[int, ...] | None  # 9 int32 as FFmpeg's DISPLAYMATRIX side data
    interlaced: bool
    bits_per_second: int | None
    extras: tuple[str, ...] = ()  # side data by FFmpeg's name: MASTERING_DISPLAY_METADATA, DOVI_METADATA, A53_CC, ...
    mastering_display: bytes | None = None  # raw AVMasteringDisplayMetadata
    light_level: bytes | None = None  # raw AVContentLightMetadata


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


def probe(path: Path) -> MediaInfo:
    """Open `path`, decode its first picture, and say what the file holds.

    Raises:
        MediaError: the file is missing, empty, not media, has no picture stream, or none that can be decoded.
    """
    raise NotImplementedError
