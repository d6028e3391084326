"""A 3x3 convolution over 64 channels in one kernel with all that follows it: bias, sum, activation, pixel shuffle.

cuDNN leaves each of these a pass over memory of its own, which costs as much as the convolution.

A program makes a strip, `block` pixels wide and `rows` high, from top to bottom. It reads every row of its input once
for each column of the kernel, and adds what the row gives to the three rows of output around it, whose sums stay in
registers; the weights stay in shared memory. So a pixel is read three times instead of nine, and the tensor cores are
fed from shared memory alone.

Imported only where Triton is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeGuard

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.errors import TritonError

from vidsr.backends.torch.kernels import rows as by_rows
from vidsr.backends.torch.kernels.tuner import CHANNELS, Strip, Tuner

STRIPS = (Strip(128, 2, 8), Strip(128, 1, 8), Strip(64, 3, 4), Strip(64, 1, 4), Strip(32, 2, 4), Strip(32, 1, 4))


@dataclass(frozen=True, slots=True)
class HalfStrip(Strip):
    """With sums of three taps in half precision, for GPUs whose tensor cores do that twice as fast as FP32 sums."""

    way: ClassVar[str] = "half"
    capabilities: ClassVar[tuple[tuple[int, int], ...]] = ((8, 6), (8, 9), (12, 0))


HALVES = (HalfStrip(32, 2, 4), HalfStrip(32, 1, 4))
WAYS: Sequence[Strip] = (*by_rows.ROWS, *HALVES, *STRIPS)  # all that the tuner chooses from


class Conv3x3(nn.Module):
    """`conv` with what follows it: plus a bridge, PReLU with one `slope` (None: none), and a pixel shuffle by 2.

    (N, 64, H, W) half precision, channels last -> (N, C, H, W), or (N, C / 4, 2H, 2W) after a shuffle, channels last.
    Sums are in FP32. `conv` has 64 channels in, a multiple of 64 out (256 before a shuffle) and a bias.
    """

    weight: Tensor
    columns: Tensor  # the same, as the kernel by rows takes it
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, tuner: Tuner, *, slope: float | None = None, shuffle: bool = False) -> None:
        super().__init__()
        if not fits(conv) or (shuffle and conv.out_channels != 4 * CHANNELS):
            raise ValueError(f"The kernel is for 3x3 convolutions of {CHANNELS} channels, not {conv}.")
        assert conv.bias is not None
        self.slope, self.shuffle, self._tuner = slope, shuffle, tuner
        parts = conv.out_channels // CHANNELS
        # a part is 64 channels that stand side by side in the output; those of a shuffle are 4 apart in the convolution
        order = torch.arange(conv.out_channels)
        order = order.view(CHANNELS, parts).T.flatten() if shuffle else order
        with torch.no_grad():
            weight = conv.weight[order].view(parts, CHANNELS, CHANNELS, 3, 3)
            weight = weight.permute(0, 3, 4, 2, 1)  # part, y, x, in, out
            self.register_buffer("weight", weight.reshape(parts, 9 * CHANNELS, CHANNELS).contiguous())
            self.register_buffer("bias", conv.bias[order])
            self.register_buffer("columns", by_rows.columns(self.weight))

    def forward(self, x: Tensor, bridge: Tensor | None = None) -> Tensor:
        """`bridge`, of the output's shape, is added before the activation."""
        num, _, height, width = x.shape
        parts, grow = len(self.weight), 2 if self.shuffle else 1
        shape = (num, parts * CHANNELS // grow**2, grow * height, grow * width)
        x = x.contiguous(memory_format=torch.channels_last)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        bridge = None if bridge is None else bridge.contiguous(memory_format=torch.channels_last)

        def layer(strip: Strip, rows: int) -> None:
            taps = self.columns if isinstance(strip, by_rows.RowStrip) else self.weight
            launch(strip, rows, x, taps, self.bias, out, bridge=bridge, slope=self.slope, shuffle=self.shuffle)

        try:
            layer(*self._tuner.best((num * parts, height, width), layer))
        except (TritonError, AssertionError) as error:  # the latter where it does not find the driver's library
            raise RuntimeError(f"Triton: {error}") from error
        return out


def launch(
    strip: Strip,
    rows: int,
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    out: Tensor,
    *,
    bridge: Tensor | None = None,
    slope: float | None = None,
    shuffle: bool = False,
    beside: bool = False,
    group: int = 0,
) -> None:
    """Run the kernel of `strip`, strips of `rows`, on tensors that lie channels last, FP16 or bf16.

    `taps` are (parts, 9 * 64, 64), y, x and inputs by outputs, for a `RowStrip` in the order of `rows.columns`. With
    `beside` strips go on from one picture into the next, which suits crops; for less than 2**31 numbers, not shuffled.
    Of an `x` of more channels the `group`th 64 are taken. In training `bridge` and `out` may be FP32, and the same.
    """
    num, channels, height, width = x.shape
    x, groups = x[:, group * CHANNELS :], channels // CHANNELS
    across = num * width if beside else width
    grid = (len(taps) * triton.cdiv(across, strip.block), triton.cdiv(height, rows), 1 if beside else num)
    if isinstance(strip, by_rows.RowStrip):
        size = height, width, across, rows
        by_rows.launch(strip, grid, x, taps, bias, bridge, out, size, slope, shuffle, beside, groups)
        return
    conv3x3[grid](
        x, taps, bias, out if bridge is None else bridge, out,
        height, width, across, rows, slope or 0.0, 1.0,
        channels=CHANNELS, groups=groups, parts=len(taps), block=strip.block, stages=strip.stages,
        add=bridge is not None, activate=slope is not None, shuffle=shuffle, beside=beside,
        half=isinstance(strip, HalfStrip),
        num_warps=strip.warps, num_stages=strip.stages, enable_fp_fusion=True,
    )  # fmt: skip


def fits(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the kernel can do it."""
    return (
        isinstance(conv, nn.Conv2d)
        and (conv.kernel_size, conv.padding, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and (conv.groups, conv.padding_mode, conv.in_channels) == (1, "zeros", CHANNELS)
        and conv.out_channels % CHANNELS == 0
        and conv.bias is not None
    )


@triton.jit
def in_half(left, middle, right, left_tap, middle_tap, right_tap):
    """A row's products with three taps, summed in half precision."""
    sums = tl.dot(left, left_tap, out_dtype=tl.float16)
    sums = tl.dot(middle, middle_tap, sums, out_dtype=tl.float16)
    return tl.dot(right, right_tap, sums, out_dtype=tl.float16).to(tl.float32)


@triton.jit(do_not_specialize=["height", "width", "across", "rows"])  # 64 channels are aligned whatever these are
def conv3x3(
    x, weight, bias, bridge, out, height, width, across, rows, slope, one,
    channels: tl.constexpr, groups: tl.constexpr, parts: tl.constexpr, block: tl.constexpr, stages: tl.constexpr,
    add: tl.constexpr, activate: tl.constexpr, shuffle: tl.constexpr, beside: tl.constexpr, half: tl.constexpr,
):  # fmt: skip
    """Programs (strip's column and part, strip's first row, picture). `one` is 1.0, of which Triton must not know.

    A pixel of `x` lies `groups` times 64 channels from the next; its first 64 are taken.
    """
    pitch: tl.constexpr = groups * channels
    part = tl.program_id(0) % parts
    column = (tl.program_id(0) // parts) * block + tl.arange(0, block)
    first = tl.program_id(1) * rows
    picture = tl.program_id(2).to(tl.int64) * height  # rows above it
    spot = column  # a column's place in its first row
    if beside:
        spot = column // width * height * width + column % width
        column = tl.where(column < across, column % width, width + 1)
    channel = tl.arange(0, channels)
    area: tl.constexpr = channels * channels
    tap = weight + part * 9 * area + channel[:, None] * channels + channel[None, :]
    w00, w01, w02 = tl.load(tap), tl.load(tap + area), tl.load(tap + 2 * area)
    w10, w11, w12 = tl.load(tap + 3 * area), tl.load(tap + 4 * area), tl.load(tap + 5 * area)
    w20, w21, w22 = tl.load(tap + 6 * area), tl.load(tap + 7 * area), tl.load(tap + 8 * area)
    start = tl.zeros([block, channels], tl.float32)
    if bias is not None:
        start += tl.load(bias + part * channels + channel).to(tl.float32)[None, :]
    above, here, below = start, start, start  # sums of the rows of output around the row of input
    for step in tl.range(0, rows + 2, num_stages=stages):
        row = first + step - 1
        line = x + (picture + row) * width * pitch + channel[None, :]
        at = tl.zeros([block], tl.int32) + row
        inside = (at >= 0) & (at < height)
        left = tl.load(
            line + (spot[:, None] - 1) * pitch,
            mask=(inside & (column > 0) & (column <= width))[:, None],
            other=0.0,
        )
        if not half:
            above = tl.dot(left, w20, above)
            here = tl.dot(left, w10, here)
            below = tl.dot(left, w00, below)
        middle = tl.load(line + spot[:, None] * pitch, mask=(inside & (column < width))[:, None], other=0.0)
        if not half:
            above = tl.dot(middle, w21, above)
            here = tl.dot(middle, w11, here)
            below = tl.dot(middle, w01, below)
        right = tl.load(line + (spot[:, None] + 1) * pitch, mask=(inside & (column < width - 1))[:, None], other=0.0)
        if half:
            above += in_half(left, middle, right, w20, w21, w22)
            here += in_half(left, middle, right, w10, w11, w12)
            below += in_half(left, middle, right, w00, w01, w02)
        else:
            above = tl.dot(right, w22, above)
            here = tl.dot(right, w12, here)
            below = tl.dot(right, w02, below)
        ready = ((at > first) & (at <= height) & (column < width))[:, None]  # the row above, if it is the strip's
        if shuffle:
            high = 2 * (picture + row - 1) + part // 2
            place = (high * 2 * width + 2 * column[:, None] + part % 2) * channels + channel[None, :]
        else:
            place = ((picture + row - 1) * width + spot[:, None]) * parts * channels + part * channels
            place += channel[None, :]
        if add:
            above += tl.load(bridge + place, mask=ready, other=0.0).to(tl.float32)
        if activate:
            above = tl.where(above >= 0, above, above * slope)
        tl.store(out + place, above.to(out.dtype.element_ty), mask=ready)
        # products are on their way until somebody needs them; a copy alone would make ptxas wait for each at once
        above, here, below = here * one, below * one, start
