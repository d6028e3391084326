"""Stands in for Gluon, which has no interpreter: a kernel's own code over torch's tensors, on the CPU.

What is asynchronous stays so. The place of a copy is not a number until the copy was waited for; a product must find
its factors when it is started, and reads them when it is waited for, as late as it may. So a kernel that waits for too
little, or has something copied to where it is still being read, makes NaN here, or an error. A barrier is nothing:
there is one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

UINT32 = object()  # torch does not compare its own


class Numbers(torch.Tensor):
    """A tensor with what Gluon's have besides."""

    def to(self, *types: Any, **options: Any) -> Any:
        """As unsigned numbers, too."""
        return self % 2**32 if types == (UINT32,) else super().to(*types, **options)

    def index(self, at: int) -> Tensor:  # type: ignore[override]
        """Of several rooms in shared memory one."""
        return self[at]


class Pointer:
    """Places in the numbers of a tensor."""

    def __init__(self, memory: Tensor, offset: Any = 0) -> None:
        self.memory, self.offset = memory.view(-1), offset
        self.dtype = SimpleNamespace(element_ty=memory.dtype)

    def __add__(self, other: Any) -> Pointer:
        return Pointer(self.memory, self.offset + other)

    def inside(self, mask: Any) -> Tensor:
        """The places that `mask` lets through; all of them exist."""
        offset = torch.as_tensor(self.offset)
        known = torch.ones_like(offset, dtype=torch.bool) if mask is None else mask.expand(offset.shape)
        assert ((offset >= 0) & (offset < len(self.memory)) | ~known).all()
        return known

    def read(self, mask: Any = None) -> Tensor:
        """What is there, zero where `mask` says no."""
        known = self.inside(mask)
        return self.memory[torch.where(known, self.offset, 0)] * known


class Lines:
    """What the copy engine reads of: (rows, pixels, channels)."""

    def __init__(self, memory: Tensor) -> None:
        self.memory = memory

    def read(self, row: int, start: int, num: int) -> Tensor:
        """So many pixels, zeros outside."""
        out = torch.zeros(1, num, self.memory.shape[2], dtype=self.memory.dtype)
        for pixel in range(num):
            if 0 <= row < len(self.memory) and 0 <= start + pixel < self.memory.shape[1]:
                out[0, pixel] = self.memory[row, start + pixel]
        return out


class Bell:
    """A barrier in shared memory: it rings when all the bytes that were expected of one turn are there."""

    def __init__(self) -> None:
        self.turn = self.expected = self.coming = 0
        self.copies: list[Callable[[], object]] = []


class Sums:
    """Of a product that was started."""

    def __init__(self, value: Tensor | None = None) -> None:
        self.value = value


