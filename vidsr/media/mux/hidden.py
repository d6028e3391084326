"""Sound that an edit list of mp4 or mov hides, on its way into a container that would let it be heard."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path

import av

from vidsr.media.containers import Container
from vidsr.media.read.open import demux, open_input

PREROLL = Fraction(1, 20)  # seconds: from so long before what is heard first decoders need packets to begin


def preroll(container: Container) -> Fraction | None:
    """Seconds of hidden sound that stay before what is heard; None: all, `container` has edit lists, too."""
    if container.boxes:
        return None
    return PREROLL if container.before_zero else Fraction(0)


def unneeded(times: Iterable[tuple[int, bool]], length: Fraction) -> set[int]:
    """Which of packets with these times, hidden or not, are left out.

    Those are all hidden ones but what lies up to `length` ticks before the first that is heard.
    """
    found: set[int] = set()
    held: list[tuple[int, int]] = []
    begun = False
    for number, (pts, hidden) in enumerate(times):
        if hidden:
            held.append((number, pts))
            continue
        found |= {n for n, before in held if begun or before < pts - length}
        held.clear()
        begun = True
    return found | {n for n, _ in held}


def first_heard(path: Path) -> Fraction | None:
    """Seconds at which the first packet of sound that is heard begins, which may be before 0."""
    begins: list[Fraction] = []
    with open_input(path) as source:
        sounds = {stream.index for stream in source.streams.audio}
        packets = demux(source, *source.streams.audio)
        with closing(packets), suppress(av.FFmpegError):  # damage: what came before it is enough
            for packet in packets if sounds else ():
                if packet.stream_index in sounds and packet.pts is not None and not packet.is_discard:
                    begins.append(packet.pts * packet.time_base)
                    sounds.discard(packet.stream_index)
                if not sounds:
                    break
    return min(begins, default=None)
