"""Decodes the picture stream of a file: every picture once, in order, with its own time, or the reason why not."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from vidsr.errors import DamagedError, UsageError
from vidsr.frame import NOTHING_INSIDE, Frame
from vidsr.media.inside import inside_of, late, may_hold, said_late
from vidsr.media.pyav import VideoPacket
from vidsr.media.read.changes import Aspects, Changes
from vidsr.media.read.decoder import Decoder
from vidsr.media.read.deinterlace import ByPicture, Deinterlacing, Made
from vidsr.media.read.feed import Feed
from vidsr.media.read.joints import joints_of, notes
from vidsr.media.read.pixels import Unpacker, framed, planes_of
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.read.report import ReadReport
from vidsr.media.read.timeline import Timeline
from vidsr.media.read.truncation import missing_end

MAX_LISTED_ERRORS = 100
GAP = Fraction(19, 10)  # pictures' lengths between two of them: at least one is missing
FARTHER = 4  # times as far back, where too few pictures come before a start
MAX_DEMUX_ERRORS = 20  # in a row, without a packet between them: then the rest cannot be read


class Reader:
    """Iterates over the pictures of `source` in presentation order, each once.

    `start` and `end` are seconds from the stream's first picture: those with ``start <= t < end`` are yielded,
    with unchanged pts (in the stream's time base). Pictures without pts are `rate` apart; where times repeat or run
    backwards, see `vidsr.media.read.timeline`. Planes are views of the decoder's buffers: nothing is copied.
    `deinterlace` yields a progressive picture for each interlaced one, or two on a clock that is twice as fine.
    A frame's colour is by its own tags; pictures of another size or pixel aspect are fitted into that of the first one,
    and what the container crops is gone (`vidsr.media.read.changes`).

    A damaged place ends the iteration with `DamagedError`, after everything before it was yielded. With
    `keep_going` reading goes on at the next packet and `report` lists what was wrong.

    `reach` more pictures before `start` and behind `end` are yielded, if the film has them, as ones that are aside.

    `gpu`: the index of an NVIDIA GPU, or one of `encoders.HARDWARE_DECODERS`, or None. Where it cannot, software does,
    which the report says. A GPU conceals damage without a word, and its pictures are checked for nothing but their
    number.

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
        deinterlace: Deinterlacing = Deinterlacing(),  # noqa: B008  (frozen)
        threads: int = 1,
        gpu: int | str | None = None,
        reach: int = 0,
    ) -> None:
        if threads < 1:
            raise UsageError(f"expected at least one decoder thread, got {threads}")
        self.info = source if isinstance(source, MediaInfo) else probe(source)
        self.report = ReadReport()
        self._keep_going = keep_going
        video = self.info.video
        base, origin = video.time_base, video.start_pts or 0
        self._start, self._reach = start, reach
        self._first = origin + start / base if start else None
        self._stop = origin + end / base if end is not None else None
        self._joints = joints_of(self.info.path, self.info.container, video.index)
        self._timeline = Timeline(base, video.rate, video.start_pts)
        self._unpack = Unpacker(video.format)
        self._changes, self._aspects = Changes(video, self._at), Aspects(video)
        self._fits: dict[int, tuple[int, int]] = {}  # by the pts of pictures on their way
        self._how = deinterlace
        self._fields = ByPicture(deinterlace, base, video.rate)
        self._damage: str | None = None  # what ended the reading
        self._late: dict[str, str] = {}  # kinds of what stands inside that begin late, and where
        self._threads = threads
        self._gpu = gpu
        self._feed = Feed(self.info, self._joints)
        self._decoding_times: deque[int | None] | None = deque() if self.info.container == "avi" else None
        self._started = False  # a keyframe has been seen
        self._holds = False  # pictures may have something inside
        self._gaps: list[str] = []  # where
        self._num_joints = 0  # so far
        self._num_early = 0  # packets before it that cannot be decoded
        self._last_dts: int | None = None
        self._num_untimed, self._sparse = 0, False  # packets without one, since then; whether there were any
        self._joined = False  # packets' times ran backwards, or are not all there
        self._end_pts: int | None = None  # of the packets so far
        self._at_end = False  # the whole file was read
        self._closed = False
        self._frames: Generator[Frame, None, None] = self._iterate()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration and close the file. Frames already yielded stay valid.

        A thread that stands in the iteration, as in a slow read, closes the file itself once it leaves it.
        """
        self._closed = True
        try:
            self._frames.close()
        except ValueError:  # another thread is in it
            return
        self._feed.close()

    def _iterate(self) -> Generator[Frame, None, None]:
        try:
            with closing(self._shown()) as shown:
                for frame in shown:
                    if self._closed:
                        return  # while it was being decoded
                    yield frame
        finally:
            if self._closed:
                self._feed.close()

    def _shown(self) -> Generator[Frame, None, None]:
        if self._first is not None and self._first > (self.info.video.start_pts or 0):
            self._feed.seek(self._first)
        self._decoder = Decoder(self._feed.stream, threads=self._threads, gpu=self._gpu)
        yield from self._before()
        behind = 0
        for made in self._timed():
            for passed in [pts for pts in self._fits if pts < made.origin]:
                del self._fits[passed]
            if self._first is not None and made.pts < self._first * self._how.ticks:
                continue
            if self._stop is not None and made.pts >= self._stop * self._how.ticks:
                behind += 1
                if behind > self._reach:
                    break
                yield replace(self._frame(made), aside=True)
                continue
            yield self._frame(made)
            self.report.num_frames += 1
        self.report.notes += self._notes()
        if self._damage and not self._keep_going:
            raise DamagedError(self._damage)

    def _before(self) -> Iterator[Frame]:
        """The last `reach` pictures before the start, of a reader of their own that begins far enough before it."""
        if not self._reach or not self._start or self._first is None:
            return
        length = Fraction(3, 2) * (self._reach + 1) / (self.info.video.rate or 25)
        while True:
            begin = max(self._start - length, Fraction(0))
            with Reader(
                self.info,
                start=begin or None,
                end=self._start,
                keep_going=True,  # damage there is not ours to report
                deinterlace=self._how,
                threads=self._threads,
                gpu=self._gpu,
            ) as reader:
                found = deque(reader, maxlen=self._reach)
            if len(found) == self._reach or not begin:
                yield from (replace(frame, aside=True) for frame in found)
                return
            length *= FARTHER

    def _notes(self) -> Iterator[str]:
        yield from (*self._decoder.notes, *notes(self._joints), *self._timeline.notes, *self._changes.notes)
        video = self.info.video
        if self._how.which != "none" and self._fields.first is not None and not video.fields_flagged:
            where = f"{self._fields.num_flagged} interlaced pictures, the first {self._at(self._fields.first)}"
            each = "two of each" if self._how.twice else "one of each"
            others = "--deinterlace (deinterlace=) fields makes two, off leaves them"
            yield f"{where}: made progressive by bwdif, {each}; {others}"
        if self._gaps:
            yield f"{len(self._gaps)} gaps in time, the first {self._gaps[0]}: pictures are missing"
        yield from (said_late(kind, where) for kind, where in self._late.items())
        if self._num_early:
            yield f"{self._num_early} packets before the first keyframe cannot be decoded"

    def _frame(self, made: Made) -> Frame:
        video, picture = self.info.video, self._unpack(made.picture)
        colour = self._changes.colour(picture, made.origin)
        fitted = self._unpack(picture, self._fits.get(made.origin, video.stored))
        planes = framed(planes_of(fitted, video.format), video.format, video.stored, video.crop, colour)
        inside = inside_of(picture) if self._holds else NOTHING_INSIDE
        if made.second and inside.captions:
            inside = replace(inside, captions=b"")  # they stand in the first of the two
        for kind in late(video, inside):
            self._late.setdefault(kind, self._at(made.origin))
        clock = self._how.time_base(video)
        return Frame(planes, video.format, colour, made.pts, clock, made.duration, inside)

    def _timed(self) -> Iterator[Made]:
        """Pictures of the one layout with their final pts, deinterlaced where asked."""
        for picture in self._decoded():
            aspect = self._aspects.of(picture.pts)
            pts = self._timeline.place(picture.pts, joined=self._joined)
            self._fits[pts] = self._changes.fit(picture, aspect, pts)
            converted = self._unpack(picture)
            converted.pts = pts
            yield from self._fields(converted)
        yield from self._fields(None)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Pictures as the decoder gives them, until the end or, without `keep_going`, the first damage."""
        before: Fraction | float = float("inf")
        for packet in self._packets():
            try:
                pictures = self._retimed(packet, self._decoder.decode(packet))
            except av.FFmpegError as error:
                self._bad_packet(packet, error)
                pictures = []
            self._aspects.decoded(packet.pts, self._decoder.aspect)
            yield from self._sound(pictures)
            if self._damage:
                before = packet.pts if packet.pts is not None else before
                break
        rest = self._retimed(None, self._flushed())
        yield from self._sound(p for p in rest if p.pts is None or p.pts < before)
        if self._at_end:
            missing = missing_end(self.info.path, self.info.container, self._feed.stream, self._last_dts)
            if missing:
                self._damaged(self._end_pts, missing)

    def _retimed(self, packet: VideoPacket | None, pictures: list[av.VideoFrame]) -> list[av.VideoFrame]:
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

    def _packets(self) -> Iterator[VideoPacket]:
        """Packets of the picture stream, without the empty ones that would end the decoding.

        Where to stop shows only in decoded pictures: a QuickTime file may have dts after pts.
        """
        errors = 0
        while errors <= MAX_DEMUX_ERRORS:
            try:
                for packet in self._feed:
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
            self._feed.again()

    def _count(self, packet: VideoPacket) -> None:
        self.report.num_packets += 1
        self.report.num_discarded += packet.is_discard
        self._started = self._started or packet.is_keyframe
        self._holds = self._holds or may_hold(self.info.video, packet)
        self._note_gap(packet)
        fell = self._last_dts is not None and packet.dts is not None and packet.dts < self._last_dts
        self._joined = self._joined or fell or packet.dts is None
        self._num_untimed = self._num_untimed + 1 if packet.dts is None else 0
        self._sparse = self._sparse or packet.dts is None
        self._last_dts = packet.dts if packet.dts is not None else self._last_dts
        if packet.pts is not None:
            self._end_pts = max(self._end_pts or packet.pts, packet.pts + (packet.duration or 0))

    def _note_gap(self, packet: VideoPacket) -> None:
        """In transport and program streams, which lose packets without a trace, a gap in time is worth saying."""
        video, before = self.info.video, self._num_joints
        self._num_joints = self._feed.num_joints
        if self.info.container not in ("mpegts", "mpeg") or packet.dts is None or self._last_dts is None:
            return
        if self._num_joints != before:
            return  # there the last picture may wait
        between = self._num_untimed + self._sparse  # then neighbours may have each other's times
        if video.rate and (packet.dts - self._last_dts) * video.time_base * video.rate > GAP + between:
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

    def _bad_packet(self, packet: VideoPacket, error: av.FFmpegError) -> None:
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
            self._damage = (
                f"{self.info.path} is damaged {where}: {what}; "
                "--keep-going (keep_going=True) upscales what can be decoded."
            )

    def _at(self, pts: int | None) -> str:
        if pts is None:
            return "at an unknown time"
        return f"at {float((pts - (self.info.video.start_pts or 0)) * self.info.video.time_base):.3f} s"
