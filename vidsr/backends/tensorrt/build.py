"""A generator as a serialized TensorRT engine: a network by `lowered` or by `parsed`, and TensorRT's builder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from vidsr import files
from vidsr.backends.base import countable_pixels
from vidsr.backends.tensorrt.cache import BuiltEngine
from vidsr.backends.tensorrt.flavour import Flavour, Parts
from vidsr.backends.tensorrt.key import ONNX, Profile
from vidsr.errors import BackendError, Cancelled, VidsrError
from vidsr.models.fused import fuse, inference_form, lower_prelu
from vidsr.models.registry import Model

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
# what the builder says: by torch_tensorrt, and by `parsed`
LOGGERS = ("torch_tensorrt [TensorRT Conversion Context]", "vidsr.backends.tensorrt.parsed")

Progress = Callable[[str, float], None]  # the phase, and the share of it that is done


def prepare(module: nn.Module, precision: str) -> nn.Module:
    """What is compiled: the fused graph without parametric ReLUs, wholly in `precision` (networks are strongly typed).

    Raises:
        BackendError: a precision that engines are not built in.
    """
    if precision not in DTYPES:
        raise BackendError(f"TensorRT engines are built in {' or '.join(DTYPES)}, not {precision}; use precision auto.")
    return inference_form(module, DTYPES[precision])


def max_area(module: nn.Module) -> int:
    """The most pixels of input for which no tensor of `prepare`'s graph holds more elements than TensorRT can count."""
    return countable_pixels(lower_prelu(fuse(module)))


def build(
    model: Model,
    profile: Profile,
    *,
    precision: str,
    converter: str,
    flavour: Flavour,
    capability: tuple[int, int],
    graphs: dict[str, bytes] | None = None,
    timing_cache: Path | None = None,
    on_progress: Progress = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> BuiltEngine:
    """Compile a generator whole; nothing of it is left to torch.

    To be called in another thread than the main one: TensorRT swallows what is raised in the callbacks of its log, and
    Ctrl-C would be.

    Args:
        model: the generator.
        profile: the shapes that the engine will take.
        precision: ``fp16`` or ``fp32``.
        converter: one of `key.CONVERTERS`; ``onnx`` needs no GPU, but the RTX flavour.
        flavour: the installed TensorRT.
        capability: of the GPU. The RTX flavour compiles for any that it supports, the full one for the GPU in use.
        graphs: ONNX graphs of this model by precision, kept for the next build.
        timing_cache: where the full flavour keeps what it measured, for the next build.
        on_progress: called from the builder; what it raises ends the build.
        stopped: asked by the builder; once it says so the build ends.

    Raises:
        BackendError: the compiler cannot be loaded, cannot take the network, or failed.
        ModelError: the network cannot be written as ONNX.
        Cancelled: it was stopped.
    """
    on_progress("export", 0.0)
    graphs = {} if graphs is None else graphs
    trt, (builder, network, config, _keep) = (
        flavour.load(),
        _network(model, profile, precision, converter, flavour, graphs),
    )
    config.progress_monitor = monitor = _monitor(trt, on_progress, stopped)
    if flavour.name == "rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, "SM{}{}".format(*capability)), 0)
    elif timing_cache is not None:
        saved = timing_cache.read_bytes() if timing_cache.is_file() else b""
        cache = config.create_timing_cache(saved) or config.create_timing_cache(b"")  # none of what is damaged
        config.set_timing_cache(cache, False)
    with _unless(stopped):
        data = None if stopped() else builder.build_serialized_network(network, config)
    if monitor.error is not None:
        raise monitor.error
    if stopped():
        raise Cancelled("The build was stopped.")
    if data is None:
        raise BackendError(f"TensorRT could not build an engine for {profile} in {precision}; use the backend cuda.")
    if flavour.name == "full" and timing_cache is not None:
        with suppress(OSError):  # the disk is full, or another process reads it on Windows: next time
            files.write(timing_cache, bytes(config.get_timing_cache().serialize()), shared=True)
    return BuiltEngine(bytes(data), _layers(network))


def _network(
    model: Model, profile: Profile, precision: str, converter: str, flavour: Flavour, graphs: dict[str, bytes]
) -> Parts:
    """Builder, network, configuration, and what must outlive them, by that converter."""
    if converter != ONNX:
        from vidsr.backends.tensorrt import lowered

        return lowered.network(prepare(model.module, precision), profile, DTYPES[precision])
    from vidsr.backends.tensorrt import parsed
    from vidsr.models import onnx

    if precision not in graphs:
        graphs[precision] = onnx.graph(model, precision)
    return parsed.network(flavour.load(), graphs[precision], profile)


@contextmanager
def _unless(stopped: Callable[[], bool]) -> Iterator[None]:
    """TensorRT logs what it calls an error when a build is stopped."""
    loggers, told = [logging.getLogger(name) for name in LOGGERS], lambda _: not stopped()
    for logger in loggers:
        logger.addFilter(told)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(told)


def _monitor(trt: ModuleType, on_progress: Progress, stopped: Callable[[], bool]) -> Any:
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

    return Monitor()


def _layers(network: Any) -> dict[str, int]:
    """How many layers of each of TensorRT's types; activations are told apart by their function."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return dict(sorted(Counter(str(layer.type).rpartition(".")[2].lower() for layer in layers).items()))
