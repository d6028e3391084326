"""OpenVINO's devices: by its own list, each proved before it is trusted. GPUs and NPU are played by the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import make_clip
from tests.conformance.test_backends import make_model
from tests.conftest import ROOT, Result
from vidsr import findings
from vidsr.backends import AUTO, Unit, accuracy
from vidsr.backends.selection import open_backend
from vidsr.errors import BackendError

pytest.importorskip("openvino")

from vidsr.backends import openvino

ABLE = {"CPU": ["FP32"], "GPU": ["FP32", "FP16", "INT8"], "NPU": ["FP16", "INT8"]}
Cli = Callable[..., Result]


class Played:
    """OpenVINO's core on a machine with the devices of `there`, all of them its CPU; `broken` do not compile."""

    def __init__(self, *there: str) -> None:
        self.available_devices = list(there)
        self.broken: set[str] = set()
        self.compiled: list[tuple[str, dict[str, object]]] = []
        self._core = openvino._import().Core()

    def get_property(self, device: str, name: str) -> object:
        return ABLE[device.partition(".")[0]] if name == "OPTIMIZATION_CAPABILITIES" else f"a {device}"

    def compile_model(self, graph: Any, device: str, options: dict[str, object]) -> Any:
        self.compiled.append((device, options))
        if device in self.broken:
            raise RuntimeError("[GPU] clBuildProgram failed")
        return self._core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    made = Played("CPU", "GPU.0", "GPU.1", "NPU")
    monkeypatch.setattr(openvino, "_core", lambda: made)
    monkeypatch.setattr(findings, "folder", lambda: tmp_path / "findings")
    monkeypatch.setattr(accuracy, "seconds_beside", lambda *_: (0.01, 0.02))
    return made


@pytest.mark.parametrize(
    ("device", "processor", "precision"),
    [
        ("auto", "GPU.0", "f16"),
        ("gpu", "GPU.0", "f16"),
        (1, "GPU.1", "f16"),
        ("npu", "NPU", "f16"),
        ("cpu", "CPU", "f32"),
    ],
)
def test_each_device_by_its_name(played: Played, device: int | str, processor: str, precision: str) -> None:
    backend, reason = open_backend("openvino", make_model("fast", 2), device=device)
    assert backend.unit == processor
    batch = torch.rand(1, 3, 12, 16)
    assert torch.allclose(backend(batch), make_model("fast", 2).module(batch), atol=1e-5)
    place, options = played.compiled[-1]
    assert (place, options["INFERENCE_PRECISION_HINT"]) == (processor, precision)
    assert ("ENABLE_CPU_PINNING" in options) == (processor == "CPU")
    assert (f"on {processor}, a {processor}, 120 dB from FP32 on a film frame" in reason) == (processor != "CPU")
    backend.close()


def test_a_gpu_that_fails_gives_way_to_the_cpu_unless_it_was_named(played: Played) -> None:
    played.broken = {"GPU.0", "GPU.1"}
    backend, reason = open_backend("openvino", make_model("fast", 2))
    assert (backend.unit, backend.precision) == ("CPU", "fp32")
    assert "on the CPU, without GPU.0 (openvino failed on a batch of 1x3x96x128: [GPU] clBuildProgram failed)" in reason
    with pytest.raises(BackendError, match="clBuildProgram failed"):
        open_backend("openvino", make_model("fast", 2), device="gpu")


