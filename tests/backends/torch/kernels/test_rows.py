"""The 3x3 kernel for Hopper: its own code over torch's tensors, and compiled for a GPU that is not there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.backends.torch.kernels.compiling import assembled, compiled
from tests.backends.torch.kernels.making import error
from tests.backends.torch.kernels.pretending import Lines, run

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed (pip install --group gpu)")

CPU = torch.device("cpu")
SLOPE = 0.2


@pytest.mark.parametrize(
    ("parts", "way"), [(parts, way) for parts in (1, 4) for way in ("copies", "engine")] + [(1, "beside")]
)
def test_it_makes_what_torch_makes(parts: int, way: str) -> None:
    from vidsr.backends.torch.kernels import rows
    from vidsr.backends.torch.kernels.conv import Conv3x3
    from vidsr.backends.torch.kernels.tuner import CHANNELS, Tuner

    torch.manual_seed(0)
    engine, beside, shuffle = way == "engine", way == "beside", parts == 4
    add, kind = not (shuffle or beside), torch.bfloat16 if beside else torch.float16  # as in training
    conv = nn.Conv2d(64, 64 * parts, 3, padding=1).to(kind).requires_grad_(False)
    conv = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kernel = Conv3x3(conv, Tuner(CPU, rows.ROWS), slope=SLOPE, shuffle=shuffle)
    for (num, height, width), high in (((2, 6, 19), 5), ((1, 1, 2), 1)):
        last = {"memory_format": torch.channels_last}
        batch = torch.randn(num, CHANNELS, height, width).to(kind).contiguous(**last)
        expected = conv.double()(batch.double())
        expected = F.pixel_shuffle(expected, 2) if shuffle else expected
        bridge = torch.randn(expected.shape).to(kind)
        expected = F.leaky_relu(expected + bridge if add else expected, SLOPE)
        made = torch.full(expected.shape, torch.nan, dtype=kind).contiguous(**last)
        flat = [each.permute(0, 2, 3, 1).contiguous() for each in (batch, bridge)]
        there = made.permute(0, 2, 3, 1).reshape(-1)  # a view: the numbers as they lie in memory
        across = num * width if beside else width
        grid = (parts * -(-across // 16), -(-height // high), 1 if beside else num)
        lines = Lines(flat[0].flatten(0, 1)) if engine else flat[0]
        run(
            rows.rows3x3, grid, lines, kernel.columns, kernel.bias, flat[1], there, height, width, across, high, SLOPE,
            channels=CHANNELS, groups=1, parts=parts, block=16, warps=4, laid=None, add=add, activate=True,
            shuffle=shuffle, beside=beside, engine=engine, pending=rows.IN_FLIGHT,
        )  # fmt: skip
        assert error(made, expected) < (4e-3 if beside else 1e-3)


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 256), (256, 64)])
def test_in_training_parts_and_groups_of_channels_make_what_torch_makes(
    inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing rounded but the result."""
    from train.kernels import convolved
    from vidsr.backends.torch.kernels import rows
    from vidsr.backends.torch.kernels.tuner import Tuner

    torch.manual_seed(0)
    monkeypatch.setattr(rows, "rows3x3", Launched(rows.rows3x3))
    x, weight = torch.randn(2, inputs, 4, 9).bfloat16(), torch.randn(outputs, inputs, 3, 3).bfloat16() / 24
    bias = torch.randn(outputs).bfloat16()
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    made = convolved(x, weight, bias, Tuner(CPU, [rows.RowStrip(16, 3, 4)]))
    assert (made - expected).norm() < 1.01 * (expected.bfloat16() - expected).norm()


class Launched:
    """`kernel`, launched by its own module, as `run` runs it."""

    def __init__(self, kernel: Any) -> None:
        self.fn, self.is_gluon = kernel.fn, True

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        return partial(self.launch, grid)

    def launch(self, grid: tuple[int, int, int], *inputs: Any, num_warps: int, **constants: Any) -> None:
        assert num_warps == constants["warps"]
        run(self, grid, *(memory(each) if isinstance(each, Tensor) else each for each in inputs), **constants)


def memory(tensor: Tensor) -> Tensor:
    """All numbers that lie in a tensor's memory, from its own first on."""
    start, num = tensor.storage_offset(), tensor.untyped_storage().nbytes() // tensor.itemsize
    return tensor.as_strided((num - start,), (1,), start)


@pytest.mark.parametrize(
    "way", ["copies", "engine", *(pytest.param(way, marks=pytest.mark.soak) for way in ("beside", "parts", "group"))]
)
def test_it_compiles_without_spills_and_does_not_wait(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of other groups of channels take 32 registers more, and three of those there are spilled."""
    from triton.experimental.gluon._runtime import GluonASTSource

    from vidsr.backends.torch.kernels import rows
    from vidsr.backends.torch.kernels.tuner import CHANNELS

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    engine, beside, group = way == "engine", way in ("beside", "parts", "group"), way == "group"
    strip = next(each for each in (*rows.ROWS, *rows.TRIALS) if each.engine == engine)
    pointer = "*bf16" if beside else "*fp16"  # as in training
    types = dict.fromkeys(("x", "weight", "bias", "bridge", "out"), pointer) | {"slope": "fp32"}
    types |= {"x": f"tensordesc<fp16[1, {strip.block}, {CHANNELS}],{rows.staged()!r}>"} if engine else {}
    types |= {"bridge": "*fp32", "out": "*fp32"} if group else {}
    constants: dict[str, object] = {
        "channels": CHANNELS, "groups": 4 if group else 1, "parts": 4 if way == "parts" else 1,
        "block": strip.block, "warps": strip.warps, "laid": rows.layout(strip),
        "add": group or not beside, "activate": False, "shuffle": False, "beside": beside,
        "engine": engine, "pending": rows.IN_FLIGHT,
    }  # fmt: skip
    constants |= {"bias": None} if group else {}
    made = compiled(rows.rows3x3, (9, 0), types, constants, source=GluonASTSource, num_warps=strip.warps)
    assert made.metadata.shared == strip.shared
    assert made.asm["ptx"].count("wgmma.mma_async") == 3 * 36
    assert made.asm["ptx"].count("wgmma.wait_group") == 4  # one for each of three rows, and at the end
    assert "serialized" not in assembled(made.asm["ptx"], tmp_path, spilled=12 if group else 0)
