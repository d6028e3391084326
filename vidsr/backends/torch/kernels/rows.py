"""The 3x3 convolution for Hopper's tensor cores, which work on while a program does other things.

Triton's `tl.dot` waits for each of the nine products of a row. Here a program starts all nine, waits for those of the
row that they complete, and stores that one while the others go on; the next row of the input is on its way meanwhile.
The three rows of sums change their roles from step to step, so three steps stand in the loop, and nothing is moved.
Three rows of input lie in shared memory, three times each, a pixel apart: one that is multiplied, one that may be
still, and one that comes. The columns of a product stand so that a thread's sums are neighbours in the output.

It is written in Gluon, Triton's lower language, for compute capability 9.0. Imported only where Triton is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from vidsr.backends.torch.kernels.tuner import CHANNELS, Strip

try:
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.language.nvidia.ampere import async_copy
    from triton.experimental.gluon.language.nvidia.hopper import (
        fence_async_shared,
        mbarrier,
        tma,
        warpgroup_mma,
        warpgroup_mma_init,
        warpgroup_mma_wait,
    )
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor
except ImportError:  # it is experimental
    gluon = None

IN_FLIGHT = 3
"""Products that go on while a row is stored: of the row after next. With more ptxas waits for each alone (C7514)."""


@dataclass(frozen=True, slots=True)
class RowStrip(Strip):
    """How one program works; its stages are three."""

    way: ClassVar[str] = "rows"
    capabilities: ClassVar[tuple[tuple[int, int], ...]] = ((9, 0),)

    engine: bool = False  # whether the copies are Hopper's copy engine's, a row at a time

    @property
    def shared(self) -> int:
        """Bytes of shared memory: the weights, and three columns of three rows."""
        return 2 * CHANNELS * 9 * (CHANNELS + self.block) + (24 if self.engine else 0)

    def __str__(self) -> str:
        return f"{self.way}{self.block}x{self.stages}x{self.warps}" + ("tma" if self.engine else "")

    def steps(self, rows: int) -> int:
        """Steps of the loop that makes so many rows: three at a time."""
        return -(-(rows + self.rows_around) // 3) * 3


def columns(weight: Tensor) -> Tensor:
    """(..., 64 outputs) -> the same in the order in which a thread's columns of a product are neighbours.

    Of 32 columns a thread of four has two of each 8 (PTX, registers of wgmma's D); here it gets eight outputs in a row.
    """
    return weight.reshape(*weight.shape[:-1], -1, 4, 4, 2).transpose(-3, -2).reshape(weight.shape).contiguous()


def launch(
    strip: RowStrip,
    grid: tuple[int, int, int],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    bridge: Tensor | None,
    out: Tensor,
    size: tuple[int, int, int, int],
    slope: float | None,
    shuffle: bool,
    beside: bool,
    groups: int,
) -> None:
    """Run `rows3x3`; `size` is (height, width, columns of all pictures `beside` each other or of one, strip's rows)."""
    given: Any = x
    if strip.engine:
        lines = x.permute(0, 2, 3, 1).flatten(0, 1)  # of all pictures
        given = TensorDescriptor.from_tensor(lines, [1, strip.block, CHANNELS], staged())
    rows3x3[grid](
        given, weight, bias, out if bridge is None else bridge, out, *size, slope or 0.0,
        channels=CHANNELS, groups=groups, parts=len(weight), block=strip.block, warps=strip.warps, laid=layout(strip),
        add=bridge is not None, activate=slope is not None, shuffle=shuffle, beside=beside,
        engine=strip.engine, pending=IN_FLIGHT, num_warps=strip.warps,
    )  # fmt: skip


if gluon is None:
    ROWS: Sequence[RowStrip] = ()
    TRIALS: Sequence[RowStrip] = ()  # that no GPU has run: `scripts/ways.py` tries them, the tuner does not
else:
    ROWS = (RowStrip(128, 3, 8),)
    TRIALS = (RowStrip(128, 3, 8, engine=True),)
    bring = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
    load = getattr(async_copy, "async_load", None) or async_copy.async_copy_global_to_shared  # Triton 3.9, or 3.6
    barrier = getattr(gl, "barrier", None) or gl.thread_barrier

    def layout(strip: RowStrip) -> Any:
        """Which thread has which of (pixels, channels) after `columns`: eight channels, 32 further on, 8 pixels on."""
        registers = [[0, 1], [0, 2], [0, 4], [0, 32], [8, 0]]
        warps = [[16 << i, 0] for i in range(strip.warps.bit_length() - 1)]
        return gl.DistributedLinearLayout(
            registers, [[0, 8], [0, 16], [1, 0], [2, 0], [4, 0]], warps, [], [strip.block, CHANNELS]
        )

    def staged() -> Any:
        """How a row lies in shared memory."""
        return gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=3)

    @gluon.jit
    def order(tiles, lines, row, start, ready, block: gl.constexpr, channels: gl.constexpr):
        """Have the copy engine fetch a row of all pictures' rows three times, zeros for -1 and beside the picture."""
        mbarrier.expect(ready, 3 * block * channels * 2)
        for shift in gl.static_range(3):
            room = tiles[shift].reshape([1, block, channels])
            bring(lines, [row, start + (shift - 1), 0], ready, room)

    @gluon.jit
    def fetch(tiles, line, spot, column, channel, width, pitch: gl.constexpr):
        """Have a row copied three times, its pixels from one before `spot` on; `width` is 0 for a row outside."""
        middle = line + (spot[:, None] * pitch + channel[None, :])
        for shift in gl.static_range(3):
            inside = (column + (shift - 1)).to(gl.uint32) < width.to(gl.uint32)
            load(tiles[shift], middle + (shift - 1) * pitch, mask=inside[:, None])
        async_copy.commit_group()

    @gluon.jit
    def multiply(tiles, taps, above, here, spare):
        """Start the products of a row of input with all taps, those of the row of output above it first."""
        for shift in gl.static_range(3):
            above = warpgroup_mma(tiles[shift], taps.index(6 + shift), above, is_async=True)
        for shift in gl.static_range(3):
            here = warpgroup_mma(tiles[shift], taps.index(3 + shift), here, is_async=True)
        below = warpgroup_mma(tiles[0], taps.index(0), spare, use_acc=False, is_async=True)
        for shift in gl.static_range(1, 3):
            below = warpgroup_mma(tiles[shift], taps.index(shift), below, is_async=True)
        return above, here, below

    @gluon.jit
    def complete(
        sums, bridge, bias, out, ready, slope, block: gl.constexpr, channels: gl.constexpr, laid: gl.constexpr,
        add: gl.constexpr, activate: gl.constexpr, pending: gl.constexpr,
    ):  # fmt: skip
        """Wait for a row of output and store it with all that follows; its registers are free then, and returned."""
        if add:
            extra = gl.load(bridge, mask=ready, other=0.0)
        sums = warpgroup_mma_wait(pending, deps=[sums])
        done = sums.reshape([block, channels // 32, 4, 4, 2]).permute([0, 1, 3, 2, 4])
        done = gl.convert_layout(done.reshape([block, channels]), laid)
        if bias is not None:
            done += gl.load(bias).to(gl.float32)[None, :]
        if add:
            done += extra.to(gl.float32)
        if activate:
            done = gl.where(done >= 0, done, done * slope)
        gl.store(out, done.to(out.dtype.element_ty), mask=ready)
        return sums

    @gluon.jit
    def room(kind: gl.constexpr, block: gl.constexpr, channels: gl.constexpr):
        """Room for a row, three times."""
        shared: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
        left = gl.allocate_shared_memory(kind, [block, channels], shared)
        middle = gl.allocate_shared_memory(kind, [block, channels], shared)
        right = gl.allocate_shared_memory(kind, [block, channels], shared)
        return left, middle, right

    @gluon.jit(do_not_specialize=["height", "width", "across", "rows"])
    def rows3x3(
        x, weight, bias, bridge, out, height, width, across, rows, slope,
        channels: gl.constexpr, groups: gl.constexpr, parts: gl.constexpr, block: gl.constexpr, warps: gl.constexpr,
        laid: gl.constexpr, add: gl.constexpr, activate: gl.constexpr, shuffle: gl.constexpr, beside: gl.constexpr,
        engine: gl.constexpr, pending: gl.constexpr,
    ):  # fmt: skip
        """Programs (strip's column and part, strip's first row, picture), as of `conv.conv3x3`."""
        mma: gl.constexpr = gl.NVMMADistributedLayout(
            version=[3, 0], warps_per_cta=[warps, 1], instr_shape=[16, channels, 16]
        )
        loading: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [warps, 1], [1, 0])
        shared: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
        kind: gl.constexpr = weight.dtype.element_ty
        pitch: gl.constexpr = groups * channels
        part = gl.program_id(0) % parts
        start = (gl.program_id(0) // parts) * block
        first = gl.program_id(1) * rows
        last = min(first + rows, height)  # the row of input below the strip
        picture = gl.program_id(2).to(gl.int64) * height
        column = start + gl.arange(0, block, layout=gl.SliceLayout(1, loading))
        spot, end = column, width  # a column's place in its first row
        if beside:
            end = across
            spot = column // width * height * width + column % width
            column = gl.where(column < across, column % width, -2)
        channel = gl.arange(0, channels, layout=gl.SliceLayout(0, loading))
        taps = gl.allocate_shared_memory(kind, [9, channels, channels], shared)
        ring = (room(kind, block, channels), room(kind, block, channels), room(kind, block, channels))
        k = gl.arange(0, channels, layout=gl.SliceLayout(1, loading))
        for tap in gl.static_range(9):
            load(taps.index(tap), weight + ((part * 9 + tap) * channels + k[:, None]) * channels + channel[None, :])
        above_all = (gl.program_id(2) * height).to(gl.int32)
        if engine:
            bars = gl.allocate_shared_memory(gl.int64, [3, 1], mbarrier.MBarrierLayout())
            for slot in gl.static_range(3):
                mbarrier.init(bars.index(slot), count=1)
            async_copy.commit_group()
            async_copy.wait_group(0)
            fence_async_shared()
            barrier()
            order(ring[0], x, gl.where(first > 0, above_all + first - 1, -1), start, bars.index(0), block, channels)
        else:
            fetch(
                ring[0], x + (picture + first - 1) * width * pitch, spot, column, channel,
                gl.where(first > 0, width, 0), pitch,
            )  # fmt: skip
        pixel = start + gl.arange(0, block, layout=gl.SliceLayout(1, laid))
        feature = gl.arange(0, channels, layout=gl.SliceLayout(0, laid))
        if shuffle:
            place = (2 * pixel + part % 2)[:, None] * channels + feature[None, :]
        elif beside:
            place = (pixel // width * height * width + pixel % width)[:, None] * (parts * channels) + feature[None, :]
        else:
            place = pixel[:, None] * (parts * channels) + feature[None, :]
        spare = gl.zeros([block, channels], gl.float32, layout=mma)
        above, here = warpgroup_mma_init(spare), warpgroup_mma_init(spare)
        turn = 0  # how often each row's place was filled, odd or even
        for top in range(first - 1, last + 1, 3):
            for third in gl.static_range(3):
                row = top + third
                if engine:
                    mbarrier.wait(bars.index(third), turn)
                else:
                    async_copy.wait_group(0)
                    fence_async_shared()
                barrier()  # the row is there, and nobody multiplies the one in whose place the next comes
                above, here, below = multiply(ring[third], taps, above, here, spare)
                if engine:
                    line = gl.where(row + 1 < height, above_all + row + 1, -1)
                    order(ring[(third + 1) % 3], x, line, start, bars.index((third + 1) % 3), block, channels)
                else:
                    fetch(
                        ring[(third + 1) % 3], x + (picture + row + 1) * width * pitch, spot, column, channel,
                        gl.where(row + 1 < height, width, 0), pitch,
                    )  # fmt: skip
                if shuffle:
                    base = (2 * (picture + row - 1) + part // 2) * (2 * width) * channels
                else:
                    base = (picture + row - 1) * width * (parts * channels) + part * channels
                ready = (pixel < gl.where((row > first) & (row <= last), end, 0))[:, None]
                spare = complete(
                    above, bridge + base + place, None if bias is None else bias + part * channels + feature,
                    out + base + place, ready, slope, block, channels, laid, add, activate, pending,
                )  # fmt: skip
                above, here = here, below
            turn = 1 - turn
        warpgroup_mma_wait(0, deps=[above, here])
        if engine:
            mbarrier.wait(bars.index(0), turn)
        else:
            async_copy.wait_group(0)
