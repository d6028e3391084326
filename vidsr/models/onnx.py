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
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidsr.errors import BackendError, ModelError, OutputError
from vidsr.files import replacing
from vidsr.models import onnx_nodes
from vidsr.models.fused import inference_form
from vidsr.models.registry import Model
from vidsr.models.srgan import GeneratorConfig

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
    dtype = torch.float16 if precision == "fp16" else torch.float32
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(graph(model, dtype))
            error = _largest_error(model, part, dtype)
            if not error <= TOLERANCE[precision]:
                raise ModelError(f"{model.name} as ONNX differs by {error:.2g} from the network; nothing was written.")
    except OSError as failed:
        raise OutputError(f"{path}: cannot be written ({failed.strerror or failed}); choose another -o.") from failed
    return Exported(path, path.stat().st_size, error)


class _Session(Protocol):
    """What is used of a session of ONNX Runtime."""

    def run(self, outputs: None, inputs: dict[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """All outputs."""


def graph(model: Model, dtype: torch.dtype, *, outer: torch.dtype | None = None) -> bytes:
    """What `export` writes, not compared with anything yet: in `dtype`, its input and output, too, unless `outer` is.

    Networks of other projects are written by torch's exporter, which takes half a minute.

    Raises:
        BackendError: onnx, or for other projects' networks onnxscript, is missing.
        ModelError: the network cannot be written as ONNX.
    """
    _require("onnx")
    if isinstance(model.config, GeneratorConfig):
        names = (INPUT, OUTPUT)
        module = inference_form(model.module, dtype)
        proto = onnx_nodes.build(module, dtype, names=names, opset=OPSET, outer=outer or dtype)
    else:
        proto = _exported(model, dtype)
    facts = {"scale": model.scale, "weights": model.weights_hash, "halo": model.halo, "multiple": model.multiple}
    for key, value in {"name": model.name, **{k: json.dumps(v) for k, v in facts.items()}}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(proto.SerializeToString())


def _exported(model: Model, dtype: torch.dtype) -> ModelProto:
    """By torch's exporter."""
    _require("onnxscript")
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


def _largest_error(model: Model, path: Path, dtype: torch.dtype) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return max(_error(model, session, dtype, height, width) for height, width in CHECK_SIDES)


def _error(model: Model, session: _Session, dtype: torch.dtype, height: int, width: int) -> float:
    height, width = (-(-side // model.multiple) * model.multiple for side in (height, width))
    batch = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected: Tensor = model.module(batch)
    (made,) = session.run(None, {INPUT: batch.to(dtype).numpy()})
    return float((torch.from_numpy(made).float() - expected).abs().max())
