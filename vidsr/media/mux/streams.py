"""What becomes of a stream of the source: words for it, which are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import av
from av.stream import Disposition, Stream

from vidsr.media.containers import KEEPS_IT, Container
from vidsr.media.mux.sound import change_of_layout
from vidsr.media.read.undecoded import undecoded_codec

NOT_COPIED = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Metadata keys, in lower case, that speak of the old file and not of the film."""

_STYLED = ("ass", "ssa", "webvtt", "mov_text")  # text that may say how and where it is shown

How = Literal["copied", "attached", "converted", "encoded", "rewritten"]


@dataclass(frozen=True, slots=True)
class KeptStream:
    """A stream that the output holds. `how`: as packets, or made anew as `codec`."""

    index: int  # in the source
    kind: str
    codec: str  # in the source
    how: How = "copied"
    encoder: str | None = None
    layout: str | None = None  # of the channels of sound that is encoded
    source_layout: str | None = None
    header: bytes = b""  # of the codec, which muxers write before the packets, where the source has none there

    def __str__(self) -> str:
        made = f" as {av.Codec(self.encoder, 'w').canonical_name}" if self.encoder else ""
        channels = change_of_layout(self.source_layout, self.layout) if self.source_layout and self.layout else ""
        styled = self.how == "converted" and self.codec in _STYLED
        lost = ", its colours and places may be lost" if styled else ""
        return f"{self.kind} {self.index} ({self.codec}): {self.how}{made}{channels}{lost}"


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


def no_place(container: Container, *, elsewhere: bool = True) -> str:
    """Why something of the film is not in `container`; whether there is another one that keeps it."""
    return f"{container} has no place for it" + (f"; {KEEPS_IT}" if elsewhere else "")


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of the codec (not of its decoder), or "none"."""
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    if stream.type == "attachment":
        return str(stream.metadata.get("mimetype", "none"))
    return undecoded_codec(stream) or str(getattr(stream, "name", None) or "none")


def is_cover(stream: Stream) -> bool:
    """Whether the stream is a still that stands for the file."""
    return bool(stream.disposition & Disposition.attached_pic)
