"""Which streams of a source an output container can hold, how each gets there, and why one does not."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from vidsr.media.mux import flags, languages
from vidsr.media.read.open import open_input
from vidsr.media.read.probe import MediaInfo
from vidsr.media.write.choice import MUXERS

NOT_COPIED = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Metadata keys, in lower case, that speak of the old file and not of the film."""

How = Literal["copied", "attached", "converted", "encoded", "rewritten"]

# What is kept by these two is decided by rule: their muxers take streams that no player finds again.
_TS = (
    "h264 hevc mpeg1video mpeg2video mpeg4 vc1 aac aac_latm mp2 mp3 ac3 eac3 dts truehd opus s302m"
    " dvb_subtitle dvb_teletext scte_35 timed_id3 klv"
)
_RULES = {"ts": frozenset(_TS.split()), "webm": frozenset({"vp8", "vp9", "av1", "opus", "vorbis", "webvtt"})}
_NEVER = {"mov": frozenset({"amr_nb", "amr_wb"})}  # accepted, then refused at the first packet
_TEXT = {"mp4": "mov_text", "m4v": "mov_text", "mov": "mov_text", "mkv": "srt", "webm": "webvtt"}  # encoders
_TEXT_CODECS = frozenset({"subrip", "ass", "ssa", "mov_text", "webvtt", "text"})
_SOUND = {"webm": "libopus"}  # encoders; elsewhere aac
_NO_PLACE = "ts has no place for it; --container mkv keeps it"
_NAMES = {"srt": "subrip", "webvtt": "webvtt", "mov_text": "mov_text", "libopus": "opus", "aac": "aac"}


@dataclass(frozen=True, slots=True)
class Kept:
    """A stream that the output holds. `how`: as packets, or made anew as `codec`."""

    index: int  # in the source
    kind: str
    codec: str  # in the source
    how: How = "copied"
    encoder: str | None = None

    def __str__(self) -> str:
        made = f" as {_NAMES.get(self.encoder, self.encoder)}" if self.encoder else ""
        return f"{self.kind} {self.index} ({self.codec}): {self.how}{made}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A stream of the source that the output does not hold."""

    index: int | None  # None: something of the file as a whole
    kind: str
    codec: str
    reason: str

    def __str__(self) -> str:
        name = self.kind if self.index is None else f"{self.kind} {self.index}"
        return f"{name} ({self.codec}): dropped, {self.reason}"


def plan_streams(source: MediaInfo, container: str) -> tuple[list[Kept], list[Dropped]]:
    """What becomes of every stream of `source` except the one that is upscaled, in an output `container`."""
    with open_input(source.path) as opened:
        return decide(opened, source.video.index, container)


def decide(source: InputContainer, picture: int, container: str) -> tuple[list[Kept], list[Dropped]]:
    """The same for an open `source`, whose stream `picture` is upscaled."""
    kept: list[Kept] = []
    dropped: list[Dropped] = []
    for stream in source.streams:
        if stream.index != picture:
            verdict = _decide(source, stream, container)
            (kept if isinstance(verdict, Kept) else dropped).append(verdict)  # type: ignore[arg-type]
    there = [picture, *(item.index for item in kept if item.how != "rewritten")]
    for stream in (source.streams[index] for index in there):
        dropped += _lost_flags(stream, container) + _lost_language(stream, container)
    return kept, dropped + (_without_place(source) if container == "ts" else [])


def _without_place(source: InputContainer) -> list[Dropped]:
    """What a transport stream has no place for."""
    names = [key for key in source.metadata if key.lower() not in NOT_COPIED]
    chapters = len(source.chapters())
    parts = [("metadata", ", ".join(names))] if names else []
    parts += [("chapters", str(chapters))] if chapters else []
    return [Dropped(None, kind, what, _NO_PLACE) for kind, what in parts]


def _lost_flags(stream: Stream, container: str) -> list[Dropped]:
    """One entry for all of them."""
    gone = flags.lost(stream, container)
    if not gone or is_cover(stream):
        return []
    hint = "" if flags.lost(stream, "mkv") else "; --container mkv keeps it"
    reason = f"{container} has no place for it{hint}"
    return [Dropped(stream.index, f"flag of {stream.type}", ", ".join(flags.names(gone)), reason)]


def _lost_language(stream: Stream, container: str) -> list[Dropped]:
    language = stream.metadata.get("language", "")
    why = None if is_cover(stream) else languages.loss(language, stream.type, container)
    return [Dropped(stream.index, f"language of {stream.type}", language, why)] if why else []


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of the codec (not of its decoder), or "none"."""
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    if stream.type == "attachment":
        return str(stream.metadata.get("mimetype", "none"))
    return str(getattr(stream, "name", None) or "none")


def is_cover(stream: Stream) -> bool:
    """Whether the stream is a still that stands for the file."""
    return bool(stream.disposition & Disposition.attached_pic)


def _decide(source: InputContainer, stream: Stream, container: str) -> Kept | Dropped:
    index, codec = stream.index, codec_name(stream)
    kind: str = stream.type
    if is_cover(stream):
        kind = "cover"
    if kind == "data" and "mov" in source.format.name:
        rebuilt = _rebuilt(source, stream, container)
        if rebuilt:
            return rebuilt
    if kind == "cover" and container == "mkv":
        return Kept(index, kind, codec, "attached")
    why = refusal(stream, container)
    if why is None:
        return Kept(index, kind, codec)
    if kind == "subtitle" and codec in _TEXT_CODECS and container in _TEXT:
        return Kept(index, kind, codec, "converted", _TEXT[container])
    if kind == "audio" and stream.codec_context is not None:
        return Kept(index, kind, codec, "encoded", _SOUND.get(container, "aac"))
    hint = "; --container mkv keeps it" if container != "mkv" and _mkv_keeps(stream, kind, codec) else ""
    return Dropped(index, kind, codec, why + hint)


def _rebuilt(source: InputContainer, stream: Stream, container: str) -> Kept | Dropped | None:
    """Tracks of mov and mp4 that are written from what they say, never copied."""
    if "timecode" in stream.metadata and container == "ts":
        return Dropped(stream.index, "timecode", "tmcd", _NO_PLACE)
    if "timecode" in stream.metadata:
        return Kept(stream.index, "timecode", "tmcd", "rewritten")
    if codec_name(stream) == "bin_data" and source.chapters() and refusal(stream, container):
        return Kept(stream.index, "chapters", "text", "rewritten")
    return None


def _mkv_keeps(stream: Stream, kind: str, codec: str) -> bool:
    return kind == "cover" or (kind == "subtitle" and codec in _TEXT_CODECS) or refusal(stream, "mkv") is None


def refusal(stream: Stream, container: str) -> str | None:
    """Why `container` does not hold `stream` as it is; None where it does. Asks FFmpeg, by a header in memory."""
    codec, kind = codec_name(stream), "cover art" if is_cover(stream) else stream.type
    cannot = f"{container} cannot hold {codec if codec != 'none' else 'this kind of'} {kind}"
    if codec not in _RULES.get(container, {codec}) or codec in _NEVER.get(container, ()):
        return cannot
    if is_cover(stream) and container not in ("mp4", "m4v"):
        return cannot
    if stream.codec_context is None and stream.type not in ("data", "attachment"):
        return f"FFmpeg here knows no codec for this {kind}"
    try:
        with av.open(io.BytesIO(), "w", format=MUXERS[container]) as trial:
            trial.add_stream_from_template(stream, opaque=True).disposition = stream.disposition
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return cannot
    return None
