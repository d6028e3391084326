"""A training step's convolutions by kernels: by Triton's interpreter, and where they are used."""

import json
import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests import warm
from train.stage import Stage

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed (pip install --group gpu)"
)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def interpreted(folder: Path, *words: str) -> list[str]:
    """What the interpreter's process prints."""
    command = [sys.executable, "-m", "tests.train.interpret_kernels", str(folder), *words]
    done = warm.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return interpreted(tmp_path_factory.mktemp("kernels"))


@needs_triton
def test_output_and_gradients_are_those_of_float64(printed: list[str]) -> None:
    rows = [json.loads(line) for line in printed[:4]]
    assert [row["shape"] for row in rows] == [[2, 64, 4, 9], [1, 64, 1, 5], [2, 256, 4, 9], [1, 256, 1, 5]]
    for row in rows:
        exact, bf16 = row["torch.float32"], row.get("torch.bfloat16", {})
        assert list(exact) == ["output", "x", "weight", "bias"]
        assert all(kernel < 2e-6 for kernel, _ in exact.values()), row
        assert bool(bf16) == (row["shape"][2] == 1)
        assert all(kernel < max(1.5 * torchs, 4e-3) for kernel, torchs in bf16.values()), row
        assert row["adjoint"] == pytest.approx([1, 1], rel=1e-4)
        assert row["last"]


@needs_triton
def test_a_step_has_the_gradients_of_one_without(printed: list[str]) -> None:
    row = json.loads(printed[4])
    assert row["used"] == ["blocks.0.conv1", "blocks.0.conv2", "trunk", "up.0.conv", "up.1.conv"]
    assert list(row["layers"]) == row["used"]
    assert list(row["layers"].values()) == [[64, [8, 32, 48]]] * 3 + [[256, [8, 32, 48]], [256, [8, 64, 96]]]
    assert row["same"]  # without autocast, as at the end of an anneal
    assert row["saved"][3] == "blocks.0.conv1.weight"  # the generator's own names
    kernels, torchs = row["offs"]
    assert len(kernels) == len(torchs) == 1 + len(row["saved"])
    assert all(a < max(1.5 * b, 0.02) for a, b in zip(kernels, torchs, strict=True)), row


@needs_triton
def test_they_are_used_where_they_are_right_and_faster_and_tried_once(printed: list[str]) -> None:
    *said, last = printed[5:]
    found = json.loads(last)
    both = [64, 64, 64, 256]
    assert found["used"] == {
        "faster": both, "remembered": both, "slower": [256], "not turned": [64, 64, 64], "16 channels": []
    }  # fmt: skip
    assert found["tried"] == ["16x1x4 64", "16x1x4 256"] * 3  # not for what is remembered
    narrow, wide = (f"3x3 convolutions of 64 to {channels} channels on 2x3x4 by" for channels in (64, 256))
    assert said[:4] == [f"{narrow} our kernels", f"{wide} our kernels"] * 2
    assert said[4:6] == [f"{narrow} torch: its own take 2.000 ms here, ours 3.000", f"{wide} our kernels"]
    assert said[6] == f"{narrow} our kernels"
    assert said[7].startswith(f"{wide} torch: their gradients are ")
    assert len(said) == 8  # of a network that they are not for nothing is said


@needs_triton
@pytest.mark.soak
def test_a_compiler_sees_through_them(tmp_path: Path) -> None:
    """Seconds of its imports: in one graph, to the bit."""
    assert json.loads(interpreted(tmp_path, "compile")[-1]) == {"same": True}


def step_of(device: torch.device) -> Any:
    """A stage, as far as the choice of its generator goes."""
    recipe = SimpleNamespace(batch=16, patch=32, data="baked")
    run = SimpleNamespace(device=device, bf16=True, recipe=recipe, model="plain")
    return SimpleNamespace(run=run, weights=SimpleNamespace(shift=0.1), world=SimpleNamespace(size=2))


def test_on_a_cpu_the_generator_is_the_runs_own(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "train"):
        assert Stage._generator(step_of(CPU)) == "plain"
    assert caplog.messages == []


@needs_triton
def test_on_a_gpu_they_are_tried_on_the_shape_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from train import kernels

    asked: list[object] = []
    monkeypatch.setattr("train.stage.why_none", lambda _: None)
    monkeypatch.setattr(kernels, "quickest", lambda *inputs: asked.append(inputs) or "by kernels")
    stage = step_of(CUDA)
    assert Stage._generator(stage) == "by kernels"
    assert asked == [("plain", CUDA, (16, 32, 32))]  # half of 16 pairs
    stage.run.bf16 = False
    assert Stage._generator(stage) == "plain"


def test_without_a_compiler_torch_has_them_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("train.stage.why_none", lambda _: "there is no C compiler")
    with caplog.at_level(logging.INFO, "train"):
        assert Stage._generator(step_of(CUDA)) == "plain"
    assert caplog.messages == ["3x3 convolutions by torch: there is no C compiler"]
