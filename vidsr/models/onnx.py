"""A generator as ONNX: for TensorRT's parser, and as a file for other tools that ONNX Runtime has checked."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vidsr.errors import BackendError, ModelError, OutputError
from vidsr.files import replacing
from vidsr.models import onnx_nodes, plain
from vidsr.models.config import GeneratorConfig
from vidsr.models.registry import Model

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT, OUTPUT = "rgb", "upscaled"
OPSET = 18
CHECK_SIDES = ((24, 32), (19, 45))  # sizes that the check runs at: the traced one, and an odd one
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}  # largest difference from eager FP32 in outputs from 0 to 1


@dataclass(frozen=True)
class Exported:
    """A finished file, and the largest difference of its output (in [0, 1]) from eager FP32."""

    path: Path
    bytes: int
    max_error: float


def export(model: Model, path: Path, *, precision: str = "fp32") -> Exported:
    """Write `model` as ONNX: input ``rgb`` (N, 3, H, W) in [0, 1], output ``upscaled`` (N, 3, H*scale, W*scale).

    N, H and W are free. It is the fused network, with leaky ReLUs where a PReLU has one slope, as runtimes like it. The
    header carries name, scale, weights hash, halo and multiple.

    Raises:
        BackendError: onnx or onnxruntime is missing, or for other projects' networks onnxscript.
        ModelError: the network cannot be written as ONNX, or what was written computes something else.
        OutputError: `path` cannot be written.
    """
    _require("onnx", "onnxruntime")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(graph(model, precision))
            error = _largest_error(model, part, precision)
            if not error <= TOLERANCE[precision]:
                raise ModelError(f"{model.name} as ONNX differs by {error:.2g} from the network; nothing was written.")
    except OSError as failed:
        raise OutputError(f"{path}: cannot be written ({failed.strerror or failed}); choose another -o.") from failed
    return Exported(path, path.stat().st_size, error)


class _Session(Protocol):
    """What is used of a session of ONNX Runtime."""

    def run(self, outputs: None, inputs: dict[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """All outputs."""


def graph(model: Model, precision: str, *, outer: str | None = None) -> bytes:
    """What `export` writes, not compared with anything yet: in `precision`, input and output too, or those in `outer`.

    Networks of other projects are written by torch's exporter, which takes half a minute.

    Raises:
        BackendError: onnx, or for other projects' networks onnxscript, is missing.
        ModelError: the network cannot be written as ONNX.
    """
    _require("onnx")
    if isinstance(model.config, GeneratorConfig):
        names = (INPUT, OUTPUT)
        proto = onnx_nodes.build(
            model.config, model.weights, precision, names=names, opset=OPSET, outer=outer or precision
        )
    else:
        proto = _exported(model, precision)
    facts = {"scale": model.scale, "weights": model.weights_hash, "halo": model.halo, "multiple": model.multiple}
    for key, value in {"name": model.name, **{k: json.dumps(v) for k, v in facts.items()}}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(proto.SerializeToString())


def _exported(model: Model, precision: str) -> ModelProto:
    """By torch's exporter."""
    _require("onnxscript")
    import torch

    from vidsr.models.fused import inference_form

    dtype = torch.float16 if precision == "fp16" else torch.float32
    sample = torch.rand(2, 3, *CHECK_SIDES[0]).to(dtype)
    sides = {0: torch.export.Dim("n", min=1), 2: torch.export.Dim("h", min=2), 3: torch.export.Dim("w", min=2)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                inference_form(model.module, dtype),
                (sample,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(sides,),
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(f"{model.name} cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    assert program is not None
    return program.model_proto


def _require(*names: str) -> None:
    if missing := [name for name in names if find_spec(name) is None]:
        raise BackendError(f"Writing ONNX needs {missing[0]}, which is missing: pip install 'vidsr-upscaler[onnx]'.")


def _largest_error(model: Model, path: Path, precision: str) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return max(_error(model, session, precision, height, width) for height, width in CHECK_SIDES)


def _error(model: Model, session: _Session, precision: str, height: int, width: int) -> float:
    height, width = (-(-side // model.multiple) * model.multiple for side in (height, width))
    batch = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    (made,) = session.run(None, {INPUT: batch.astype(np.float16 if precision == "fp16" else np.float32)})
    return float(np.abs(made.astype(np.float32) - _exact(model, batch)).max())


def _exact(model: Model, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    if isinstance(model.config, GeneratorConfig):
        return plain.run(model.config, model.weights, batch)
    import torch

    with torch.no_grad():
        made: NDArray[np.float32] = model.module(torch.from_numpy(batch)).numpy()
        return made
