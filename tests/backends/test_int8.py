"""INT8 by OpenVINO: what runs in codes, what it is held to, and who gets it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conformance.test_backends import make_model
from train.codes import emulated, measured
from vidsr import findings
from vidsr.backends import accuracy, hardware
from vidsr.backends.accuracy import INT8, compare, film_frame, real_frame
from vidsr.backends.selection import open_backend
from vidsr.errors import BackendError, ModelError
from vidsr.models import registry, scales
from vidsr.models.config import GeneratorConfig
from vidsr.models.scales import Scale

pytest.importorskip("openvino")

from vidsr.backends.openvino import OpenVINOBackend, _core, _precisions
from vidsr.upscaling.upscaler import Upscaler

if "int8" not in _precisions(_core(), "CPU"):
    pytest.skip("OpenVINO has no INT8 on this CPU", allow_module_level=True)

Change = Callable[[Scale], Scale]
SHIPPED = [info for info in registry.available_models() if scales.KEY in info.metadata]


def coded_layers(model: registry.Model) -> dict[str, Scale]:
    """The scales of all convolutions but the first and the last."""
    assert isinstance(model.config, GeneratorConfig)
    names = scales.convolutions(model.config)
    names = names[1:-1] if model.config.graph == "fast" else names[1:]
    pictures = [real_frame((1, 40, 48))[0], real_frame((1, 136, 200))[0, :, 60:120, 100:]]
    return measured(model.module, names, pictures)


def with_scales(model: registry.Model, layers: dict[str, Scale]) -> registry.Model:
    text = scales.to_text(layers, model.weights_hash)
    return dataclasses.replace(model, metadata={**model.metadata, scales.KEY: text})


@pytest.fixture(scope="module", params=[("fast", 2), ("srgan", 4)], ids=["fast", "srgan"])
def plain(request: pytest.FixtureRequest) -> registry.Model:
    return make_model(*request.param, blocks=2 if request.param[0] == "fast" else 1)


@pytest.fixture(scope="module")
def model(plain: registry.Model) -> registry.Model:
    return with_scales(plain, coded_layers(plain))


@pytest.fixture(scope="module")
def strong() -> registry.Model:
    """One whose convolutions make the whole picture, and not small corrections of it."""
    made = make_model("srgan", 2, blocks=1)
    return with_scales(made, coded_layers(made))


@pytest.fixture(autouse=True)
def found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where findings are in a test."""
    monkeypatch.setattr(findings, "folder", lambda: tmp_path / "findings")
    return tmp_path / "findings"


def opened(model: registry.Model) -> OpenVINOBackend:
    backend, _ = open_backend("openvino", model, precision="int8", device="cpu")
    assert isinstance(backend, OpenVINOBackend)
    return backend


def steps_of(model: registry.Model, precision: str = "int8") -> list[tuple[str, str]]:
    """Type and precision of every step that the runtime executes, constants left out."""
    backend = OpenVINOBackend(model, precision=precision)
    graph = backend._graphs[0].clone()
    graph.reshape([1, 3, 24, 32])
    compiled = backend._core.compile_model(graph, "CPU", backend._options)
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]  # type: ignore[attr-defined]
    read = [tuple(str(one[key].value) for key in ("layerType", "runtimePrecision")) for one in facts]
    return [(kind, kept) for kind, kept in read if kind != "Const"]


def test_the_runtime_computes_those_convolutions_in_codes_and_converts_nothing_else(model: registry.Model) -> None:
    steps, exact = steps_of(model), steps_of(model, "fp32")
    kinds = [precision for kind, precision in steps if kind == "Convolution"]
    num = len(model.scales.layers)
    assert kinds.count("u8") == num
    assert kinds.count("f32") == len(kinds) - num == 2
    assert [precision for kind, precision in exact if kind == "Convolution"] == ["f32"] * len(kinds)
    assert not {kind for kind, _ in steps} & {"FakeQuantize", "Convert", "Eltwise"}  # all fused


def test_it_computes_what_torch_emulates(model: registry.Model, plain: registry.Model) -> None:
    backend, emulation = opened(model), emulated(plain.module, model.scales.layers)
    for batch in (real_frame((1, 24, 40)), torch.rand(2, 3, 9, 16)):
        with torch.no_grad():
            assert compare(backend(batch), emulation(batch)).psnr > 60
            assert not torch.equal(backend(batch), plain.module(batch))
    backend.close()


def test_tiles_are_the_whole(model: registry.Model) -> None:
    """Sums of whole numbers have no order."""
    backend, frame, s = opened(model), film_frame((1, 48, 64)), model.scale
    whole, h = backend(frame), model.halo
    for top, left, height, width in ((0, 0, 30, 40), (5, 3, 43, 61)):
        tile = backend(np.ascontiguousarray(frame[:, :, top : top + height, left : left + width]))
        inner = tile[:, :, h * s : (height - h) * s, h * s : (width - h) * s]
        rows, columns = ((first + h) * s for first in (top, left))
        same = whole[:, :, rows : rows + inner.shape[2], columns : columns + inner.shape[3]]
        assert inner.size
        assert abs(inner - same).max() < 1e-5
    assert np.array_equal(backend(frame), whole)
    assert abs(backend(np.concatenate([frame, frame]))[1:] - whole).max() < 1e-5


