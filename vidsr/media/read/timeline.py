"""Gives every decoded picture a time: strictly increasing, as close to the stream's own as that allows."""

from __future__ import annotations

from fractions import Fraction

MAX_NOTES = 20
FALL = Fraction(1, 4)  # seconds: what falls back by more has another clock
SPARSE = 100  # pictures: so long after one without a time others are counted


class Timeline:
    """Turns the pts of decoded pictures, in presentation order, into strictly increasing ones.

    Pictures without pts (raw streams, some AVI) follow each other at `rate`. Times that run backwards by more
    than a picture, as where two transport streams were joined, move all following pictures (`notes` says so);
    smaller steps back and repeated times move one picture, by one tick.

    Where only some pictures have a pts, as H.264 in program streams, it may be that of a neighbour: there pictures are
    counted on at `rate`, and a pts that is not as counted is taken only if the next one agrees.
    """

    def __init__(self, time_base: Fraction, rate: Fraction | None, start_pts: int | None) -> None:
        self._time_base = time_base
        self._step = 1 / ((rate or Fraction(25)) * time_base)  # a picture's length in ticks, not always whole
        self._origin = start_pts or 0
        self._last: int | None = None
        self._without = 0  # pictures without pts since the last one that had it
        self._anchor = Fraction(self._origin)
        self._shift = 0
        self._counting = 0  # pictures for which times are sparse
        self._off = Fraction(0)  # by how much the last pts was not as counted
        self.notes: list[str] = []

    def place(self, pts: int | None, *, joined: bool = True) -> int:
        """The pts to use for the next picture.

        Without `joined`, packets never ran backwards: then pictures that do come out of order after a loss, and move
        no others.
        """
        self._counting = SPARSE if pts is None else max(self._counting - 1, 0)
        believed = None if pts is None else self._believed(pts, joined)
        placed = self._predicted() if believed is None else believed
        if believed is not None:
            self._anchor, self._without = Fraction(placed), 0
        if self._last is not None and placed <= self._last:
            placed = self._last + 1
        self._last = placed
        self._without += 1
        return placed

    def _predicted(self) -> int:
        return round(self._anchor + self._without * self._step)

    def _believed(self, pts: int, joined: bool) -> int | None:
        """Where `pts` is; None where pictures have to be counted."""
        before, self._off = self._off, pts + self._shift - (self._anchor + self._without * self._step)
        if not self._counting or self._off * self._time_base < -FALL:
            return self._checked(pts, joined)
        if abs(self._off) > self._step / 2 and before * self._off <= 0:
            return None
        self._off = Fraction(0)
        return pts + self._shift

    def _checked(self, pts: int, joined: bool) -> int:
        placed = pts + self._shift
        if not joined or self._last is None or placed > self._last - self._step:
            return placed
        back = self._last - placed
        self._shift += round(back + self._step)
        where = float((self._last - self._origin) * self._time_base)
        if len(self.notes) == MAX_NOTES:
            return pts + self._shift
        self.notes.append(
            f"times ran backwards at {where:.3f} s by {float(back * self._time_base):.3f} s: following pictures moved"
        )
        return pts + self._shift
