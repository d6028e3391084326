"""The whole comparison of an output with its source, and the times that decide what belongs where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path

from vidsr.errors import UsageError
from vidsr.media import inside
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.origin import late_start
from vidsr.media.read.bars import Crop, cropped
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.heads import left_out
from vidsr.media.read.interlace import judged
from vidsr.media.read.joints import joints_of
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.scan import Deinterlace
from vidsr.media.stills import is_image
from vidsr.verify.inventory import NO_TIME, Inventory, Pairing, pair, take_inventory
from vidsr.verify.packets import Mapping, check_packets, check_presence, rounding
from vidsr.verify.phrases import ms, seconds, some
from vidsr.verify.pictures import Pictures, look
from vidsr.verify.properties import check_looks
from vidsr.verify.report import Finding, VerifyReport, same
from vidsr.verify.subtitles import check_text
from vidsr.verify.sync import check_sync
from vidsr.verify.tags import check_attachments, check_chapters, check_metadata, check_streams, check_timecode

_GRID = Fraction(1, 50)  # seconds: a stated offset is the least that is needed, on a grid at most this coarse


def compare(
    source: Path,
    output: Path,
    *,
    start: Fraction | None = None,
    end: Fraction | None = None,
    deinterlace: Deinterlace = "auto",
    crop: Crop | None = None,
    on_step: Callable[[str, float], None] = lambda _text, _share: None,
) -> VerifyReport:
    """Compare an output of `vidsr upscale` with its source; the options are those that it was made with.

    Pictures are decoded one after the other and compared at the source's size; of the packets only times and digests
    are kept. `on_step` is told what is done, and which share of the pictures that is.

    Raises:
        MediaError: a file cannot be read, or holds no pictures.
        UsageError: an option has an impossible value, both files are one, or one is of a kind that is not compared.
    """
    for path in (source, output):
        if is_image(path):
            raise UsageError(f"{path} is an image; vidsr verify compares videos, and vidsr compare shows images")
    if source.exists() and output.exists() and source.samefile(output):
        raise UsageError(f"{source} and {output} are the same file; name a source and its output")
    info = judged(probe(source), deinterlace)
    info = info if crop is None else cropped(info, crop)
    on_step("reading the packets", 0.0)
    joints = joints_of(source, info.container, info.video.index)
    before, after = take_inventory(source, joints), take_inventory(output)
    if after.container not in CONTAINERS:
        raise UsageError(f"{output} is no output of vidsr upscale, which writes {', '.join(CONTAINERS)}")
    pairing = pair(before, info.video.index, after)
    if pairing.picture is None:
        checks = [*check_presence(pairing, Mapping(Fraction(0)), after.container)]
        return VerifyReport(source, output, tuple(checks))
    made = probe(output, pairing.picture.index)
    part = start is not None or end is not None
    base, how = made.video.time_base, Deinterlacing.of(info.video, deinterlace)
    clock = how.time_base(info.video)
    row = CONTAINERS[after.container]
    seen = look(
        info,
        made,
        shift=None if part else _shift(info, after, pairing),
        tolerance=row.tolerance(rounding(clock, base), len(pairing.picture.pts)),
        start=start,
        end=end,
        begin=Fraction(0) if row.before_zero else max((made.video.start_pts or 0) * base, Fraction(0)),
        deinterlace=how,
        on_step=on_step,
    )
    window = (
        (seen.begin or Fraction(0), seen.end if end is not None and seen.end is not None else inf) if part else None
    )
    mapping = Mapping(seen.shift, window, (info.video.start_pts or 0) * info.video.time_base)
    return VerifyReport(source, output, tuple(_checks(_Both(info, made, pairing, before, after, clock), seen, mapping)))


@dataclass(frozen=True, slots=True)
class _Both:
    """A source and its output, as they were read."""

    info: MediaInfo
    made: MediaInfo
    pairing: Pairing
    before: Inventory
    after: Inventory
    clock: Fraction  # of the source's pictures, as they are compared


def _checks(both: _Both, seen: Pictures, mapping: Mapping) -> Iterator[Finding]:
    """All rows, in the order of the table."""
    info, made, pairing, before, after = both.info, both.made, both.pairing, both.before, both.after
    picture = before.tracks[info.video.index]
    yield from (Finding("recordings", "several", "the first", "dropped", note) for note in left_out(info.path))
    yield from _check_pictures(seen, made)
    yield from _check_inside(seen, info, made, after.container)
    yield from _check_length(both.clock, made, seen, pairing, after)
    yield from check_looks(info, made, after.container)
    yield from check_presence(pairing, mapping, after.container)
    damaged = bool(seen.damage) or before.error is not None
    yield from check_packets(pairing, mapping, before, after, damaged)
    yield from check_sync(picture, pairing, mapping)
    yield from check_text(pairing, before, after, mapping)
    yield from check_attachments(pairing)
    yield from check_timecode(before, after, pairing, mapping, info.video.rate)
    yield from check_chapters(before, after, mapping, own=pairing.own_chapters)
    yield from check_streams(picture, pairing, after)
    yield from check_metadata(before, after)


def _check_pictures(seen: Pictures, made: MediaInfo) -> Iterator[Finding]:
    """How many, when, and what they show."""
    if seen.damage:
        yield Finding("source", some(seen.damage, 3), "", "dropped", "compared as its decoder conceals it")
    if seen.failure:
        yield Finding("decoding", "", "fails", "differs", seen.failure)
    counts = str(seen.num_source), str(seen.num_output)
    words = [f"missing: {some(seen.missing)}"] if seen.missing else []
    words += [f"too many: {some(seen.extra)}"] if seen.extra else []
    if len(seen.missing) > max(seen.num_source // 10, 2):
        words.append("of a part, give the start and end that it was made with")
    yield same("frames", *counts, not words, "; ".join(words))
    shifted = f"all {seconds(seen.shift)} later" if seen.shift > 0 else f"from {seconds(-seen.shift)} of the source on"
    place = shifted if seen.shift else "as in the source"
    rounded = f", within {ms(seen.worst_time)}" if seen.worst_time else ""
    yield same("frame times", f"from {seconds(seen.begin)}", place + rounded, not seen.moved, some(seen.moved))
    yield same("frame order", "", "", not seen.misplaced, some(seen.misplaced))
    yield same("frame position", "", "", not seen.shifted, some(seen.shifted))
    yield same("frame colour", "", "", not seen.tinted, some(seen.tinted))
    size = f"{made.video.width}x{made.video.height}"
    yield same("frame content", "", f"{size}: {_likeness(seen.psnr)}", not seen.different, some(seen.different))


def _likeness(psnr: list[float]) -> str:
    """The mean and the least of the pictures that are not equal."""
    unequal = [value for value in psnr if value != inf]
    equal = len(psnr) - len(unequal)
    if not unequal:
        return "equal"
    words = f"{sum(unequal) / len(unequal):.1f} dB, least {min(unequal):.1f}"
    return f"{words}, {equal} equal" if equal else words


def _check_inside(seen: Pictures, source: MediaInfo, made: MediaInfo, container: str) -> Iterator[Finding]:
    """What stands in pictures beside their samples: captions and dynamic HDR, byte for byte."""
    row, video = CONTAINERS[container], made.video
    for kind, counts in seen.num_inside.items():
        before, after = (f"in {num} pictures" if num else "none" for num in counts)
        why = inside.why_lost(kind, source.video, video.codec, row, video.format, live=False)
        if why and not counts[1]:
            yield Finding(inside.NAMES[kind], before, after, "dropped", why)
        else:
            wrong = seen.wrong_inside.get(kind, [])
            yield same(inside.NAMES[kind], before, after, not wrong, some(wrong))


def _check_length(
    clock: Fraction, made: MediaInfo, seen: Pictures, pairing: Pairing, after: Inventory
) -> Iterator[Finding]:
    """When the last picture ends, where the container says it; of a damaged source nobody knows."""
    track, row = pairing.picture, CONTAINERS[after.container]
    if track is None or not row.says_end or seen.end is None or not seen.ends_alike or seen.damage:
        return
    want = seen.end + seen.shift
    last, length = max(zip(track.pts, track.durations, strict=True))
    found = [(last + length) * track.time_base]
    if made.video.duration is not None:  # mkv's last packet need not have a length, and mp4's may be of decoding
        begin = Fraction(0) if row.ebml else track.first or Fraction(0)
        found.append(begin + made.video.duration)
    end = min(found, key=lambda end: abs(end - want))
    tolerance = row.tolerance(rounding(clock, track.time_base), len(track.pts))
    tolerance *= 2 if row.ebml else 1  # which rounds the last picture's begin and its length
    detail = f"it ends {ms(abs(end - want))} {'late' if end > want else 'early'}"
    yield same("picture end", seconds(want), seconds(end), abs(end - want) <= tolerance, detail)


def _shift(info: MediaInfo, after: Inventory, pairing: Pairing) -> Fraction:
    """By how much all streams of the output are late: 0, but for a source, or a packet of it, before 0.

    They are early by what a clock of another kind counts before the film. What makes them late is taken from the files
    where it is as small as it can be: then something of the output begins at 0.
    """
    begin = (info.video.start_pts or 0) * info.video.time_base
    row = CONTAINERS[after.container]
    if row.from_zero:
        return -begin
    before_zero = row.before_zero
    early = late_start(info, after.container)
    if before_zero and begin >= early:
        return -early
    measured = _measured(begin, pairing)
    grid = max(_GRID, info.video.time_base)
    lowest = [t * track.time_base for track in after.tracks for t in track.dts if t != NO_TIME]
    lowest = [begin + measured] if before_zero else lowest
    needed = measured > -early and min(lowest, default=Fraction(0)) <= grid
    return measured if needed else -early


def _measured(begin: Fraction, pairing: Pairing) -> Fraction:
    """From the first copied stream whose packets are all there, else from the pictures.

    Those tell the time more exactly where that stream is late by as much, within a tick of its own.
    """
    first = pairing.picture.first if pairing.picture else None
    shown = first - begin if first is not None else Fraction(0)
    for item, old, new in pairing.kept:
        if item.how == "copied" and old.digests == new.digests and old.first is not None and new.first is not None:
            late = new.first - old.first
            return shown if abs(late - shown) <= max(old.time_base, new.time_base) else late
    return shown