def test_auto_takes_it_where_the_cpu_has_units_and_the_model_scales(
    model: registry.Model, plain: registry.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_int8_units", lambda: True)
    backend, reason = open_backend("openvino", model, device="cpu")
    assert backend.precision == "int8"
    assert "INT8: this CPU has units for it; " in reason
    assert "dB from FP32 on a film frame" in reason
    backend, reason = open_backend("openvino", plain, device="cpu")
    assert backend.precision != "int8"
    assert "not INT8: the model has no scales" in reason
    damaged = dataclasses.replace(model, metadata={scales.KEY: "{}"})
    backend, reason = open_backend("openvino", damaged, device="cpu")
    assert backend.precision != "int8"
    assert f"not INT8: The INT8 scales of {model.name} x{model.scale} are damaged" in reason


def test_a_cpu_without_units_says_so_and_changes_nothing(
    model: registry.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_int8_units", lambda: False)
    backend, reason = open_backend("openvino", model, device="cpu")
    assert backend.precision != "int8"
    assert "and no units for INT8 (VNNI, AMX)" in reason
    backend, reason = open_backend("auto", model, precision="int8", device="cpu")  # who names it gets it
    assert (backend.name, backend.precision) == ("openvino", "int8")
    assert reason.endswith("no units for INT8 (VNNI, AMX)")


def wrong(model: registry.Model, change: Change) -> registry.Model:
    return with_scales(model, {name: change(one) for name, one in model.scales.layers.items()})


@pytest.mark.parametrize(
    "change",
    [lambda one: dataclasses.replace(one, step=one.step / 40), lambda one: dataclasses.replace(one, bias=one.bias + 1)],
    ids=["ranges", "biases"],
)
def test_wrong_scales_are_found_on_a_film_frame(
    strong: registry.Model, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_int8_units", lambda: True)
    bad = wrong(strong, change)
    for name in ("openvino", "auto"):
        with pytest.raises(BackendError, match=r"codes from FP32, and 48 dB and at most 3 codes are needed"):
            open_backend(name, bad, precision="int8", device="cpu")
    backend, reason = open_backend("auto", bad, device="cpu")
    assert (backend.name, backend.precision != "int8") == ("openvino", True)
    assert "not INT8: its result is" in reason


def test_whoever_names_it_gets_it_or_a_sentence(plain: registry.Model) -> None:
    for name in ("openvino", "auto"):
        with pytest.raises(ModelError, match=f"{plain.name} x{plain.scale} has no INT8 scales"):
            open_backend(name, plain, precision="int8")
    for name in ("onnxruntime", "cpu"):
        with pytest.raises(BackendError, match="not in int8; use precision auto"):
            open_backend(name, plain, precision="int8")


def test_the_proof_is_remembered(model: registry.Model, monkeypatch: pytest.MonkeyPatch, found_out: Path) -> None:
    opened(model)
    assert list(found_out.glob("*.json"))
    monkeypatch.setattr(accuracy, "prove_beside", lambda *_: pytest.fail("measured again"))
    opened(model)
    with pytest.raises(pytest.fail.Exception):  # other scales, another finding
        opened(wrong(model, lambda one: dataclasses.replace(one, zero=one.zero ^ 1)))


def test_a_job_that_goes_on_knows_its_scales_and_runtime(
    model: registry.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load", lambda *_: model)
    coded, exact = (Upscaler("fast", scale=model.scale, backend="openvino", precision=one) for one in ("int8", "fp32"))
    known = coded.identity()
    assert known["precision"] == "int8"
    assert known["int8 scales"] == model.scales.digest
    assert str(known["openvino"]).startswith("20")
    assert not {"int8 scales", "openvino"} & set(exact.identity())
    coded.close()
    exact.close()


@pytest.mark.parametrize("info", SHIPPED, ids=lambda info: f"{info.name}-x{info.scale}")
def test_shipped_scales_hold(info: registry.ModelInfo) -> None:
    """On the film frame that every path is held to, and on plain colours."""
    shipped = registry.load(info.name, info.scale)
    backend, frame = opened(shipped), real_frame((1, 96, 128))
    assert compare(backend(frame), accuracy.exact(shipped, frame), INT8).passed
    for level in (0.05, 0.5, 0.95):
        flat = torch.full((1, 3, 24, 24), level)
        with torch.no_grad():
            off = (backend(flat) - shipped.module(flat)).mean((0, 2, 3)) * 255
        assert float(off.abs().max()) < 0.25
    backend.close()


def test_units_are_read_as_linux_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, there in (
        ("fpu avx2 avx512f", False),
        ("avx2 avx_vnni", True),
        ("avx512_vnni", True),
        ("amx_int8", True),
    ):
        text = f"model name : a CPU\nflags\t\t: {flags}\n"
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text, **__: text)
        assert hardware.has_int8_units() is there
