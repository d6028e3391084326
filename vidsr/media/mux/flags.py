"""Flags of streams, such as default and forced: which of them each container holds, as FFmpeg 8 writes and reads it."""

from __future__ import annotations

from collections.abc import Iterable

from av.stream import Disposition, Stream

from vidsr.media.containers import Container

_NONE = Disposition(0)
_PAIRS = ((Disposition.hearing_impaired, Disposition.captions), (Disposition.visual_impaired, Disposition.descriptions))
MEANT = ~(Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image)  # not what it is, but how


def held(flags: Disposition, kind: str, container: Container) -> Disposition:
    """What `container` makes of `flags` of a stream of that kind."""
    pairs = _PAIRS if container.paired_flags else ()
    for one, other in pairs:
        flags |= one if other in flags else _NONE
    kept = flags & _of(container.flags | (container.text_flags if kind == "subtitle" else frozenset()))
    for one, other in pairs:
        kept |= other if one in kept else _NONE
    return kept


def lost(stream: Stream, container: Container) -> Disposition:
    """Those that `container` has no place for."""
    if stream.type not in ("video", "audio", "subtitle"):
        return _NONE
    kept = held(stream.disposition, stream.type, container)
    for one, other in _PAIRS:  # both together say what one of them does
        kept |= other if one in kept else _NONE
    return stream.disposition & ~kept & ~_of(container.implied_flags) & MEANT


def names(flags: Disposition) -> list[str]:
    """By FFmpeg's names."""
    return [flag.name for flag in Disposition if flag.name and flag in flags & MEANT]


def _of(names: Iterable[str]) -> Disposition:
    found = _NONE
    for name in names:
        found |= Disposition[name]
    return found
