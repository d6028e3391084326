"""OpenVINO: the fastest runtime on a CPU, and on Intel's GPUs and NPUs where it finds them."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from vidsr import __version__, findings
from vidsr.backends import AUTO, Unit, accuracy, hardware
from vidsr.backends.base import GPU_MEMORY, NOT_USABLE, HostBackend, Pictures, auto_on_cpu, max_pixels, model_bytes
from vidsr.backends.openvino_graph import Graph, graphs
from vidsr.errors import BackendError, Cancelled, ModelError, OutOfMemoryError
from vidsr.models import scales
from vidsr.models.registry import Model
from vidsr.stages import stage
from vidsr.words import first_line

if TYPE_CHECKING:
    import torch

HALOS = 8  # width of the smallest tile in halos
MAX_COMPILED = 3  # shapes kept compiled, with that for any; each holds its activations
ANY = (-1, 3, -1, -1)  # shape
NO_UNITS = "no units for INT8 (VNNI, AMX)"
_TELEMETRY = "openvino_telemetry"
POLL_MS = 30  # how often a call in progress looks for `cancel`


class _Request(Protocol):
    """What is called on an inference request."""

    def set_input_tensor(self, tensor: object) -> None: ...
    def set_output_tensor(self, tensor: object) -> None: ...
    def start_async(self) -> None: ...
    def wait_for(self, milliseconds: int) -> bool: ...
    def wait(self) -> None: ...
    def cancel(self) -> None: ...


class _Compiled(Protocol):
    def create_infer_request(self) -> _Request: ...


class _Core(Protocol):
    available_devices: list[str]

    def get_property(self, device: str, name: str) -> object: ...
    def compile_model(self, graph: Graph, device: str, options: dict[str, object]) -> _Compiled: ...


class OpenVINOBackend(HostBackend):
    """Compiles the generator once per shape of batch, which is faster than one graph for all shapes.

    A batch whose shape need not come again goes by that; its bits are the same in FP32, and others in INT8.

    In bf16 OpenVINO would round the input first, and near 1.0 a bf16 step is a whole 8-bit code value: all of ``fast``
    but its base is run in bf16, and the base is added in FP32. In INT8 what has no scales is run in FP32: sums, and the
    first and the last convolution. Whole numbers are summed exactly: `scales.coded` leaves them room on any processor.

    `processor` is OpenVINO's name of a device: ``CPU``, ``GPU.0``, ``NPU``. Batches come from the host's memory.

    Raises:
        BackendError: openvino is missing, or the precision is not one that this device computes in.
        ModelError: INT8, and the model has no scales, or wrong ones.
    """

    name = "openvino"

    def __init__(self, model: Model, *, precision: str, threads: int | None = None, processor: str = "CPU") -> None:
        super().__init__()
        openvino = _import()
        self._openvino, self._core = openvino, _core()
        if precision not in _precisions(self._core, processor):
            raise BackendError(f"openvino does not compute in {precision} on this {processor}; use precision auto.")
        self.precision, self.scale, self.unit = precision, model.scale, processor
        on_cpu = processor == "CPU"
        self.max_pixels = max_pixels(model, halos=HALOS) if on_cpu else int(GPU_MEMORY / model_bytes(model))
        with stage("compiling"):
            coding = model.scales if precision == "int8" else None
            self._graphs = graphs(model, apart=precision == "bf16", scales=coding)
        if coding:
            self.facts = {"int8 scales": coding.digest, "openvino": str(openvino.__version__)}
        self._options = settings(precision, on_cpu=on_cpu, threads=threads)
        self._requests: OrderedDict[tuple[int, ...], tuple[_Request, ...]] = OrderedDict()
        self._running: tuple[_Request, Pictures, Pictures] | None = None  # with memory that it writes, however it ended

    @classmethod
    def open(
        cls, model: Model, *, precision: str, device: torch.device | None, threads: int | None, unit: Unit = AUTO
    ) -> Self:
        """On the first device of `unit` that agrees with FP32 on a film frame; on the CPU INT8 alone needs proof."""
        del device
        found, refused = _processors(unit), ""
        for processor in found:
            able = _precisions(_core(), processor)
            takes_over = processor == "CPU" and len(found) > 1 and precision not in able
            try:
                each = "fp32" if takes_over else precision
                opened = cls(model, precision=each, threads=threads, processor=processor)
                if processor != "CPU":
                    proof = opened._proof(model, compared=unit.kind == "auto")
                    opened.reason = f"on {processor}, {_title(processor)}, {proof}"
                else:
                    proof = opened._int8_proof(model) if each == "int8" else ""
                    without = f"on the CPU, without {refused}" if refused else ""
                    opened.reason = ", ".join(filter(None, (without, proof)))
                return opened
            except NOT_USABLE as error:
                if isinstance(error, Cancelled) or processor == found[-1]:
                    raise
                refused += f"{', ' if refused else ''}{processor} ({first_line(error).rstrip('.')})"
        raise AssertionError("the last one opens or raises")

    def _proof(self, model: Model, *, compared: bool) -> str:
        """How far it is from FP32 and, where the CPU would do as well, how much faster.

        Raises:
            BackendError: too far, or slower than the CPU.
        """
        said = accuracy.prove_beside(self, OpenVINOBackend(model, precision="fp32"))
        if not compared:
            return said
        own, cpu = self._seconds(model)
        times = f"{1000 * own:.0f} ms for a small frame, where the CPU takes {1000 * cpu:.0f}"
        if own > cpu:
            raise BackendError(f"slower than the CPU: {times}")
        return f"{said}, {times}"

    def _int8_proof(self, model: Model) -> str:
        """How far INT8 is from FP32 on this CPU; measured once, and remembered.

        Raises:
            BackendError: too far.
        """
        network = f"{model.weights_hash} {self.facts['int8 scales']}"
        facts = {"cpu": _title("CPU"), "network": network, "openvino": self.facts["openvino"], "vidsr": __version__}
        name = f"openvino int8 {model.name} x{model.scale}"
        if not isinstance(said := findings.recall(name, facts), str):
            said = accuracy.prove_beside(self, OpenVINOBackend(model, precision="fp32"))
            findings.remember(name, facts, said)
        return said if hardware.has_int8_units() else f"{said}, {NO_UNITS}"

    def _seconds(self, model: Model) -> tuple[float, float]:
        """Of a small frame here and on the CPU as that would run it; measured once, and remembered."""
        facts = {
            "gpu": _title(self.unit),
            "cpu": _title("CPU"),
            "network": f"{model.weights_hash} {self.precision}",
            "openvino": self._openvino.__version__,
            "vidsr": __version__,
        }
        name = f"openvino {model.name} x{model.scale}"
        if isinstance(known := findings.recall(name, facts), list):
            return known[0], known[1]
        cpu = Unit("cpu")
        best = "int8" if self.why_not_int8(model, cpu) is None else self.best_precision(None, cpu)[0]
        found = accuracy.seconds_beside(self, OpenVINOBackend(model, precision=best))
        findings.remember(name, facts, found)
        return found

    @classmethod
    def best_precision(cls, device: torch.device | None, unit: Unit = AUTO) -> tuple[str, str]:
        """bf16 where OpenVINO computes in it on this CPU; FP16 on a GPU or NPU."""
        del device
        able = _precisions(_core(), first := _processors(unit)[0])
        if first == "CPU":
            return auto_on_cpu("bf16" in able)
        return ("fp16", f"{first} has units for it") if "fp16" in able else ("fp32", f"what {first} computes in")

    @classmethod
    def why_not_int8(cls, model: Model, unit: Unit = AUTO) -> str | None:
        """A CPU without units for it, a model without scales, or one that is too far from FP32 with them."""
        if _processors(unit)[0] != "CPU":
            return ""
        if not hardware.has_int8_units():
            return f"and {NO_UNITS}"
        if scales.KEY not in model.metadata:
            return "not INT8: the model has no scales"
        try:
            cls(model, precision="int8")._int8_proof(model)
        except (BackendError, ModelError) as error:
            return f"not INT8: {str(error).rstrip('.')}"
        return None

    def run(self, batch: Pictures) -> Pictures:
        """(N, 3, H, W) float32 -> (N, 3, H*scale, W*scale) float32; both share their memory with the runtime."""
        return self._run(batch, batch.shape)

    def run_once(self, batch: Pictures) -> Pictures:
        """As `run`, by what is compiled for any shape."""
        return self._run(batch, ANY)

    def _run(self, batch: Pictures, shape: tuple[int, ...]) -> Pictures:
        self._settle()
        try:
            first, *others = [self._result(request, batch) for request in self._request(shape)]
        except RuntimeError as error:
            raise _translate(error, batch) from error
        for part in others:
            first += part
        return first

    def _result(self, request: _Request, batch: Pictures) -> Pictures:
        num, channels, height, width = batch.shape
        result = np.empty((num, channels, height * self.scale, width * self.scale), np.float32)
        request.set_input_tensor(self._share(batch))
        request.set_output_tensor(self._share(result))
        self._running = (request, batch, result)
        request.start_async()
        self._wait(request)
        self._running = None
        return result

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

    def _request(self, shape: tuple[int, ...]) -> tuple[_Request, ...]:
        """Of the network, and of the base where that is computed apart."""
        if shape not in self._requests:
            while len(self._requests) >= MAX_COMPILED:
                self._requests.popitem(last=False)
            with stage("compiling"):
                made = [self._compiled(graph, shape, exact=number > 0) for number, graph in enumerate(self._graphs)]
            self._requests[shape] = tuple(made)
        self._requests.move_to_end(shape)
        return self._requests[shape]

    def _compiled(self, graph: Graph, shape: tuple[int, ...], *, exact: bool) -> _Request:
        fixed = graph.clone()
        fixed.reshape(list(shape))
        options = self._options | {"INFERENCE_PRECISION_HINT": "f32"} if exact else self._options
        return self._core.compile_model(fixed, self.unit, options).create_infer_request()

    def _share(self, pictures: Pictures) -> object:
        return self._openvino.Tensor(pictures, shared_memory=True)

    def close(self) -> None:
        """Wait for an abandoned call (the rest of one layer), and free the compiled graphs."""
        super().close()
        self._settle()
        self._requests.clear()


def settings(precision: str, *, on_cpu: bool = True, threads: int | None = None) -> dict[str, object]:
    """What a network is compiled with; `threads` are of the CPU, None: as many as OpenVINO takes."""
    hint = {"bf16": "bf16", "fp16": "f16"}.get(precision, "f32")
    found: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    if on_cpu:
        found["ENABLE_CPU_PINNING"] = False  # decoder and encoder want the same cores
        if threads:
            found["INFERENCE_NUM_THREADS"] = threads
    return found


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
    codes = ["int8"] if processor == "CPU" and "INT8" in able else []
    return [*full, *([half.lower()] if half in able else []), *codes]


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
        with _untold():
            return import_module("openvino")
    except ImportError as error:
        raise BackendError("openvino is not installed; run `pip install openvino`, or use the backend cpu.") from error


@contextmanager
def _untold() -> Iterator[None]:
    """Hide the package that tells Intel of each import of OpenVINO, which has a stand-in for where it is missing."""
    if _TELEMETRY in sys.modules:  # whoever loaded it knows
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # which an import takes for missing
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]


def _translate(error: RuntimeError, batch: Pictures) -> BackendError:
    size = "x".join(map(str, batch.shape))
    text = str(error)
    if "alloc" in text.lower():
        return OutOfMemoryError(f"A batch of {size} does not fit into memory; use a smaller tile.")
    why = (text.strip() or type(error).__name__).splitlines()[-1]
    return BackendError(f"openvino failed on a batch of {size}: {why}")
