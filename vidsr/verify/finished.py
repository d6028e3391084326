"""Checks a finished output before it gets its name."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import cast

import av

from vidsr.errors import VerifyError
from vidsr.media.containers import CONTAINERS, FINEST_CLOCK
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.write.writer import VideoSpec
from vidsr.verify.properties import check_looks
from vidsr.verify.sample import FramesFrom, check_sample


@dataclass(frozen=True, slots=True)
class Expected:
    """What a finished file has to hold: frames at `pts`, in units of the spec's time base, all `shift` seconds later.

    `num_streams` counts those that are there at least; some frames may stand up to `late` seconds later.
    """

    spec: VideoSpec
    pts: Sequence[int]
    container: str
    shift: Fraction = Fraction(0)
    num_streams: int = 1
    late: Fraction = Fraction(0)


def quick(
    output: Path,
    expected: Expected,
    *,
    source: MediaInfo | None = None,
    frames: FramesFrom | None = None,
    budget: float = inf,
) -> None:
    """Compare the packets of `output` with what was written, and decode its first and its last picture.

    With `source`, the labels of the picture are compared, too; with `frames`, which opens it, also a few pictures, for
    about `budget` seconds at most.

    Raises:
        VerifyError: a frame is missing, doubled, elsewhere in time or black, a label is wrong, a stream is missing, or
            the file does not decode.
    """
    spec, container = expected.spec, expected.container
    row = CONTAINERS[container]
    clock = row.clock or FINEST_CLOCK
    tolerance = clock / 2 if row.clock or spec.time_base < clock else Fraction(0)
    tolerance = row.tolerance(tolerance, len(expected.pts)) + expected.late
    times = sorted(p * spec.time_base + expected.shift for p in expected.pts)
    with open_input(output) as opened:
        candidates = [s.index for s in opened.streams.video if (s.width, s.height) == (spec.width, spec.height)]
        found_streams = len(opened.streams)
    if found_streams < expected.num_streams:
        raise VerifyError(
            f"{output}: {found_streams} of {expected.num_streams} streams are in the finished file; please report this"
        )
    if not candidates:
        size = f"{spec.width}x{spec.height}"
        raise VerifyError(f"{output}: the finished file holds no {size} picture stream; please report this")
    for index in candidates:  # a copied picture stream may have the same size
        found, keyframes = _times(output, index)
        try:
            _compare_times(output, found, times, tolerance)
            _decode_ends(output, index, keyframes)
            break
        except VerifyError:
            if index == candidates[-1]:
                raise
    if source is not None:
        made = probe(output, index)
        _compare_labels(source, made, container)
        if frames is not None:
            sample = dict.fromkeys(keyframes[k] for k in (0, -1, len(keyframes) // 2) if keyframes)
            check_sample(source, made, sample, expected.shift, frames, budget)


def _compare_labels(source: MediaInfo, made: MediaInfo, container: str) -> None:
    """Colour, aspect, rotation and HDR10 metadata."""
    wrong = [check for check in check_looks(source, made, container) if check.verdict == "differs"]
    if wrong:
        words = "; ".join(f"{check.name} is {check.output} instead of {check.source}" for check in wrong)
        raise VerifyError(f"{made.path}: in the finished file {words}; please report this")


def _times(output: Path, index: int) -> tuple[list[Fraction], list[int]]:
    """The times in seconds of all pictures of a stream, sorted, and the pts of its keyframes."""
    found: list[Fraction] = []
    keyframes: list[int] = []
    with open_input(output) as opened:
        for packet in demux(opened, opened.streams[index]):
            if packet.pts is not None:
                found.append(packet.pts * packet.time_base)
                keyframes += [packet.pts] if packet.is_keyframe else []
    return sorted(found), keyframes


def _compare_times(output: Path, found: Sequence[Fraction], expected: Sequence[Fraction], tolerance: Fraction) -> None:
    if len(found) != len(expected):
        raise VerifyError(
            f"{output}: {len(expected)} frames were written, {len(found)} are in the finished file; please report this"
        )
    for number, (got, want) in enumerate(zip(found, expected, strict=True)):
        if abs(got - want) > tolerance:
            times = f"{float(got):.6f} s instead of {float(want):.6f} s"
            raise VerifyError(f"{output}: frame {number} stands at {times}; please report this")


def _decode_ends(output: Path, index: int, keyframes: Sequence[int]) -> None:
    """One picture from the start and one from the end must decode."""
    try:
        _decode_one(output, index, None)
        for keyframe in (*reversed(keyframes[-3:]), None):  # in transport streams a seek may land behind its target
            if _decode_one(output, index, keyframe):
                return
    except av.FFmpegError as error:
        raise VerifyError(f"{output}: the finished file does not decode ({error}); please report this") from error
    raise VerifyError(f"{output}: no picture of the finished file decodes; please report this")


def _decode_one(output: Path, index: int, pts: int | None) -> bool:
    """Whether a picture comes out from the keyframe at `pts` on, or from the start."""
    with open_input(output) as container:
        stream = container.streams[index]
        if pts is not None:
            try:
                container.seek(pts, stream=stream, backward=True)
            except av.PermissionError:  # FFmpeg's word for a place that it does not find, as in very short streams
                return False
        with closing(cast("Generator[object, None, None]", container.decode(stream))) as frames:  # before the container
            return next(frames, None) is not None
