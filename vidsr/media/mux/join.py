"""Joins the segments of a job and the other streams of its source into the output, without encoding them again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vidsr.errors import OutputError
from vidsr.media import side_data
from vidsr.media.containers import CONTAINERS, Container
from vidsr.media.mux.decide import decide, own_chapters
from vidsr.media.mux.film import Film
from vidsr.media.mux.fingerprint import KEY
from vidsr.media.mux.finish import Written
from vidsr.media.mux.origin import earliest, late_start
from vidsr.media.mux.others import Others, Timed
from vidsr.media.mux.streams import Dropped, KeptStream, codec_name, is_cover
from vidsr.media.mux.tracks import AnyPacket, Track, keep_kind
from vidsr.media.read.open import local_name, open_input
from vidsr.media.read.probe import MediaInfo
from vidsr.media.write.times import Ticks, Times, constant_rate, fitting_clock, read_times
from vidsr.media.write.writer import VideoSpec, whole

_SHARED_GRID = 50  # steps a second: a common grid of all clocks that is coarser is not worth its delay


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What an output holds. `shift` seconds were added to all times of the source, up to `late` more to some."""

    num_frames: int
    kept: tuple[KeptStream, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    num_bytes: int
    shift: Fraction
    late: Fraction = Fraction(0)


def join(
    segments: Sequence[Path],
    source: MediaInfo,
    output: Path,
    *,
    container: str,
    spec: VideoSpec,
    start: Fraction | None = None,
    end: Fraction | None = None,
    metadata: Mapping[str, str] | None = None,
    keep_going: bool = False,
) -> JoinReport:
    """Write `segments` and every other stream of `source` that `container` holds into `output`, and sync it.

    With `start` or `end` the segments are a part of the source: the other streams are cut at packet borders, where the
    first picture begins and (with `end`) the last one ends, and the video begins at 0. `keep_going` copies what comes
    before a place where the source cannot be read. Packets too damaged to be written are left out and counted.

    Raises:
        OutputError: the output cannot be written, or a segment is not finished. What was written is removed.
        DamagedError: the source cannot be read to its end.
    """
    times = read_times(segments)
    window = None
    if start is not None or end is not None:
        window = int(times.pts.min()) * spec.time_base, times.end * spec.time_base if end is not None else math.inf
    with whole(output):
        return _Join(source, spec, CONTAINERS[container], times, window, keep_going).run(
            segments, output, metadata or {}
        )


class _Join:
    """One join in progress."""

    def __init__(
        self,
        source: MediaInfo,
        spec: VideoSpec,
        container: Container,
        times: Times,
        window: tuple[Fraction, Fraction | float] | None,
        keep_going: bool,
    ) -> None:
        self._source, self._spec, self._container, self._times = source, spec, container, times
        self._window = window
        self._notes: list[str] = []
        self._begin = int(times.pts.min()) * spec.time_base
        self._clock = fitting_clock(times, spec.time_base) if self._container.boxes else spec.time_base
        self._rate = constant_rate(times, spec.time_base, spec.rate, source.video.time_base)
        self._shift = self._find_shift()
        self._others = Others(source, self._window, keep_going)

    def run(self, segments: Sequence[Path], output: Path, metadata: Mapping[str, str]) -> JoinReport:
        with ExitStack() as stack:
            opened = stack.enter_context(open_input(self._source.path))
            whole = self._window is None and not self._shift
            kept, dropped = decide(self._source.path, self._source.video.index, self._container.name, whole=whole)
            first = stack.enter_context(av.open(local_name(segments[0])))
            out = stack.enter_context(
                av.open(local_name(output), "w", format=self._container.muxer, container_options=self._options(opened))
            )
            where = (self._window, self._begin, self._shift, self._rate)
            film = Film(self._source, self._spec, self._container, *where, self._notes)
            film.describe(out, opened, metadata)
            template = first.streams.video[0]
            target, tracks = film.add_streams(out, opened, kept, lambda: self._add_picture(out, template))
            self._copy(out, segments, target, opened, tracks)
            title = opened.streams[self._source.video.index].metadata.get("title")
            wanted = dict(out.metadata)
            empty = self._empty(tracks)
            written = self._written(out, {tracks[index].target.index for index in empty})
            languages = [stream.metadata.get("language") for stream in written]
            alike = [s.index for s in written if self._container.boxes or s.type == "video"]
        kept, dropped = self._without_empty(kept, dropped, empty)
        self._notes += self._others.notes()
        size, aspect = (self._spec.width, self._spec.height), self._spec.sample_aspect
        boxes = side_data.container_boxes(self._spec.spherical, self._spec.stereo) + self._spec.dolby_vision_box
        mark, varies, number = metadata.get(KEY), self._rate is None, alike.index(target.index)
        chapters = own_chapters(self._source.path, self._container, whole=whole)
        self._container.finish(
            Written(
                path=output,
                metadata=wanted,
                languages=languages,
                fingerprint=mark,
                size=size,
                aspect=aspect,
                title=title,
                varies=varies,
                picture=number,
                boxes=boxes,
                chapters=chapters,
            )
        )
        num_bytes = output.stat().st_size
        return JoinReport(len(self._times), tuple(kept), tuple(dropped), tuple(self._notes), num_bytes, self._shift)

    def _find_shift(self) -> Fraction:
        """Seconds that all streams move by, so that the film begins where it does and the container shows all of it."""
        part = self._window is not None
        late = self._begin if part else late_start(self._source, self._container.name)
        low = min(self._begin - late, Fraction(0))
        if not self._container.before_zero:  # not even to decode
            decoded = int(self._times.dts.min()) * self._spec.time_base
            others = earliest(self._source, self._container.name, self._begin if part else None)
            low = min(low, decoded - late, *([] if others is None else [others - late]))
        later = self._on_grid(-low)
        if part and (late or later):
            at = f"{float(later):.3f} s" if later else "0"
            self._notes.append(f"the part begins at {float(late):.3f} s of the source, and at {at} in the output")
        elif later:
            why = "hides pictures before 0" if self._container.before_zero else "has no time before 0"
            self._notes.append(f"all streams begin {float(later):.3f} s later: {self._container} {why}")
        return later - late

    def _on_grid(self, seconds: Fraction) -> Fraction:
        """The next time from `seconds` on that the clocks of all streams have."""
        bases = [self._spec.time_base.denominator] + [s.start.denominator for s in self._source.streams if s.start]
        grid = math.gcd(*bases)
        grid = grid if grid >= _SHARED_GRID else self._spec.time_base.denominator
        return Fraction(math.ceil(seconds * grid), grid)

    def _options(self, opened: InputContainer) -> dict[str, str]:
        if not self._container.boxes:
            return dict(self._container.options)
        clocks = [self._clock]
        clocks += [s.time_base for s in opened.streams if s.type != "attachment" and s.time_base]
        clocks += [start + self._shift for start in (s.start for s in self._source.streams) if start is not None]
        clocks += [Fraction(1, s.rate) for s in opened.streams.audio if s.codec_context and s.rate]
        scale = 1
        for clock in clocks:
            finer = math.lcm(scale, clock.denominator)
            scale = finer if finer < 2**31 else scale
        # edit lists, which hold begin and end of each stream, count in it
        return {**self._container.options, "movie_timescale": str(scale)}

    def _add_picture(self, out: OutputContainer, segment: VideoStream) -> VideoStream:
        target = out.add_stream_from_template(segment, opaque=True)
        keep_kind(target, segment)
        target.time_base = self._clock
        target.codec_context.sample_aspect_ratio = self._spec.sample_aspect  # of a codec that does not say it
        return target

    def _copy(
        self,
        out: OutputContainer,
        segments: Sequence[Path],
        target: VideoStream,
        opened: InputContainer,
        tracks: Mapping[int, Track],
    ) -> None:
        """Both sides, merged by time, so that the muxer never has to hold much back."""
        pictures = self._pictures(segments, target)
        others = self._others.packets(opened, tracks)
        with closing(pictures), closing(others):
            for _, packet in heapq.merge(pictures, others, key=lambda timed: timed[0]):
                try:
                    out.mux(packet)
                except av.InvalidDataError:  # of a copied packet: the segments are FFmpeg's own
                    self._others.num_left_out += 1

    def _pictures(self, segments: Sequence[Path], target: VideoStream) -> Generator[Timed, None, None]:
        """The packets of all segments at the times of their frames."""
        scale, number, extradata = self._spec.time_base / self._clock, 0, None
        base = float(self._clock)
        pts, dts, durations = (
            _rescaled(ticks, scale) + shift
            for ticks, shift in (
                (self._times.pts, round(self._shift / self._clock)),
                (self._times.dts, round(self._shift / self._clock)),
                (self._times.durations, 0),
            )
        )
        for path in segments:
            for packet in _segment_packets(path):
                stream = packet.stream
                extradata = extradata if extradata is not None else stream.codec_context.extradata
                if stream.codec_context.extradata != extradata:
                    raise OutputError(f"{path}: this segment was encoded in another way; run the job again.")
                if number < len(self._times):
                    packet.stream, packet.time_base = target, self._clock
                    packet.pts, packet.dts = int(pts[number]), int(dts[number])
                    packet.duration = int(durations[number])
                    yield packet.dts * base, cast(AnyPacket, packet)
                number += 1
        if number != len(self._times):
            raise OutputError(f"{segments[-1]}: {len(self._times)} pictures were written, {number} are there.")

    def _empty(self, tracks: Mapping[int, Track]) -> list[int]:
        """Indices in the source of those of `tracks` that the output has not, since nothing came: in boxes.

        Text is there in any case: its muxer ends each track with a line of nothing.
        """
        without = [index for index in tracks if index not in self._others.filled] if self._container.boxes else []
        return [index for index in without if codec_name(tracks[index].target) != "mov_text"]

    def _written(self, out: OutputContainer, apart: Collection[int]) -> list[Stream]:
        """The tracks of `out` in its file, in their order, without those `apart`; in boxes, covers stand apart, too."""
        return [s for s in out.streams if s.index not in apart and not (self._container.boxes and is_cover(s))]

    def _without_empty(
        self, kept: list[KeptStream], dropped: list[Dropped], empty: Collection[int]
    ) -> tuple[list[KeptStream], list[Dropped]]:
        """Some containers hold no track without packets: those become dropped ones."""
        gone = [item for item in kept if item.index in empty]
        reason = "it is empty" if self._window is None else "nothing of it falls into this part"
        left = [item for item in kept if item not in gone]
        return left, dropped + [Dropped(item.index, item.kind, item.codec, reason) for item in gone]


def _segment_packets(path: Path) -> Iterator[Packet[VideoStream]]:
    try:
        with av.open(local_name(path)) as segment:
            yield from (packet for packet in segment.demux(segment.streams.video[0]) if packet.size)
    except (av.FFmpegError, IndexError) as error:
        raise OutputError(f"{path}: this segment cannot be read; run the job again.") from error


def _rescaled(ticks: Ticks, scale: Fraction) -> Ticks:
    """`ticks` times `scale`, to the nearest."""
    if scale == 1:
        return ticks
    return np.array([round(int(tick) * scale) for tick in ticks], np.int64)
