"""Frames into larger frames in numpy, for runtimes that compute in the host's memory: what `colour` and the like do.

Results are those of torch, but for codes that round the other way: none is off by more than one. Large pictures go in
blocks of rows that stay in the processor's cache, in one thread: decoder and encoder want the other cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vidsr import light
from vidsr.frame import Canvas, Colour, Frame, PixelFormat, Plane, Samples
from vidsr.upscaling.codes import between, chroma_offset, codes_to_rgb, rgb_to_codes, triangle
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.host_resize import resize
from vidsr.upscaling.renderer import Renderer
from vidsr.upscaling.successive import Successive
from vidsr.upscaling.workers import Beside

BLOCK = 1 << 15  # pixels

Floats = NDArray[np.float32]


class HostRenderer(Renderer):
    """Renders frames one by one: batches gain nothing here. A thread turns pictures into frames beside the network.

    With `reuse` the network draws only what has changed since the frame before.
    """

    def __init__(self, enlarger: Enlarger, *, reuse: bool = True) -> None:
        super().__init__(enlarger)
        self._last: Rendered | None = None
        self._colours, self._mattes = (Successive(enlarger, reuse=reuse) for _ in range(2))

    @property
    def depth(self) -> int:
        """One picture is turned into a frame while the network makes the next."""
        return 1

    def start(self, frames: Sequence[Frame], canvas: Canvas) -> Rendered:
        """As `Renderer`; what is not done when this returns is the way from large pictures to frames."""
        made = []
        for frame in frames:
            large = self._colours(relit(to_rgb(frame.planes, frame.format, frame.colour), frame.colour, canvas.colour))
            made.append((large, self._matte(frame, canvas) if canvas.format.alpha else None))
        self._last = Rendered(Beside(partial(_framed, made, canvas)))
        return self._last

    def forget(self) -> None:
        """As `Renderer`."""
        if self._last:
            self._last.made.join()
        self._last = None
        self._colours.forget()
        self._mattes.forget()

    def close(self) -> None:
        """As `Renderer`."""
        self.forget()
        super().close()

    def _matte(self, frame: Frame, canvas: Canvas) -> Floats:
        """The alpha plane, enlarged to (1, 1, H, W) in [0, 1]; see `device.DeviceRenderer`."""
        if not frame.format.alpha:
            return np.ones((1, 1, *canvas.size[::-1]), np.float32)
        alpha: Floats = (frame.planes[-1].astype(np.float32) / _peak(frame.format.bits))[None, None]
        if alpha.min() == alpha.max():
            return resize(alpha, canvas.size)
        large = self._mattes(np.repeat(alpha, 3, 1)).mean(1, keepdims=True)
        return resize(large, canvas.size)


@dataclass(frozen=True)
class Rendered:
    """A `renderer.Rendering` that is being done."""

    made: Beside[tuple[bool, list[tuple[Plane, ...]]]]

    def wait(self) -> tuple[bool, list[tuple[Plane, ...]]]:
        """As `renderer.Rendering`."""
        return self.made.result()


def _framed(made: Sequence[tuple[Floats, Floats | None]], canvas: Canvas) -> tuple[bool, list[tuple[Plane, ...]]]:
    """Large pictures, (1, 3, H, W), and mattes to the planes of frames, if they are finite."""
    pictures: list[tuple[Plane, ...]] = []
    for large, matte in made:
        if not all(np.isfinite(one.sum(dtype=np.float32)) for one in (large, matte) if one is not None):
            return False, []
        planes = from_rgb(resize(large, canvas.size), canvas.format, canvas.colour)
        if matte is not None:
            planes = (*planes, _quantise(matte[0, 0] * _peak(canvas.format.bits), 0.0, canvas.format.bits))
        pictures.append(planes)
    return True, pictures


def to_rgb(planes: Sequence[Plane], format: PixelFormat, colour: Colour) -> Floats:
    """Planes of a frame -> (1, 3, H, W) RGB, nominally in [0, 1]; see `colour.decode`."""
    height, width = planes[0].shape
    matrix, offset = codes_to_rgb(format, colour)
    gain, bias = matrix.astype(np.float32), offset.astype(np.float32)
    codes = [planes[0].astype(np.float32)]
    if format.model == "grey":
        return np.repeat((codes[0] * gain[0, 0] + bias[0])[None, None], 3, 1)
    (sx, sy), (x, y) = format.chroma_shift, chroma_offset(format, colour.siting)
    for plane in planes[1:3]:
        high = _interpolate(plane.astype(np.float32), 0, 1 << sy, y, height)
        codes.append(_interpolate(high, 1, 1 << sx, x, width))
    rgb = np.empty((1, 3, height, width), np.float32)
    for channel, row, shift in zip(rgb[0], gain, bias, strict=True):
        _mix(codes, row, channel)
        channel += shift
    return rgb


def from_rgb(rgb: Floats, format: PixelFormat, colour: Colour) -> tuple[Plane, ...]:
    """(1, 3, H, W) RGB -> planes of `format`, without alpha; see `colour.encode`."""
    matrix, offset = rgb_to_codes(format, colour)
    rows, bias = matrix.astype(np.float32), [float(shift) for shift in offset]
    whole = range(1) if any(format.chroma_shift) or format.model == "grey" else range(3)
    planes = _planes(rgb[0], rows[whole], bias, format, (1, 1), (0.0, 0.0))
    if format.model != "grey" and any(format.chroma_shift):
        (sx, sy), place = format.chroma_shift, chroma_offset(format, colour.siting)
        planes += _planes(rgb[0], rows[1:], bias[1:], format, (1 << sx, 1 << sy), place)
    return tuple(planes)


def to_rgb8(frame: Frame) -> NDArray[np.uint8]:
    """(H, W, 3) of 8 bits, in the frame's own transfer: HDR looks flat."""
    codes = to_rgb(frame.planes, frame.format, frame.colour)[0] * 255
    return np.ascontiguousarray(np.rint(codes.clip(0, 255)).astype(np.uint8).transpose(1, 2, 0))


