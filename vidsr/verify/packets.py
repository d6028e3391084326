"""Every stream but the upscaled one: there, or dropped for a reason; packet for packet the same; at its own times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TypeAlias

from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.tracks import steps
from vidsr.verify.inventory import NO_TIME, Inventory, ListedTrack, Pairing
from vidsr.verify.phrases import ms, seconds
from vidsr.verify.report import Finding, same
from vidsr.words import counted

JUMP = Fraction(1)  # seconds: where times fall back by more, as at a joint of recordings, the rest follows on
_COUNTED = {row.clock for row in CONTAINERS.values() if row.ebml}  # before 0 readers know only the packets' lengths
ENCODED = 2  # packets: sound that is encoded again may begin or end so much earlier or later
LINE = Fraction(1, 500)  # seconds: a converted subtitle's time may be rounded twice to milliseconds
_Span: TypeAlias = tuple[Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class Mapping:
    """From the source's times to the output's, in seconds: what lies in the window, moved by `shift`."""

    shift: Fraction
    window: tuple[Fraction, Fraction | float] | None = None  # None: everything
    begin: Fraction = Fraction(0)  # of the source's pictures


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it should be in the output."""

    digest: int
    time: Fraction | None  # seconds
    raised: bool = False  # by a step, above that of the packet before


def check_presence(pairing: Pairing, mapping: Mapping, container: str) -> Iterator[Finding]:
    """Every stream of the source is in the output, or is named with the reason; the output has no others."""
    empty = [(item, track) for item, track in pairing.missing if _may_be_empty(track, mapping, container)]
    missing = [
        str(track) for item, track in pairing.missing if (item, track) not in empty and item.kind != "attachment"
    ]
    extra = [str(track) for track in pairing.extra]
    before = f"{len(pairing.kept) + len(pairing.missing) + len(pairing.rewritten) + 1} to keep"
    after = f"{len(pairing.kept) + len(pairing.rewritten) + 1 + len(extra)}"
    words = [f"{', '.join(missing)} missing"] if missing else []
    words += [f"{', '.join(extra)} not in the source"] if extra else []
    if pairing.picture is None:
        words.append("no picture stream")
    yield same("streams", before, f"{after} there", not words, "; ".join(words))
    for lost in pairing.dropped:
        name = lost.kind if lost.index is None else f"{lost.kind} {lost.index}"
        whole = lost.index is not None and not lost.kind.startswith(("flag", "language", "tags", "styles"))
        yield Finding(f"{name}: stream" if whole else name, lost.codec, "none", "dropped", lost.reason)
    for _, track in empty:
        reason = "it is empty" if mapping.window is None else "nothing of it falls into this part"
        yield Finding(f"{track.kind} {track.index}: stream", track.codec, "none", "dropped", reason)


def check_packets(
    pairing: Pairing, mapping: Mapping, source: Inventory, output: Inventory, damaged: bool
) -> Iterator[Finding]:
    """Packets and times of every copied stream; span of those that were made anew."""
    starts = [file.container in CONTAINERS and CONTAINERS[file.container].annex_b for file in (source, output)]
    for item, old, new in pairing.kept:
        name = f"{item.kind} {old.index}"
        if item.how == "encoded":
            yield _check_span(f"{name}: sound", old, new, mapping)
        elif _is_cut_otherwise(old, new) and mapping.window is None:
            yield from _check_samples(name, old, new, mapping)
        elif item.how == "copied" and item.kind not in ("cover", "attachment"):
            yield from _check_copied(name, old, new, mapping, starts[0] != starts[1], damaged)


def _check_copied(
    name: str, old: ListedTrack, new: ListedTrack, mapping: Mapping, rewrapped: bool, damaged: bool
) -> Iterator[Finding]:
    want, note = list(_expected(old, mapping)), ""
    if damaged and len(new.digests) < len(want):
        want, note = _only_those_there(want, new)
    before, after = f"{len(want)} packets", f"{len(new.digests)} packets{note}"
    if rewrapped and old.codec in ("h264", "hevc"):
        yield same(
            f"{name}: packets", before, f"{after}, rewrapped", len(want) == len(new.digests), "the number differs"
        )
    else:
        wrong = _differences([p.digest for p in want], new.digests)
        yield same(f"{name}: packets", before, after, not wrong, wrong)
    yield _check_times(name, want, old, new)


