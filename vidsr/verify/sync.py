"""Whether sound and text are beside the pictures that they were beside in a source whose clock begins anew.

Nothing here knows where recordings were joined. The source's pictures are a ruler: each says by how much what begins at
its byte of the file has moved into the output, and so has everything else that begins there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from vidsr.verify.inventory import NO_TIME, ListedTrack, Pairing
from vidsr.verify.packets import Mapping
from vidsr.verify.phrases import ms, seconds
from vidsr.verify.report import Finding, same

NOTICED = Fraction(1, 20)  # seconds: what nobody hears or sees
_BACK = Fraction(1, 4)  # seconds: by so much times fall only where another recording begins


@dataclass(frozen=True, slots=True)
class _Ruler:
    """By how much pictures have moved, in seconds, in the order of their bytes."""

    bytes: Sequence[int]
    moved: Sequence[Fraction]

    def off(self, byte: int, moved: Fraction) -> Fraction:
        """How far something that begins at `byte` and has `moved` is from the picture before and behind it."""
        place = bisect_right(self.bytes, byte)
        return min((abs(moved - by) for by in self.moved[max(place - 1, 0) : place + 1]), default=Fraction(0))


def check_sync(picture: ListedTrack, pairing: Pairing, mapping: Mapping) -> Iterator[Finding]:
    """One row for a whole film whose pictures' times fall somewhere; the source's `picture` stream is upscaled."""
    runs = list(_runs(picture))
    if len(runs) < 2 or mapping.window is not None or pairing.picture is None:
        return
    name, before = "sync", f"{len(runs)} recordings"
    ruler = _ruler(picture, runs, pairing.picture)
    if ruler is None:
        yield Finding(name, before, "", "dropped", "the pictures are not all there, and nothing else to measure by")
        return
    worst, where = Fraction(0), ""
    for item, old, new in pairing.kept:
        if item.how == "copied" and len(old.pts) == len(new.pts):
            for byte, own, made in zip(old.bytes, old.own, new.pts, strict=True):
                if NO_TIME not in (own, made):
                    time = made * new.time_base
                    off = ruler.off(byte, time - own * old.time_base)
                    if off > worst:
                        worst, where = off, f"{old.kind} {old.index} is {ms(off)} off its pictures at {seconds(time)}"
    yield same(name, before, f"within {ms(worst)}", worst <= NOTICED, where)


def _runs(track: ListedTrack) -> Iterator[range]:
    """Packets between which the clock falls back, but for hidden ones, from which an edit list goes on.

    Pictures are shown in another order than they are decoded in, so both times have to fall.
    """
    back, begin, highest, decoded = _BACK / track.time_base, 0, NO_TIME, NO_TIME
    for number, (own, dts) in enumerate(zip(track.own, track.own_dts, strict=True)):
        if track.hidden[number]:
            continue
        falls = own != NO_TIME and highest != NO_TIME and own < highest - back
        if falls and (NO_TIME in (dts, decoded) or dts < decoded - back):
            yield range(begin, number)
            begin, highest, decoded = number, own, dts
        highest, decoded = max(highest, own), max(decoded, dts)
    yield range(begin, len(track.own))


def _ruler(old: ListedTrack, runs: Sequence[range], new: ListedTrack) -> _Ruler | None:
    """Pictures are shown run after run, in each by time; None where the output has another number of them."""
    shown = [n for run in runs for n in sorted((n for n in run if old.own[n] != NO_TIME), key=old.own.__getitem__)]
    found = sorted(new.times)
    found = found[::2] if len(found) == 2 * len(shown) else found  # two of each: a picture and its second field
    if len(shown) != len(found):
        return None
    moved = {n: pts * new.time_base - old.own[n] * old.time_base for n, pts in zip(shown, found, strict=True)}
    order = sorted(moved, key=lambda n: (old.bytes[n], n))
    return _Ruler([old.bytes[n] for n in order], [moved[n] for n in order])
