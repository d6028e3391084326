"""Text that FFmpeg here has no decoder for, or no name, and that can be copied all the same."""

from __future__ import annotations

from av.stream import Stream

from vidsr.media.read.programs import is_teletext
from vidsr.media.read.webvtt import is_webvtt


def undecoded_codec(stream: Stream) -> str | None:
    """FFmpeg's name of its codec; None where it is no such text."""
    if is_webvtt(stream):
        return "webvtt"
    return "dvb_teletext" if is_teletext(stream) else None