def _is_cut_otherwise(old: ListedTrack, new: ListedTrack) -> bool:
    """Whether it is PCM, all of it heard, and the same in other packets."""
    same_samples = old.samples.digest() == new.samples.digest()
    return old.is_pcm and not any(old.hidden) and len(old.digests) != len(new.digests) and same_samples


def _check_samples(name: str, old: ListedTrack, new: ListedTrack, mapping: Mapping) -> Iterator[Finding]:
    """Of PCM that a container cuts into other packets."""
    words = [f"{len(track.digests)} packets" for track in (old, new)]
    yield same(f"{name}: packets", words[0], f"{words[1]}, the same samples", True, "")
    before, after = _spans(old, new, mapping)
    if before is None or after is None:
        return
    apart = max(abs(a - b) for a, b in zip(before, after, strict=True))
    begins = [seconds(begin) for begin, _ in (before, after)]
    tolerance = max(rounding(old.time_base, new.time_base), old.time_base)
    detail = f"it begins or ends {ms(apart)} from where it should"
    yield same(f"{name}: times", f"from {begins[0]}", f"from {begins[1]}", apart <= tolerance, detail)


def _check_times(name: str, want: Sequence[Packet], old: ListedTrack, new: ListedTrack) -> Finding:
    """The times of the packets that both have."""
    tolerance = rounding(old.time_base, new.time_base)
    if any(packet.raised for packet in want):
        tolerance = max(tolerance, rounding(old.time_base / steps(old.kind, old.time_base), new.time_base))
    if old.is_pcm:  # mov counts its samples, whatever the rounded times of the source
        tolerance = max(tolerance, old.time_base)
    found = [None if pts == NO_TIME else pts * new.time_base for pts in new.pts]
    if len(want) != len(found):
        want, found = _aligned(want, new.digests, found)
    pairs = [
        (n, p.time, t)
        for n, (p, t) in enumerate(zip(want, found, strict=False))
        if p.time is not None and t is not None
    ]
    early = new.time_base if new.time_base in _COUNTED else Fraction(0)
    late = [(n, t - w) for n, w, t in pairs if abs(t - w) > tolerance + (early if w < 0 else 0)]
    worst = max((abs(t - w) for _, w, t in pairs), default=Fraction(0))
    first = (seconds(pairs[0][1]), seconds(pairs[0][2])) if pairs else ("empty", "empty")
    detail = ""
    if late:
        number, apart = late[0]
        more = f", and {len(late) - 1} more" if len(late) > 1 else ""
        detail = f"packet {number} is {ms(abs(apart))} {'late' if apart > 0 else 'early'}{more}"
    rounded = f", within {ms(worst)}" if worst else ""
    return same(f"{name}: times", f"from {first[0]}", f"from {first[1]}{rounded}", not late, detail)


def _aligned(
    want: Sequence[Packet], digests: Sequence[int], found: Sequence[Fraction | None]
) -> tuple[list[Packet], list[Fraction | None]]:
    """Packets and times of those that are in both, in order."""
    places: dict[int, list[int]] = {}
    for number, packet in enumerate(want):
        places.setdefault(packet.digest, []).append(number)
    left: list[Packet] = []
    times: list[Fraction | None] = []
    last = -1
    for digest, time in zip(digests, found, strict=True):
        place = next((n for n in places.get(digest, ()) if n > last), None)
        if place is not None:
            left.append(want[place])
            times.append(time)
            last = place
    return left, times


def rounding(old: Fraction, new: Fraction) -> Fraction:
    """By how much a time on the clock `old` may change on the clock `new`."""
    return Fraction(0) if (old / new).denominator == 1 else (old + new) / 2


def _expected(track: ListedTrack, mapping: Mapping) -> Iterator[Packet]:
    """The packets of `track` as the output should have them.

    Packets without time follow the one before; decode times always rise; a fall by more than `JUMP` is closed.
    """
    finer = steps(track.kind, track.time_base)
    base = track.time_base / finer
    ticks, jump = round(mapping.shift / base), math.ceil(JUMP / base)
    step = 0 if track.kind in ("subtitle", "data") else 1
    last: int | None = None
    end = 0
    for digest, pts, dts, length in zip(track.digests, track.pts, track.dts, track.durations, strict=True):
        placed = _cut(track, pts, length, mapping)
        if placed is None:
            continue
        moved = placed != pts
        pts, length = placed, length - (placed - pts) if moved else length
        pts = pts if pts != NO_TIME else dts
        dts = dts if dts != NO_TIME and not moved else pts
        pts, dts, length = (value if value == NO_TIME else value * finer for value in (pts, dts, length))
        if pts == NO_TIME:
            pts = dts = end - ticks
        if last is not None and dts + ticks < last - jump:
            ticks = end - dts
        raised = last is not None and dts + ticks < last + step
        last = dts + ticks if last is None else max(dts + ticks, last + step)
        end = last + length
        yield Packet(digest, max(pts + ticks, last) * base, raised)


