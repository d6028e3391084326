"""OpenVINO: the fastest runtime on a CPU, and on Intel's GPUs and NPUs where it finds them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from vidsr.backends import AUTO, Unit, accuracy
from vidsr.backends.base import (
    GPU_MEMORY,
    NOT_USABLE,
    Backend,
    activation_bytes,
    auto_on_cpu,
    check_batch,
    max_pixels,
)
from vidsr.errors import BackendError, Cancelled, OutOfMemoryError
from vidsr.models.fused import fuse
from vidsr.models.registry import Model
from vidsr.models.srgan import Fast
from vidsr.stages import stage

HALOS = 8  # width of the smallest tile in halos
MAX_COMPILED = 2  # shapes kept compiled; each holds its activations
POLL_MS = 30  # how often a call in progress looks for `cancel`


class _Request(Protocol):
    """What is called on an inference request."""

    def set_input_tensor(self, tensor: object) -> None: ...
    def set_output_tensor(self, tensor: object) -> None: ...
    def start_async(self) -> None: ...
    def wait_for(self, milliseconds: int) -> bool: ...
    def wait(self) -> None: ...
    def cancel(self) -> None: ...


class _Graph(Protocol):
    def clone(self) -> _Graph: ...
    def reshape(self, shape: list[int]) -> None: ...


class _Compiled(Protocol):
    def create_infer_request(self) -> _Request: ...


class _Core(Protocol):
    available_devices: list[str]

    def get_property(self, device: str, name: str) -> object: ...
    def compile_model(self, graph: _Graph, device: str, options: dict[str, object]) -> _Compiled: ...


class _Residual(nn.Module):
    """What ``fast`` adds to its base, alone."""

    def __init__(self, module: Fast) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module.residual(x)


class OpenVINOBackend(Backend):
    """Compiles the generator once per shape of batch, which is faster than one graph for all shapes.

    In bf16 OpenVINO would round the input first, and near 1.0 a bf16 step is a whole 8-bit code value: all of ``fast``
    but its base is run in bf16, and the base is added in FP32.

    `processor` is OpenVINO's name of a device: ``CPU``, ``GPU.0``, ``NPU``. Batches come from the host's memory.

    Raises:
        BackendError: openvino is missing, or the precision is not one that this device computes in.
    """

    name = "openvino"
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, model: Model, *, precision: str, threads: int | None = None, processor: str = "CPU") -> None:
        super().__init__()
        openvino = _import()
        self._openvino, self._core = openvino, _core()
        if precision not in _precisions(self._core, processor):
            raise BackendError(f"openvino does not compute in {precision} on this {processor}; use precision auto.")
        self.precision, self.scale, self.unit = precision, model.scale, processor
        on_cpu = processor == "CPU"
        self.max_pixels = max_pixels(model, halos=HALOS) if on_cpu else int(GPU_MEMORY / activation_bytes(model.module))
        self._base: Callable[[Tensor], Tensor] | None = None
        module: nn.Module = fuse(model.module)
        if precision == "bf16" and isinstance(module, Fast):
            self._base = module.base
            module = _Residual(module)
        with stage("compiling"):
            self._graph = _convert(module)
        self._options: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}[precision],
        }
        if on_cpu:
            self._options["ENABLE_CPU_PINNING"] = False  # decoder and encoder want the same cores
        if threads and on_cpu:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._requests: OrderedDict[tuple[int, ...], _Request] = OrderedDict()
        self._running: tuple[_Request, Tensor, Tensor] | None = None  # with the memory that it writes, however it ended

    @classmethod
    def open(
        cls, model: Model, *, precision: str, device: torch.device, threads: int | None, unit: Unit = AUTO
    ) -> Self:
        """On the first device of `unit` that agrees with FP32 on a film frame; the CPU needs no such proof."""
        del device
        found, refused = _processors(unit), ""
        for processor in found:
            able = _precisions(_core(), processor)
            takes_over = processor == "CPU" and len(found) > 1 and precision not in able
            try:
                each = "fp32" if takes_over else precision
                opened = cls(model, precision=each, threads=threads, processor=processor)
                if processor != "CPU":
                    proof = accuracy.prove(opened, model)
                    opened.reason = f"on {processor}, {_title(processor)}, {proof}"
                elif refused:
                    opened.reason = f"on the CPU, without {refused}"
                return opened
            except NOT_USABLE as error:
                if isinstance(error, Cancelled) or processor == found[-1]:
                    raise
                first = (str(error).splitlines() or [type(error).__name__])[0]
                refused += f"{', ' if refused else ''}{processor} ({first.rstrip('.')})"
        raise AssertionError("the last one opens or raises")

    @classmethod
    def best_precision(cls, device: torch.device, unit: Unit = AUTO) -> tuple[str, str]:
        """bf16 where OpenVINO computes in it on this CPU; FP16 on a GPU or NPU."""
        del device
        able = _precisions(_core(), first := _processors(unit)[0])
        if first == "CPU":
            return auto_on_cpu("bf16" in able)
        return ("fp16", f"{first} has units for it") if "fp16" in able else ("fp32", f"what {first} computes in")

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) float32 -> (N, 3, H*scale, W*scale) float32; both share their memory with the runtime."""
        self._state.check()
        check_batch(batch, self.device, self.dtype)
        num, channels, height, width = batch.shape
        self._settle()
        batch = batch.contiguous()
        result = torch.empty((num, channels, height * self.scale, width * self.scale))
        try:
            request = self._request(tuple(batch.shape))
            request.set_input_tensor(self._share(batch))
            request.set_output_tensor(self._share(result))
            self._running = (request, batch, result)
            request.start_async()
            self._wait(request)
        except RuntimeError as error:
            raise _translate(error, batch) from error
        self._running = None
        return result if self._base is None else result.add_(self._base(batch))

    def _wait(self, request: _Request) -> None:
        """Wait for the result, or for `cancel` or Ctrl-C: then leave at once; the runtime stops after its layer."""
        try:
            while not request.wait_for(POLL_MS):
                if self._state.cancelled.is_set():
                    raise Cancelled("The network was stopped before it had finished.")
        except (Cancelled, KeyboardInterrupt):
            request.cancel()
            raise
        request.wait()

    def _settle(self) -> None:
        """Wait for a call that was left (the rest of one layer): until then it writes."""
        if self._running:
            with suppress(RuntimeError):
                self._running[0].wait()
        self._running = None

    def _request(self, shape: tuple[int, ...]) -> _Request:
        if shape not in self._requests:
            while len(self._requests) >= MAX_COMPILED:
                self._requests.popitem(last=False)
            with stage("compiling"):
                graph = self._graph.clone()
                graph.reshape(list(shape))
                self._requests[shape] = self._core.compile_model(graph, self.unit, self._options).create_infer_request()
        self._requests.move_to_end(shape)
        return self._requests[shape]

    def _share(self, tensor: Tensor) -> object:
        return self._openvino.Tensor(tensor.numpy(), shared_memory=True)

    def close(self) -> None:
        """Wait for an abandoned call (the rest of one layer), and free the compiled graphs."""
        super().close()
        self._settle()
        self._requests.clear()


