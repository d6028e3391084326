"""Networks as OpenVINO's graphs: ours drawn step by step, other projects' by tracing their module with torch."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from vidsr.models import graph
from vidsr.models.config import CUBIC_REACH, GeneratorConfig
from vidsr.models.graph import Array
from vidsr.models.registry import Model
from vidsr.models.scales import CODES, Scales, coded


class Graph(Protocol):
    """What is called on OpenVINO's model."""

    def clone(self) -> Graph:
        """A copy, of which only the shapes may be changed."""

    def reshape(self, shape: list[int]) -> None:
        """For one shape of input."""


def graphs(model: Model, *, apart: bool, scales: Scales | None = None) -> tuple[Graph, ...]:
    """The network with N, H and W open; where it is computed `apart`, what ``fast`` adds to its base, and the base.

    With `scales` the convolutions that have one take codes of 8 bits.
    """
    config = model.config
    if not isinstance(config, GeneratorConfig):
        return (_traced(model),)
    if apart and config.graph == "fast":
        added = _drawn(lambda pen, picture: graph.residual(config, model.weights, pen, picture))
        return added, _drawn(lambda pen, picture: graph.base(config, pen, picture))
    coder = _Coder(model.weights, scales) if scales else None
    return (_drawn(lambda pen, picture: graph.draw(config, model.weights, pen, picture, coder)),)


def _drawn(draw: Any) -> Graph:
    openvino = import_module("openvino")
    picture = import_module("openvino.opset13").parameter(openvino.PartialShape([-1, 3, -1, -1]), np.float32)
    made: Graph = openvino.Model([draw(_Pen(), picture)], [picture])
    return made


class _Pen:
    """A `graph.Pen` of OpenVINO's operations."""

    def __init__(self) -> None:
        self._ops: Any = import_module("openvino.opset13")

    def convolution(self, x: Any, weight: Array, bias: Array | None, *, groups: int = 1, padded: bool = True) -> Any:
        around = [weight.shape[-1] // 2 * padded] * 2
        if groups > 1:
            kernel = weight.reshape(groups, -1, *weight.shape[1:])
            y = self._ops.group_convolution(x, self._constant(kernel), [1, 1], around, around, [1, 1])
        else:
            y = self._ops.convolution(x, self._constant(weight), [1, 1], around, around, [1, 1])
        return y if bias is None else self.add(y, self._constant(bias.reshape(1, -1, 1, 1)))

    def leaky(self, x: Any, slope: float) -> Any:
        return self._ops.prelu(x, self._constant(np.array([slope], np.float32)))

    def add(self, one: Any, other: Any) -> Any:
        return self._ops.add(one, other)

    def shuffle(self, x: Any, factor: int) -> Any:
        return self._ops.depth_to_space(x, "depth_first", factor)

    def bilinear(self, x: Any, factor: int) -> Any:
        scales, axes = np.array([factor, factor], np.float32), np.array([2, 3])
        return self._ops.interpolate(x, scales, "linear_onnx", "scales", axes=axes)

    def mirrored(self, x: Any) -> Any:
        around = np.array([0, 0, CUBIC_REACH, CUBIC_REACH])
        return self._ops.pad(x, around, around, "symmetric")

    def _constant(self, values: Array) -> Any:
        return self._ops.constant(values)


class _Coder:
    """A `graph.Coder`: rounds to codes before a convolution whose weights are codes, which the runtime fuses."""

    def __init__(self, weights: graph.Weights, scales: Scales) -> None:
        self._weights, self._scales = weights, scales.layers
        self._ops: Any = import_module("openvino.opset13")

    def convolution(self, name: str, x: Any) -> Any | None:
        if (scale := self._scales.get(name)) is None:
            return None
        low, high = (self._constant(np.float32(end)) for end in (scale.low, scale.high))
        first, last = (
            self._constant(np.float32(end) * scale.gain.reshape(1, -1, 1, 1)) for end in (scale.low, scale.high)
        )
        codes, steps = coded(self._weights[f"{name}.weight"], scale.gain)
        weight = self._ops.multiply(self._ops.convert(self._constant(codes), "f32"), self._constant(steps))
        around = [codes.shape[-1] // 2] * 2
        rounded = self._ops.fake_quantize(x, first, last, low, high, CODES)
        y = self._ops.convolution(rounded, weight, [1, 1], around, around, [1, 1])
        bias = self._weights[f"{name}.bias"] + scale.bias
        return self._ops.add(y, self._constant(bias.reshape(1, -1, 1, 1)))

    def _constant(self, values: Any) -> Any:
        return self._ops.constant(values)


def _traced(model: Model) -> Graph:
    """The frontend is called directly: `openvino.convert_model` takes four times as long, and brings telemetry."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and what the frontend reads best
        picture = torch.zeros(1, 3, 16, 16)
        traced = torch.jit.trace(model.module, picture, check_trace=False)  # type: ignore[no-untyped-call]
        decoder = TorchScriptPythonDecoder(traced)  # must outlive the conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        made: Graph = frontend.convert(frontend.load(decoder))
        return made
