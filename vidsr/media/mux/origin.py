"""Where a film begins on the clock of its file, and on that of an output in another kind of container."""

from __future__ import annotations

from fractions import Fraction

from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.decide import plan_streams
from vidsr.media.mux.hidden import PREROLL, first_kept
from vidsr.media.mux.sound import PRIMING, encoded_rate
from vidsr.media.read.open import open_input
from vidsr.media.read.probe import MediaInfo

_FROM_ZERO = ("mov", "matroska", "avi")  # demuxers of containers whose clocks begin with the film, at 0
_SKIPS = ("mov", "matroska", "ogg")  # demuxers of containers that say how much sound at the beginning is not heard
LIVE = Fraction(60)  # seconds: in these a later beginning is no pause before the film, but the clock of a broadcast


def late_start(source: MediaInfo, container: str) -> Fraction:
    """Seconds before sound and pictures of `source`, which its output in `container` leaves out.

    None in a container of the source's own kind. Where the source's clock begins with the film, what comes before the
    first packet is a part of it, unless it lasts longer than anybody waits. Whole ticks of the pictures, which could
    not move by others.
    """
    kinds = source.container.split(",")
    if CONTAINERS[container].demuxer in kinds:
        return Fraction(0)
    shown = [stream for stream in source.streams if stream.kind in ("video", "audio")]
    starts = [s.start for s in shown if s.start is not None and "attached_pic" not in s.dispositions]
    tick = source.video.time_base
    late = max(min(starts, default=Fraction(0)), Fraction(0)) // tick * tick
    return late if late > LIVE or not set(kinds) & set(_FROM_ZERO) else Fraction(0)


def earliest(source: MediaInfo, container: str, begin: Fraction | None = None) -> Fraction | None:
    """Seconds at which the first packet of the other streams stands in a `container` that has no edit lists.

    That is before what is heard first: decoders need some to begin, and encoders put samples before it. A part that
    begins at `begin` (seconds; None: it is all of the film) has no packets of the source from before.
    """
    kept = {plan.index: plan for plan in plan_streams(source, container)[0] if plan.how != "rewritten"}
    starts = {
        s.index: s.start if begin is None else max(s.start, begin)
        for s in source.streams
        if s.index in kept and s.start is not None
    }
    skipping = begin is None and set(source.container.split(",")) & set(_SKIPS)
    copied = first_kept(source.path, PREROLL) if skipping else {}
    with open_input(source.path) as opened:
        for stream in opened.streams.audio:
            if stream.index in starts and (encoder := kept[stream.index].encoder):
                starts[stream.index] -= Fraction(PRIMING, encoded_rate(stream.codec_context.sample_rate, encoder))
            elif stream.index in starts:
                starts[stream.index] = copied.get(stream.index, starts[stream.index])
    return min(starts.values(), default=None)


def origin_notes(source: MediaInfo, container: str) -> tuple[str, ...]:
    """What is said of it."""
    late = late_start(source, container)
    words = (
        f"all streams begin {float(late):.3f} s earlier: there the clock of the source begins, that of {container} at 0"
    )
    return (words,) if late else ()
