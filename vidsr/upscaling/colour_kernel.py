"""From codes to RGB, and from RGB to the codes of a plane, in one pass over memory each, by Triton on a GPU.

torch's operations take some twenty. Imported only where Triton is at hand; `vidsr.upscaling.colour` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor
from triton.errors import TritonError

BLOCK = 512  # samples of a row that one program makes


def pictures(
    planes: Sequence[Tensor],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    factor: tuple[int, int],
    place: tuple[float, float],
    rgb: Tensor,
    *,
    clamped: bool,
) -> None:
    """Codes of N pictures, (N, h, w) of one or three planes in one piece of memory -> (N, 3, H, W) on the same GPU.

    What `colour.decode` says, to the bit on a GPU: codes weighted by `matrix`, plus `offset`, chroma interpolated from
    samples every `factor` (x, y) pixels, beginning at `place`; clamped to [0, 1] where `clamped`. `rgb` is of any float
    type and channels last; one plane is grey.
    """
    num, _, height, width = rgb.shape
    luma, *chroma = planes
    second, third = chroma or (luma, luma)
    itemsize = luma.element_size()
    starts = [(plane.data_ptr() - luma.data_ptr()) // itemsize for plane in (second, third)]
    weights = [float(weight) for weight in (np.full((3, 3), matrix[0, 0]) if not chroma else matrix).flat]
    biases = [float(bias) for bias in (np.full(3, offset[0]) if not chroma else offset)]
    (fx, fy), (ox, oy) = factor, place
    with torch.cuda.device(rgb.device), errors():
        decode_planes[(height, triton.cdiv(width, BLOCK), num)](
            luma, rgb, luma.stride(0), *starts, height, width, *second.shape[1:], *weights, *biases,
            grey=not chroma, clamped=clamped, fx=fx, fy=fy, ox=ox, oy=oy, block=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip


def plane(
    rgb: Tensor, row: NDArray[np.float64], bias: float, bits: int, factor: tuple[int, int], offset: tuple[float, float]
) -> Tensor:
    """(3, H, W) of any float type and layout on a GPU -> (ceil(H / fy), ceil(W / fx)) codes, uint8 or int16, there.

    What `colour` says of a plane: the channels weighted by `row`, every `factor`-th (x, y) sample through a
    triangle of that radius around `offset`, edges repeated, plus `bias`, rounded to nearest, clamped to `bits`.
    """
    (_, height, width), (fx, fy) = rgb.shape, factor
    dtype = torch.uint8 if bits <= 8 else torch.int16
    codes = torch.empty((1, -(-height // fy), -(-width // fx)), dtype=dtype, device=rgb.device)
    plane_into(codes, rgb[None], row, bias, bits, factor, offset)
    return codes[0]


def plane_into(
    codes: Tensor,
    rgb: Tensor,
    row: NDArray[np.float64],
    bias: float,
    bits: int,
    factor: tuple[int, int],
    offset: tuple[float, float],
    sound: Tensor | None = None,
) -> None:
    """`plane` of (N, 3, H, W) into (N, h, w) codes, which may lie apart from each other.

    Where a plane has a value that is no finite number, the picture's place in `sound`, (N,) as far apart, becomes 0.
    """
    num, _, height, width = rgb.shape
    (fx, fy), (ox, oy) = factor, offset
    grid = (codes.shape[1], triton.cdiv(codes.shape[2], BLOCK), num)
    weights = [float(weight) for weight in row]
    with torch.cuda.device(rgb.device), errors():
        encode_plane[grid](
            rgb, codes, codes if sound is None else sound, *rgb.stride(), codes.stride(0), height, width,
            codes.shape[2], *weights, float(bias), float((1 << bits) - 1), marks=sound is not None,
            fx=fx, fy=fy, ox=ox, oy=oy, block=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip


@contextmanager
def errors() -> Iterator[None]:
    """What Triton raises for want of a compiler, a folder or the driver's library, as torch raises it."""
    try:
        yield
    except (TritonError, OSError, AssertionError) as error:
        raise RuntimeError(f"Triton: {error}") from error


