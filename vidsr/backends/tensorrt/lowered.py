"""TensorRT's network by torch.export and torch_tensorrt's converters: the way for a GPU in this machine.

Only this file needs torch_tensorrt. Its lowering and its converters are called one by one, as
`torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine` does: that function gives neither progress
nor a choice of the compute capability, and wants to load the engine that it made.
"""

from __future__ import annotations

import logging
import warnings
from importlib import import_module
from types import ModuleType

import torch
from torch import nn

from vidsr.backends.tensorrt.flavour import Parts
from vidsr.backends.tensorrt.key import Profile
from vidsr.errors import BackendError, OutOfMemoryError


def network(module: nn.Module, profile: Profile, dtype: torch.dtype) -> Parts:
    """TensorRT's builder, its network of the whole module, its configuration, and what must outlive them.

    Raises:
        BackendError: torch_tensorrt cannot be loaded, or cannot take the network.
    """
    compiler = _compiler()
    from torch_tensorrt.dynamo._settings import CompilationSettings
    from torch_tensorrt.dynamo.conversion._conversion import infer_module_output_dtypes
    from torch_tensorrt.dynamo.conversion._TRTInterpreter import TRTInterpreter
    from torch_tensorrt.dynamo.lowering import get_decompositions, post_lowering, pre_export_lowering

    settings = CompilationSettings(
        require_full_compilation=True, assume_dynamic_shape_support=not profile.is_static, disable_tf32=True
    )
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the compiler about its own libraries
            program = pre_export_lowering(_export(module, profile, dtype), settings)
            graph = post_lowering(program.run_decompositions(get_decompositions(False)).module(), settings)
            spec, types = _spec(compiler, profile, dtype), infer_module_output_dtypes(graph)
            interpreter = TRTInterpreter(graph, [spec], output_dtypes=types, compilation_settings=settings)
            interpreter._construct_trt_network_def()
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError("There is too little GPU memory to build an engine; close other programs.") from error
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise BackendError(f"torch_tensorrt cannot take this network: {_line(error)}; use the backend cuda.") from error
    return interpreter.builder, interpreter.ctx.net, interpreter._populate_trt_builder_config(), interpreter


def _compiler() -> ModuleType:
    """torch_tensorrt, without its remarks on what else could be installed."""
    logging.getLogger("torch_tensorrt").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            return import_module("torch_tensorrt")
    except (ImportError, OSError, RuntimeError, AssertionError) as error:  # without a driver it fails as it likes
        raise BackendError(
            f"torch_tensorrt cannot be loaded: {_line(error)}; building engines needs an NVIDIA GPU and a CUDA torch."
        ) from error


class _quiet:  # noqa: N801  (used as a function)
    """Keeps what is logged during an import from the terminal; errors still raise."""

    def __enter__(self) -> None:
        self._level = logging.root.manager.disable
        logging.disable(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._level)


def _export(module: nn.Module, profile: Profile, dtype: torch.dtype) -> torch.export.ExportedProgram:
    num, height, width = profile.opt
    if profile.is_static:
        return torch.export.export(module, (torch.zeros(num, 3, height, width, dtype=dtype),))
    low, high = profile.min, profile.max
    axes = {
        axis: torch.export.Dim(name, min=low[place], max=high[place])
        for place, axis, name in ((0, 0, "num"), (1, 2, "height"), (2, 3, "width"))
        if low[place] < high[place]
    }
    example = torch.zeros(num, 3, max(low[1], min(height, 48)), max(low[2], min(width, 64)), dtype=dtype)
    return torch.export.export(module, (example,), dynamic_shapes=(axes,))


def _spec(compiler: ModuleType, profile: Profile, dtype: torch.dtype) -> object:
    shapes = [(num, 3, height, width) for num, height, width in (profile.min, profile.opt, profile.max)]
    if profile.is_static:
        return compiler.Input(shapes[0], dtype=dtype)
    return compiler.Input(min_shape=shapes[0], opt_shape=shapes[1], max_shape=shapes[2], dtype=dtype)


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
