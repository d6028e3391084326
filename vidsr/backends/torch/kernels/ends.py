"""The first and the last convolution of SRGAN as kernels, each with what follows it.

The tail, 5x5 of 256 channels to 12 before a pixel shuffle, is too narrow for tensor cores: 12 columns of a product. A
program makes a strip from top to bottom as `conv.conv3x3` does, and multiplies each row of its input by the weights of
all five rows of output around it at once: 60 columns, of 64. Five slots of 12 columns hold those rows' sums; a row
that is complete is stored, and its slot is the next row's. So sums stay where they are, and the weights turn:
there are five copies, a slot apart.

The head, 9x9 of 3 channels, reads nine runs of 27 numbers, since the channels of neighbours stand side by side.

Imported only where Triton is at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeGuard

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.errors import TritonError

from vidsr.backends.torch.kernels.tuner import CHANNELS, Launch, Strip, Tuner

COLOURS, SHUFFLE = 3, 2
OUT = COLOURS * SHUFFLE**2  # 12 channels before the shuffle
SIZE, SLOTS = 5, 5  # of the tail: its kernel is 5x5, so five rows of output are under way
WIDE = 4 * CHANNELS  # channels that the tail reads
COLUMNS = 64  # of a product: SLOTS * OUT, and four that stay empty


@dataclass(frozen=True, slots=True)
class TailStrip(Strip):
    """How a program of the tail works."""

    kind: ClassVar[str] = "tail"
    rows_around: ClassVar[int] = 4

    @property
    def shared(self) -> int:
        """Bytes of shared memory: pixels and weights of 64 channels for each stage."""
        return 2 * CHANNELS * (self.block + COLUMNS) * self.stages


@dataclass(frozen=True, slots=True)
class HeadStrip(Strip):
    """How a program of the head works: on a row."""

    kind: ClassVar[str] = "head"

    @property
    def shared(self) -> int:
        """Bytes of shared memory: a row's runs, and their weights."""
        return 2 * 32 * (self.block + CHANNELS)


TAILS = (
    TailStrip(128, 3, 8), TailStrip(128, 2, 8), TailStrip(256, 2, 8), TailStrip(64, 4, 4), TailStrip(64, 2, 4),
    TailStrip(32, 2, 4),
)  # fmt: skip
HEADS = (HeadStrip(128, 1, 4), HeadStrip(64, 1, 4), HeadStrip(32, 1, 4))


class Tail5x5(nn.Module):
    """`conv`, plus its bias, and a pixel shuffle by 2, in one kernel.

    (N, 256, H, W) half precision, channels last -> (N, 3, 2H, 2W), contiguous. Sums are in FP32.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, tuner: Tuner) -> None:
        super().__init__()
        if not fits_tail(conv):
            raise ValueError(f"The kernel is for 5x5 convolutions of {WIDE} channels to {OUT}, not {conv}.")
        assert conv.bias is not None
        self._tuner = tuner
        with torch.no_grad():
            taps = conv.weight.permute(2, 3, 1, 0)  # y, x, in, out
            turned = taps.new_zeros(SLOTS, SIZE, WIDE, COLUMNS)
            for turn in range(SLOTS):
                for slot in range(SLOTS):
                    turned[turn, :, :, slot * OUT : (slot + 1) * OUT] = taps[(turn - slot) % SLOTS]
            self.register_buffer("weight", turned.view(SLOTS, SIZE * WIDE, COLUMNS))
            self.register_buffer("bias", conv.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """The pictures, not clamped."""
        num, _, height, width = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        out = torch.empty((num, COLOURS, SHUFFLE * height, SHUFFLE * width), dtype=x.dtype, device=x.device)

        def launch(strip: Strip, rows: int) -> None:
            grid = (triton.cdiv(width, strip.block), triton.cdiv(height, rows), num)
            tail5x5[grid](
                x, self.weight, self.bias, out, height, width, rows,
                wide=WIDE, chunk=CHANNELS, columns=COLUMNS, size=SIZE, colours=COLOURS, grow=SHUFFLE,
                block=strip.block, stages=strip.stages, num_warps=strip.warps, num_stages=strip.stages,
                enable_fp_fusion=True,
            )  # fmt: skip

        _run(self._tuner, (num, height, width), launch)
        return out


class HeadConv(nn.Module):
    """A convolution of the three colours, plus its bias, and PReLU with one `slope`, in one kernel.

    (N, 3, H, W) half precision -> (N, 64, H, W), channels last. Sums are in FP32.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, tuner: Tuner, *, slope: float) -> None:
        super().__init__()
        if not fits_head(conv):
            raise ValueError(f"The kernel is for convolutions of {COLOURS} channels to {CHANNELS}, not {conv}.")
        assert conv.bias is not None
        self.slope, self._tuner, self._size = slope, tuner, conv.kernel_size[0]
        run = self._size * COLOURS
        self._run = max(16, triton.next_power_of_2(run))  # numbers of a row, filled up with zeros
        with torch.no_grad():
            taps = conv.weight.permute(2, 3, 1, 0).reshape(self._size, run, CHANNELS)  # y, (x, in), out
            padded = taps.new_zeros(self._size, self._run, CHANNELS)
            padded[:, :run] = taps
            self.register_buffer("weight", padded)
            self.register_buffer("bias", conv.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        num, _, height, width = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        shape = (num, CHANNELS, height, width)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)

        def launch(strip: Strip, rows: int) -> None:
            del rows  # each is a program
            grid = (triton.cdiv(width, strip.block), height, num)
            head[grid](
                x, self.weight, self.bias, out, height, width, self.slope,
                size=self._size, run=self._run, colours=COLOURS, channels=CHANNELS, block=strip.block,
                num_warps=strip.warps, enable_fp_fusion=True,
            )  # fmt: skip

        _run(self._tuner, (num, height, width), launch)
        return out