@triton.jit
def encode_plane(
    rgb, codes, sound, picture_stride, channel_stride, row_stride, column_stride, code_stride, height, width,
    num_columns, red, green, blue, bias, top,
    marks: tl.constexpr, fx: tl.constexpr, fy: tl.constexpr, ox: tl.constexpr, oy: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Programs (row, part of it, picture); the sample at (y, x) has its first pixel at (y * fy, x * fx)."""
    row = tl.program_id(0)
    column = tl.program_id(1) * block + tl.arange(0, block)
    picture = tl.program_id(2).to(tl.int64)
    rgb += picture * picture_stride
    inside = column < num_columns
    total = tl.zeros([block], tl.float32)
    for j in tl.static_range(1 - fy, 2 * fy):
        down = 1 - (j - oy if j > oy else oy - j) / fy
        for i in tl.static_range(1 - fx, 2 * fx):
            along = 1 - (i - ox if i > ox else ox - i) / fx
            if down > 0 and along > 0:
                y = tl.minimum(tl.maximum(row * fy + j, 0), height - 1).to(tl.int64)
                x = tl.minimum(tl.maximum(column * fx + i, 0), width - 1)
                first = rgb + y * row_stride + x * column_stride
                second = first + channel_stride  # twice that may be more than 32 bits hold
                r = tl.load(first, mask=inside, other=0.0).to(tl.float32)
                g = tl.load(second, mask=inside, other=0.0).to(tl.float32)
                b = tl.load(second + channel_stride, mask=inside, other=0.0).to(tl.float32)
                total += (r * red + g * green + b * blue) * (down * along / (fx * fy))
    if marks:  # a value is no finite number where its difference from itself is not zero
        nothing = tl.zeros([block], tl.int32)
        mark = sound + picture * code_stride + nothing
        tl.store(mark, nothing.to(sound.dtype.element_ty), mask=total - total != 0)
    code = tl.minimum(tl.maximum(total + bias + 0.5, 0.0), top)
    place = codes + picture * code_stride + row.to(tl.int64) * num_columns + column
    tl.store(place, code.to(tl.int32).to(codes.dtype.element_ty), mask=inside)


@triton.jit
def _codes(pointer, inside):
    """As float32; int16 holds the bits of uint16."""
    code = tl.load(pointer, mask=inside, other=0).to(tl.int32)
    return (code & 0xFFFF).to(tl.float32)


@triton.jit
def _chroma(plane, above, below, down, left, right, along, inside, subsampled: tl.constexpr):
    """Linear between four samples. The weights are eighths: nothing is rounded."""
    first = _codes(plane + above + left, inside)
    if subsampled:
        second = _codes(plane + above + right, inside)
        third = _codes(plane + below + left, inside)
        fourth = _codes(plane + below + right, inside)
        upper = first + (third - first) * down
        lower = second + (fourth - second) * down
        first = upper + (lower - upper) * along
    return first


@triton.jit
def _mixed(y, u, v, first, second, third, bias, clamped: tl.constexpr):
    """As torch does on a GPU, which adds a product in one rounding."""
    none = tl.zeros_like(y)
    value = tl.fma(v, none + third, tl.fma(u, none + second, y * first)) + bias
    return tl.minimum(tl.maximum(value, 0.0), 1.0) if clamped else value


@triton.jit
def decode_planes(
    codes, rgb, code_stride, second, third, height, width, chroma_height, chroma_width, ry, ru, rv, gy, gu, gv, by,
    bu, bv, r0, g0, b0,
    grey: tl.constexpr, clamped: tl.constexpr, fx: tl.constexpr, fy: tl.constexpr, ox: tl.constexpr,
    oy: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Programs (row, part of it, picture); the second and the third plane begin that many samples after the first."""
    row = tl.program_id(0)
    column = tl.program_id(1) * block + tl.arange(0, block)
    picture = tl.program_id(2).to(tl.int64)
    inside = column < width
    codes += picture * code_stride
    y = _codes(codes + row.to(tl.int64) * width + column, inside)
    target = rgb + ((picture * height + row) * width + column) * 3
    if grey:
        value = y * ry + r0
        value = tl.minimum(tl.maximum(value, 0.0), 1.0) if clamped else value
        tl.store(target, value.to(rgb.dtype.element_ty), mask=inside)
        tl.store(target + 1, value.to(rgb.dtype.element_ty), mask=inside)
        tl.store(target + 2, value.to(rgb.dtype.element_ty), mask=inside)
    else:
        vertical = (row.to(tl.float32) - oy) / fy
        across = (column.to(tl.float32) - ox) / fx
        top, start = tl.floor(vertical), tl.floor(across)
        above = tl.minimum(tl.maximum(top.to(tl.int32), 0), chroma_height - 1).to(tl.int64) * chroma_width
        below = tl.minimum(tl.maximum(top.to(tl.int32) + 1, 0), chroma_height - 1).to(tl.int64) * chroma_width
        left = tl.minimum(tl.maximum(start.to(tl.int32), 0), chroma_width - 1)
        right = tl.minimum(tl.maximum(start.to(tl.int32) + 1, 0), chroma_width - 1)
        down, along, subsampled = vertical - top, across - start, fx * fy > 1
        u = _chroma(codes + second, above, below, down, left, right, along, inside, subsampled)
        v = _chroma(codes + third, above, below, down, left, right, along, inside, subsampled)
        red = _mixed(y, u, v, ry, ru, rv, r0, clamped)
        green = _mixed(y, u, v, gy, gu, gv, g0, clamped)
        blue = _mixed(y, u, v, by, bu, bv, b0, clamped)
        tl.store(target, red.to(rgb.dtype.element_ty), mask=inside)
        tl.store(target + 1, green.to(rgb.dtype.element_ty), mask=inside)
        tl.store(target + 2, blue.to(rgb.dtype.element_ty), mask=inside)
