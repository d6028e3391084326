"""Pictures in the light of another: in a fade, or where a lamp or old film flickers, neighbours are made as bright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vidsr.frame import Frame, Plane
from vidsr.neighbours import squares
from vidsr.upscaling.agreement import brightness
from vidsr.upscaling.drawings import Made
from vidsr.upscaling.motion import Floats

LEAST = 1.0  # codes of 8 bit that brightness changes by on average
GAINS = 0.5, 2.0  # what is fainter, or was, tells nothing
SQUARES = 6  # along the shorter side: their means hardly change where things move
LEFT = 0.5  # of what the means of squares differ by, at most, once light is taken out: more, and something else changed


def evened(own: Frame, others: Sequence[Made]) -> list[Made]:
    """Each in the light of the small frame `own`, if that has changed from one to the other and little else."""
    picture = brightness(own)
    return [_evened(picture, other) for other in others]


def _evened(own: Floats, other: Made) -> Made:
    found = _light(own, brightness(other[0]))
    if found is None:
        return other
    small, large = (_lit(frame, *found) for frame in other)
    return small, large


def _light(own: Floats, other: Floats) -> tuple[float, float] | None:
    """Gain and offset, in codes of 8 bit, that lead from `other` to `own`."""
    mean, before = float(own.mean()), float(other.mean())
    if abs(mean - before) < LEAST:
        return None
    gain = float(own.std()) / max(float(other.std()), 1)
    if not GAINS[0] <= gain <= GAINS[1]:
        return None
    offset = mean - gain * before
    side = max(min(own.shape) // SQUARES, 1)
    near, far = squares(own, side), squares(other, side)
    left = np.abs(near - np.float32(gain) * far - np.float32(offset)).mean()
    return (gain, offset) if left <= LEFT * np.abs(far - near).mean() else None


def _lit(frame: Frame, gain: float, offset: float) -> Frame:
    """Chroma goes from its middle, and a matte stays."""
    unit, peak = frame.format.unit, frame.format.peak
    codes, middle = np.arange(peak + 1), 128 * unit
    light, chroma = (
        (codes * gain + shift).round().clip(0, peak).astype(frame.format.dtype)
        for shift in (offset * unit, middle - gain * middle)
    )

    def lit(plane: Plane, number: int) -> Plane:
        table = chroma if number and frame.format.model == "yuv" else light
        found: Plane = table.take(plane, mode="clip")  # 10 bits of a file may hold more than 1023
        return found

    num = len(frame.planes) - frame.format.alpha
    planes = (lit(plane, number) for number, plane in enumerate(frame.planes[:num]))
    return replace(frame, planes=(*planes, *frame.planes[num:]))
