"""Our own graphs as ONNX, node by node: what torch's exporter writes in half a minute, without onnxscript.

The generator's own `forward` is traced, so that what it computes still stands in one place.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from vidsr.models.srgan import CUBIC_REACH, Bicubic

if TYPE_CHECKING:
    from onnx import ModelProto

IR_VERSION = 8  # of the file format: the one of opset 18
TO_START = np.iinfo(np.int32).min  # where a slice that goes backwards ends


def build(
    module: nn.Module, dtype: torch.dtype, *, names: tuple[str, str], opset: int, outer: torch.dtype
) -> ModelProto:
    """`module`, in its form for inference and wholly in `dtype`, with N, H and W open.

    `names` are those of its input and output, which are of `outer`: another type is converted inside.

    Raises:
        NotImplementedError: it holds what stands in no graph of ours.
    """
    from onnx import TensorProto, helper

    types = {torch.float32: TensorProto.FLOAT, torch.float16: TensorProto.FLOAT16}
    given, result = names
    nodes = _Nodes()
    start = given if outer == dtype else nodes.add("Cast", [given], to=types[dtype])
    end = nodes.bicubic(module, start) if isinstance(module, Bicubic) else nodes.traced(module, start)
    nodes.add(
        "Identity" if outer == dtype else "Cast", [end], result, **({} if outer == dtype else {"to": types[outer]})
    )
    graph = helper.make_graph(
        nodes.made,
        type(module).__name__,
        [helper.make_tensor_value_info(given, types[outer], ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(result, types[outer], ["n", 3, "H", "W"])],
        nodes.constants,
    )
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", opset)])


class _Nodes:
    """Nodes and constants so far; every method adds some, and returns the name of what they make."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = name or f"{kind.lower()}{len(self.made)}"
        self.made.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, values: Tensor | list[int] | list[float]) -> str:
        from onnx import numpy_helper

        floats = not isinstance(values, Tensor) and isinstance(values[0], float)
        array = values.detach().numpy() if isinstance(values, Tensor) else np.array(values, "f4" if floats else "i8")
        self.constants.append(numpy_helper.from_array(array, f"constant{len(self.constants)}"))
        return f"constant{len(self.constants) - 1}"

    def traced(self, module: nn.Module, start: str) -> str:
        """All that `module` does to `start`."""
        known: dict[fx.Node, str] = {}
        for node in fx.symbolic_trace(module).graph.nodes:
            values = [known[value] for value in node.args if isinstance(value, fx.Node)]
            if node.op == "placeholder":
                known[node] = start
            elif node.op == "output":
                return values[0]
            elif node.op == "call_module":
                known[node] = self.layer(module.get_submodule(node.target), values[0])
            else:
                known[node] = self.function(node, values)
        raise AssertionError("a traced module ends with its output")

    def layer(self, layer: nn.Module, value: str) -> str:
        if isinstance(layer, nn.Conv2d):
            return self.convolution(value, layer.weight, layer.bias, layer.padding[0], layer.groups)
        if isinstance(layer, nn.LeakyReLU):
            return self.add("LeakyRelu", [value], alpha=layer.negative_slope)
        if isinstance(layer, nn.PReLU):
            return self.add("PRelu", [value, self.constant(layer.weight.reshape(-1, 1, 1))])
        if isinstance(layer, nn.PixelShuffle):
            return self.shuffle(value, layer.upscale_factor)
        raise NotImplementedError(f"a layer {type(layer).__name__}")

    def function(self, node: fx.Node, values: list[str]) -> str:
        if node.target is operator.add:
            return self.add("Add", values)
        if node.target is F.pixel_shuffle:
            return self.shuffle(values[0], node.args[1])
        if node.target is F.interpolate and node.kwargs["mode"] == "bilinear" and not node.kwargs["align_corners"]:
            factor = float(node.kwargs["scale_factor"])  # type: ignore[arg-type]
            sizes = self.constant([1.0, 1.0, factor, factor])
            shape = {"coordinate_transformation_mode": "half_pixel", "mode": "linear"}
            return self.add("Resize", [values[0], "", sizes], **shape)
        raise NotImplementedError(f"a step {node.target}")

    def convolution(self, value: str, weight: Tensor, bias: Tensor | None, padding: int | str, groups: int) -> str:
        inputs = [value, self.constant(weight), *([] if bias is None else [self.constant(bias)])]
        return self.add("Conv", inputs, pads=[padding] * 4, group=groups, kernel_shape=list(weight.shape[2:]))

    def shuffle(self, value: str, factor: object) -> str:
        return self.add("DepthToSpace", [value], blocksize=factor, mode="CRD")

    def bicubic(self, module: Bicubic, value: str) -> str:
        """With the mirrored borders of sides of at least two pixels; the module's own `forward` asks for them."""
        for axis in (3, 2):
            first = self.backwards(value, axis, CUBIC_REACH - 1, TO_START)
            last = self.backwards(value, axis, -1, -1 - CUBIC_REACH)
            value = self.add("Concat", [first, value, last], axis=axis)
        return self.shuffle(self.convolution(value, module.weight, None, 0, 3), module.scale)

    def backwards(self, value: str, axis: int, start: int, end: int) -> str:
        return self.add("Slice", [value, *(self.constant([number]) for number in (start, end, axis, -1))])