@cache
def _core() -> _Core:
    """The one core of this process, which lives as long as it does.

    The CPU plugin gives the thread that opens it a signal stack and frees that with its core: after a core that is
    freed before another one the next signal, such as Ctrl-C, would crash the process.
    """
    core: _Core = _import().Core()
    return core


def _precisions(core: _Core, processor: str) -> list[str]:
    able = core.get_property(processor, "OPTIMIZATION_CAPABILITIES")
    assert isinstance(able, list)
    half = "BF16" if processor == "CPU" else "FP16"
    full = ["fp32"] if processor == "CPU" or "FP32" in able else []
    return [*full, *([half.lower()] if half in able else [])]


def _processors(unit: Unit) -> list[str]:
    """OpenVINO's devices of that kind, by its own list; ``auto``: its GPUs, and then the CPU.

    Raises:
        BackendError: there is none.
    """
    there = _core().available_devices
    gpus = [name for name in there if name.partition(".")[0] == "GPU"]
    found = {
        "auto": [*gpus, "CPU"],
        "cpu": ["CPU"],
        "gpu": gpus[unit.index : unit.index + 1],
        "npu": [name for name in there if name.partition(".")[0] == "NPU"],
    }[unit.kind]
    if not found:
        which = f"{unit.kind.upper()}{f' {unit.index}' if unit.index else ''}"
        known = ", ".join(devices())
        raise BackendError(f"OpenVINO finds no {which} here, only {known}; use device auto.")
    return found


def devices() -> list[str]:
    """OpenVINO's devices by its own names, with their titles.

    Raises:
        BackendError: openvino is missing.
    """
    return [f"{name} ({_title(name)})" for name in _core().available_devices]


def _title(processor: str) -> str:
    return str(_core().get_property(processor, "FULL_DEVICE_NAME")).strip()


def _import() -> ModuleType:
    try:
        return import_module("openvino")
    except ImportError as error:
        raise BackendError("openvino is not installed; run `pip install openvino`, or use the backend cpu.") from error


def _convert(module: nn.Module) -> _Graph:
    """The module as an OpenVINO graph with N, H and W open.

    The frontend is called directly: `openvino.convert_model` takes four times as long, and brings telemetry with it.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and what the frontend reads best
        traced = torch.jit.trace(module, torch.zeros(1, 3, 16, 16), check_trace=False)  # type: ignore[no-untyped-call]
        decoder = TorchScriptPythonDecoder(traced)  # must outlive the conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph: _Graph = frontend.convert(frontend.load(decoder))
        return graph


def _translate(error: RuntimeError, batch: Tensor) -> BackendError:
    size = "x".join(map(str, batch.shape))
    text = str(error)
    if "alloc" in text.lower():
        return OutOfMemoryError(f"A batch of {size} does not fit into memory; use a smaller tile.")
    return BackendError(f"openvino failed on a batch of {size}: {text.splitlines()[-1]}")
