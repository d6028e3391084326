"""A generator as a serialized TensorRT engine: torch.export, torch_tensorrt's converters, TensorRT's builder.

Only this file needs torch_tensorrt; engines run without it. Its lowering and its converters are called one by one, as
`torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine` does: that function gives neither progress
nor a choice of the compute capability, and wants to load the engine that it made.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import nn

from vidsr import files
from vidsr.backends.base import countable_pixels
from vidsr.backends.tensorrt.cache import BuiltEngine
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.key import Profile
from vidsr.errors import BackendError, Cancelled, OutOfMemoryError, VidsrError
from vidsr.models.fused import fuse, lower_prelu

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
LOGGER = "torch_tensorrt [TensorRT Conversion Context]"  # to which torch_tensorrt passes on what the builder says

Progress = Callable[[str, float], None]  # the phase, and the share of it that is done


class _Watch(Protocol):
    """TensorRT's monitor of a build, and what its callback raised."""

    error: VidsrError | None


class _Layer(Protocol):
    type: object


class _Network(Protocol):
    """What is asked of TensorRT's network."""

    num_layers: int

    def get_layer(self, index: int) -> _Layer: ...


class _Cache(Protocol):
    def serialize(self) -> memoryview: ...


class _Config(Protocol):
    """What is set in TensorRT's configuration of a build."""

    progress_monitor: _Watch
    num_compute_capabilities: int

    def set_compute_capability(self, capability: object, index: int) -> bool: ...
    def create_timing_cache(self, data: bytes) -> _Cache | None: ...
    def set_timing_cache(self, cache: _Cache | None, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> _Cache: ...


class _Builder(Protocol):
    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None: ...


class _Conversion(Protocol):
    net: _Network


class _Interpreter(Protocol):
    """What is used of torch_tensorrt's converter."""

    builder: _Builder
    ctx: _Conversion

    def _populate_trt_builder_config(self) -> _Config: ...


def prepare(module: nn.Module, precision: str) -> nn.Module:
    """What is compiled: the fused graph without parametric ReLUs, wholly in `precision` (networks are strongly typed).

    Raises:
        BackendError: a precision that engines are not built in.
    """
    if precision not in DTYPES:
        raise BackendError(
            f"TensorRT engines are built in {' or '.join(DTYPES)}, not {precision}; use --precision auto."
        )
    return lower_prelu(fuse(module)).to(DTYPES[precision]).eval().requires_grad_(False)


def max_area(module: nn.Module) -> int:
    """The most pixels of input for which no tensor of `prepare`'s graph holds more elements than TensorRT can count."""
    return countable_pixels(lower_prelu(fuse(module)))


def build(
    module: nn.Module,
    profile: Profile,
    *,
    precision: str,
    flavour: Flavour,
    capability: tuple[int, int],
    timing_cache: Path | None = None,
    on_progress: Progress = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> BuiltEngine:
    """Compile a generator whole; nothing of it is left to torch.

    To be called in another thread than the main one: TensorRT swallows what is raised in the callbacks of its log, and
    Ctrl-C would be.

    Args:
        module: FP32, on the CPU.
        profile: the shapes that the engine will take.
        precision: ``fp16`` or ``fp32``.
        flavour: the installed TensorRT.
        capability: of the GPU. The RTX flavour compiles for any that it supports, the full one for the GPU in use.
        timing_cache: where the full flavour keeps what it measured, for the next build.
        on_progress: called from the builder; what it raises ends the build.
        stopped: asked by the builder; once it says so the build ends.

    Raises:
        BackendError: the compiler cannot be loaded, cannot take the network, or failed.
        Cancelled: it was stopped.
    """
    on_progress("export", 0.0)
    network = _network(prepare(module, precision), profile, DTYPES[precision])
    trt, monitor = flavour.load(), _monitor(flavour.load(), on_progress, stopped)
    config = network._populate_trt_builder_config()
    config.progress_monitor = monitor
    if flavour.name == "rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, "SM{}{}".format(*capability)), 0)
    elif timing_cache is not None:
        saved = timing_cache.read_bytes() if timing_cache.is_file() else b""
        cache = config.create_timing_cache(saved) or config.create_timing_cache(b"")  # none of what is damaged
        config.set_timing_cache(cache, False)
    with _unless(stopped):
        data = network.builder.build_serialized_network(network.ctx.net, config)
    if monitor.error is not None:
        raise monitor.error
    if stopped():
        raise Cancelled("The build was stopped.")
    if data is None:
        raise BackendError(f"TensorRT could not build an engine for {profile} in {precision}; use --backend cuda.")
    if flavour.name == "full" and timing_cache is not None:
        with suppress(OSError):  # the disk is full, or another process reads it on Windows: next time
            files.write(timing_cache, bytes(config.get_timing_cache().serialize()), shared=True)
    return BuiltEngine(bytes(data), _layers(network.ctx.net))


def _network(module: nn.Module, profile: Profile, dtype: torch.dtype) -> _Interpreter:
    """The converter's interpreter, with TensorRT's network of the whole module in its context."""
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
        raise BackendError(f"torch_tensorrt cannot take this network: {_line(error)}; use --backend cuda.") from error
    made: _Interpreter = interpreter
    return made


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


@contextmanager
def _unless(stopped: Callable[[], bool]) -> Iterator[None]:
    """TensorRT logs what it calls an error when a build is stopped."""
    logger, told = logging.getLogger(LOGGER), lambda _: not stopped()
    logger.addFilter(told)
    try:
        yield
    finally:
        logger.removeFilter(told)


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


def _monitor(trt: ModuleType, on_progress: Progress, stopped: Callable[[], bool]) -> _Watch:
    """TensorRT's progress, passed on. What `on_progress` raises is kept in `error`; it, or `stopped`, ends a build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: VidsrError | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, num_steps: int) -> None:
            self._steps[name] = num_steps
            if parent is None:
                self._tell(name, 0.0)

        def step_complete(self, name: str, step: int) -> bool:
            return self._tell(name, (step + 1) / max(self._steps.get(name, 1), 1))

        def phase_finish(self, name: str) -> None:
            self._steps.pop(name, None)

        def _tell(self, name: str, share: float) -> bool:
            try:
                on_progress(name, min(share, 1.0))
            except VidsrError as error:
                self.error = error
            return self.error is None and not stopped()

    made: _Watch = Monitor()
    return made


def _layers(network: _Network) -> dict[str, int]:
    """How many layers of each of TensorRT's types; activations are told apart by their function."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return dict(sorted(Counter(str(layer.type).rpartition(".")[2].lower() for layer in layers).items()))


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
