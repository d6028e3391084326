"""Sound that an edit list of mp4 or mov hides, on its way into a container that would let it be heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from vidsr.media.containers import Container

PREROLL = Fraction(1, 20)  # seconds: from so long before what is heard decoders need packets to begin
_SHORT = PREROLL / 2  # where all streams have to begin later for it


def preroll(container: Container) -> Fraction | None:
    """Seconds of hidden sound that stay before what is heard; None: all, `container` has edit lists, too."""
    if container.boxes:
        return None
    return PREROLL if container.before_zero else _SHORT


def unneeded(times: Iterable[tuple[int, bool]], length: Fraction) -> Sequence[int]:
    """Which of packets with these times, hidden or not, lie further than `length` ticks before the next one heard."""
    found: list[int] = []
    held: list[tuple[int, int]] = []
    for number, (pts, hidden) in enumerate(times):
        if hidden:
            held.append((number, pts))
            continue
        found += [n for n, before in held if before < pts - length]
        held.clear()
    return found + [n for n, _ in held]