class Device:
    """One program at a time: its shared memory, its copies and its products on their way."""

    def __init__(self) -> None:
        self.place: tuple[int, ...] = ()
        self.uncommitted: list[Callable[[], object]] = []
        self.copies: list[list[Callable[[], object]]] = []
        self.products: list[Callable[[], None]] = []
        self.bells: dict[int, Bell] = {}

    def copy(self, room: Tensor, source: Pointer, mask: Any = None) -> None:
        room.fill_(torch.nan)
        self.uncommitted.append(lambda: room.copy_(source.read(mask)))

    def commit(self) -> None:
        self.copies.append(self.uncommitted)
        self.uncommitted = []

    def wait_for_copies(self, num: int) -> None:
        while len(self.copies) > num:
            for copy in self.copies.pop(0):
                copy()

    def bell(self, place: Tensor) -> Bell:
        return self.bells.setdefault(place.data_ptr(), Bell())

    def expect(self, place: Tensor, num: int) -> None:
        self.bell(place).expected += num

    def bring(self, lines: Lines, at: list[Any], place: Tensor, room: Tensor) -> None:
        row, start = int(at[0]), int(at[1])
        bell = self.bell(place)
        room.fill_(torch.nan)
        bell.coming += room.numel() * room.element_size()
        bell.copies.append(lambda: room.copy_(lines.read(row, start, room.shape[1])))

    def wait_for_bell(self, place: Tensor, parity: int) -> None:
        bell = self.bell(place)
        if bell.turn % 2 == parity:
            assert bell.coming == bell.expected > 0, "it waits for ever"
            for copy in bell.copies:
                copy()
            bell.turn, bell.coming, bell.expected, bell.copies = bell.turn + 1, 0, 0, []

    def multiply(self, a: Tensor, b: Tensor, sums: Any, *, use_acc: bool = True, is_async: bool = False) -> Sums:
        assert is_async
        assert not any(factor.isnan().any() for factor in (a, b)), "its factors are not there"
        made, before = Sums(), sums if isinstance(sums, Sums) else Sums(sums)

        def run() -> None:
            assert before.value is not None
            made.value = a.float() @ b.float() + (before.value if use_acc else 0)

        self.products.append(run)
        return made

    def wait_for_products(self, num: int, deps: list[Sums]) -> Any:
        while len(self.products) > num:
            self.products.pop(0)()
        values = [each.value for each in deps]
        assert all(value is not None for value in values), "it is still on its way"
        return values[0] if len(values) == 1 else values

    def language(self) -> SimpleNamespace:
        """What a kernel calls `gl`."""
        nothing = lambda *_, **__: None  # noqa: E731
        layouts = ("NVMMADistributedLayout", "BlockedLayout", "NVMMASharedLayout", "SliceLayout")
        return SimpleNamespace(
            **dict.fromkeys(layouts, nothing),
            int64=torch.int64, int32=torch.int32, uint32=UINT32, float16=torch.float16, float32=torch.float32,
            program_id=lambda axis: Numbers(torch.tensor(self.place[axis])),
            static_range=range, where=torch.where,
            arange=lambda start, end, layout: Numbers(torch.arange(start, end)),
            zeros=lambda shape, dtype, layout: torch.zeros(shape, dtype=dtype),
            load=lambda pointer, mask=None, other=0.0: pointer.read(mask),
            store=self.store, convert_layout=lambda value, layout: value,
            allocate_shared_memory=self.room,
        )  # fmt: skip

    @staticmethod
    def room(dtype: torch.dtype, shape: list[int], layout: object) -> Tensor:
        return Numbers(torch.full(shape, torch.nan if dtype.is_floating_point else 0, dtype=dtype))

    @staticmethod
    def store(pointer: Pointer, value: Tensor, mask: Any) -> None:
        known = pointer.inside(mask)
        pointer.memory[pointer.offset[known]] = value[known]

    def names(self, names: dict[str, Any]) -> dict[str, Any]:
        """The names of a kernel's module, as they are here."""
        copies = SimpleNamespace(commit_group=self.commit, wait_group=self.wait_for_copies)
        bells = SimpleNamespace(
            MBarrierLayout=lambda: None, init=lambda place, count: None, expect=self.expect, wait=self.wait_for_bell
        )
        here = dict(names) | {
            "gl": self.language(), "load": self.copy, "async_copy": copies, "warpgroup_mma": self.multiply,
            "warpgroup_mma_wait": self.wait_for_products, "warpgroup_mma_init": Sums,
            "bring": self.bring, "mbarrier": bells, "fence_async_shared": lambda: None, "barrier": lambda: None,
        }  # fmt: skip
        for name, value in names.items():
            if hasattr(value, "is_gluon"):
                here[name] = FunctionType(value.fn.__code__, here, name, value.fn.__defaults__)
        return here


def run(kernel: Any, grid: tuple[int, int, int], *inputs: Any, **constants: Any) -> None:
    """Call a kernel of Gluon as it would be launched, its numbers and tensors first."""
    device = Device()
    function = device.names(kernel.fn.__globals__)[kernel.fn.__name__]
    taken = {Tensor: Pointer, Lines: lambda lines: lines, type(None): lambda none: none}
    given = [taken.get(type(each), lambda number: Numbers(torch.tensor(number)))(each) for each in inputs]
    for place in product(*map(range, grid)):
        device.place, device.bells = place, {}
        function(*given, **constants)
        late = [bell for bell in device.bells.values() if bell.copies]
        assert device.copies + device.products + late == [], "it ends while something is on its way"