def _cut(track: ListedTrack, pts: int, length: int, mapping: Mapping) -> int | None:
    """The pts of a packet that begins in the window; a subtitle on show where it begins, begins there."""
    if mapping.window is None or pts == NO_TIME:
        return pts
    low, high = mapping.window
    begin, end = pts * track.time_base, (pts + length) * track.time_base
    if track.kind == "subtitle" and begin < low < end:
        return math.ceil(low / track.time_base)
    return pts if low <= begin < high else None


def _may_be_empty(track: ListedTrack, mapping: Mapping, container: str) -> bool:
    """Whether nothing is left of it, in a container that holds no stream without packets."""
    return CONTAINERS[container].boxes and not any(True for _ in _expected(track, mapping))


def _only_those_there(want: list[Packet], new: ListedTrack) -> tuple[list[Packet], str]:
    """Of a damaged source, muxers refuse the worst packets: the others must all be there, in order."""
    there: list[Packet] = []
    for packet in want:
        if len(there) < len(new.digests) and packet.digest == new.digests[len(there)]:
            there.append(packet)
    if len(there) < len(new.digests):
        return want, ""
    return there, f" ({len(want) - len(there)} damaged ones are left out)"


def _differences(want: Sequence[int], found: Sequence[int]) -> str:
    """In words; empty where both are equal."""
    if len(want) == len(found):
        wrong = [n for n, (a, b) in enumerate(zip(want, found, strict=True)) if a != b]
        return f"packet {wrong[0]} differs{f', and {len(wrong) - 1} more' if wrong[1:] else ''}" if wrong else ""
    first = next((n for n, (a, b) in enumerate(zip(want, found, strict=False)) if a != b), min(len(want), len(found)))
    word = "missing" if len(found) < len(want) else "too many"
    return f"{counted(abs(len(want) - len(found)), 'packet')} {word}, from packet {first} on"


def _check_span(name: str, old: ListedTrack, new: ListedTrack, mapping: Mapping) -> Finding:
    """Where sound that was encoded again begins and ends."""
    before, after = _spans(old, new, mapping)
    if before is None or after is None:
        return same(name, old.codec, f"{new.codec}, encoded again", before == after, "it is empty")
    late = after[1] - before[1]
    apart = max(abs(after[0] - before[0]), late - _unsaid(old, after), -late)
    words = [f"{track.codec} {seconds(b)} to {seconds(e)}" for track, (b, e) in ((old, before), (new, after))]
    detail = f"it begins or ends {ms(apart)} from where it should"
    lengths = [max(track.durations, default=0) * track.time_base for track in (old, new)]
    return same(name, words[0], f"{words[1]}, encoded again", apart <= ENCODED * max(lengths), detail)


def _unsaid(old: ListedTrack, made: _Span) -> Fraction:
    """How long the last packet may be, of which `old` does not say that, as of WavPack in Matroska: as any other is."""
    if not len(old.durations) or old.durations[-1]:
        return Fraction(0)
    gaps = (b - a for a, b in pairwise(sorted(old.times)))
    return max((gap * old.time_base for gap in gaps), default=made[1] - made[0])


def _spans(old: ListedTrack, new: ListedTrack, mapping: Mapping) -> tuple[_Span | None, _Span | None]:
    """Where a stream should begin and end, in seconds, and where it does."""
    before = _span(old, [p.time for p in _expected(old, mapping) if p.time is not None])
    return before, _span(new, [pts * new.time_base for pts in new.times])


def _span(track: ListedTrack, times: Sequence[Fraction]) -> _Span | None:
    if not times:
        return None
    return min(times), max(times) + (track.durations[-1] if len(track.durations) else 0) * track.time_base
