"""Checks a finished output before it gets its name."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from vidsr.errors import VerifyError
from vidsr.media.open import open_input
from vidsr.media.writer import VideoSpec

CLOCKS = {"mkv": Fraction(1, 1000), "webm": Fraction(1, 1000), "ts": Fraction(1, 90000)}  # seconds; mp4 takes any
FINEST_CLOCK = Fraction(1, 1_000_000)  # seconds, of mp4 and mov as they are written here


def quick(output: Path, spec: VideoSpec, pts: Sequence[int], *, shift: Fraction, container: str) -> None:
    """Compare the packets of `output` with the frames that were written, and decode its first and its last picture.

    `pts` are those of the written frames, in units of the spec's time base; `shift` seconds were added to all.

    Raises:
        VerifyError: a frame is missing, doubled or elsewhere in time, or the file does not decode.
    """
    with open_input(output) as container_:
        stream = next((s for s in container_.streams.video if s.width == spec.width and s.height == spec.height), None)
        if stream is None:
            raise VerifyError(
                f"{output}: the finished file holds no {spec.width}x{spec.height} picture stream; please report this"
            )
        index = stream.index  # of no meaning once the file is closed
        packets = [p for p in container_.demux(stream) if p.pts is not None]
        found = sorted(p.pts * p.time_base for p in packets if p.pts is not None)
    clock = CLOCKS.get(container, FINEST_CLOCK)
    tolerance = clock / 2 if spec.time_base < clock or container in CLOCKS else Fraction(0)
    _compare_times(output, found, [p * spec.time_base + shift for p in pts], tolerance)
    _decode_ends(output, index)


def _compare_times(output: Path, found: Sequence[Fraction], expected: Sequence[Fraction], tolerance: Fraction) -> None:
    if len(found) != len(expected):
        raise VerifyError(
            f"{output}: {len(expected)} frames were written, {len(found)} are in the finished file; please report this"
        )
    for number, (got, want) in enumerate(zip(found, sorted(expected), strict=True)):
        if abs(got - want) > tolerance:
            times = f"{float(got):.6f} s instead of {float(want):.6f} s"
            raise VerifyError(f"{output}: frame {number} stands at {times}; please report this")


def _decode_ends(output: Path, index: int) -> None:
    """One picture from the start and one from the last keyframe on must decode."""
    try:
        with open_input(output) as container:
            stream = container.streams[index]
            next(container.decode(stream))
            if container.duration:
                container.seek(container.duration + (container.start_time or 0), backward=True)
                next(container.decode(stream))
    except (av.FFmpegError, StopIteration) as error:
        raise VerifyError(f"{output}: the finished file does not decode ({error}); please report this") from error
