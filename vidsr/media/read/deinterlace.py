"""FFmpeg's ``bwdif``: interlaced pictures to progressive ones, one for each. And which pictures are to be made so."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import av
import av.filter

from vidsr.media.read.probe import Video

Fields = Literal["none", "flagged", "all"]
"""Which pictures are made progressive: those that are flagged as interlaced, whatever the others are, or all."""


def fields_of(video: Video, option: Literal["auto", "off", "bwdif"]) -> Fields:
    """What ``--deinterlace`` means for `video`: where its container alone says so, no picture will."""
    if option == "off":
        return "none"
    unsaid = video.combed or (video.interlaced and not video.fields_flagged)
    return "all" if option == "bwdif" or unsaid else "flagged"


class Deinterlacer:
    """FFmpeg's ``bwdif``, one picture out for each in, at the same time.

    `every`: also pictures that are not flagged as interlaced. Feed pictures of one size and of FFmpeg's `pix_fmt`.
    """

    def __init__(self, pix_fmt: str, width: int, height: int, time_base: Fraction, *, every: bool) -> None:
        self._time_base = time_base
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(width=width, height=height, format=av.VideoFormat(pix_fmt), time_base=time_base)
        deint = "all" if every else "interlaced"
        bwdif = self._graph.add("bwdif", f"mode=send_frame:parity=auto:deint={deint}")
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    def __call__(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Push one picture, or None at the end, and yield what comes out, in the source's time base."""
        self._graph.push(frame)
        while True:
            try:
                out = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(out, av.VideoFrame)
            yield self._rescaled(out)

    def _rescaled(self, frame: av.VideoFrame) -> av.VideoFrame:
        """bwdif halves the time base; the pts it makes of the source's are whole multiples again."""
        if frame.pts is not None and frame.time_base and frame.time_base != self._time_base:
            factor = frame.time_base / self._time_base
            pts, duration = frame.pts * factor, frame.duration * factor
            frame.time_base, frame.pts, frame.duration = self._time_base, round(pts), round(duration)
        return frame


class ByPicture:
    """Makes pictures progressive, those that `fields` names; all others pass untouched.

    What comes out of a picture depends on it and its two neighbours of the same size and layout, and on nothing else,
    so it does not matter where reading begins. Pictures need a pts. `num_made` counts, `first` is the pts of the first.
    """

    def __init__(self, fields: Fields, time_base: Fraction) -> None:
        self._every, self._time_base = fields == "all", time_base
        self._filter: Deinterlacer | None = None  # none until the first picture that needs it
        self._before: av.VideoFrame | None = None  # the picture that passed last without one
        self._kind: tuple[str, int, int] | None = None
        self.num_flagged = 0
        self.first: int | None = None

    def __call__(self, picture: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
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
        elif self._every or picture.interlaced_frame:
            yield from self._begun(picture)
        else:
            self._before = picture
            yield picture

    def _begun(self, picture: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Start the filter with `picture`, and what it is to know of the one before it, which is out already."""
        name = picture.format.name
        self._filter = Deinterlacer(name, picture.width, picture.height, self._time_base, every=self._every)
        before, self._before = self._before, None
        for known in (before, picture):
            for out in self._filter(known) if known is not None else ():
                if before is None or out.pts != before.pts:
                    yield out


def _kind(picture: av.VideoFrame | None) -> tuple[str, int, int] | None:
    return None if picture is None else (picture.format.name.replace("yuvj", "yuv"), picture.width, picture.height)
