"""From RGB to the codes of a plane in one pass over memory, by Triton on a GPU; torch's operations take some twenty.

Imported only where Triton is at hand; `vidsr.upscaling.colour` decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor
from triton.errors import TritonError

BLOCK = 512  # samples of a row that one program makes


def plane(
    rgb: Tensor, row: NDArray[np.float64], bias: float, bits: int, factor: tuple[int, int], offset: tuple[float, float]
) -> Tensor:
    """(3, H, W) of any float type and layout on a GPU -> (ceil(H / fy), ceil(W / fx)) codes, uint8 or int16, there.

    What `colour` says of a plane: the channels weighted by `row`, every `factor`-th (x, y) sample through a
    triangle of that radius around `offset`, edges repeated, plus `bias`, rounded to nearest, clamped to `bits`.
    """
    _, height, width = rgb.shape
    (fx, fy), (ox, oy) = factor, offset
    dtype = torch.uint8 if bits <= 8 else torch.int16
    codes = torch.empty((-(-height // fy), -(-width // fx)), dtype=dtype, device=rgb.device)
    grid = (codes.shape[0], triton.cdiv(codes.shape[1], BLOCK))
    weights = [float(weight) for weight in row]
    with torch.cuda.device(rgb.device), _errors():
        encode_plane[grid](
            rgb, codes, *rgb.stride(), height, width, codes.shape[1], *weights, float(bias), float((1 << bits) - 1),
            fx=fx, fy=fy, ox=ox, oy=oy, block=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return codes


@contextmanager
def _errors() -> Iterator[None]:
    """What Triton raises for want of a compiler, a folder or the driver's library, as torch raises it."""
    try:
        yield
    except (TritonError, OSError, AssertionError) as error:
        raise RuntimeError(f"Triton: {error}") from error


@triton.jit
def encode_plane(
    rgb,
    codes,
    channel_stride,
    row_stride,
    column_stride,
    height,
    width,
    num_columns,
    red,
    green,
    blue,
    bias,
    top,
    fx: tl.constexpr,
    fy: tl.constexpr,
    ox: tl.constexpr,
    oy: tl.constexpr,
    block: tl.constexpr,
):
    """Programs (row, part of it); the sample at (y, x) has its first pixel at (y * fy, x * fx)."""
    row = tl.program_id(0)
    column = tl.program_id(1) * block + tl.arange(0, block)
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
    code = tl.minimum(tl.maximum(total + bias + 0.5, 0.0), top)
    tl.store(codes + row.to(tl.int64) * num_columns + column, code.to(tl.int32).to(codes.dtype.element_ty), mask=inside)