def test_a_gpu_that_is_slower_than_the_cpu_is_taken_only_by_its_name(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are timed once; what was found is remembered."""
    timed: list[tuple[str, str]] = []

    def slower(one: openvino.OpenVINOBackend, other: openvino.OpenVINOBackend) -> tuple[float, float]:
        timed.append((one.unit, other.unit))
        return 0.04, 0.02

    monkeypatch.setattr(accuracy, "seconds_beside", slower)
    for _ in range(2):
        backend, reason = open_backend("openvino", make_model("fast", 2))
        assert (backend.unit, backend.precision) == ("CPU", "fp32")
        words = "slower than the CPU: 40 ms for a small frame, where the CPU takes 20"
        assert f"on the CPU, without GPU.0 ({words}), GPU.1 ({words})" in reason
    assert timed == [("GPU.0", "CPU"), ("GPU.1", "CPU")]
    assert open_backend("openvino", make_model("fast", 2), device="gpu")[0].unit == "GPU.0"


def test_a_gpu_that_differs_is_not_trusted(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    real = openvino.OpenVINOBackend.run
    monkeypatch.setattr(
        openvino.OpenVINOBackend, "run", lambda self, batch: real(self, batch if self.unit == "CPU" else batch * 0.9)
    )
    with pytest.raises(BackendError, match=r"dB and .* codes from FP32, and 55 dB and at most 1 code are needed"):
        open_backend("openvino", make_model("fast", 2), device="gpu")


def test_what_a_device_cannot_compute_in_is_refused(played: Played) -> None:
    with pytest.raises(BackendError, match="does not compute in fp32 on this NPU"):
        open_backend("openvino", make_model("fast", 2), device="npu", precision="fp32")
    with pytest.raises(BackendError, match=r"does not compute in bf16 on this GPU\.0"):
        open_backend("openvino", make_model("fast", 2), device="gpu", precision="bf16")


def test_absent_devices_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "_core", lambda: Played("CPU"))
    assert openvino._processors(AUTO) == openvino._processors(Unit("cpu")) == ["CPU"]
    for device, name in (("gpu", "GPU"), (3, "GPU 3"), ("npu", "NPU")):
        with pytest.raises(BackendError, match=rf"OpenVINO finds no {name} here, only CPU \(a CPU\); use device auto"):
            open_backend("openvino", make_model("fast", 2), device=device)


def test_a_job_on_an_absent_device_fails_with_one_sentence(vidsr: Cli, tmp_path: Path) -> None:
    if any(not name.startswith("CPU") for name in openvino._core().available_devices):
        pytest.skip("this machine has what the test says it has not")
    clip = make_clip(tmp_path / "clip.mp4", frames=2)
    result = vidsr("upscale", clip, "--backend", "openvino", "--device", "npu", "--scale", "2", "-q")
    assert result.code == 1
    assert "OpenVINO finds no NPU here" in result.err
    assert len(result.err.strip().splitlines()) == 1
    result = vidsr("upscale", clip, "--device", "tpu", "-q")
    assert result.code == 2
    assert "device must be auto, cpu, gpu, npu, or the number of a GPU, not 'tpu'" in result.err


def test_another_unit_is_another_result(played: Played) -> None:
    """A job that was begun on the GPU does not go on elsewhere unseen."""
    from vidsr.upscaling.upscaler import Upscaler

    known = [Upscaler("fast", scale=2, backend="openvino", device=device).identity() for device in ("gpu", "cpu")]
    assert known[0]["unit"] == "GPU.0"
    assert "unit" not in known[1]


def test_nobody_is_told_of_a_job(tmp_path: Path) -> None:
    """OpenVINO would send an event at each import, and keep a number for that in the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    script = (
        "import sys\n"
        "from vidsr import upscale_video\n"
        "upscale_video(sys.argv[1], sys.argv[2], scale=2, model='bicubic', backend='openvino')\n"
        "import openvino\n"
        "print(callable(openvino.convert_model), sorted(name for name in sys.modules if 'telemetry.' in name))"
    )
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, make_clip(tmp_path / "clip.mp4", frames=2), tmp_path / "large.mp4"],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["True []"]
    assert not list(home.glob("[Ii]ntel*"))


@pytest.mark.parametrize(
    ("said", "why"),
    [("Exception from a.cpp:1:\nno such kernel\n \n", "no such kernel"), ("\n", "RuntimeError"), ("", "RuntimeError")],
)
def test_a_failure_is_told_by_the_last_line_that_says_something(said: str, why: str) -> None:
    batch = np.zeros((1, 3, 8, 8), np.float32)
    assert str(openvino._translate(RuntimeError(said), batch)) == f"openvino failed on a batch of 1x3x8x8: {why}"