def upright(pixels: NDArray[np.uint8], matrix: Sequence[int] | None) -> NDArray[np.uint8]:
    """`pixels` turned and mirrored as a display matrix of FFmpeg says; other angles than right ones are ignored."""
    a, b, _, c, d = matrix[:5] if matrix else (1, 0, 0, 0, 1)
    if bool(a) == bool(b):
        return pixels
    if a:
        down, right = d, a
    else:
        pixels, down, right = pixels.swapaxes(0, 1), b, c
    if down < 0:
        pixels = pixels[::-1]
    if right < 0:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def relit(rgb: Floats, source: Colour, target: Colour) -> Floats:
    """R'G'B' of `source` as that of `target`, which shows the same light; see `relight.relit`."""
    if not light.differs(source, target) or not (light.is_known(source) and light.is_known(target)):
        return rgb
    mixing = light.conversion(source.primaries, target.primaries).astype(np.float32)
    a, b, slope, exponent = light.TRANSFERS[source.transfer]
    size = np.abs(rgb)
    linear = np.copysign(np.where(size < slope * b, size / slope, ((size + (a - 1)) / a) ** (1 / exponent)), rgb)
    mixed = np.empty_like(rgb)
    for channel, row in zip(mixed[0], mixing, strict=True):
        _mix(linear[0], row, channel)
    a, b, slope, exponent = light.TRANSFERS[target.transfer]
    size = np.abs(mixed)
    coded: Floats = np.where(size < b, size * slope, a * size**exponent - (a - 1)).astype(np.float32)
    return np.copysign(coded, mixed)


def _peak(bits: int) -> np.float32:
    return np.float32((1 << bits) - 1)


