"""A film that plays while it is written: pictures and the other streams of the source, into what cannot be sought."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from typing import BinaryIO, cast

import av
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidsr.errors import OutputError
from vidsr.frame import Frame
from vidsr.media.containers import CONTAINERS, Container
from vidsr.media.mux import matroska
from vidsr.media.mux.film import Film
from vidsr.media.mux.origin import earliest, late_start
from vidsr.media.mux.others import Others, Timed
from vidsr.media.mux.streams import KeptStream
from vidsr.media.read.open import open_input
from vidsr.media.read.probe import MediaInfo
from vidsr.media.write.encoder import VideoSpec, configure, encoder_clock, open_politely, to_video_frame
from vidsr.media.write.messages import Messages

_REORDERED = 2  # pictures by which encoders of B pictures decode before they show; not all of them tell
EVEN = Fraction(1, 1000)  # between the average rate and that of the distances, where pictures come at one rate


class LiveWriter:
    """Encodes frames, the first of which begins the film, into `sink`, and beside them the streams that are `kept`.

    `opens` says whether `source` is a file, which has other streams; `cut` that only a part of it was asked for, up to
    `end` seconds. `num_bytes` were written so far. Nothing is held back but what the muxer interleaves.

    Raises:
        OutputError: the encoder fails.
        BrokenPipeError: nobody reads.
    """

    def __init__(
        self, sink: BinaryIO, container: str, spec: VideoSpec, source: MediaInfo, kept: Sequence[KeptStream], *,
        opens: bool, cut: bool, end: Fraction | None, keep_going: bool,
    ) -> None:  # fmt: skip
        self._sink, self._row, self._spec, self._source, self._kept = (
            _Counted(sink),
            CONTAINERS[container],
            spec,
            source,
            kept,
        )
        self._opens, self._cut, self._end, self._keep_going = opens, cut, end, keep_going
        self._clock = encoder_clock(spec.time_base)
        self._stack = ExitStack()
        self._stream: VideoStream | None = None  # until the first frame
        self._shift = Fraction(0)
        self._last_dts: int | None = None
        self._lengths: dict[int, int] = {}  # pts -> of frames that the encoder has
        self._others: Others | None = None
        self._packets: Generator[Timed, None, None] | None = None
        self._next: Timed | None = None  # of theirs
        self._notes: list[str] = []
        self._messages = Messages(spec)

    @property
    def num_bytes(self) -> int:
        """Written so far."""
        return self._sink.num_bytes

    @property
    def notes(self) -> list[str]:
        """What the user should know of the other streams, once all is written."""
        return [*self._notes, *(self._others.notes() if self._others else [])]

    def write(self, frame: Frame) -> None:
        """Encode one frame, and write what is due by then."""
        if self._stream is None:
            self._begin(frame)
        time = frame.pts * frame.time_base + self._shift
        picture = to_video_frame(frame, self._spec)
        picture.pts, picture.time_base = round(time / self._clock), self._clock
        self._messages.keep(picture.pts, frame.inside)
        length = frame.duration * frame.time_base or 1 / (self._spec.rate or Fraction(25))
        self._lengths[picture.pts] = max(round(length / self._clock), 1)
        self._mux(self._encoded(picture))

    def close(self) -> None:
        """Write the rest."""
        if self._stream is not None:
            self._mux(self._encoded(None))
            self._catch_up(math.inf)
            self._out.close()
        self._stack.close()

    def abort(self) -> None:
        """Let go of what is open; what was written stands. Never raises."""
        with suppress(Exception):
            self._stack.close()

    def _begin(self, first: Frame) -> None:
        begin, row, spec = first.pts * first.time_base, self._row, self._spec
        shift = -begin if self._cut else -late_start(self._source, row.name) if self._opens else Fraction(0)
        self._shift = max(shift, -begin)  # a film has no picture before 0
        self._shift += self._later(begin + self._shift)
        options = {**row.options, **(row.live or {})}
        self._out = av.open(self._sink, "w", format=row.muxer, container_options=options)
        if not self._opens:
            self._stream = self._add_picture()
            open_politely(self._stream.codec_context)
            return
        opened = self._stack.enter_context(open_input(self._source.path))
        window = (begin, self._last_moment()) if self._cut else None
        film = Film(self._source, spec, row, window, begin, self._shift, None, self._notes)
        film.describe(self._out, opened, {})
        self._stream, tracks = film.add_streams(self._out, opened, self._kept, self._add_picture)
        open_politely(self._stream.codec_context)
        if row.ebml and (changes := self._changes(film, opened.streams[self._source.video.index])):
            self._sink.mend = lambda head: matroska.changed(head, changes)
        self._others = Others(self._source, window, self._keep_going)
        self._packets = self._others.packets(opened, tracks)
        self._stack.callback(self._packets.close)
        self._next = next(self._packets, None)

    def _later(self, begin: Fraction) -> Fraction:
        """Seconds by which all begins later where no packet may come before 0; pictures begin at `begin`."""
        if self._row.before_zero:
            return Fraction(0)
        low = begin - _REORDERED / (self._spec.rate or Fraction(25))
        cut = -self._shift if self._cut else None
        others = earliest(self._source, self._row.name, cut) if self._opens else None
        low = low if others is None else min(low, others + self._shift)
        later = max(math.ceil(-low / self._clock) * self._clock, Fraction(0))
        if later:
            self._notes.append(f"all streams begin {float(later):.3f} s later: {self._row} has no time before 0")
        return later

    def _changes(self, film: Film, source: Stream) -> list[Callable[[bytearray], None]]:
        """What FFmpeg does not write as it is."""
        spec, changes = self._spec, list[Callable[[bytearray], None]]()
        if film.placeholder:
            title = source.metadata.get("title")
            changes.append(lambda data: matroska.set_aspect(data, spec.width, spec.height, spec.sample_aspect, title))
        if matroska.have_both(made.metadata.get("language") for made in self._out.streams):
            changes.append(matroska.set_languages)
        if isinstance(source, VideoStream) and _varies(source):
            pictures = [s for s in self._out.streams.video if not s.disposition & Disposition.attached_pic]
            number = next(number for number, made in enumerate(pictures) if made is self._stream)
            changes.append(lambda data: matroska.clear_rate(data, number))
        return changes

    def _last_moment(self) -> Fraction | float:
        """Where the part ends that was asked for, in the source's seconds."""
        video = self._source.video
        return math.inf if self._end is None else (video.start_pts or 0) * video.time_base + self._end

    def _add_picture(self) -> VideoStream:
        stream = self._out.add_stream(self._spec.encoder)
        assert isinstance(stream, VideoStream)
        configure(stream.codec_context, self._spec)
        stream.time_base = self._clock
        return stream

    def _encoded(self, picture: av.VideoFrame | None) -> list[Packet[VideoStream]]:
        assert self._stream is not None
        try:
            return self._stream.encode(picture)
        except av.FFmpegError as error:
            raise OutputError(f"{self._spec.encoder} failed ({error.strerror}): choose another codec.") from error

    def _mux(self, packets: Sequence[Packet[VideoStream]]) -> None:
        for packet in map(self._messages.put, packets):
            pts = packet.pts or 0
            packet.duration = self._lengths.pop(pts, 0)
            dts = min(pts if packet.dts is None else packet.dts, pts)
            dts = dts if self._row.before_zero else max(dts, 0)
            packet.dts = self._last_dts = dts if self._last_dts is None else max(dts, self._last_dts + 1)
            self._catch_up(float(packet.dts * self._clock))
            self._write(packet)

    def _catch_up(self, seconds: float) -> None:
        """Write what other streams have up to then."""
        while self._next is not None and self._next[0] <= seconds:
            assert self._packets is not None
            assert self._others is not None
            try:
                self._write(self._next[1])
            except av.InvalidDataError:  # of a copied packet
                self._others.num_left_out += 1
            self._next = next(self._packets, None)

    def _write(self, packet: Packet[VideoStream] | object) -> None:
        try:
            self._out.mux(cast("Packet[VideoStream]", packet))
        except av.BrokenPipeError as error:
            raise BrokenPipeError from error


def _varies(stream: VideoStream) -> bool:
    """Whether pictures come at no constant rate, by what is known before all are there."""
    average, least = stream.average_rate, stream.base_rate
    if not average or not least:
        return False
    return abs(average / least - 1) > EVEN


class _Counted:
    """Takes bytes for a sink that nobody may seek in. `mend` makes of the first ones what is written, once it can."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink, self.num_bytes = sink, 0
        self.mend: Callable[[bytes], bytes | None] | None = None
        self._held = b""

    def write(self, data: bytes) -> int:
        """Pass them on at once."""
        whole: bytes | None = data
        if self.mend is not None:
            self._held += data
            whole = self.mend(self._held)
        if whole is not None:
            self.mend = None
            self._sink.write(whole)
            self._sink.flush()
            self.num_bytes += len(whole)
        return len(data)


def check_live(row: Container) -> None:
    """Raises OutputError where a container cannot be written as it is made."""
    if row.live is None:
        able = ", ".join(other.name for other in CONTAINERS.values() if other.live is not None and other.offered)
        raise OutputError(f"{row} cannot be written as it is made; name a file, or the container {able}")
