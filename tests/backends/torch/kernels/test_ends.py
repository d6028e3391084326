"""The first and the last convolution as kernels: by Triton's interpreter, and compiled for GPUs that are not there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests import warm
from tests.backends.torch.kernels.compiling import assembled, compiled
from vidsr.backends.tensorrt.recipes import recipes

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed (pip install --group gpu)")

CPU = torch.device("cpu")
POINTERS = dict.fromkeys(("x", "weight", "bias", "out"), "*fp16")
CAPABILITIES = sorted({each.capability for each in recipes().values() if each.capability and each.capability >= (8, 0)})
"""Before them Triton has no products of tensor cores, and the 3x3 kernel has no room."""
ROOM = 99328  # bytes of shared memory that one program may have on all of them


def test_they_make_what_torch_makes() -> None:
    rows = warm.said("tests.backends.torch.kernels.interpret_ends")
    assert [row["layer"] for row in rows] == ["tail"] * 3 + ["head 9"] * 2 + ["head 3"] * 2
    for row in rows:
        assert row["shape"] == row["expected_shape"], row
        assert row["kernel"] < max(2 * row["torch"], 1e-3), row


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_tail_compiles_without_spills(
    capability: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidsr.backends.torch.kernels import ends
    from vidsr.backends.torch.kernels.tuner import CHANNELS

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    strip = ends.TAILS[0]
    constants: dict[str, object] = {
        "wide": ends.WIDE, "chunk": CHANNELS, "columns": ends.COLUMNS, "size": ends.SIZE, "colours": ends.COLOURS,
        "grow": ends.SHUFFLE, "block": strip.block, "stages": strip.stages,
    }  # fmt: skip
    options = {"num_warps": strip.warps, "num_stages": strip.stages, "enable_fp_fusion": True}
    made = compiled(ends.tail5x5, capability, POINTERS, constants, **options)
    assert made.metadata.shared <= ROOM
    assert ("wgmma.mma_async" if capability == (9, 0) else "mma.sync") in made.asm["ptx"]
    assert "serialized" not in assembled(made.asm["ptx"], tmp_path)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_head_compiles_without_spills(
    capability: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidsr.backends.torch.kernels import ends
    from vidsr.backends.torch.kernels.tuner import CHANNELS

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    strip = ends.HEADS[0]
    constants: dict[str, object] = {"size": 9, "run": 32, "colours": 3, "channels": CHANNELS, "block": strip.block}
    types = POINTERS | {"slope": "fp32"}
    made = compiled(ends.head, capability, types, constants, num_warps=strip.warps, enable_fp_fusion=True)
    assert made.metadata.shared <= ROOM
    assert "serialized" not in assembled(made.asm["ptx"], tmp_path)


def test_they_are_for_one_kind_of_convolution_each() -> None:
    from vidsr.backends.torch.kernels.ends import HEADS, TAILS, HeadConv, Tail5x5
    from vidsr.backends.torch.kernels.tuner import Tuner, strips_for

    conv = torch.nn.Conv2d
    tails, heads = (Tuner(CPU, strips_for(CPU, kind)) for kind in (TAILS, HEADS))
    for wrong in (conv(256, 12, 5), conv(64, 12, 5, padding=2), conv(256, 12, 5, padding=2, bias=False)):
        with pytest.raises(ValueError, match="256 channels to 12"):
            Tail5x5(wrong, tails)
    for wrong in (conv(3, 64, 9), conv(3, 64, 5, padding=2), conv(3, 32, 9, padding=4)):
        with pytest.raises(ValueError, match="3 channels to 64"):
            HeadConv(wrong, heads, slope=0.2)