def _run(tuner: Tuner, shape: tuple[int, int, int], launch: Launch) -> None:
    """Launch the fastest way; what Triton raises as torch raises it."""
    try:
        launch(*tuner.best(shape, launch))
    except (TritonError, AssertionError) as error:  # the latter where it does not find the driver's library
        raise RuntimeError(f"Triton: {error}") from error


def fits_tail(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the tail's kernel can do it."""
    return _is_plain(conv, SIZE) and (conv.in_channels, conv.out_channels) == (WIDE, OUT)


def fits_head(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the head's kernel can do it."""
    is_plain = _is_plain(conv, 3) or _is_plain(conv, 9)
    return is_plain and isinstance(conv, nn.Conv2d) and (conv.in_channels, conv.out_channels) == (COLOURS, CHANNELS)


def _is_plain(conv: nn.Module, size: int) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(conv, nn.Conv2d)
        and (conv.kernel_size, conv.padding) == ((size, size), (size // 2, size // 2))
        and (conv.stride, conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
        and conv.bias is not None
    )


@triton.jit(do_not_specialize=["height", "width", "rows"])
def tail5x5(
    x, weight, bias, out, height, width, rows,
    wide: tl.constexpr, chunk: tl.constexpr, columns: tl.constexpr, size: tl.constexpr, colours: tl.constexpr,
    grow: tl.constexpr, block: tl.constexpr, stages: tl.constexpr,
):  # fmt: skip
    """Programs (strip's column, strip's first row, picture)."""
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    first = tl.program_id(1) * rows
    picture = tl.program_id(2).to(tl.int64)
    k = tl.arange(0, chunk)
    column = tl.arange(0, columns)
    places: tl.constexpr = grow * grow
    slot, channel = column // (colours * places), column % (colours * places)
    colour, down, along = channel // places, channel % places // grow, channel % grow
    base = out + picture * colours * height * width * places  # one picture has fewer numbers than 32 bits count
    start = tl.load(bias + channel).to(tl.float32)[None, :]
    parts: tl.constexpr = wide // chunk
    sums = tl.zeros([block, columns], tl.float32)
    for step in tl.range(0, rows + size - 1, num_stages=1):
        row = first + step - size // 2
        level = tl.zeros([block], tl.int32) + row
        inside = (level >= 0) & (level < height)
        line = x + (picture * height + row) * width * wide
        turned = weight + (step % size) * (size * wide * columns)
        for at in tl.range(0, size * parts, num_stages=stages):
            source = pixel + at // parts - size // 2
            values = tl.load(
                line + source[:, None] * wide + (at % parts) * chunk + k[None, :],
                mask=(inside & (source >= 0) & (source < width))[:, None],
                other=0.0,
            )
            taps = tl.load(turned + (at * chunk + k)[:, None] * columns + column[None, :])
            sums = tl.dot(values, taps, sums)
        done = tl.zeros([columns], tl.int32) + row - size // 2  # the row of output that is complete
        complete = slot == (step + 1) % size
        ready = complete & (done >= first) & (done < height)
        high = (colour * height + done) * grow + down
        place = high[None, :] * (width * grow) + pixel[:, None] * grow + along[None, :]
        tl.store(base + place, (sums + start).to(out.dtype.element_ty), mask=ready[None, :] & (pixel < width)[:, None])
        sums = tl.where(complete[None, :], 0.0, sums)


@triton.jit(do_not_specialize=["height", "width"])
def head(
    x, weight, bias, out, height, width, slope,
    size: tl.constexpr, run: tl.constexpr, colours: tl.constexpr, channels: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Programs (part of a row, row, picture)."""
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    row = tl.program_id(1)
    picture = tl.program_id(2).to(tl.int64) * height
    k, channel = tl.arange(0, run), tl.arange(0, channels)
    source = pixel[:, None] + (k // colours - size // 2)[None, :]  # the pixel that a number of a run is of
    known = (source >= 0) & (source < width) & (k < size * colours)[None, :]
    sums = tl.zeros([block, channels], tl.float32) + tl.load(bias + channel).to(tl.float32)[None, :]
    for j in tl.range(0, size, num_stages=1):  # unrolled its nine gathers would fill the registers
        above = row + j - size // 2
        level = tl.zeros([block], tl.int32) + above
        inside = (level >= 0) & (level < height)
        line = x + (picture + above) * width * colours
        values = tl.load(line + source * colours + (k % colours)[None, :], mask=known & inside[:, None], other=0.0)
        taps = tl.load(weight + (j * run + k)[:, None] * channels + channel[None, :])
        sums = tl.dot(values, taps, sums)
    sums = tl.where(sums >= 0, sums, sums * slope)
    place = ((picture + row) * width + pixel[:, None]) * channels + channel[None, :]
    tl.store(out + place, sums.to(out.dtype.element_ty), mask=(pixel < width)[:, None])
