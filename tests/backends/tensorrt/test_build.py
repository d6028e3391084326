"""Real engines, for GPUs that are not here. What is said to be on a GPU's own machine is in `stand_ins`."""

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

from tests import warm
from tests.backends.tensorrt.making import write_weights
from vidsr.backends.tensorrt import flavour, key
from vidsr.backends.tensorrt.build import prepare
from vidsr.backends.tensorrt.cache import EngineCache
from vidsr.backends.tensorrt.engines import Maker
from vidsr.backends.tensorrt.flavour import RTX_CAPABILITIES
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.backends.tensorrt.key import Profile
from vidsr.models import registry

ROOT = Path(__file__).parents[3]
STATIC, DYNAMIC = Profile.static((1, 48, 64)), Profile((1, 2, 2), (1, 540, 960), (1, 1088, 1920))

pytestmark = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None or find_spec("onnxscript") is None or torch.cuda.is_available(),
    reason="torch-tensorrt-rtx is not installed (pip install --group gpu), or there is a GPU, which builds its own",
)


def start(folder: Path, *arguments: object, program: str = "vidsr") -> subprocess.Popen[str]:
    environment = {**os.environ, "VIDSR_ENGINE_DIR": str(folder)}
    command = [sys.executable, "-m", program, "engine", "build", *map(str, arguments)]
    return warm.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def convolutions(module: nn.Module) -> int:
    """How many convolutions the network that is compiled calls; the bicubic one calls a function."""
    return sum(isinstance(child, nn.Conv2d) for child in prepare(module, "fp16").modules()) or 1


def assert_whole(cache: EngineCache, converter: str) -> None:
    """Every engine of a cache is the network that its manifest names, in half precision, with its weights."""
    for entry in cache.entries():
        assert entry.problem == ""
        engine = entry.engine
        assert engine is not None
        model = registry.load(engine.source, engine.key.scale)
        assert engine.layers["convolution"] == convolutions(model.module)
        assert not any("parametric" in layer or "plugin" in layer for layer in engine.layers)
        weights = sum(value.numel() for value in model.module.state_dict().values())
        assert 2 * weights < engine.num_bytes < 4 * weights + 5e6
        assert (engine.key.converter, engine.key.flavour, engine.key.precision) == (converter, "rtx", "fp16")
        assert engine.check is None


def test_every_shipped_model_is_built_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    out, _ = finish(start(tmp_path, "rtx4090", "--model", "all", "--size", "64x48", "--dynamic", "--json"))
    rows = json.loads(out)
    assert [(row["engine"]["key"]["model"], row["engine"]["key"]["scale"]) for row in rows[::2]] == [
        (info.name, info.scale) for info in registry.available_models()
    ]
    assert all(row["built"] and row["engine"]["key"]["capability"] == "8.9" for row in rows)
    assert_whole(EngineCache(tmp_path), "onnx")


def test_torch_tensorrt_builds_both_graphs_whole(tmp_path: Path) -> None:
    first, second = (
        ("rtx4090", "--model", name, "--scale", scale, "--size", "64x48")
        for name, scale in (("srgan", 4), ("fast-video", 2))
    )
    both = (*first, "and", "engine", "build", *second)
    finish(start(tmp_path, *both, program="tests.backends.tensorrt.stand_ins"))
    assert len(EngineCache(tmp_path).engines()) == 2
    assert_whole(EngineCache(tmp_path), "torch-tensorrt")


def maker(folder: Path, model: registry.Model, capability: tuple[int, int], graphs: dict[str, bytes]) -> Maker:
    return Maker(model, "fp16", Gpu(capability), flavour.require(), EngineCache(folder), graphs=graphs)


