"""A 3x3 convolution over 64 channels in one kernel with all that follows it: bias, sum, activation, pixel shuffle.

cuDNN leaves each of these a pass over memory of its own, which costs as much as the convolution.

A program makes a strip, `block` pixels wide and `rows` high, from top to bottom. It reads every row of its input once
for each column of the kernel, and adds what the row gives to the three rows of output around it, whose sums stay in
registers; the weights stay in shared memory. So a pixel is read three times instead of nine, and the tensor cores are
fed from shared memory alone.

Imported only where Triton is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, TypeGuard

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.errors import TritonError

from vidsr import findings
from vidsr.stages import stage

CHANNELS = 64  # of the input, and of the output of one program
MAX_ROWS = 128
CALLS = 5  # of each way that is timed
MAX_TUNED = 200  # shapes that are remembered of a GPU: photos have all sizes

Launch: TypeAlias = Callable[["Strip", int], None]  # a kernel with such strips, of so many rows


@dataclass(frozen=True, slots=True)
class Strip:
    """How one program works: pixels across, buffers of the rows on their way, warps."""

    kind: ClassVar[str] = ""
    rows_around: ClassVar[int] = 2  # that a strip reads besides its own

    block: int
    stages: int
    warps: int

    @property
    def shared(self) -> int:
        """Bytes of shared memory: the weights, and three columns of a row for each stage."""
        return 2 * CHANNELS * (9 * CHANNELS + 3 * self.block * self.stages)

    def __str__(self) -> str:
        return f"{self.kind}{self.block}x{self.stages}x{self.warps}"


STRIPS = (Strip(128, 2, 8), Strip(128, 1, 8), Strip(64, 3, 4), Strip(64, 1, 4), Strip(32, 2, 4), Strip(32, 1, 4))
INTERPRETED, INTERPRETED_ROWS = (16, 1, 4), 3  # on the CPU, for tests
SPILLING = {(8, 0): 32}  # the widest strip whose sums stay in registers, where wider ones do not


def strips_for(device: torch.device, strips: Sequence[Strip] = STRIPS) -> tuple[Strip, ...]:
    """Those of one kind that may be the fastest on `device`."""
    if device.type != "cuda":
        return (type(strips[0])(*INTERPRETED),)
    widest = SPILLING.get(torch.cuda.get_device_capability(device), MAX_ROWS)
    return tuple(strip for strip in strips if strip.kind or strip.block <= widest)


class Tuner:
    """The fastest way to run a kernel for each shape of its input, found by timing it when the shape first comes.

    `strips`, of one kind, are tried, by default all of a 3x3 convolution that may be. What was found is remembered on
    this machine.
    """

    def __init__(self, device: torch.device, strips: Sequence[Strip] = ()) -> None:
        self._device, self._strips = device, tuple(strips) or strips_for(device)
        self._name = f"strips {self._strips[0].kind}"
        self._facts = findings.machine(device) | {"strips": [str(strip) for strip in self._strips]}
        self._found: dict[str, tuple[Strip, int]] = {}

    def best(self, shape: tuple[int, int, int], launch: Launch) -> tuple[Strip, int]:
        """(strip, rows) for `launch`, which is told both; `shape` is (pictures * parts, height, width).

        Raises:
            RuntimeError: the device runs none of them.
        """
        name = "x".join(map(str, shape))
        if name not in self._found:
            self._found[name] = self._recalled(name) or self._fastest(name, shape, launch)
        return self._found[name]

    def _ways(self, shape: tuple[int, int, int]) -> list[tuple[Strip, int]]:
        if self._device.type != "cuda":
            return [(strip, INTERPRETED_ROWS) for strip in self._strips]
        properties = torch.cuda.get_device_properties(self._device)
        num, room = properties.multi_processor_count, properties.shared_memory_per_multiprocessor
        return [(strip, num_rows(strip, num * max(1, room // strip.shared), shape)) for strip in self._strips]

    def _fastest(self, name: str, shape: tuple[int, int, int], launch: Launch) -> tuple[Strip, int]:
        ways = self._ways(shape)
        if len(ways) == 1:
            return ways[0]
        with stage("tuning"):
            times = {way: time for way in ways if (time := _milliseconds(launch, *way)) is not None}
        if not times:
            raise RuntimeError(f"{self._facts['gpu']} does not run the kernel, in any way")
        way = min(times, key=lambda way: times[way])
        known = self._known()
        kept = dict(list(known.items())[1 - MAX_TUNED :])
        findings.remember(self._name, self._facts, kept | {name: [str(way[0]), way[1]]})
        return way

    def _known(self) -> dict[str, object]:
        found = findings.recall(self._name, self._facts)
        return found if isinstance(found, dict) else {}

    def _recalled(self, name: str) -> tuple[Strip, int] | None:
        match self._known().get(name):
            case [str(text), int(rows)] if rows > 0:
                return next(((strip, rows) for strip in self._strips if str(strip) == text), None)
        return None


def _milliseconds(launch: Launch, strip: Strip, rows: int) -> float | None:
    """Of a few calls; None where Triton cannot compile such a strip, or the device has too little room for it."""
    try:
        launch(strip, rows)  # compiles
    except torch.OutOfMemoryError:
        raise
    except (TritonError, RuntimeError):
        return None
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    for _ in range(CALLS):
        launch(strip, rows)
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def num_rows(strip: Strip, places: int, shape: tuple[int, ...]) -> int:
    """Rows of a strip that make the whole fastest where `places` programs run at a time, some rows each for nothing."""
    num, height, width = shape
    across = num * -(-width // strip.block)

    def steps(rows: int) -> int:
        return -(-across * -(-height // rows) // places) * (rows + strip.rows_around)

    return min(range(1, min(height, MAX_ROWS) + 1), key=steps)


class Conv3x3(nn.Module):
    """`conv` with what follows it: plus a bridge, PReLU with one `slope` (None: none), and a pixel shuffle by 2.

    (N, 64, H, W) half precision, channels last -> (N, C, H, W), or (N, C / 4, 2H, 2W) after a shuffle, channels last.
    Sums are in FP32. `conv` has 64 channels in, a multiple of 64 out (256 before a shuffle) and a bias.
    """

    weight: Tensor
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
            self.register_buffer("weight", weight.reshape(parts, 9 * CHANNELS, CHANNELS))
            self.register_buffer("bias", conv.bias[order])

    def forward(self, x: Tensor, bridge: Tensor | None = None) -> Tensor:
        """`bridge`, of the output's shape, is added before the activation."""
        num, _, height, width = x.shape
        parts, grow = len(self.weight), 2 if self.shuffle else 1
        shape = (num, parts * CHANNELS // grow**2, grow * height, grow * width)
        x = x.contiguous(memory_format=torch.channels_last)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        bridge = None if bridge is None else bridge.contiguous(memory_format=torch.channels_last)

        def launch(strip: Strip, rows: int) -> None:
            grid = (parts * triton.cdiv(width, strip.block), triton.cdiv(height, rows), num)
            conv3x3[grid](
                x, self.weight, self.bias, out if bridge is None else bridge, out,
                height, width, rows, self.slope or 0.0, 1.0,
                channels=CHANNELS, parts=parts, block=strip.block, stages=strip.stages,
                add=bridge is not None, activate=self.slope is not None, shuffle=self.shuffle,
                num_warps=strip.warps, num_stages=strip.stages, enable_fp_fusion=True,
            )  # fmt: skip

        try:
            launch(*self._tuner.best((num * parts, height, width), launch))
        except (TritonError, AssertionError) as error:  # the latter where it does not find the driver's library
            raise RuntimeError(f"Triton: {error}") from error
        return out


def fits(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the kernel can do it."""
    return (
        isinstance(conv, nn.Conv2d)
        and (conv.kernel_size, conv.padding, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and (conv.groups, conv.padding_mode, conv.in_channels) == (1, "zeros", CHANNELS)
        and conv.out_channels % CHANNELS == 0
        and conv.bias is not None
    )


@triton.jit(do_not_specialize=["height", "width", "rows"])  # 64 channels are aligned whatever these are
def conv3x3(
    x,
    weight,
    bias,
    bridge,
    out,
    height,
    width,
    rows,
    slope,
    one,
    channels: tl.constexpr,
    parts: tl.constexpr,
    block: tl.constexpr,
    stages: tl.constexpr,
    add: tl.constexpr,
    activate: tl.constexpr,
    shuffle: tl.constexpr,
):
    """Programs (strip's column and part, strip's first row, picture). `one` is 1.0, of which Triton must not know."""
    part = tl.program_id(0) % parts
    column = (tl.program_id(0) // parts) * block + tl.arange(0, block)
    first = tl.program_id(1) * rows
    picture = tl.program_id(2).to(tl.int64) * height  # rows above it
    channel = tl.arange(0, channels)
    area: tl.constexpr = channels * channels
    tap = weight + part * 9 * area + channel[:, None] * channels + channel[None, :]
    w00, w01, w02 = tl.load(tap), tl.load(tap + area), tl.load(tap + 2 * area)
    w10, w11, w12 = tl.load(tap + 3 * area), tl.load(tap + 4 * area), tl.load(tap + 5 * area)
    w20, w21, w22 = tl.load(tap + 6 * area), tl.load(tap + 7 * area), tl.load(tap + 8 * area)
    start = tl.zeros([block, channels], tl.float32) + tl.load(bias + part * channels + channel).to(tl.float32)[None, :]
    above, here, below = start, start, start  # sums of the rows of output around the row of input
    for step in tl.range(0, rows + 2, num_stages=stages):
        row = first + step - 1
        line = x + (picture + row) * width * channels + channel[None, :]
        at = tl.zeros([block], tl.int32) + row
        inside = (at >= 0) & (at < height)
        left = tl.load(
            line + (column[:, None] - 1) * channels,
            mask=(inside & (column > 0) & (column <= width))[:, None],
            other=0.0,
        )
        above = tl.dot(left, w20, above)
        here = tl.dot(left, w10, here)
        below = tl.dot(left, w00, below)
        middle = tl.load(line + column[:, None] * channels, mask=(inside & (column < width))[:, None], other=0.0)
        above = tl.dot(middle, w21, above)
        here = tl.dot(middle, w11, here)
        below = tl.dot(middle, w01, below)
        right = tl.load(
            line + (column[:, None] + 1) * channels, mask=(inside & (column < width - 1))[:, None], other=0.0
        )
        above = tl.dot(right, w22, above)
        here = tl.dot(right, w12, here)
        below = tl.dot(right, w02, below)
        ready = ((at > first) & (at <= height) & (column < width))[:, None]  # the row above, if it is the strip's
        if shuffle:
            high = 2 * (picture + row - 1) + part // 2
            place = (high * 2 * width + 2 * column[:, None] + part % 2) * channels + channel[None, :]
        else:
            place = ((picture + row - 1) * width + column[:, None]) * parts * channels + part * channels
            place += channel[None, :]
        if add:
            above += tl.load(bridge + place, mask=ready, other=0.0).to(tl.float32)
        if activate:
            above = tl.where(above >= 0, above, above * slope)
        tl.store(out + place, above.to(out.dtype.element_ty), mask=ready)
        # products are on their way until somebody needs them; a copy alone would make ptxas wait for each at once
        above, here, below = here * one, below * one, start
