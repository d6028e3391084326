"""Where the clock of a file begins anew, as where recordings were joined, and one clock that goes through all of it.

At a joint everything moves by one shift, whatever kind of stream it is: the least at which nothing overlaps what came
before. Streams are told apart by time, but old from new by the byte at which their packets begin.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from vidsr.media.read.heads import has_joint
from vidsr.media.read.open import demux, open_input
from vidsr.media.unchanged import while_unchanged

RESTARTING = ("mpegts", "mpeg", "flv", "live_flv", "ogg", "nut")  # demuxers that read on where another file begins
FALL = Fraction(1, 4)  # seconds: so far decode times fall back only where a clock begins anew
LEAP = Fraction(60)  # seconds: by more, in all streams at once, a clock was set anew, and nothing was lost
MAX_NOTES = 20
MAX_CUTS = 10_000  # of a file that has more the clock is in disorder, and nothing was joined

_LEAPING = ("mpegts", "mpeg")  # whose pictures never stand for so long
_ROUND = Fraction(2**33, 90_000)  # seconds in which their clock goes round
_NEAR_ROUND = 10  # seconds
_GOES_ON = 1  # seconds from one packet to the next, at most
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


Place: TypeAlias = tuple[int, int]  # a packet: the last known byte at which one begins, and how many came since


@dataclass(frozen=True, slots=True)
class Joint:
    """A place behind which all times move by `shift` seconds, those of other joints before it included.

    `places` has, by stream, the first packet behind it; other streams go by `place`, the first of all.
    """

    place: Place
    shift: Fraction
    end: Fraction  # of the pictures up to the next one, in seconds on the one clock
    note: str
    places: Mapping[int, Place]

    def of(self, stream: int) -> Place:
        """The first packet behind it of a stream."""
        return self.places.get(stream, self.place)


Joints = tuple[Joint, ...]


def joints_of(path: Path, container: str, picture: int) -> Joints:
    """Those of the file `path`, which FFmpeg calls a `container`; stream `picture` decides where it can.

    The file is read once, without decoding, if its container can begin anew at all.

    Raises:
        MediaError: it cannot be opened.
    """
    return _joints(path, container, picture) if may_have_joints(path, container) else ()


def may_have_joints(path: Path, container: str) -> bool:
    """Whether all of the file `path`, which FFmpeg calls a `container`, has to be read to know."""
    return any(name in RESTARTING for name in container.split(",")) or has_joint(path)


def notes(joints: Joints) -> list[str]:
    """What is said of them."""
    more = len(joints) - MAX_NOTES
    return [joint.note for joint in joints[:MAX_NOTES]] + ([f"{more} more such places"] if more > 0 else [])


class _Places:
    """Where packets stand; it has to see all of a stream, in order."""

    def __init__(self) -> None:
        self._last: dict[int, Place] = {}

    def __call__(self, packet: Packet[Stream]) -> Place:
        place, number = self._last.get(packet.stream_index, (0, -1))
        says = packet.pos is not None and packet.pos > place
        self._last[packet.stream_index] = found = (packet.pos or 0, 0) if says else (place, number + 1)
        return found


class OneClock:
    """Moves the packets of one pass over a file, from its beginning on, to where they stand on one clock."""

    def __init__(self, joints: Joints) -> None:
        self._joints = joints
        self._place = _Places()
        self._known: dict[int, tuple[list[Place], list[int]]] = {}  # by stream: joints, ticks before and behind each
        self.num_behind: dict[int, int] = {}  # by stream: joints before its last packet

    def __call__(self, packet: Packet[Stream]) -> None:
        """Move `packet`, in place."""
        if not self._joints or not packet.time_base:
            return
        index = packet.stream_index
        if index not in self._known:
            ticks = [round(joint.shift / packet.time_base) for joint in self._joints]
            self._known[index] = [joint.of(index) for joint in self._joints], [0, *ticks]
        places, shifts = self._known[index]
        self.num_behind[index] = bisect_right(places, self._place(packet))
        shift = shifts[self.num_behind[index]]
        if packet.pts is not None:
            packet.pts += shift
        if packet.dts is not None:
            packet.dts += shift


@dataclass(slots=True)
class _Cut:
    """Where the decode times of one stream fall or leap."""

    stream: int
    before: int  # a byte
    behind: Place
    old: Fraction  # seconds, the last one before
    new: Fraction  # the first one behind


@dataclass(slots=True)
class _Span:
    """What a stream has between two joints, in ticks of `base`."""

    base: Fraction
    start: int  # the lowest pts
    last: int  # the highest
    end: int
    longest: int  # packet
    first_dts: int
    last_dts: int


@while_unchanged
def _joints(path: Path, container: str, picture: int) -> Joints:
    cuts: list[_Cut] = []
    seen: set[int] = set()
    with open_input(path) as opened:
        watch = _Watch(cuts, leaps=any(name in _LEAPING for name in container.split(",")))
        for packet, place in _dense(opened):
            seen.add(packet.stream_index)
            watch(packet, place)
            if len(cuts) > MAX_CUTS:
                return ()
    groups = _together(cuts)
    groups = [group for group in groups if _falls(group) or {cut.stream for cut in group} == seen]
    if not groups:
        return ()
    spans = _spans(path, groups)
    whole = [group for n, group in enumerate(groups) if not _someone_goes_on(group, spans[n], spans[n + 1])]
    if len(whole) < len(groups):
        groups, spans = whole, _spans(path, whole)
    return tuple(_shifted(groups, spans, picture))


def _dense(opened: InputContainer) -> Iterator[tuple[Packet[Stream], Place]]:
    """The packets of sound and pictures that have a time, and where they stand."""
    streams = [s for s in opened.streams if s.type in ("audio", "video") and not s.disposition & _STILLS]
    for stream in opened.streams:
        if stream not in streams:
            stream.discard = Discard.all
    place = _Places()
    with suppress(av.FFmpegError), closing(demux(opened, *streams)) as packets:  # what cannot be read, the reader says
        for packet in packets:
            here = place(packet)
            if packet.size and packet.dts is not None and packet.pts is not None:
                yield packet, here


class _Watch:
    """Finds cuts. A single packet whose time is off is none: the one behind it has to agree."""

    def __init__(self, cuts: list[_Cut], leaps: bool) -> None:
        self._cuts, self._leaps = cuts, leaps
        self._last: dict[int, int] = {}  # decode time
        self._odd: dict[int, tuple[int, Place]] = {}  # of a packet that may be behind a cut
        self._bytes: dict[int, tuple[int, int]] = {}  # the last two different ones
        self._limits: dict[int, tuple[int, int]] = {}  # ticks of a fall and a leap

    def __call__(self, packet: Packet[Stream], place: Place) -> None:
        index, dts = packet.stream_index, packet.dts
        assert dts is not None
        last, odd = self._last.get(index), self._odd.pop(index, None)
        if last is not None and not self._follows(packet, last):
            if odd is None or not self._follows(packet, odd[0]):
                self._odd[index] = dts, place
                return
            before = next(byte for byte in (*self._bytes[index], -1) if byte < odd[1][0])
            self._cuts.append(_Cut(index, before, odd[1], last * packet.time_base, odd[0] * packet.time_base))
        self._last[index] = dts
        latest, earlier = self._bytes.get(index, (-1, -1))
        self._bytes[index] = (latest, earlier) if latest == place[0] else (place[0], latest)

    def _follows(self, packet: Packet[Stream], before: int) -> bool:
        index = packet.stream_index
        if index not in self._limits:
            self._limits[index] = ceil(FALL / packet.time_base), ceil(LEAP / packet.time_base)
        fall, leap = self._limits[index]
        apart = (packet.dts or 0) - before
        return apart > -fall and (apart < leap or not self._leaps)


def _together(cuts: Iterable[_Cut]) -> list[list[_Cut]]:
    """The cuts of each joint: those whose places overlap."""
    groups: list[list[_Cut]] = []
    for cut in sorted(cuts, key=lambda cut: cut.behind):
        if groups and cut.before < groups[-1][0].behind[0] and cut.stream not in (c.stream for c in groups[-1]):
            groups[-1].append(cut)
        else:
            groups.append([cut])
    return groups


def _falls(group: list[_Cut]) -> bool:
    return any(cut.new < cut.old for cut in group)


def _someone_goes_on(group: list[_Cut], ahead: Mapping[int, _Span], behind: Mapping[int, _Span]) -> bool:
    """Whether a stream keeps the old clock there: then one stream alone is in disorder."""
    old, new = group[0].old, group[0].new
    for index in (ahead.keys() & behind.keys()) - {cut.stream for cut in group}:
        last, first = ahead[index].last_dts * ahead[index].base, behind[index].first_dts * behind[index].base
        if abs(first - last) < _GOES_ON and abs(first - old) < abs(first - new):
            return True
    return False


def _spans(path: Path, groups: list[list[_Cut]]) -> list[dict[int, _Span]]:
    """By stream, what lies before the first joint and behind each."""
    spans: list[dict[int, _Span]] = [{} for _ in range(len(groups) + 1)]
    places: dict[int, list[Place]] = {}
    with open_input(path) as opened:
        for packet, place in _dense(opened):
            index = packet.stream_index
            if index not in places:
                places[index] = [_behind(group, index) for group in groups]
            _widen(spans[bisect_right(places[index], place)], packet)
    return spans


def _widen(spans: dict[int, _Span], packet: Any) -> None:
    pts, dts, length = packet.pts, packet.dts, packet.duration or _usual(packet)
    span = spans.get(packet.stream_index)
    if span is None:
        spans[packet.stream_index] = _Span(packet.time_base, pts, pts, pts + length, length, dts, dts)
    else:
        span.start, span.last, span.last_dts = min(span.start, pts), max(span.last, pts), dts
        span.end, span.longest = max(span.end, pts + length), max(span.longest, length)


def _usual(packet: Any) -> int:
    """The length of a picture that does not say its own."""
    rate = getattr(packet.stream, "average_rate", None)
    return round(1 / (rate * packet.time_base)) if rate else 0


def _behind(group: list[_Cut], stream: int) -> Place:
    return next((cut.behind for cut in group if cut.stream == stream), group[0].behind)


def _shifted(groups: list[list[_Cut]], spans: list[dict[int, _Span]], picture: int) -> Iterator[Joint]:
    ends = {index: span.end * span.base for index, span in spans[0].items()}
    shown = spans[0].get(picture) or next(iter(spans[0].values()))
    first, last, before = shown.start * shown.base, shown.last * shown.base, Fraction(0)
    for group, behind in zip(groups, spans[1:], strict=True):
        shift = _shift(ends, behind, picture)
        begin = behind[picture].start * behind[picture].base if picture in behind else group[0].new
        how, by = ("ran backwards", last - begin - before) if _falls(group) else ("leapt", begin + before - last)
        note = f"times {how} at {float(last - first):.3f} s by {float(by):.3f} s: all streams move on together"
        ends |= {index: span.end * span.base + shift for index, span in behind.items()}
        end = ends.get(picture, max(ends.values()))
        yield Joint(group[0].behind, shift, end, note, {cut.stream: cut.behind for cut in group})
        last = behind[picture].last * behind[picture].base + shift if picture in behind else last
        before = shift


def _shift(ends: Mapping[int, Fraction], behind: Mapping[int, _Span], picture: int) -> Fraction:
    """Pictures follow pictures at once, unless that laid a packet of sound or more over what came before."""
    needs = {index: ends[index] - span.start * span.base for index, span in behind.items() if index in ends}
    if not needs:
        return max(ends.values()) - min(span.start * span.base for span in behind.values())
    shift = needs.get(picture, max(needs.values()))
    late = [need for index, need in needs.items() if need - shift >= max(behind[index].longest, 1) * behind[index].base]
    shift = max([shift, *late])
    rounds = round(shift / _ROUND)
    if rounds and abs(shift - rounds * _ROUND) < _NEAR_ROUND:
        return rounds * _ROUND  # nothing was joined: the clock went round
    base = behind[picture].base if picture in behind else Fraction(1, 90_000)
    return ceil(shift / base) * base
