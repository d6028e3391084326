"""FFmpeg's ``bwdif``: interlaced pictures to progressive ones. Which pictures are made so, and how many of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import median_low
from typing import Literal, NamedTuple

import av
import av.filter

from vidsr.media.pyav import ready
from vidsr.media.read.probe import Video
from vidsr.media.scan import Deinterlace

_LATE = Fraction(5, 4)  # of a picture's length: what comes later leaves a gap behind it
_TELEVISION = (Fraction(1, 25), Fraction(1001, 30000))  # seconds that an interlaced picture is shown, nearly always
_NEAR = Fraction(6, 100)  # a clock of milliseconds counts 33 and 34


@dataclass(frozen=True, slots=True)
class Deinterlacing:
    """Which pictures of a film are made progressive: none, those that are flagged as interlaced, or all.

    `twice`: two pictures of each, one a field, on a clock that is twice as fine as the film's. `bottom_first`: the
    order of the fields of pictures that do not say it.
    """

    which: Literal["none", "flagged", "all"] = "none"
    twice: bool = False
    bottom_first: bool = False

    @classmethod
    def of(cls, video: Video, option: Deinterlace) -> Deinterlacing:
        """What an option means for `video`: where its container alone says so, or it only looks so, no picture will."""
        if option == "off":
            return cls()
        unsaid = video.combed or (video.interlaced and not video.fields_flagged)
        every = option == "bwdif" or unsaid
        return cls("all" if every else "flagged", option == "fields", video.bottom_first)

    @property
    def ticks(self) -> int:
        """Of the clock of what comes out, in a tick of the film's."""
        return 2 if self.twice else 1

    def time_base(self, video: Video) -> Fraction:
        """Of what comes out, in seconds."""
        return video.time_base / self.ticks

    def rate(self, video: Video) -> Fraction | None:
        """How many come out in a second, where that is known."""
        doubled = self.twice and (video.interlaced or video.combed)
        return video.rate * 2 if video.rate and doubled else video.rate

    def num_frames(self, video: Video) -> int | None:
        """How many come out, as far as the number of pictures is known, and of those that are flagged."""
        if video.num_frames is None or not self.twice or not (video.interlaced or video.combed):
            return video.num_frames
        flagged = video.num_frames if self.which == "all" or video.num_flagged is None else video.num_flagged
        return video.num_frames + flagged


class Made(NamedTuple):
    """A picture that comes out; `pts` and `duration` count its own clock, `origin` is the pts of what it is made of."""

    pts: int
    duration: int
    origin: int
    picture: av.VideoFrame
    second: bool = False  # of the two that were made of one


class Deinterlacer:
    """FFmpeg's ``bwdif`` for pictures of one size and of FFmpeg's `pix_fmt`.

    The second field of a picture stands half-way to the next one, but after a gap (or at the end) half of a picture's
    length after the first; `length` is that in ticks of `time_base`, where it is known.
    """

    def __init__(
        self, pix_fmt: str, width: int, height: int, time_base: Fraction, how: Deinterlacing, length: int | None
    ) -> None:
        self._time_base, self._how, self._length = time_base, how, length
        self._kind = (av.VideoFormat(pix_fmt), width, height)
        mode = "send_field" if how.twice else "send_frame"
        every = how.which == "all"
        deint, marks = "all" if every else "interlaced", every and how.bottom_first
        self._graph = self._made_of("bwdif", f"mode={mode}:parity=auto:deint={deint}")
        self._marking = self._made_of("setfield", "mode=bff") if marks else None
        self._waiting: deque[tuple[int, int, bool]] = deque()  # pts, duration, and whether two come of it
        self._first: av.VideoFrame | None = None  # of two
        self._before: int | None = None  # pts of the picture before the one that comes out

    def _made_of(self, name: str, options: str) -> av.filter.Graph:
        format, width, height = self._kind
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format=format, time_base=self._time_base)
        graph.link_nodes(source, graph.add(name, options), graph.add("buffersink")).configure()
        return graph

    def __call__(self, frame: av.VideoFrame | None) -> Iterator[Made]:
        """Push one picture, or None at the end, and yield what comes out."""
        if frame is not None:
            interlaced = self._how.which == "all" or bool(frame.interlaced_frame)
            self._waiting.append((frame.pts or 0, frame.duration or 0, self._how.twice and interlaced))
            if self._marking is not None and not frame.interlaced_frame:
                frame = next(_through(self._marking, frame))
        for out in _through(self._graph, frame):
            yield from self._timed(out, at_end=frame is None)

    def _timed(self, out: av.VideoFrame, *, at_end: bool) -> Iterator[Made]:
        """`out` at its time; of two, the first one waits for the second."""
        pts, duration, paired = self._waiting[0]
        if paired and self._first is None:
            self._first = out
            return
        self._waiting.popleft()
        ticks = self._how.ticks
        if self._first is None:
            yield Made(pts * ticks, duration * ticks, pts, out)
        else:
            after = None if at_end or not self._waiting else self._waiting[0][0] - pts
            half = self._picture_length(pts, after)  # in the finer ticks
            yield Made(2 * pts, half, pts, self._first)
            yield Made(2 * pts + half, half, pts, out, second=True)
        self._first, self._before = None, pts

    def _picture_length(self, pts: int, after: int | None) -> int:
        """In ticks of the film: until the next picture, unless some are missing there."""
        before = None if self._before is None else pts - self._before
        for length in (after, before):
            if length and any(abs(length * self._time_base / usual - 1) < _NEAR for usual in _TELEVISION):
                return length
        known = [length for length in (after, before, self._length) if length]
        if not known:
            return 1
        usual, until = median_low(known), after or before
        return until if until and until <= usual * _LATE else usual


