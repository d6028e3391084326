"""Decoded sound without holes: an encoder takes samples as they come, and would close each hole up."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av

_UNHEARD = Fraction(1, 50)  # seconds: a deviation below which sound is not touched
_NO_HOLE = 24 * 60 * 60  # seconds: what comes later by more has a damaged time
_LONGEST = 48_000  # samples of silence in a frame


class Steady:
    """Takes decoded frames in order, gives frames of which each begins where the one before it ends.

    Where a frame comes late there is silence before it; what was heard already is left out.
    """

    def __init__(self) -> None:
        self._due: int | None = None  # samples from 0, at the rate of the frame before
        self._rate = 0

    def __call__(self, frame: av.AudioFrame, layout: av.AudioLayout) -> Iterator[av.AudioFrame]:
        """`frame`, whose channels are `layout`, and what belongs before it."""
        rate = frame.sample_rate
        if self._due is not None and rate != self._rate:
            self._due = round(Fraction(self._due, self._rate) * rate)
        self._rate = rate
        if frame.pts is not None and frame.time_base:
            begin = round(frame.pts * frame.time_base * rate)
            late = begin - self._due if self._due is not None else 0
            if late <= -rate * _UNHEARD:
                if late <= -frame.samples:
                    return
                frame = _rest(frame, layout, -late)
            if rate * _UNHEARD < late <= rate * _NO_HOLE and self._due is not None:
                yield from _silence(frame, layout, self._due, late)
                self._due = begin
            self._due = begin if self._due is None else self._due
        if self._due is not None:
            frame.time_base, frame.pts = Fraction(1, rate), self._due
            self._due += frame.samples
        yield frame


def _rest(frame: av.AudioFrame, layout: av.AudioLayout, heard: int) -> av.AudioFrame:
    """`frame`, whose channels are `layout`, without its first `heard` samples."""
    made = av.AudioFrame(frame.format.name, layout, frame.samples - heard)
    size = frame.format.bytes * (1 if frame.format.is_planar else layout.nb_channels)
    for old, new in zip(frame.planes, made.planes, strict=True):
        data = bytes(old)[heard * size : frame.samples * size]
        new.update(data + bytes(new.buffer_size - len(data)))
    made.sample_rate = frame.sample_rate
    return made


def _silence(like: av.AudioFrame, layout: av.AudioLayout, begin: int, length: int) -> Iterator[av.AudioFrame]:
    """`length` samples from `begin` on, in the format and layout of `like`."""
    while length > 0:
        made = av.AudioFrame(like.format, layout, min(length, _LONGEST))
        for plane in made.planes:
            plane.update((b"\x80" if like.format.name.startswith("u8") else b"\0") * plane.buffer_size)
        made.sample_rate, made.time_base, made.pts = like.sample_rate, Fraction(1, like.sample_rate), begin
        yield made
        begin, length = begin + made.samples, length - made.samples
