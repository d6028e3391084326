"""How a program of a kernel works, in strips of a picture, and which of several ways is the fastest on a GPU.

Imported only where Triton is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeAlias

import torch
from triton.errors import TritonError

from vidsr import findings
from vidsr.stages import stage

CHANNELS = 64  # of the input, and of the output of one program
MAX_ROWS = 128
CALLS = 5  # of each way that is timed
AHEAD = 2_000_000  # cycles, a millisecond, in which they are launched: Python does that more slowly than they end
MAX_TUNED = 200  # shapes that are remembered of a GPU: photos have all sizes

Launch: TypeAlias = Callable[["Strip", int], None]  # a kernel with such strips, of so many rows


@dataclass(frozen=True, slots=True)
class Strip:
    """How one program works: pixels across, buffers of the rows on their way, warps."""

    kind: ClassVar[str] = ""  # of the layer
    way: ClassVar[str] = ""  # which of a kind's kernels
    capabilities: ClassVar[tuple[tuple[int, int], ...]] = ()  # that it is for; none: any
    rows_around: ClassVar[int] = 2  # that a strip reads besides its own

    block: int
    stages: int
    warps: int

    @property
    def shared(self) -> int:
        """Bytes of shared memory: the weights, and three columns of a row for each stage."""
        return 2 * CHANNELS * (9 * CHANNELS + 3 * self.block * self.stages)

    def steps(self, rows: int) -> int:
        """Steps of the loop that makes so many rows."""
        return rows + self.rows_around

    def __str__(self) -> str:
        return f"{self.kind}{self.way}{self.block}x{self.stages}x{self.warps}"


INTERPRETED, INTERPRETED_ROWS = (16, 1, 4), 3  # on the CPU, for tests
SPILLING = {(8, 0): 32}  # the widest strip whose sums stay in registers, where wider ones do not


def strips_for(device: torch.device, strips: Sequence[Strip]) -> tuple[Strip, ...]:
    """Those of one kind that may be the fastest on `device`."""
    if device.type != "cuda":
        return (type(strips[-1])(*INTERPRETED),)
    capability = torch.cuda.get_device_capability(device)
    widest = SPILLING.get(capability, MAX_ROWS)
    able = [strip for strip in strips if not strip.capabilities or capability in strip.capabilities]
    return tuple(strip for strip in able if strip.kind or strip.block <= widest)


class Tuner:
    """The fastest way to run a kernel for each shape of its input, found by timing it when the shape first comes.

    `strips`, of one kind, are tried. What was found is remembered on this machine, for each `use` by itself.
    """

    def __init__(self, device: torch.device, strips: Sequence[Strip], use: str = "") -> None:
        self._device, self._strips = device, tuple(strips)
        self._name = f"strips {self._strips[0].kind}{use}"
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
        return ways(self._strips, self._device, shape)

    def _fastest(self, name: str, shape: tuple[int, int, int], launch: Launch) -> tuple[Strip, int]:
        ways = self._ways(shape)
        if len(ways) == 1:
            return ways[0]
        with stage("tuning"):
            times = {way: time for way in ways if (time := milliseconds(partial(launch, *way))) is not None}
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


def ways(strips: Sequence[Strip], device: torch.device, shape: tuple[int, int, int]) -> list[tuple[Strip, int]]:
    """Each of `strips` with the rows that make it the fastest on a GPU."""
    properties = torch.cuda.get_device_properties(device)
    num, room = properties.multi_processor_count, properties.shared_memory_per_multiprocessor
    return [(strip, num_rows(strip, num * max(1, room // strip.shared), shape)) for strip in strips]


def milliseconds(call: Callable[[], object]) -> float | None:
    """Of `CALLS` calls; None where Triton cannot compile a kernel, or the device has too little room for it."""
    try:
        call()  # compiles
    except torch.OutOfMemoryError:
        raise
    except (TritonError, RuntimeError):
        return None
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda._sleep(AHEAD)  # type: ignore[no-untyped-call]
    begin.record()
    for _ in range(CALLS):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def num_rows(strip: Strip, places: int, shape: tuple[int, ...]) -> int:
    """Rows of a strip that make the whole fastest where `places` programs run at a time, some rows each for nothing."""
    num, height, width = shape
    across = num * -(-width // strip.block)

    def steps(rows: int) -> int:
        return -(-across * -(-height // rows) // places) * strip.steps(rows)

    return min(range(1, min(height, MAX_ROWS) + 1), key=steps)
