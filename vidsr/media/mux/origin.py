"""Where a film begins on the clock of its file, and on that of an output in another kind of container."""

from __future__ import annotations

from fractions import Fraction

from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.hidden import PREROLL, first_kept
from vidsr.media.read.probe import MediaInfo

_FROM_ZERO = ("mov", "matroska", "avi")  # demuxers of containers whose clocks begin with the film, at 0
LIVE = Fraction(60)  # seconds: in these a later beginning is no pause before the film, but the clock of a broadcast


def late_start(source: MediaInfo, container: str) -> Fraction:
    """Seconds before sound and pictures of `source`, which its output in `container` leaves out.

    None in a container of the source's own kind. Where the source's clock begins with the film, what comes before the
    first packet is a part of it, unless it lasts longer than anybody waits.
    """
    kinds = source.container.split(",")
    if CONTAINERS[container].demuxer in kinds:
        return Fraction(0)
    shown = [stream for stream in source.streams if stream.kind in ("video", "audio")]
    starts = [s.start for s in shown if s.start is not None and "attached_pic" not in s.dispositions]
    late = max(min(starts, default=Fraction(0)), Fraction(0))
    return late if late > LIVE or not set(kinds) & set(_FROM_ZERO) else Fraction(0)


def earliest(source: MediaInfo) -> Fraction:
    """Seconds at which the first stream of `source` begins where there is no edit list; 0 where none begins before.

    Sound that decoders need to begin counts.
    """
    starts = [stream.start for stream in source.streams if stream.start is not None]
    hidden = first_kept(source.path, PREROLL) if "mov" in source.container.split(",") else None
    return min([Fraction(0), *starts, *([] if hidden is None else [hidden])])


def origin_notes(source: MediaInfo, container: str) -> tuple[str, ...]:
    """What is said of it."""
    late = late_start(source, container)
    words = (
        f"all streams begin {float(late):.3f} s earlier: there the clock of the source begins, that of {container} at 0"
    )
    return (words,) if late else ()
