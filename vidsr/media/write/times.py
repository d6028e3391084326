"""The exact times of a segment's frames, kept behind its last byte, and the decode times of the joined stream.

A container rounds times to its own clock, hides pictures before zero and limits the time between two of them. So the
segment's own clock is only good enough for its encoder, and the times that count stand in a box of their own.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidsr.errors import OutputError
from vidsr.media.containers import CONTAINERS, FINEST_CLOCK

_MAGIC = b"vidsrpts"
_FOOTER = struct.Struct("<q8s")  # number of frames, magic

_USUAL = (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)  # frames a second, or 1000/1001 of them
_REGULAR = 0.9  # of all frames follow the one before at once, where the rate is constant

Ticks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Times:
    """Of all frames, in the order of decoding, in ticks of one clock. `end` is that of the last frame shown."""

    pts: Ticks
    dts: Ticks
    durations: Ticks
    end: int

    def __len__(self) -> int:
        return len(self.pts)


def append_times(path: Path, container: str, pts: Sequence[int], end: int) -> None:
    """Keep `pts`, in the order of the packets, and the `end` of the last frame in the finished segment `path`."""
    body = array("q", [*pts, end]).tobytes() + _FOOTER.pack(len(pts), _MAGIC)
    if CONTAINERS[container].ebml:
        head = b"\xec\x01" + len(body).to_bytes(7, "big")  # EBML Void, size in 7 bytes
    else:
        head = struct.pack(">I4sQ", 1, b"free", 16 + len(body))
    with path.open("ab") as file:
        file.write(head + body)


def read_times(paths: Sequence[Path]) -> Times:
    """Times of the segments `paths`, one after the other.

    Raises:
        OutputError: a segment is unfinished, or does not begin where the one before it ended.
    """
    parts: list[Ticks] = []
    end = 0
    for path in paths:
        pts, segment_end = _read(path)
        if parts and pts.min() <= parts[-1].max():
            raise OutputError(f"{path}: this segment begins before the one before it ends; run the job again.")
        parts.append(pts)
        end = segment_end
    pts = np.concatenate(parts)
    dts = decode_times(pts)
    return Times(pts, dts, _durations(pts, dts, end), end)


def decode_times(pts: Ticks) -> Ticks:
    """Decode times for frames with `pts` in the order of decoding: rising, and none later than its pts.

    The n-th frame is decoded when the n-th frame in order of showing, less the encoder's delay, is shown.
    """
    shown = np.sort(pts)
    rank = np.searchsorted(shown, pts)
    delay = max(int((np.arange(len(pts)) - rank).max()), 0)
    step = int(np.diff(shown).min()) if len(pts) > 1 else 1
    before = shown[0] - step * np.arange(delay, 0, -1)
    return np.concatenate([before, shown[: len(pts) - delay]]).astype(np.int64)


def constant_rate(
    times: Times, time_base: Fraction, told: Fraction | None, grain: Fraction = Fraction(0)
) -> Fraction | None:
    """The pictures a second of frames that come at one rate, as exact as their rounded times tell; None: it varies.

    A few may be missing. `told` is what the source says. Rates of film and television are preferred to others. Times
    are rounded to `grain` seconds where that is more than a tick.
    """
    shown = np.sort(times.pts)
    if len(shown) < 2:
        return told
    step = float(np.median(np.diff(shown)))
    mean = 1 / (step * float(time_base))
    usual = [Fraction(number) * part for number in _USUAL for part in (1, Fraction(1000, 1001))]
    near = sorted({rate for rate in usual if abs(rate / mean - 1) < 0.05}, key=lambda rate: abs(rate / mean - 1))
    exact = [1 / (round(step) * time_base)] if step >= 1 else []
    for rate in (*([told] if told else []), *near, *exact):
        if _comes_at(shown, 1 / (rate * time_base), max(float(grain / time_base), 1.0)):
            return rate
    return None


def _comes_at(shown: Ticks, step: Fraction, grain: float) -> bool:
    """Whether frames stand on a grid of `step` ticks, to `grain` of them, nearly all on neighbouring lines of it."""
    number = np.rint((shown - shown[0]) / float(step))
    away = np.abs((shown - shown[0]) - number * float(step)).max()
    lines = np.diff(number)
    return bool(away <= grain and lines.min() >= 1 and (lines == 1).mean() >= _REGULAR)


def fitting_clock(times: Times, time_base: Fraction) -> Fraction:
    """The clock for mp4 and mov, whose distances have 31 bits: `time_base` where they fit, else a coarser one.

    A coarser one that loses nothing is taken if there is any, else `FINEST_CLOCK`.
    """
    widest = max(int(np.diff(times.dts).max(initial=1)), int((times.pts - times.dts).max()), int(times.durations.max()))
    if widest < 2**31:
        return time_base
    common = int(np.gcd.reduce(np.concatenate([times.pts, times.durations, times.dts])))
    return time_base * common if widest // common < 2**31 else max(FINEST_CLOCK, time_base)


def _durations(pts: Ticks, dts: Ticks, end: int) -> Ticks:
    """Of each frame, until the next one shown.

    In mp4 a track is as long as its last packet makes it, which need not be the last frame shown: it gets what is left.
    """
    shown = np.append(np.sort(pts), end)
    durations = np.asarray(np.diff(shown)[np.searchsorted(shown[:-1], pts)], dtype=np.int64)
    durations[-1] = min(end - shown[0] - (dts[-1] - dts[0]), end - pts[-1])
    return durations


def _read(path: Path) -> tuple[Ticks, int]:
    try:
        with path.open("rb") as file:
            file.seek(-_FOOTER.size, 2)
            number, magic = _FOOTER.unpack(file.read())
            if magic != _MAGIC or number < 1:
                raise ValueError("no times")
            file.seek(-_FOOTER.size - 8 * (number + 1), 2)
            values = np.frombuffer(file.read(8 * (number + 1)), np.int64)
    except (OSError, ValueError, struct.error) as error:
        raise OutputError(f"{path} is not a finished segment; run the job again.") from error
    return values[:-1], int(values[-1])
