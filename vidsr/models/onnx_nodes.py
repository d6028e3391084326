"""Our own graphs as ONNX, node by node: what torch's exporter writes in half a minute, without it and without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vidsr.models.config import CUBIC_REACH, GeneratorConfig
from vidsr.models.graph import Array, Weights, draw

if TYPE_CHECKING:
    from onnx import ModelProto

IR_VERSION = 8  # of the file format: the one of opset 18
TO_START = np.iinfo(np.int32).min  # where a slice that goes backwards ends


def build(
    config: GeneratorConfig, weights: Weights, precision: str, *, names: tuple[str, str], opset: int, outer: str
) -> ModelProto:
    """The network of `config`, wholly in `precision`, ``fp32`` or ``fp16``, with N, H and W open.

    `names` are those of its input and output, which are of `outer`: another type is converted inside.
    """
    from onnx import TensorProto, helper

    types = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
    given, result = names
    nodes = _Nodes(precision)
    start = given if outer == precision else nodes.node("Cast", [given], to=types[precision])
    end = draw(config, weights, nodes, start)
    cast = {} if outer == precision else {"to": types[outer]}
    nodes.node("Cast" if cast else "Identity", [end], result, **cast)
    graph = helper.make_graph(
        nodes.made,
        config.graph,
        [helper.make_tensor_value_info(given, types[outer], ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(result, types[outer], ["n", 3, "H", "W"])],
        nodes.constants,
    )
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", opset)])


class _Nodes:
    """A `graph.Pen` with all nodes and constants so far; each step is the name of what it makes."""

    def __init__(self, precision: str) -> None:
        self.made: list[Any] = []
        self.constants: list[Any] = []
        self._dtype = {"fp32": np.float32, "fp16": np.float16}[precision]

    def node(self, kind: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = name or f"{kind.lower()}{len(self.made)}"
        self.made.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, values: Array | list[int] | list[float]) -> str:
        from onnx import numpy_helper

        floats = isinstance(values, list) and isinstance(values[0], float)
        array = np.array(values, "f4" if floats else "i8") if isinstance(values, list) else values.astype(self._dtype)
        self.constants.append(numpy_helper.from_array(array, f"constant{len(self.constants)}"))
        return f"constant{len(self.constants) - 1}"

    def convolution(self, x: str, weight: Array, bias: Array | None, *, groups: int = 1, padded: bool = True) -> str:
        inputs = [x, self.constant(weight), *([] if bias is None else [self.constant(bias)])]
        size = weight.shape[-1]
        return self.node("Conv", inputs, pads=[size // 2 * padded] * 4, group=groups, kernel_shape=[size, size])

    def leaky(self, x: str, slope: float) -> str:
        return self.node("LeakyRelu", [x], alpha=slope)

    def add(self, one: str, other: str) -> str:
        return self.node("Add", [one, other])

    def shuffle(self, x: str, factor: int) -> str:
        return self.node("DepthToSpace", [x], blocksize=factor, mode="CRD")

    def bilinear(self, x: str, factor: int) -> str:
        sizes = self.constant([1.0, 1.0, float(factor), float(factor)])
        return self.node("Resize", [x, "", sizes], coordinate_transformation_mode="half_pixel", mode="linear")

    def mirrored(self, x: str) -> str:
        for axis in (3, 2):
            first = self._backwards(x, axis, CUBIC_REACH - 1, TO_START)
            last = self._backwards(x, axis, -1, -1 - CUBIC_REACH)
            x = self.node("Concat", [first, x, last], axis=axis)
        return x

    def _backwards(self, x: str, axis: int, start: int, end: int) -> str:
        return self.node("Slice", [x, *(self.constant([number]) for number in (start, end, axis, -1))])
