"""From any of FFmpeg's pixel formats to planes: which layout holds one without loss, and views of its samples."""

from __future__ import annotations

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter

from vidsr.frame import PixelFormat, Plane
from vidsr.media.pyav import samples_of

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
    """Brings decoded pictures to one size and planar format; pictures that have both pass untouched."""

    def __init__(self, fmt: PixelFormat, width: int, height: int) -> None:
        self.format, self.width, self.height = fmt, width, height
        self._reformatter = VideoReformatter()  # keeps its swscale context between calls

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """`frame` itself or a converted copy with the same times and flags."""
        same_size = (frame.width, frame.height) == (self.width, self.height)
        if same_size and frame.format.name.replace("yuvj", "yuv") == self.format.name:
            return frame
        return self._reformatter.reformat(
            frame, self.width, self.height, self.format.name, interpolation=None if same_size else _RESIZE, threads=1
        )


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
