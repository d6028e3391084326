"""FFmpeg's picture filters, as functions from frames to frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import av.filter


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
