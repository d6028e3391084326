"""Decodes the picture stream of a file: every picture once, in order, with its own time, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.video.stream import VideoStream

from vidsr.errors import DamagedError
from vidsr.frame import Frame
from vidsr.media.filters import Deinterlacer
from vidsr.media.open import limit_pixels, open_input
from vidsr.media.pixels import Unpacker, planes_of
from vidsr.media.probe import MediaInfo, probe
from vidsr.media.timeline import Timeline

MAX_DEMUX_ERRORS = 20  # in a row without a packet between them: then the rest cannot be read
_SEEK_BACK = (0, 2, 10, 60)  # seconds before the target; transport streams are found again after it


@dataclass(slots=True)
class ReadReport:
    """What happened while reading; complete once the reader is exhausted."""

    num_frames: int = 0  # yielded
    num_packets: int = 0  # of the picture stream
    num_discarded: int = 0  # packets that the container's edit list cuts away
    num_corrupt: int = 0  # pictures and packets known to be damaged, concealed by the decoder
    errors: list[str] = field(default_factory=list)  # where in seconds, and what
    notes: list[str] = field(default_factory=list)  # not damage, but worth saying


class Reader:
    """Iterates over the pictures of `source` in presentation order, each once.

    `start` and `end` are seconds from the stream's first picture: those with ``start <= t < end`` are yielded,
    with unchanged pts (in the stream's time base). Pictures without pts are `rate` apart; where times repeat or run
    backwards, see `vidsr.media.timeline`. Planes are views of the decoder's buffers: nothing is copied.
    `deinterlace` yields one progressive picture for each interlaced one.

    A damaged place ends the iteration with `DamagedError`, after everything before it was yielded. With
    `keep_going` reading goes on at the next packet and `report` lists what was wrong.

    One iteration per reader. `close` may be called at any time, but not while another thread is iterating.

    Raises:
        MediaError: as `probe` does, if `source` is a path.
        DamagedError: while iterating.
    """

    def __init__(
        self,
        source: MediaInfo | Path,
        *,
        start: Fraction | None = None,
        end: Fraction | None = None,
        keep_going: bool = False,
        deinterlace: bool = False,
        threads: int = 1,
    ) -> None:
        if threads < 1:
            raise ValueError(f"expected at least one thread, got {threads}")
        self.info = source if isinstance(source, MediaInfo) else probe(source)
        self.report = ReadReport()
        self._keep_going = keep_going
        video = self.info.video
        base, origin = video.time_base, video.start_pts or 0
        self._first = origin + start / base if start else None
        self._stop = origin + end / base if end is not None else None
        self._timeline = Timeline(base, video.rate, video.start_pts)
        self._unpack = Unpacker(video.format, video.width, video.height)
        size = (video.format, video.width, video.height)
        self._deinterlace = Deinterlacer(*size, base, every=not video.interlaced) if deinterlace else None
        self._damage: str | None = None
        self._open(threads)
        self._frames = self._iterate()

    def _open(self, threads: int) -> None:
        self._container = open_input(self.info.path)
        self._stream: Any = self._container.streams[self.info.video.index]
        for other in self._container.streams:
            if other.index != self._stream.index:
                other.discard = "all"
        limit_pixels(self._stream)
        context = self._stream.codec_context
        context.thread_count = threads
        context.thread_type = "SLICE"  # never FRAME: it loses pictures and errors of damaged files in silence
        if context.name == "libdav1d":
            context.options = {**context.options, "max_frame_delay": "1"}  # its way of saying the same
        self._demux: Iterator[av.Packet[VideoStream]] = self._container.demux(self._stream)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration and close the file. Frames already yielded stay valid."""
        self._frames.close()
        self._demux.close()  # before the container: touching it afterwards would crash the process
        self._container.close()
