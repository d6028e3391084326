"""`vidsr export`: what ONNX Runtime computes from the file is what the network computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Result
from vidsr.errors import ModelError
from vidsr.models import registry

onnxruntime = pytest.importorskip("onnxruntime")
Cli = Callable[..., Result]


def run(path: Path, batch: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch.numpy()})[0]


@pytest.mark.parametrize(("name", "scale"), [("bicubic", 2), ("fast", 4)])
def test_any_size_and_number_give_what_the_network_gives(vidsr: Cli, tmp_path: Path, name: str, scale: int) -> None:
    path = tmp_path / "net.onnx"
    result = vidsr("export", name, "--scale", str(scale), "-o", path)
    assert result.code == 0, result.err
    batch = torch.rand(3, 3, 13, 22, generator=torch.Generator().manual_seed(5))
    expected = registry.load(name, scale).module(batch)
    np.testing.assert_allclose(run(path, batch), expected.numpy(), atol=1e-5)


def test_the_graph_is_the_fused_one_with_leaky_relus() -> None:
    onnx = pytest.importorskip("onnx")
    from vidsr.models.onnx import graph

    made = onnx.load_from_string(graph(registry.load("srgan", 4), "fp16")).graph
    kinds = [node.op_type for node in made.node]
    assert "PRelu" not in kinds
    assert kinds.count("LeakyRelu") == 19  # of the head, 16 blocks and two sub-pixel steps
    assert kinds.count("Conv") == 37
    weights = {value.name: value for value in made.initializer}
    *_, last = (node for node in made.node if node.op_type == "Conv")
    assert list(weights[last.input[1]].dims) == [12, 256, 5, 5]  # the 9x9 at full size, before the last shuffle
    assert {value.data_type for value in weights.values()} <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}


def test_half_precision_takes_halves_and_says_what_the_network_is(vidsr: Cli, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert vidsr("export", "fast", "--scale", "2", "--precision", "fp16", "-o", path).code == 0
    batch = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    made = run(path, batch.half())
    assert made.dtype == np.float16
    expected = registry.load("fast", 2).module(batch)
    np.testing.assert_allclose(made.astype(np.float32), expected.numpy(), atol=1e-2)
    facts = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert facts["name"] == "fast"
    assert facts["weights"].strip('"') == registry.load("fast", 2).weights_hash


def test_a_file_that_computes_something_else_is_never_given_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vidsr.models import onnx

    model = registry.load("bicubic", 2)
    written = onnx.graph(registry.load("fast", 2), "fp32")
    monkeypatch.setattr(onnx, "graph", lambda *_: written)
    with pytest.raises(ModelError, match="differs"):
        onnx.export(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("fast", "-o", "net.trt"), "does not end in .onnx"),
        (("nonsense",), "Unknown model"),
        (("fast", "--precision", "int8"), "--precision must be one of"),
        (("fast", "--scale", "3"), "not for x3"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = vidsr("export", *arguments)
    assert result.code in (1, 2)
    assert sentence in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_an_existing_file_is_kept(vidsr: Cli, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("mine")
    assert vidsr("export", "bicubic", "--scale", "2", "-o", path).code == 2
    assert path.read_text() == "mine"