def _mix(channels: Sequence[Floats] | Floats, row: Floats, out: Floats) -> None:
    """Into `out` the sum of the channels weighted by `row`."""
    (first, weight), *others = [(channel, w) for channel, w in zip(channels, row, strict=True) if w != 0]
    np.multiply(first, weight, out=out)
    for channel, weight in others:
        out += channel * weight


def _quantise(values: Floats, bias: float, bits: int) -> Samples:
    """Codes as floats (overwritten), plus `bias`, rounded to nearest, clamped to the code range."""
    values += np.float32(bias + 0.5)
    np.clip(values, np.float32(0), _peak(bits), out=values)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def _planes(
    rgb: Floats,
    rows: Floats,
    bias: Sequence[float],
    format: PixelFormat,
    factor: tuple[int, int],
    offset: tuple[float, float],
) -> list[Plane]:
    """Planes of (3, H, W) RGB, a row of `rows` each, reduced by `factor` (across, down) at `offset` ."""
    (across, down), (_, height, width) = factor, rgb.shape
    out = [np.empty((-(-height // down), -(-width // across)), format.dtype) for _ in rows]
    step = max(1, BLOCK // (width * down))
    for first in range(0, len(out[0]), step):
        last = min(first + step, len(out[0]))
        small = _decimate(_rows(rgb, first, last, down, offset[1]), 2, across, offset[0])
        mixed = np.empty(small.shape[1:], np.float32)
        for plane, row, shift in zip(out, rows, bias, strict=False):
            _mix(small, row, mixed)
            plane[first:last] = _quantise(mixed, shift, format.bits)
    return out


def _rows(rgb: Floats, first: int, last: int, down: int, offset: float) -> Floats:
    """Rows `first` to `last` of a picture reduced by `down`."""
    if down == 1:
        return rgb[:, first:last]
    places = [place for place, _ in triangle(down, offset)]
    above, below = first * down + places[0], (last - 1) * down + places[-1] + 1
    there = rgb[:, max(above, 0) : below]
    around = (max(-above, 0), max(below - rgb.shape[1], 0))
    block = np.pad(there, ((0, 0), around, (0, 0)), mode="edge") if any(around) else there
    return _weighted(block, 1, down, offset, last - first)


def _decimate(x: Floats, axis: int, factor: int, offset: float) -> Floats:
    """Every `factor`-th sample along `axis`, at factor*k + offset, through a triangle of that radius; edges repeat."""
    if factor == 1:
        return x
    places, size = [place for place, _ in triangle(factor, offset)], x.shape[axis]
    num = -(-size // factor)
    around = [(0, 0)] * x.ndim
    around[axis] = (-places[0], max((num - 1) * factor + places[-1] + 1 - size, 0))
    return _weighted(np.pad(x, around, mode="edge"), axis, factor, offset, num)


def _weighted(padded: Floats, axis: int, factor: int, offset: float, num: int) -> Floats:
    """`num` sums along `axis` of samples that begin with the first one under the triangle."""
    x = padded.swapaxes(0, axis)
    (first, weight), *others = triangle(factor, offset)
    end = (num - 1) * factor + 1
    out = x[:end:factor] * np.float32(weight)
    for place, weight in others:
        begin = place - first
        out += x[begin : begin + end : factor] * np.float32(weight)
    return out.swapaxes(0, axis)


def _interpolate(x: Floats, axis: int, factor: int, offset: float, size: int) -> Floats:
    """Linear interpolation along `axis` to `size` samples; sample k stands at factor*k + offset, edges repeat."""
    if factor == 1:
        return x
    x = x.swapaxes(0, axis)
    padded = np.concatenate((x[:1], x, x[-1:]))
    out = np.empty((size, x.shape[1]), np.float32)
    for phase in range(min(factor, size)):
        start, way = between(phase, factor, offset)
        num = -(-(size - phase) // factor)
        before, after = padded[start + 1 :][:num], padded[start + 2 :][:num]
        out[phase::factor] = before + np.float32(way) * (after - before)
    return out.swapaxes(0, axis)
