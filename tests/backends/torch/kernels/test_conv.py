"""The convolutions of the generators as kernels: by Triton's interpreter, and compiled for GPUs that are not there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests import warm
from tests.backends.torch.kernels.compiling import assembled, compiled
from tests.conformance.test_backends import make_model
from vidsr.backends.tensorrt.recipes import recipes
from vidsr.backends.torch.backend import TorchBackend
from vidsr.backends.torch.speedups import Speedups
from vidsr.errors import BackendError

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed (pip install --group gpu)")

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
SHARED = {(8, 0): 166912, (8, 6): 101376, (8, 9): 101376, (9, 0): 232448, (12, 0): 101376}
"""Bytes that one program may have, by compute capability (CUDA programming guide, technical specifications)."""


def test_kernels_make_the_network_and_are_trusted_once(tmp_path: Path) -> None:
    *rows, trusted = warm.said("tests.backends.torch.kernels.interpret_network", str(tmp_path))
    assert len(rows) == 9
    for row in rows:
        assert row["shape"] == row["expected_shape"], row
        assert row["kernels"] < max(2 * row["torch"], 1e-3), row
        assert row["halves"] < max(6 * row["torch"], 3e-3), row
    right, again, wrong = trusted["said"]
    assert right == again == [["16x1x4", "head16x1x4"], ""]
    assert wrong[0] == []
    assert re.fullmatch(r"they are \d+ dB from FP32 here, torch is \d+", wrong[1])
    assert trusted["tried"] == 3  # what is remembered is not tried again, what has changed is


@pytest.mark.parametrize(
    "capability", sorted({each.capability for each in recipes().values() if each.capability} & SHARED.keys())
)
@pytest.mark.parametrize(
    ("parts", "groups", "add", "shuffle", "beside"),
    [
        (1, 1, True, False, False),
        (4, 1, False, True, False),
        (4, 1, False, False, False),
        *(pytest.param(*each, False, True, marks=pytest.mark.soak) for each in ((1, 1, False), (4, 1, False))),
        *(pytest.param(1, 4, add, False, True, marks=pytest.mark.soak) for add in (False, True)),
    ],
)
def test_a_strip_compiles_and_fits(
    capability: tuple[int, int],
    parts: int,
    groups: int,
    add: bool,
    shuffle: bool,
    beside: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vidsr.backends.torch.kernels.conv import STRIPS, conv3x3
    from vidsr.backends.torch.kernels.tuner import CHANNELS, SPILLING

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    widest = SPILLING.get(capability, 128)
    fitting = [strip for strip in STRIPS if strip.block <= widest and strip.shared <= SHARED[capability]]
    wide = 128 if groups == 1 else 64  # FP32 sums take shared memory, too
    strip = next(strip for strip in fitting if strip.stages > 1 and strip.block <= wide)
    pointer = "*bf16" if beside else "*fp16"  # as in training
    types = dict.fromkeys(("x", "weight", "bias", "bridge", "out"), pointer) | {"slope": "fp32"}
    constants: dict[str, object] = {"block": strip.block, "stages": strip.stages, "channels": CHANNELS}
    constants |= {"parts": parts, "add": add, "activate": not (add or beside), "shuffle": shuffle, "beside": beside}
    constants |= {"half": False, "groups": groups}
    if groups > 1:  # a group that is neither the first, which has no sums to add, nor the last
        types, constants = types | {"bridge": "*fp32", "out": "*fp32"}, constants | {"bias": None}
    options = {"num_warps": strip.warps, "num_stages": strip.stages, "enable_fp_fusion": True}
    made = compiled(conv3x3, capability, types, constants, **options)
    assert made.metadata.shared <= SHARED[capability]
    instruction = "wgmma.mma_async" if capability == (9, 0) else "mma.sync"
    assert made.asm["ptx"].count(instruction) >= 36  # nine products of 64 channels, 16 at a time
    assert "cp.async" in made.asm["ptx"]  # the next row is on its way while this one is multiplied
    assert "serialized" not in assembled(made.asm["ptx"], tmp_path)  # ptxas waits for each product by itself then


def test_half_sums_compile_without_spills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidsr.backends.torch.kernels.conv import HALVES, conv3x3
    from vidsr.backends.torch.kernels.tuner import CHANNELS

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    strip = HALVES[0]
    types = dict.fromkeys(("x", "weight", "bias", "bridge", "out"), "*fp16") | {"slope": "fp32", "one": "fp32"}
    constants: dict[str, object] = {"block": strip.block, "stages": strip.stages, "channels": CHANNELS, "parts": 1}
    constants |= {"add": True, "activate": False, "shuffle": False, "beside": False, "half": True}
    constants |= {"groups": 1}
    made = compiled(conv3x3, (8, 9), types, constants, num_warps=strip.warps, num_stages=strip.stages)
    assert made.asm["ptx"].count("f16.f16.f16.f16") == made.asm["ptx"].count("mma.sync") >= 36
    assembled(made.asm["ptx"], tmp_path)


def test_strips_are_as_high_as_fills_the_gpu() -> None:
    from vidsr.backends.torch.kernels.tuner import Strip, num_rows

    strip = Strip(128, 2, 8)
    assert num_rows(strip, 132, (1, 540, 960)) == 34  # 8 across, 16 down: 128 programs at once
    assert num_rows(strip, 132, (1, 270, 480)) == 9
    assert num_rows(strip, 1, (1, 1000, 100)) == 125  # one after another: 8 of 127 steps, the fewest
    assert num_rows(strip, 132, (1, 2, 2)) == 1


def test_the_fastest_strip_is_found_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vidsr import findings
    from vidsr.backends.torch.kernels import tuner
    from vidsr.backends.torch.kernels.conv import STRIPS

    properties = SimpleNamespace(name="GPU", multi_processor_count=132, shared_memory_per_multiprocessor=233472)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(findings, "machine", lambda _: {"gpu": "GPU"})
    monkeypatch.setattr(findings, "folder", lambda: tmp_path)
    times: list[float | None] = [3.0, None, 1.0, 2.0, 4.0, 5.0]
    timed = iter(times)
    monkeypatch.setattr(tuner, "milliseconds", lambda *_: next(timed))
    tuned = tuner.Tuner(CUDA, STRIPS)
    assert tuned.best((1, 540, 960), lambda *_: None)[0] == STRIPS[2]
    assert tuned.best((1, 540, 960), lambda *_: None)[0] == STRIPS[2]  # without another look
    found = tuned.best((1, 540, 960), lambda *_: None)
    assert tuner.Tuner(CUDA, STRIPS).best((1, 540, 960), lambda *_: None) == found  # nor in another process
    timed = iter([2.0, 1.0])
    assert tuner.Tuner(CUDA, STRIPS[:2]).best((1, 540, 960), lambda *_: None)[0] == STRIPS[1]  # of others
    timed = iter([None] * len(STRIPS))
    with pytest.raises(RuntimeError, match="GPU does not run the kernel"):
        tuned.best((1, 270, 480), lambda *_: None)


@pytest.mark.parametrize(("graph", "channels"), [("fast", 16), ("bicubic", 64)])
def test_other_networks_are_refused(graph: str, channels: int) -> None:
    from vidsr.backends.torch.kernels.network import with_kernels
    from vidsr.models.srgan import GeneratorConfig, build

    with pytest.raises(BackendError, match="64 channels"):
        with_kernels(build(GeneratorConfig(graph, 2, channels=channels, blocks=2)), CPU)


def test_a_kernel_is_for_one_kind_of_convolution() -> None:
    from vidsr.backends.torch.kernels.conv import WAYS, Conv3x3
    from vidsr.backends.torch.kernels.tuner import Tuner, strips_for

    for conv in (
        torch.nn.Conv2d(64, 64, 3),
        torch.nn.Conv2d(64, 64, 3, padding=1, stride=2),
        torch.nn.Conv2d(64, 64, 3, padding=1, bias=False),
        torch.nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        torch.nn.Conv2d(64, 48, 3, padding=1),
    ):
        with pytest.raises(ValueError, match="64 channels"):
            Conv3x3(conv, Tuner(CPU, strips_for(CPU, WAYS)))


def test_without_a_gpu_the_way_by_kernels_is_refused() -> None:
    with pytest.raises(BackendError, match="only a GPU gains from it"):
        TorchBackend(
            make_model("fast", 2), precision="fp32", device=CPU, speedups=Speedups(True, False, False, kernels=True)
        )
