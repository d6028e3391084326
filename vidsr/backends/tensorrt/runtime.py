"""Running an engine with TensorRT's own runtime: pre-allocated memory, one CUDA graph a shape, a stream of its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from vidsr import files
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.key import Shape
from vidsr.errors import BackendError, OutOfMemoryError

WARM_UP, TIMED = 3, 10  # calls


class EngineRunner(Protocol):
    """An engine for one shape, ready to run: (n, 3, H, W) with n up to the shape's N -> (n, 3, H*scale, W*scale)."""

    def __call__(self, batch: Tensor) -> Tensor:
        """Run it; the result is the caller's own."""

    def measure(self) -> float | None:
        """Milliseconds of one call on the device, the median of several; None where nothing can be measured."""


class Loaded(Protocol):
    """An engine on its device."""

    def runner(self, shape: Shape) -> EngineRunner:
        """Prepare it for batches of that shape.

        Raises:
            OutOfMemoryError: its memory could not be had.
            BackendError: the engine does not take this shape.
        """


class _Cache(Protocol):
    """What is called on TensorRT's cache of kernels."""

    def serialize(self) -> memoryview: ...
    def deserialize(self, data: bytes) -> bool: ...


class _Engine(Protocol):
    """What is called on an engine of TensorRT."""

    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> object: ...
    def get_tensor_dtype(self, name: str) -> object: ...


class _Context(Protocol):
    """What is called on an execution context of TensorRT."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def get_tensor_shape(self, name: str) -> Iterable[int]: ...
    def set_tensor_address(self, name: str, pointer: int) -> bool: ...
    def update_device_memory_size_for_shapes(self) -> int: ...
    def set_device_memory(self, pointer: int, size: int) -> None: ...
    def execute_async_v3(self, stream: int) -> bool: ...


Loader = Callable[[Flavour, bytes, torch.device, Path | None], Loaded]


class LoadedEngine:
    """An engine deserialized on a GPU. `kernels` is the file in which the RTX flavour keeps what it compiled.

    Raises:
        BackendError: the runtime refuses the bytes.
    """

    def __init__(self, flavour: Flavour, data: bytes, device: torch.device, kernels: Path | None = None) -> None:
        self._trt, self._flavour, self._device, self._kernels = flavour.load(), flavour, device, kernels
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        with torch.cuda.device(device):
            self._runtime = self._trt.Runtime(self._logger)  # must outlive the engine
            self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise BackendError("TensorRT refuses its own engine; remove it with `vidsr engine prune --all`.")

    def runner(self, shape: Shape) -> CudaRunner:
        """An execution context for that shape with memory, stream and graph."""
        try:
            with torch.cuda.device(self._device):
                cache, context = self._context()
                runner = CudaRunner(self._trt, self._engine, context, shape, self._device)
        except torch.OutOfMemoryError as error:
            num, height, width = shape
            raise OutOfMemoryError(
                f"An engine for {num} frames of {width}x{height} does not fit into GPU memory; use a smaller tile."
            ) from error
        if cache is not None and self._kernels is not None:
            with suppress(OSError):  # a cache that cannot be written costs time, nothing else
                files.write(self._kernels, bytes(cache.serialize()), shared=True)
        return runner

    def _context(self) -> tuple[_Cache | None, _Context]:
        """(cache of compiled kernels or None, execution context); memory is handed to the context later."""
        managed = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        cache: _Cache | None = None
        if self._flavour.name == "rtx":
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(managed)
            # the shape is fixed before the first run: compile for it at once, since a graph keeps what it captured
            strategies = self._trt.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
            cache = config.create_runtime_cache()
            if self._kernels is not None and self._kernels.is_file():
                cache.deserialize(self._kernels.read_bytes())
            config.set_runtime_cache(cache)
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(managed)
        if context is None:
            raise OutOfMemoryError("TensorRT found too little GPU memory to run this engine; use a smaller tile.")
        return cache, context


class CudaRunner:
    """One execution context with a fixed shape. Calls are ordered by the stream of whoever makes them."""

    def __init__(self, trt: ModuleType, engine: _Engine, context: _Context, shape: Shape, device: torch.device) -> None:
        self._context, self._device = context, device
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        source, target = sorted(names, key=lambda name: bool(engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT))
        num, height, width = shape
        if not context.set_input_shape(source, (num, 3, height, width)):
            raise BackendError(f"This engine does not take {num} frames of {width}x{height}.")
        dtype = torch.float16 if engine.get_tensor_dtype(source) == trt.DataType.HALF else torch.float32
        size = context.update_device_memory_size_for_shapes()
        self._scratch = torch.empty(max(size, 1), dtype=torch.uint8, device=device)
        context.set_device_memory(self._scratch.data_ptr(), size)
        self._input = torch.zeros((num, 3, height, width), dtype=dtype, device=device)
        self._output = torch.empty(tuple(context.get_tensor_shape(target)), dtype=dtype, device=device)
        context.set_tensor_address(source, self._input.data_ptr())
        context.set_tensor_address(target, self._output.data_ptr())
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = self._capture()

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """The whole engine as one graph; None where the runtime cannot be captured."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._execute()  # sets up what the runtime sets up lazily
        self._stream.synchronize()
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._stream.cuda_stream):
            return None
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):  # others may allocate
                self._execute()
        except (RuntimeError, BackendError) as error:
            torch.cuda.set_stream(current)  # which a capture that fails leaves as its own
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return None
        return graph

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise BackendError("TensorRT failed to run its engine; use the backend cuda.")

    def _launch(self) -> None:
        if self._graph is None:
            self._execute()
        else:
            self._graph.replay()

    def __call__(self, batch: Tensor) -> Tensor:
        """(n, 3, H, W) of the engine's type on its device -> (n, 3, H*scale, W*scale); fewer frames cost as much."""
        caller, num = torch.cuda.current_stream(self._device), len(batch)
        self._stream.wait_stream(caller)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):  # else GPU 0 would be touched, too
            self._input[:num].copy_(batch, non_blocking=True)
            self._launch()
            result = self._output[:num].clone()
        batch.record_stream(self._stream)
        caller.wait_stream(self._stream)
        result.record_stream(caller)
        return result

    def measure(self) -> float | None:
        """Milliseconds of one call without copies: the median of `TIMED`, after `WARM_UP`."""
        times: list[float] = []
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            for turn in range(WARM_UP + TIMED):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                start.record()
                self._launch()
                end.record()
                end.synchronize()
                if turn >= WARM_UP:
                    times.append(start.elapsed_time(end))
        return statistics.median(times)
