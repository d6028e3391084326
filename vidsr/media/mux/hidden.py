"""Sound that an edit list of mp4 or mov hides, on its way into an output, which may let it be heard."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path

import av

from vidsr.media.containers import Container
from vidsr.media.read.open import demux, open_input

PREROLL = Fraction(1, 20)  # seconds: from so long before what is heard first decoders need packets to begin


def preroll(container: Container) -> Fraction | float:
    """Seconds of hidden sound that stay before what is heard: all of it where `container` has edit lists, too."""
    return math.inf if container.boxes else PREROLL


def unneeded(times: Iterable[tuple[int, bool]], length: Fraction | float) -> set[int]:
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


def first_kept(path: Path, length: Fraction) -> dict[int, Fraction]:
    """Seconds at which each sound begins of which so much that is hidden stays before what is heard, by its stream.

    They may be before 0.
    """
    begins: dict[int, Fraction] = {}
    with open_input(path) as source:
        told: dict[int, list[tuple[int, bool]]] = {stream.index: [] for stream in source.streams.audio}
        packets = demux(source, *source.streams.audio)
        with closing(packets), suppress(av.FFmpegError):  # damage: what came before it is enough
            for packet in packets if told else ():
                if packet.stream_index in told and packet.pts is not None:
                    told[packet.stream_index].append((packet.pts, packet.is_discard))
                    if not packet.is_discard:
                        of_it = told.pop(packet.stream_index)
                        out = unneeded(of_it, length / packet.time_base)
                        first = min(pts for n, (pts, _) in enumerate(of_it) if n not in out)
                        begins[packet.stream_index] = first * packet.time_base
                if not told:
                    break
    return begins
