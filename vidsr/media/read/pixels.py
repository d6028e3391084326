"""From any of FFmpeg's pixel formats to planes: which layout holds one without loss, and views of its samples."""

from __future__ import annotations

from typing import TypeAlias

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter

from vidsr.frame import Colour, Matrix, PixelFormat, Plane
from vidsr.media.pyav import samples_of

Edges: TypeAlias = "tuple[int, int, int, int]"
"""Pixels at the left, top, right and bottom."""

_DEPTHS = (8, 9, 10, 12, 14, 16)
_RESIZE = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)


def planar_format(pix_fmt: str) -> PixelFormat:
    """The layout in which `Reader` yields pictures stored as FFmpeg's `pix_fmt`.

    Planar formats stay as they are; packed and big-endian ones become the planar format of the same depth and
    sampling (a permutation of samples). Grey with alpha becomes RGB with alpha, one bit a pixel becomes grey,
    palettes become RGB without alpha, floats and XYZ become 16 and 12 bit RGB.
    """
    try:
        return PixelFormat.parse(pix_fmt.replace("yuvj", "yuv"))
    except ValueError:
        return _unpacked(av.VideoFormat(pix_fmt, 64, 64))


def _unpacked(fmt: av.VideoFormat) -> PixelFormat:
    components = fmt.components
    alpha = any(c.is_alpha for c in components)
    bits = max(c.bits for c in components)
    depth = next((d for d in _DEPTHS if d >= bits), 16)
    if fmt.is_rgb or fmt.has_palette or fmt.name.startswith("xyz") or (alpha and len(components) == 2):
        return _existing(PixelFormat("rgb", depth, alpha=alpha))
    if len(components) == 1:
        return _existing(PixelFormat("grey", depth))
    shift = ((64 // components[1].width).bit_length() - 1, (64 // components[1].height).bit_length() - 1)
    return _existing(PixelFormat("yuv", depth, shift, alpha))


def _existing(fmt: PixelFormat) -> PixelFormat:
    """`fmt`, or the next deeper format that FFmpeg has."""
    for bits in (d for d in _DEPTHS if d >= fmt.bits):
        deeper = PixelFormat(fmt.model, bits, fmt.chroma_shift, fmt.alpha)
        try:
            av.VideoFormat(deeper.name)
        except ValueError:
            continue
        return deeper
    raise ValueError(f"no planar pixel format holds {fmt}")


class Unpacker:
    """Brings decoded pictures to one planar format, and to a size where one is given; others pass untouched."""

    def __init__(self, fmt: PixelFormat) -> None:
        self.format = fmt
        self._reformatter = VideoReformatter()  # keeps its swscale context between calls

    def __call__(self, frame: av.VideoFrame, size: tuple[int, int] | None = None) -> av.VideoFrame:
        """`frame` itself or a converted copy with the same times and flags, of `size` (width, height) or its own."""
        width, height = size or (frame.width, frame.height)
        same_size = (frame.width, frame.height) == (width, height)
        if same_size and frame.format.name.replace("yuvj", "yuv") == self.format.name:
            return frame
        how = None if same_size else _RESIZE
        return self._reformatter.reformat(frame, width, height, self.format.name, interpolation=how, threads=1)


def planes_of(frame: av.VideoFrame, fmt: PixelFormat) -> tuple[Plane, ...]:
    """Views (height, width) of the samples of `frame`, which must have the layout `fmt`.

    Nothing is copied: a view keeps the decoder's buffer alive, and its rows may be padded.
    """
    shapes = fmt.plane_shapes(frame.width, frame.height)
    return tuple(_view(plane, shape, fmt.dtype) for plane, shape in zip(frame.planes, shapes, strict=True))


def _view(plane: VideoPlane, shape: tuple[int, int], dtype: np.dtype[np.uint8 | np.uint16]) -> Plane:
    height, width = shape
    rows = samples_of(plane, dtype).reshape(height, -1)[:, :width]
    return rows[::-1] if plane.line_size < 0 else rows


def framed(
    planes: tuple[Plane, ...], fmt: PixelFormat, size: tuple[int, int], crop: Edges, colour: Colour
) -> tuple[Plane, ...]:
    """`planes` in the middle of black of `size` (width, height) where they are smaller, less what `crop` cuts away."""
    height, width = planes[0].shape
    if (width, height) != size:
        left, top = ((whole - part) // 2 for whole, part in zip(size, (width, height), strict=True))
        corners = _corners(left, top, fmt)
        empty = zip(fmt.plane_shapes(*size), _black(fmt, colour), strict=True)
        canvases = tuple(np.full(shape, code, fmt.dtype) for shape, code in empty)
        for canvas, plane, (y, x) in zip(canvases, planes, corners, strict=True):
            canvas[y : y + plane.shape[0], x : x + plane.shape[1]] = plane
        planes = canvases
    if not any(crop):
        return planes
    left, top, right, bottom = crop
    shapes = fmt.plane_shapes(size[0] - left - right, size[1] - top - bottom)
    corners = _corners(left, top, fmt)
    return tuple(p[y : y + h, x : x + w] for p, (y, x), (h, w) in zip(planes, corners, shapes, strict=True))


def on_grid(crop: Edges, fmt: PixelFormat) -> Edges:
    """`crop` with a left and top that leave chroma whole: at most a pixel or three less is cut away."""
    (sx, sy), (left, top, right, bottom) = fmt.chroma_shift, crop
    return left >> sx << sx, top >> sy << sy, right, bottom


def _corners(left: int, top: int, fmt: PixelFormat) -> list[tuple[int, int]]:
    """(y, x) in each plane of a place in the picture."""
    (sx, sy), full = fmt.chroma_shift, (top, left)
    chroma = (top >> sy, left >> sx)
    aligned = (top >> sy << sy, left >> sx << sx)
    places = [aligned if fmt.model == "yuv" else full, chroma, chroma, aligned]
    return places[: len(fmt.plane_shapes(8, 8))]


def _black(fmt: PixelFormat, colour: Colour) -> list[int]:
    """The code of each plane; of alpha, opaque."""
    unit, peak = fmt.unit, fmt.peak
    low = 0 if colour.full_range else 16 * unit
    middle = 128 * unit if fmt.model == "yuv" and colour.matrix is not Matrix.RGB else low
    return [low, middle, middle, peak][: len(fmt.plane_shapes(8, 8))]
