"""Flags of streams, such as default and forced: which of them each container holds, as FFmpeg 8 writes and reads it."""

from __future__ import annotations

from av.stream import Disposition, Stream

_NONE = Disposition(0)
_ALWAYS = Disposition.default | Disposition.forced
_IMPAIRED = Disposition.hearing_impaired | Disposition.visual_impaired
_ROLES = Disposition.dub | Disposition.comment
_HELD = {
    "mkv": _ALWAYS | _ROLES | _IMPAIRED | Disposition.original,
    "webm": _ALWAYS,
    "mp4": _ALWAYS | _ROLES | _IMPAIRED,
    "m4v": _ALWAYS | _ROLES | _IMPAIRED,
    "mov": Disposition.default,
    "ts": _IMPAIRED,
}
_HELD_FOR_TEXT = {
    "mkv": Disposition.descriptions,
    "webm": Disposition.captions | Disposition.descriptions | Disposition.metadata,
}
_ALIKE = ((Disposition.hearing_impaired, Disposition.captions), (Disposition.visual_impaired, Disposition.descriptions))
_MEANT = ~(Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image)  # not what it is, but how


def held(flags: Disposition, kind: str, container: str) -> Disposition:
    """What `container` makes of `flags` of a stream of that kind. mp4 has one mark for two flags."""
    pairs = _ALIKE if container in ("mp4", "m4v") else ()
    for one, other in pairs:
        flags |= one if other in flags else _NONE
    kept = flags & (_HELD[container] | (_HELD_FOR_TEXT.get(container, _NONE) if kind == "subtitle" else _NONE))
    for one, other in pairs:
        kept |= other if one in kept else _NONE
    return kept


def lost(stream: Stream, container: str) -> Disposition:
    """Those that `container` has no place for. A transport stream has no default; its first streams are."""
    if stream.type not in ("video", "audio", "subtitle"):
        return _NONE
    kept = held(stream.disposition, stream.type, container)
    for one, other in _ALIKE:  # both together say what one of them does
        kept |= other if one in kept else _NONE
    implied = Disposition.default if container == "ts" else _NONE
    return stream.disposition & ~kept & ~implied & _MEANT


def names(flags: Disposition) -> list[str]:
    """By FFmpeg's names."""
    return [flag.name for flag in Disposition if flag.name and flag in flags & _MEANT]
