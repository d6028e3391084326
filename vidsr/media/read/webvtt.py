"""WebVTT as mkvmerge writes it into Matroska (S_TEXT/WEBVTT), which FFmpeg reads as text of no codec.

The words are the same as in the mark of WebM (D_WEBVTT/SUBTITLES), which FFmpeg writes and everybody reads; name and
place of a line stand beside it in another way.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import av
from av.packet import Packet, PktSideDataT
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext

from vidsr.media.pyav import new_side_data, with_data
from vidsr.media.read.matroska import head_of

_BESIDE: PktSideDataT = "matroska_block_additional"
_NUMBER = 8  # bytes before it
_PARTS: tuple[PktSideDataT, PktSideDataT] = ("webvtt_settings", "webvtt_identifier")  # its first two lines
_KINDS = get_args(PktSideDataT)
_MARKS = ("STYLE", "REGION", "Region:")


def is_webvtt(stream: Stream) -> bool:
    """Whether it is such text."""
    return webvtt_head(stream) is not None


def webvtt_head(stream: Stream) -> str | None:
    """What stands before the lines of such text; None where it is none."""
    if stream.codec_context is not None or stream.type != "subtitle":
        return None
    return head_of(Path(stream.container.name)).webvtt.get(stream.index)


def has_styles(stream: Stream) -> bool:
    """Whether it defines styles or regions, which FFmpeg does not write."""
    return any(line.startswith(_MARKS) for line in (webvtt_head(stream) or "").splitlines())


def text_decoder(stream: Stream) -> SubtitleCodecContext:
    """The decoder of a stream of text."""
    own = stream.codec_context
    return cast(SubtitleCodecContext, av.CodecContext.create("webvtt", "r") if own is None else own)


def as_webm(packet: Packet[Stream]) -> Packet[Stream]:
    """A copy of `packet` with name and place of the line as FFmpeg writes them."""
    made = with_data(packet, bytes(packet))
    beside = next((bytes(item)[_NUMBER:] for item in packet.iter_sidedata() if item.data_type == _BESIDE), b"")
    for kind, line in zip(_PARTS, beside.split(b"\n"), strict=False):
        if line:
            side = new_side_data(_KINDS.index(kind), len(line))
            side.update(line)
            made.set_sidedata(side)
    return made