def _through(graph: av.filter.Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """What comes out of `graph` for a picture, or for None at the end."""
    graph.push(frame)
    yield from ready(graph)


class ByPicture:
    """Makes pictures progressive, those that `how` names; all others pass untouched.

    What comes out of a picture depends on it and its two neighbours of the same size and layout, and on nothing else,
    so it does not matter where reading begins. Pictures need a pts in ticks of `time_base`. `num_flagged` counts,
    `first` is the pts of the first. `rate` tells how long a picture is where its neighbours do not.
    """

    def __init__(self, how: Deinterlacing, time_base: Fraction, rate: Fraction | None) -> None:
        self._how, self._time_base = how, time_base
        self._length = max(round(1 / (rate * time_base)), 1) if rate else None
        self._filter: Deinterlacer | None = None  # none until the first picture that needs it
        self._before: av.VideoFrame | None = None  # the picture that passed last without one
        self._kind: tuple[str, int, int] | None = None
        self.num_flagged = 0
        self.first: int | None = None

    def __call__(self, picture: av.VideoFrame | None) -> Iterator[Made]:
        """Take one picture, or None at the end, and yield what is ready."""
        kind = _kind(picture)
        if self._filter is not None and kind != self._kind:
            yield from self._filter(None)
            self._filter = None
        if kind != self._kind:
            self._before, self._kind = None, kind
        if picture is None:
            return
        if picture.interlaced_frame:
            self.num_flagged += 1
            self.first = picture.pts if self.first is None else self.first
        if self._filter is not None:
            yield from self._filter(picture)
        elif self._how.which == "all" or (self._how.which == "flagged" and picture.interlaced_frame):
            yield from self._begun(picture)
        else:
            self._before = picture
            yield self._untouched(picture)

    def _untouched(self, picture: av.VideoFrame) -> Made:
        pts, ticks = picture.pts or 0, self._how.ticks
        return Made(pts * ticks, (picture.duration or 0) * ticks, pts, picture)

    def _begun(self, picture: av.VideoFrame) -> Iterator[Made]:
        """Start the filter with `picture`, and what it is to know of the one before it, which is out already."""
        name, size = picture.format.name, (picture.width, picture.height)
        self._filter = Deinterlacer(name, *size, self._time_base, self._how, self._length)
        before, self._before = self._before, None
        for known in (before, picture):
            for made in self._filter(known) if known is not None else ():
                if before is None or made.origin != before.pts:
                    yield made


def _kind(picture: av.VideoFrame | None) -> tuple[str, int, int] | None:
    return None if picture is None else (picture.format.name.replace("yuvj", "yuv"), picture.width, picture.height)