@pytest.mark.parametrize(("graph", "scale"), [("srgan", 4), ("fast", 2)])
def test_each_gpu_gets_its_own_engine_from_one_graph(tmp_path: Path, graph: str, scale: int) -> None:
    model = registry.load(str(write_weights(tmp_path / "mine.safetensors", graph, scale)), scale)
    cache = EngineCache(tmp_path)
    graphs: dict[str, bytes] = {}
    for capability in RTX_CAPABILITIES:
        for profile in (STATIC, DYNAMIC):
            assert maker(tmp_path, model, capability, graphs).obtain(profile).built
    assert list(graphs) == ["fp16"]
    assert len({engine.sha256 for engine in cache.engines()}) == 2 * len(RTX_CAPABILITIES)
    assert_whole(cache, "onnx")


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineCache, Path, list[dict[str, Any]]]:
    """Two processes that build the same engines of an SRGAN at once: a static and the dynamic one."""
    folder = tmp_path_factory.mktemp("raced")
    weights = write_weights(folder / "mine.safetensors", "srgan", 4)
    arguments = ("rtx4090", "--model", weights, "--size", "64x48", "--dynamic", "--json")
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
    assert_whole(raced[0], "onnx")


def test_tampered_and_truncated_engines_are_built_again(raced: tuple[EngineCache, Path, list[dict[str, Any]]]) -> None:
    cache, weights, _ = raced
    dynamic, static = (cache.path(engine.key.slot, ".engine") for engine in cache.engines())
    data = bytearray(dynamic.read_bytes())
    data[len(data) // 2] ^= 255
    dynamic.write_bytes(data)
    static.write_bytes(static.read_bytes()[:1000])
    _, err = finish(start(cache.folder, "rtx4090", "--model", weights, "--size", "64x48", "--dynamic"))
    assert "its file is not the one that was built" in err
    assert "its file holds 1000 bytes instead of" in err
    assert [entry.problem for entry in cache.entries()] == ["", ""]
    assert len(static.read_bytes()) > 1000


def test_each_field_of_the_key_builds_again_with_its_reason(tmp_path: Path) -> None:
    """Another value in the manifest stands for an engine that was built so."""
    model = registry.load(str(write_weights(tmp_path / "mine.safetensors", "fast", 2)), 2)
    made = maker(tmp_path / "engines", model, (8, 9), {})
    now = made.obtain(STATIC).engine
    machine = platform.machine()
    assert now.key.to_dict() == {
        "model": "mine", "scale": 2, "weights": model.weights_hash,
        "config": json.dumps(model.config.to_dict(), sort_keys=True), "shapes": "64x48", "precision": "fp16",
        "converter": "onnx", "flavour": "rtx", "tensorrt": version("tensorrt_rtx"), "torch_tensorrt": "",
        "torch": torch.__version__.partition("+")[0], "capability": "8.9", "gpu": "", "driver": "",
        "platform": {"AMD64": "x86_64"}.get(machine, machine), "format": key.FORMAT,
    }  # fmt: skip
    manifest = made.cache.path(now.key.slot, ".json")
    for name, value in now.key.to_dict().items():
        other = "80x60" if name == "shapes" else value + 1 if isinstance(value, int) else f"{value}9"
        values = json.loads(manifest.read_text())
        values["key"][name] = other
        manifest.write_text(json.dumps(values))
        again = made.obtain(STATIC)
        words = name.replace("torch_tensorrt", "torch-tensorrt")
        changed = (
            f"{words} changed" if name in ("weights", "config") else f"{words} was {other}, is {value or 'unknown'}"
        )
        assert (again.built, again.reason) == (True, changed)
        assert again.engine.key == now.key
    assert not made.obtain(STATIC).built


def test_ctrl_c_ends_a_build(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "mine.safetensors", "srgan", 4)
    process = start(tmp_path / "engines", "rtx4090", "--model", weights)
    assert process.stderr is not None
    assert any("built in" in line for line in process.stderr)  # the first of five; a slow machine says more before
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
    trt.OnnxParser: ["parse", "num_errors", "get_error"], trt.INetworkDefinition: ["get_input", "get_layer"],
    trt.IBuilderConfig: ["num_compute_capabilities", "set_compute_capability", "clear_flag", "create_timing_cache",
                         "set_timing_cache", "get_timing_cache", "progress_monitor"],
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
