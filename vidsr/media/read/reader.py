"""Decodes the picture stream of a file: every picture once, in order, with its own time, or the reason why not."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
from av.stream import Discard

from vidsr.errors import DamagedError, UsageError
from vidsr.frame import Frame
from vidsr.media.captions import captions_of, may_hold
from vidsr.media.pyav import VideoPacket, picture_stream
from vidsr.media.read.decoder import Decoder
from vidsr.media.read.deinterlace import Deinterlacer
from vidsr.media.read.intra_refresh import decodes_alone
from vidsr.media.read.joints import OneClock, joints_of, notes
from vidsr.media.read.open import demux, limit_pixels, open_input
from vidsr.media.read.pixels import Unpacker, planes_of
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.read.timeline import Timeline
from vidsr.media.read.truncation import missing_end

Packet = VideoPacket

MAX_LISTED_ERRORS = 100
GAP = Fraction(19, 10)  # pictures' lengths between two of them: at least one is missing
MAX_DEMUX_ERRORS = 20  # in a row, without a packet between them: then the rest cannot be read
_SCANNED = ("mpegts", "mpeg", "h264", "hevc", "m4v", "obu", "gif")  # demuxers in which no seek can be relied on


@dataclass(slots=True)
class ReadReport:
    """What happened while reading; complete once the reader is exhausted."""

    num_frames: int = 0  # yielded
    num_packets: int = 0  # of the picture stream
    num_discarded: int = 0  # packets that the container's edit list cuts away
    num_corrupt: int = 0  # pictures that the decoder knows to be damaged and has concealed
    num_corrupt_packets: int = 0  # by the demuxer's word; at a joint of transport streams a sound one may be among them
    num_errors: int = 0
    errors: list[str] = field(default_factory=list)  # the first of them: where in seconds, and what
    notes: list[str] = field(default_factory=list)  # not damage, but worth saying


class Reader:
    """Iterates over the pictures of `source` in presentation order, each once.

    `start` and `end` are seconds from the stream's first picture: those with ``start <= t < end`` are yielded,
    with unchanged pts (in the stream's time base). Pictures without pts are `rate` apart; where times repeat or run
    backwards, see `vidsr.media.read.timeline`. Planes are views of the decoder's buffers: nothing is copied.
    `deinterlace` yields one progressive picture for each interlaced one.

    A damaged place ends the iteration with `DamagedError`, after everything before it was yielded. With
    `keep_going` reading goes on at the next packet and `report` lists what was wrong.

    `gpu` is the index of an NVIDIA GPU that decodes (NVDEC), or None. Where it cannot, software does, which the report
    says. A GPU conceals damage without a word, and its pictures are checked for nothing but their number.

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
        gpu: int | None = None,
    ) -> None:
        if threads < 1:
            raise UsageError(f"expected at least one decoder thread, got {threads}")
        self.info = source if isinstance(source, MediaInfo) else probe(source)
        self.report = ReadReport()
        self._keep_going = keep_going
        video = self.info.video
        base, origin = video.time_base, video.start_pts or 0
        self._first = origin + start / base if start else None
        self._stop = origin + end / base if end is not None else None
        self._joints = joints_of(self.info.path, self.info.container, video.index)
        self._timeline = Timeline(base, video.rate, video.start_pts)
        self._unpack = Unpacker(video.format, video.width, video.height)
        self._size = (video.width, video.height)
        stored = video.pix_fmt if video.pix_fmt.startswith("yuvj") else video.format.name
        size = (stored, video.width, video.height)
        self._deinterlace = Deinterlacer(*size, base, every=not video.fields_flagged) if deinterlace else None
        self._damage: str | None = None  # what ended the reading
        self._captions_from: str | None = None  # where the first ones are
        self._threads = threads
        self._gpu = gpu
        self._open()
        self._frames: Generator[Frame, None, None] = self._iterate()

    def _open(self) -> None:
        self._container = open_input(self.info.path)
        self._clock = OneClock(self._joints)
        self._stream = picture_stream(self._container, self.info.video.index)
        for other in self._container.streams:
            if other.index != self._stream.index:
                other.discard = Discard.all
        limit_pixels(self._stream)
        self._decoder = Decoder(self._stream, threads=self._threads, gpu=self._gpu)
        self._demux = self._packets_from_here()
        self._pending: list[Packet] = []  # already taken from the demuxer, to be decoded first
        self._decoding_times: deque[int | None] | None = deque() if self.info.container == "avi" else None
        self._started = False  # a keyframe has been seen
        self._captioned = False  # pictures may have captions inside
        self._gaps: list[str] = []  # where
        self._num_early = 0  # packets before it that cannot be decoded
        self._last_dts: int | None = None
        self._joined = False  # packets' times ran backwards, or are not all there
        self._end_pts: int | None = None  # of the packets so far
        self._at_end = False  # the whole file was read

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration and close the file. Frames already yielded stay valid."""
        self._frames.close()
        self._demux.close()  # before the container: touching it afterwards would crash the process
        self._container.close()

    def _iterate(self) -> Generator[Frame, None, None]:
        if self._first is not None and self._first > (self.info.video.start_pts or 0):
            self._seek(self._first)
        for pts, picture in self._timed():
            if self._first is not None and pts < self._first:
                continue
            if self._stop is not None and pts >= self._stop:
                break
            yield self._frame(pts, picture)
            self.report.num_frames += 1
        self.report.notes += [*self._decoder.notes, *notes(self._joints), *self._timeline.notes]
        if self._gaps:
            self.report.notes.append(f"{len(self._gaps)} gaps in time, the first {self._gaps[0]}: pictures are missing")
        if self._captions_from and "A53_CC" not in self.info.video.extras:
            where = f"captions inside the pictures (CEA-608/708) begin {self._captions_from}"
            self.report.notes.append(f"{where}: H.264, HEVC and MPEG-2 keep them")
        if self._num_early:
            self.report.notes.append(f"{self._num_early} packets before the first keyframe cannot be decoded")
        if self._damage and not self._keep_going:
            raise DamagedError(self._damage)

    def _frame(self, pts: int, picture: av.VideoFrame) -> Frame:
        video = self.info.video
        planes = planes_of(picture, video.format)
        captions = captions_of(picture) if self._captioned else b""
        if captions and self._captions_from is None:
            self._captions_from = self._at(pts)
        return Frame(planes, video.format, video.colour, pts, video.time_base, picture.duration, captions)

    def _timed(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pictures of the one size and format with their final pts, deinterlaced where asked."""
        for picture in self._decoded():
            pts = self._timeline.place(picture.pts, joined=self._joined)
            self._note_changes(picture, pts)
            converted = self._unpack(picture)
            if self._deinterlace is None:
                yield pts, converted
            else:
                converted.pts = pts
                yield from self._deinterlaced(converted)
        yield from self._deinterlaced(None)

    def _deinterlaced(self, picture: av.VideoFrame | None) -> Iterator[tuple[int, av.VideoFrame]]:
        if self._deinterlace is not None:
            for out in self._deinterlace(picture):
                assert out.pts is not None
                yield out.pts, self._unpack(out)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Pictures as the decoder gives them, until the end or, without `keep_going`, the first damage."""
        before: Fraction | float = float("inf")
        for packet in self._packets():
            try:
                pictures = self._retimed(packet, self._decoder.decode(packet))
            except av.FFmpegError as error:
                self._bad_packet(packet, error)
                pictures = []
            yield from self._sound(pictures)
            if self._damage:
                before = packet.pts if packet.pts is not None else before
                break
        rest = self._retimed(None, self._flushed())
        yield from self._sound(p for p in rest if p.pts is None or p.pts < before)
        missing = (
            missing_end(self.info.path, self.info.container, self._stream, self._last_dts) if self._at_end else None
        )
        if missing:
            self._damaged(self._end_pts, missing)

    def _retimed(self, packet: Packet | None, pictures: list[av.VideoFrame]) -> list[av.VideoFrame]:
        """In AVI, which stores decoding times only, the n-th picture shown has the n-th of them."""
        if self._decoding_times is not None:
            self._decoding_times.extend([] if packet is None else [packet.dts])
            for picture in pictures:
                picture.pts = self._decoding_times.popleft() if self._decoding_times else None
        return pictures

    def _flushed(self) -> list[av.VideoFrame]:
        try:
            return self._decoder.decode(None)
        except av.FFmpegError as error:
            self._damaged(self._end_pts, f"the decoder failed at the end ({error.strerror})")
            return []

    def _packets_from_here(self) -> Generator[Packet, None, None]:
        return demux(self._container, self._stream, clock=self._clock)

    def _packets(self) -> Iterator[Packet]:
        """Packets of the picture stream, without the empty ones that would end the decoding.

        Where to stop shows only in decoded pictures: a QuickTime file may have dts after pts.
        """
        errors = 0
        while errors <= MAX_DEMUX_ERRORS:
            try:
                for packet in self._demuxed():
                    errors = 0
                    self._count(packet)
                    yield packet
                self._at_end = True
                return
            except av.FFmpegError as error:
                self._damaged(self._end_pts, f"the file cannot be read on ({error.strerror})")
                errors += 1
            if self._damage:
                return
            self._demux = self._packets_from_here()

    def _demuxed(self) -> Iterator[Packet]:
        pending, self._pending = self._pending, []
        yield from pending
        yield from (packet for packet in self._demux if packet.size)

    def _count(self, packet: Packet) -> None:
        self.report.num_packets += 1
        self.report.num_discarded += packet.is_discard
        self.report.num_corrupt_packets += packet.is_corrupt
        self._started = self._started or packet.is_keyframe
        self._captioned = self._captioned or may_hold(self.info.video, packet)
        self._note_gap(packet)
        fell = self._last_dts is not None and packet.dts is not None and packet.dts < self._last_dts
        self._joined = self._joined or fell or packet.dts is None
        self._last_dts = packet.dts if packet.dts is not None else self._last_dts
        if packet.pts is not None:
            self._end_pts = max(self._end_pts or packet.pts, packet.pts + (packet.duration or 0))

    def _note_gap(self, packet: Packet) -> None:
        """In transport and program streams, which lose packets without a trace, a gap in time is worth saying."""
        video = self.info.video
        if self.info.container not in ("mpegts", "mpeg") or packet.dts is None or self._last_dts is None:
            return
        if video.rate and (packet.dts - self._last_dts) * video.time_base * video.rate > GAP:
            self._gaps.append(self._at(packet.dts))

    def _sound(self, pictures: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """`pictures` up to the first one that the decoder had to conceal; all of them with `keep_going`."""
        for picture in pictures:
            if picture.is_corrupt and self._wanted(picture.pts):
                self.report.num_corrupt += 1
                self._damaged(picture.pts, "a picture is damaged")
                if self._damage:
                    return
            yield picture

    def _bad_packet(self, packet: Packet, error: av.FFmpegError) -> None:
        """A recording that starts in the middle has packets before its first keyframe that nothing can decode."""
        if not self._started:
            self._num_early += 1
        elif self._wanted(packet.pts):
            cut = packet.is_corrupt and packet.pos is not None and packet.pos + packet.size >= self.info.size
            what = "the file breaks off" if cut else f"a packet cannot be decoded ({error.strerror})"
            self._damaged(packet.pts if packet.pts is not None else packet.dts, what)

    def _wanted(self, pts: int | None) -> bool:
        """Whether `pts` lies in the part that was asked for; damage elsewhere is not ours to report."""
        if pts is None:
            return True
        return (self._first is None or pts >= self._first) and (self._stop is None or pts < self._stop)

    def _damaged(self, pts: int | None, what: str) -> None:
        where = self._at(pts)
        self.report.num_errors += 1
        if len(self.report.errors) < MAX_LISTED_ERRORS:
            self.report.errors.append(f"{where}: {what}")
        if not self._keep_going:
            self._damage = f"{self.info.path} is damaged {where}: {what}; --keep-going upscales what can be decoded."

    def _at(self, pts: int | None) -> str:
        if pts is None:
            return "at an unknown time"
        return f"at {float((pts - (self.info.video.start_pts or 0)) * self.info.video.time_base):.3f} s"

    def _note_changes(self, picture: av.VideoFrame, pts: int) -> None:
        size = (picture.width, picture.height)
        if size != self._size:
            self._size = size
            first = f"{self.info.video.width}x{self.info.video.height}"
            where = self._at(pts)
            self.report.notes.append(f"the picture size becomes {size[0]}x{size[1]} {where}: resized to {first}")

    def _seek(self, target: Fraction) -> None:
        """Go where decoding gives every picture from `target` on: one keyframe earlier than seems needed.

        Streams with open groups need the earlier one; those with intra refresh are decoded from the start. Transport
        and program streams are scanned: a seek in them lands after its aim, and where their times run backwards it
        lands anywhere.
        """
        if self._decoding_times is not None:
            return  # AVI: its times are counted from the first picture
        key = None if self._joints or self.info.container in _SCANNED else self._keyframe(math.floor(target), target)
        if key is not None and key.pts is not None:
            key = self._keyframe(key.pts - 1, target) or self._keyframe(math.floor(target), target)
        if key is not None and not decodes_alone(self._stream.codec_context, key):
            self._reopen()
        elif key is not None:
            self._pending = [key]
        else:
            self._scan(target)

    def _keyframe(self, aim: int, target: Fraction) -> Packet | None:
        """The first packet after a seek to `aim`, if decoding can start there and reach `target`."""
        try:
            self._demux.close()
            self._container.seek(aim, stream=self._stream)
            self._demux = self._packets_from_here()
            packet: Packet | None = next((p for p in self._demux if p.size), None)
        except av.FFmpegError:
            return None
        if packet is not None and packet.is_keyframe and packet.pts is not None and packet.pts <= target:
            return packet
        return None

    def _scan(self, target: Fraction) -> None:
        """Read on from the start without decoding, up to the last keyframe but one at or before `target`.

        Where times are missing or run backwards, everything from the start has to be decoded.
        """
        self._reopen()
        groups: deque[list[Packet]] = deque([[]], maxlen=2)
        last = None
        try:
            for packet in (p for p in self._demux if p.size):
                if packet.dts is None or (last is not None and packet.dts < last):
                    return self._reopen()
                last = packet.dts
                if packet.is_keyframe and packet.pts is not None and packet.pts <= target:
                    groups.append([])
                groups[-1].append(packet)
                if packet.dts > target:
                    break
        except av.FFmpegError:
            return self._reopen()
        self._pending = [packet for group in groups for packet in group]
        first = next((packet for packet in self._pending if packet.is_keyframe), None)
        if first is not None and not decodes_alone(self._stream.codec_context, first):
            self._reopen()
        return None

    def _reopen(self) -> None:
        self._demux.close()
        self._container.close()
        self._open()
