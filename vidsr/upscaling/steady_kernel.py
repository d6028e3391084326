"""A large plane blended with its neighbours' in one pass over memory, and filtered in a second, by Triton on a GPU.

Imported only where Triton is at hand; `vidsr.upscaling.steady_device` decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from vidsr.upscaling import blocks
from vidsr.upscaling.colour_kernel import errors
from vidsr.upscaling.taps_device import DeviceBlending

BLOCK = 512  # samples of a row that one program makes
WAY, WAY_BITS = tl.constexpr(blocks.WAY), tl.constexpr(blocks.WAY_BITS)  # kernels see no other globals


def blended(own: Tensor, others: Sequence[Tensor], how: DeviceBlending) -> Tensor:
    """(H, W) codes with one or two others of the same size and type; see `steady_device.by_torch`."""
    (height, width), weights = own.shape, how.weights.contiguous()
    made = torch.empty_like(own)
    with torch.cuda.device(own.device), errors():
        blend_plane[(height, triton.cdiv(width, BLOCK))](
            own, others[0], others[-1], how.shifts, weights, made, height, width, *how.shifts.shape[1:3],
            *weights.shape[1:], *how.block, how.limit, weights.shape[1] / height, weights.shape[2] / width,
            both=len(others) == 2, block=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return made


def filtered(codes: Tensor, how: DeviceBlending) -> Tensor:
    """(H, W) codes, uint8 or uint16 in the bits of int16, after the taps of their blocks; see `taps.filtered`."""
    (height, width), taps = codes.shape, how.taps.contiguous()
    made = torch.empty_like(codes)
    with torch.cuda.device(codes.device), errors():
        filter_plane[(height, triton.cdiv(width, BLOCK))](
            codes, taps, made, height, width, *taps.shape[2:], *how.block, how.top, block=BLOCK, enable_fp_fusion=False
        )
    return made


@triton.jit
def _code(pointer, inside):
    """int16 holds the bits of uint16."""
    return tl.load(pointer, mask=inside, other=0).to(tl.int32) & 0xFFFF


@triton.jit
def _between(first, second, way):
    """As `blocks.Between`."""
    return first + (((second - first) * way + WAY // 2) >> WAY_BITS)


@triton.jit
def _across(row, left, right, way, inside):
    """Between two weights of a row."""
    first = tl.load(row + left, mask=inside, other=0).to(tl.int32)
    second = tl.load(row + right, mask=inside, other=0).to(tl.int32)
    return _between(first, second, way)


@triton.jit
def _change(
    code, other, shift, weights, row, column, inside, height, width, columns, low, narrow, tall, wide, limit, down,
    along,
):  # fmt: skip
    """What a neighbour adds to a sample, times 256."""
    place = shift + (((row // tall) * columns) + column // wide) * 2
    y = tl.minimum(tl.maximum(row + tl.load(place, mask=inside, other=0), 0), height - 1)
    x = tl.minimum(tl.maximum(column + tl.load(place + 1, mask=inside, other=0), 0), width - 1)
    change = _code(other + y.to(tl.int64) * width + x, inside) - code
    change = tl.minimum(tl.maximum(change, -limit), limit)
    v = tl.maximum((row.to(tl.float32) + 0.5) * down - 0.5, 0.0)
    u = tl.maximum((column.to(tl.float32) + 0.5) * along - 0.5, 0.0)
    top, left = v.to(tl.int32), u.to(tl.int32)
    below, right = tl.minimum(top + 1, low - 1), tl.minimum(left + 1, narrow - 1)
    across = ((u - left.to(tl.float32)) * WAY + 0.5).to(tl.int32)
    upper = _across(weights + top * narrow, left, right, across, inside)
    lower = _across(weights + below * narrow, left, right, across, inside)
    return change * _between(upper, lower, ((v - top.to(tl.float32)) * WAY + 0.5).to(tl.int32))


@triton.jit
def blend_plane(
    own, first, second, shift, weights, made, height, width, rows, columns, low, narrow, tall, wide, limit, down,
    along,
    both: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Programs (row, part of it). Blocks are `tall` x `wide`, (rows, columns) of them; weights are (low, narrow)."""
    column = tl.program_id(1) * block + tl.arange(0, block)
    row = tl.zeros([block], tl.int32) + tl.program_id(0)
    inside = column < width
    at = tl.program_id(0).to(tl.int64) * width + column
    code = _code(own + at, inside)
    total = 128 + _change(
        code, first, shift, weights, row, column, inside, height, width, columns, low, narrow, tall, wide, limit, down,
        along,
    )  # fmt: skip
    if both:
        total += _change(
            code, second, shift + rows * columns * 2, weights + low * narrow, row, column, inside, height, width,
            columns, low, narrow, tall, wide, limit, down, along,
        )  # fmt: skip
    tl.store(made + at, (code + (total >> 8)).to(made.dtype.element_ty), mask=inside)


@triton.jit
def filter_plane(codes, taps, made, height, width, rows, columns, tall, wide, top, block: tl.constexpr):
    """Programs (row, part of it). `taps` are (2, 2, rows, columns)."""
    column = tl.program_id(1) * block + tl.arange(0, block)
    row = tl.program_id(0)
    inside = column < width
    start = codes + row.to(tl.int64) * width
    above = codes + tl.maximum(row - 1, 0).to(tl.int64) * width
    below = codes + tl.minimum(row + 1, height - 1).to(tl.int64) * width
    own = _code(start + column, inside)
    change = (_code(below + column, inside) - own).to(tl.float32)
    tap = taps + (row // tall) * columns + column // wide
    size = rows * columns
    total = change * tl.load(tap + size, mask=inside, other=0.0)
    change = (own - _code(above + column, inside)).to(tl.float32)
    total -= change * tl.load(tap, mask=inside, other=0.0)
    change = (_code(start + tl.minimum(column + 1, width - 1), inside) - own).to(tl.float32)
    total += change * tl.load(tap + 3 * size, mask=inside, other=0.0)
    change = (own - _code(start + tl.maximum(column - 1, 0), inside)).to(tl.float32)
    total -= change * tl.load(tap + 2 * size, mask=inside, other=0.0)
    found = tl.minimum(tl.maximum(total + (own.to(tl.float32) + 0.5), 0.0), top)
    tl.store(made + row.to(tl.int64) * width + column, found.to(tl.int32).to(made.dtype.element_ty), mask=inside)
