"""Real engines, built through the command line on a machine without a GPU: see `stand_ins`."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.backends.tensorrt.making import make_model, write_weights
from vidsr.backends.tensorrt import key
from vidsr.backends.tensorrt.build import prepare
from vidsr.backends.tensorrt.cache import EngineCache
from vidsr.models import registry

ROOT = Path(__file__).parents[3]
BUILD = [sys.executable, "-m", "tests.backends.tensorrt.stand_ins", "engine", "build", "rtx4090"]

pytestmark = pytest.mark.skipif(
    find_spec("torch_tensorrt") is None or find_spec("tensorrt_rtx") is None,
    reason="torch-tensorrt-rtx is not installed (pip install --group gpu)",
)


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "VIDSR_ENGINE_DIR": str(folder)}
    command = [*BUILD, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineCache, list[dict[str, Any]]]:
    """The engines of every shipped model at one size, and what the command line said of them."""
    folder = tmp_path_factory.mktemp("shipped")
    out, _ = finish(start(folder, "--model", "all", "--size", "64x48", "--json"))
    return EngineCache(folder), json.loads(out)


def convolutions(module: nn.Module) -> int:
    """How many convolutions the network that is compiled calls; the bicubic one calls a function."""
    return sum(isinstance(child, nn.Conv2d) for child in prepare(module, "fp16").modules()) or 1


def test_every_shipped_model_is_built_whole(shipped: tuple[EngineCache, list[dict[str, Any]]]) -> None:
    cache, rows = shipped
    assert [(row["engine"]["key"]["model"], row["engine"]["key"]["scale"]) for row in rows] == [
        (info.name, info.scale) for info in registry.available_models()
    ]
    assert all(row["built"] and row["reason"] == "there was none" for row in rows)
    for entry in cache.entries():
        assert entry.problem == ""
        engine = entry.engine
        assert engine is not None
        model = registry.load(engine.key.model, engine.key.scale)
        assert engine.layers["convolution"] == convolutions(model.module)
        assert not any("parametric" in layer or "plugin" in layer for layer in engine.layers)
        weights = sum(value.numel() for value in model.module.state_dict().values())
        assert engine.num_bytes > 2 * weights
        assert (engine.key.capability, engine.key.flavour, engine.key.precision) == ("8.9", "rtx", "fp16")
        assert engine.check is None


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineCache, Path, list[dict[str, Any]]]:
    """Two processes that build the same engines of an SRGAN at once: a static and the dynamic one."""
    folder = tmp_path_factory.mktemp("raced")
    weights = write_weights(folder / "mine.safetensors", "srgan", 4)
    arguments = ("--model", weights, "--size", "64x48", "--dynamic", "--json")
    processes = [start(folder / "engines", *arguments) for _ in range(2)]
    rows = [row for process in processes for row in json.loads(finish(process)[0])]
    return EngineCache(folder / "engines"), weights, rows


def test_two_processes_end_with_one_build(raced: tuple[EngineCache, Path, list[dict[str, Any]]]) -> None:
    cache, _, rows = raced
    assert sorted(row["built"] for row in rows) == [False, False, True, True]
    shapes = {row["engine"]["key"]["shapes"] for row in rows}
    assert len(shapes) == 2
    for shape in shapes:
        hashes = {row["engine"]["sha256"] for row in rows if row["engine"]["key"]["shapes"] == shape}
        assert len(hashes) == 1
    assert [entry.problem for entry in cache.entries()] == ["", ""]
    assert not list(cache.folder.glob("*.part"))


def test_the_fused_srgan_is_in_both_engines(raced: tuple[EngineCache, Path, list[dict[str, Any]]]) -> None:
    for engine in raced[0].engines():
        assert engine.layers["convolution"] == convolutions(make_model("srgan").module)
        assert not any("parametric" in layer or "plugin" in layer for layer in engine.layers)


def test_tampered_and_truncated_engines_are_built_again(
    raced: tuple[EngineCache, Path, list[dict[str, Any]]],
) -> None:
    cache, weights, _ = raced
    dynamic, static = (cache.path(engine.key.slot, ".engine") for engine in cache.engines())
    data = bytearray(dynamic.read_bytes())
    data[len(data) // 2] ^= 255
    dynamic.write_bytes(data)
    static.write_bytes(static.read_bytes()[:1000])
    _, err = finish(start(cache.folder, "--model", weights, "--size", "64x48", "--dynamic"))
    assert "its file is not the one that was built" in err
    assert "its file holds 1000 bytes instead of" in err
    assert [entry.problem for entry in cache.entries()] == ["", ""]
    assert len(static.read_bytes()) > 1000


def test_each_field_of_the_key_builds_again_with_its_reason(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "mine.safetensors", "fast", 2)
    command = [sys.executable, "-m", "tests.backends.tensorrt.key_changes", str(tmp_path / "engines"), str(weights)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    config = registry.load(str(weights), 2).config
    assert told["key"] == {
        "model": "mine", "scale": 2, "weights": registry.load(str(weights), 2).weights_hash,
        "config": json.dumps(config.to_dict(), sort_keys=True), "shapes": "64x48", "precision": "fp16",
        "flavour": "rtx", "tensorrt": version("tensorrt_rtx"), "torch_tensorrt": version("torch-tensorrt-rtx"),
        "torch": torch.__version__, "capability": "8.9", "gpu": "", "driver": "",
        "platform": f"{sys.platform}-{platform.machine()}", "format": key.FORMAT,
    }  # fmt: skip
    assert set(told["found"]) == set(told["key"])
    for field, row in told["found"].items():
        name, now = field.replace("torch_tensorrt", "torch-tensorrt"), told["key"][field]
        reason = (
            f"{name} changed" if field in ("weights", "config") else f"{name} was {row['other']}, is {now or 'unknown'}"
        )
        assert (row["built"], row["reason"]) == (True, reason)
    assert told["last"] is False


def test_ctrl_c_ends_a_build(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "mine.safetensors", "srgan", 4)
    process = start(tmp_path / "engines", "--model", weights)
    assert process.stderr is not None
    assert "built in" in process.stderr.readline()  # the first of five
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.endswith("vidsr: interrupted\n")
    assert "ERROR" not in err
    assert out == ""
    assert 1 <= len(EngineCache(tmp_path / "engines").engines()) < 5
    assert not list((tmp_path / "engines").glob("*.part"))


SPELLING = """
import tensorrt_rtx as trt
from vidsr.backends.tensorrt.flavour import RTX_CAPABILITIES
known = {name for name in trt.ComputeCapability.__members__ if name.startswith("SM")}
assert known == {"SM{}{}".format(*capability) for capability in RTX_CAPABILITIES}, known
for kind, names in {
    trt.Runtime: ["deserialize_cuda_engine"],
    trt.ICudaEngine: ["create_runtime_config", "create_execution_context", "get_tensor_name", "num_io_tensors",
                      "get_tensor_mode", "get_tensor_dtype"],
    trt.IRuntimeConfig: ["set_execution_context_allocation_strategy", "dynamic_shapes_kernel_specialization_strategy",
                         "create_runtime_cache", "set_runtime_cache"],
    trt.IRuntimeCache: ["serialize", "deserialize"],
    trt.IExecutionContext: ["set_input_shape", "update_device_memory_size_for_shapes", "set_device_memory",
                            "get_tensor_shape", "set_tensor_address", "execute_async_v3", "is_stream_capturable"],
    trt.IBuilderConfig: ["create_timing_cache", "set_timing_cache", "get_timing_cache", "progress_monitor"],
    trt.ExecutionContextAllocationStrategy: ["USER_MANAGED"],
    trt.DynamicShapesKernelSpecializationStrategy: ["EAGER"],
    trt.TensorIOMode: ["OUTPUT"], trt.DataType: ["HALF"], trt.Logger: ["ERROR"],
}.items():
    for name in names:
        assert hasattr(kind, name), (kind, name)
"""


def test_tensorrt_has_every_name_that_the_runtime_calls() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SPELLING], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
