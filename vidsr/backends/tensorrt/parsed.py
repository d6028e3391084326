"""TensorRT's network by its own ONNX parser: the way for a GPU that is not in this machine.

TensorRT-RTX compiles ahead of time for a named compute capability, and neither that nor the parser needs a device.
"""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType
from typing import Any

from vidsr.backends.tensorrt.flavour import Parts
from vidsr.backends.tensorrt.key import Profile
from vidsr.errors import BackendError
from vidsr.models.onnx import INPUT


def network(trt: ModuleType, graph: bytes, profile: Profile) -> Parts:
    """TensorRT's builder, its network of an ONNX graph, its configuration, and what must outlive them.

    The network is strongly typed: the graph's own types are kept. A static profile fixes the input's shape.

    Raises:
        BackendError: the parser cannot take the graph.
    """
    logger = _logger(trt)
    builder = trt.Builder(logger)
    made = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(made, logger)
    if not parser.parse(graph):
        why = parser.get_error(0).desc() if parser.num_errors else "it does not say why"
        raise BackendError(f"TensorRT cannot take this network: {why.strip().rstrip('.')}; build it on its own GPU.")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 means FP32
    low, best, high = ((num, 3, height, width) for num, height, width in (profile.min, profile.opt, profile.max))
    if profile.is_static:
        made.get_input(0).shape = best
    else:
        shapes = builder.create_optimization_profile()
        shapes.set_shape(INPUT, low, best, high)
        config.add_optimization_profile(shapes)
    return builder, made, config, parser


@cache
def _logger(trt: ModuleType) -> object:
    """One for the process, as TensorRT wants it; what it calls an error goes to Python's log."""
    log = logging.getLogger(__name__)

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                log.error("TensorRT: %s", message)

    return Logger()
