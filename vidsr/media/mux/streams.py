"""Which streams of a source an output container can hold, how each gets there, and why one does not."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from vidsr.media.containers import CONTAINERS, HOLDS_ALL, KEEPS_IT, Container
from vidsr.media.mux import flags, languages
from vidsr.media.read.open import open_input
from vidsr.media.read.probe import MediaInfo

NOT_COPIED = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Metadata keys, in lower case, that speak of the old file and not of the film."""

How = Literal["copied", "attached", "converted", "encoded", "rewritten"]

_TEXT_CODECS = frozenset({"subrip", "ass", "ssa", "mov_text", "webvtt", "text"})


@dataclass(frozen=True, slots=True)
class KeptStream:
    """A stream that the output holds. `how`: as packets, or made anew as `codec`."""

    index: int  # in the source
    kind: str
    codec: str  # in the source
    how: How = "copied"
    encoder: str | None = None

    def __str__(self) -> str:
        made = f" as {av.Codec(self.encoder, 'w').canonical_name}" if self.encoder else ""
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


def plan_streams(source: MediaInfo, container: str) -> tuple[list[KeptStream], list[Dropped]]:
    """What becomes of every stream of `source` except the one that is upscaled, in an output `container`."""
    with open_input(source.path) as opened:
        return decide(opened, source.video.index, container)


def decide(source: InputContainer, picture: int, container: str) -> tuple[list[KeptStream], list[Dropped]]:
    """The same for an open `source`, whose stream `picture` is upscaled."""
    row = CONTAINERS[container]
    kept: list[KeptStream] = []
    dropped: list[Dropped] = []
    for stream in source.streams:
        if stream.index != picture:
            verdict = _decide(source, stream, row)
            (kept if isinstance(verdict, KeptStream) else dropped).append(verdict)  # type: ignore[arg-type]
    there = [picture, *(item.index for item in kept if item.how != "rewritten")]
    for stream in (source.streams[index] for index in there):
        dropped += _lost_flags(stream, row) + _lost_language(stream, row)
    return kept, dropped + ([] if row.metadata else _without_place(source, row))


def _without_place(source: InputContainer, container: Container) -> list[Dropped]:
    """What a container without metadata has no place for."""
    names = [key for key in source.metadata if key.lower() not in NOT_COPIED]
    chapters = len(source.chapters())
    parts = [("metadata", ", ".join(names))] if names else []
    parts += [("chapters", str(chapters))] if chapters else []
    return [Dropped(None, kind, what, no_place(container)) for kind, what in parts]


def no_place(container: Container, *, elsewhere: bool = True) -> str:
    """Why something of the film is not in `container`; whether there is another one that keeps it."""
    return f"{container} has no place for it" + (f"; {KEEPS_IT}" if elsewhere else "")


def _lost_flags(stream: Stream, container: Container) -> list[Dropped]:
    """One entry for all of them."""
    gone = flags.lost(stream, container)
    if not gone or is_cover(stream):
        return []
    reason = no_place(container, elsewhere=not flags.lost(stream, HOLDS_ALL))
    return [Dropped(stream.index, f"flag of {stream.type}", ", ".join(flags.names(gone)), reason)]


def _lost_language(stream: Stream, container: Container) -> list[Dropped]:
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


def _decide(source: InputContainer, stream: Stream, container: Container) -> KeptStream | Dropped:
    index, codec = stream.index, codec_name(stream)
    kind: str = stream.type
    if is_cover(stream):
        kind = "cover"
    if kind == "data" and "mov" in source.format.name:
        rebuilt = _rebuilt(source, stream, container)
        if rebuilt:
            return rebuilt
    if kind == "cover" and container.cover == "attached":
        return KeptStream(index, kind, codec, "attached")
    why = refusal(stream, container)
    if why is None:
        return KeptStream(index, kind, codec)
    if kind == "subtitle" and codec in _TEXT_CODECS and container.text:
        return KeptStream(index, kind, codec, "converted", container.text)
    if kind == "audio" and stream.codec_context is not None:
        return KeptStream(index, kind, codec, "encoded", container.sound[0])
    hint = f"; {KEEPS_IT}" if container != HOLDS_ALL and _kept_there(stream, kind, codec) else ""
    return Dropped(index, kind, codec, why + hint)


def _rebuilt(source: InputContainer, stream: Stream, container: Container) -> KeptStream | Dropped | None:
    """Tracks of mov and mp4 that are written from what they say, never copied."""
    if "timecode" in stream.metadata and not container.metadata:
        return Dropped(stream.index, "timecode", "tmcd", no_place(container))
    if "timecode" in stream.metadata:
        return KeptStream(stream.index, "timecode", "tmcd", "rewritten")
    if codec_name(stream) == "bin_data" and source.chapters() and refusal(stream, container):
        return KeptStream(stream.index, "chapters", "text", "rewritten")
    return None


def _kept_there(stream: Stream, kind: str, codec: str) -> bool:
    """Whether the container that holds all does hold it."""
    return kind == "cover" or (kind == "subtitle" and codec in _TEXT_CODECS) or refusal(stream, HOLDS_ALL) is None


def refusal(stream: Stream, container: Container) -> str | None:
    """Why `container` does not hold `stream` as it is; None where it does. Asks FFmpeg, by a header in memory."""
    codec, kind = codec_name(stream), "cover art" if is_cover(stream) else stream.type
    cannot = f"{container} cannot hold {codec if codec != 'none' else 'this kind of'} {kind}"
    if (container.keeps is not None and codec not in container.keeps) or codec in container.refuses:
        return cannot
    if is_cover(stream) and container.cover != "copied":
        return cannot
    if stream.codec_context is None and stream.type not in ("data", "attachment"):
        return f"FFmpeg here knows no codec for this {kind}"
    try:
        with av.open(io.BytesIO(), "w", format=container.muxer) as trial:
            trial.add_stream_from_template(stream, opaque=True).disposition = stream.disposition
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return cannot
    return None
