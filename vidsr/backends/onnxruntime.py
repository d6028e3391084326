"""ONNX Runtime: on the CPU, and on the GPU of any vendor that one of its providers drives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vidsr.backends import AUTO, Unit, accuracy
from vidsr.backends.base import GPU_MEMORY, NOT_USABLE, HostBackend, Pictures, max_pixels, model_bytes
from vidsr.backends.hardware import num_threads
from vidsr.errors import BackendError, Cancelled, OutOfMemoryError
from vidsr.models.onnx import INPUT, OUTPUT, graph
from vidsr.models.registry import Model
from vidsr.words import first_line

if TYPE_CHECKING:
    import torch

HALOS = 8  # width of the smallest tile in halos, on the CPU
MAX_SESSIONS = 2  # shapes kept compiled, where a provider compiles for one
POLL_SECONDS = 0.03  # how often a call in progress looks for `cancel`
PLUGINS = "onnxruntime_ep_"  # how the packages of providers that are installed beside ONNX Runtime begin


@dataclass(frozen=True, slots=True)
class Provider:
    """What drives one kind of processor: ONNX Runtime's name of it without its ending, a title and why its place."""

    name: str
    title: str
    why: str
    options: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = False  # whether it takes the number of a GPU
    fixed: bool = True  # whether it is faster for one shape than for any

    @property
    def full_name(self) -> str:
        """ONNX Runtime's."""
        return f"{self.name}ExecutionProvider"


CPU = Provider("CPU", "the CPU", "everywhere", fixed=False)
PROVIDERS = (
    Provider("NvTensorRTRTX", "TensorRT-RTX", "compiles for the GPU's tensor cores"),
    Provider("CUDA", "CUDA", "any NVIDIA GPU, by cuDNN", {"use_tf32": "0"}, numbered=True, fixed=False),
    Provider("MIGraphX", "MIGraphX", "AMD's own compiler", numbered=True),
    Provider("CoreML", "Core ML", "Apple's own, for GPU and neural engine", {"ModelFormat": "MLProgram"}),
    Provider("Dml", "DirectML", "every vendor's GPU on Windows, and none's own", numbered=True),
    CPU,
)
"""The first that is installed, opens and agrees with FP32 runs the network: a vendor's own before everybody's."""


class _Call(threading.Thread):
    """One run of a session, which `stop` ends after its node."""

    def __init__(self, session: Any, binding: Any, options: Any, *memory: Pictures) -> None:
        super().__init__(name="vidsr-onnxruntime", daemon=True)
        self._work = (session, binding, options)
        self._memory = memory  # that the runtime reads and writes, however the call ends
        self.error: Exception | None = None

    def run(self) -> None:
        session, binding, options = self._work
        try:
            session.run_with_iobinding(binding, options)
        except Exception as error:  # it is raised in the thread that waits
            self.error = error

    def stop(self) -> None:
        self._work[2].terminate = True


class ONNXRuntimeBackend(HostBackend):
    """Runs the ONNX graph of a model by one provider. Batches come from the host's memory, and go there.

    In FP16 weights and sums are halves, input and output stay FP32.

    Raises:
        BackendError: onnxruntime or onnx is missing, or the provider does not run here.
    """

    name = "onnxruntime"

    def __init__(
        self,
        model: Model,
        provider: Provider = CPU,
        *,
        precision: str = "fp32",
        threads: int | None = None,
        gpu: int = 0,
    ) -> None:
        super().__init__()
        self._runtime = _import()
        self.provider, self.precision, self.scale = provider, precision, model.scale
        self.unit = "CPU" if provider is CPU else provider.title
        self._gpu, self._num_threads = gpu, threads or num_threads()
        if provider is CPU:
            self.max_pixels = max_pixels(model, halos=HALOS)
        else:
            self.max_pixels = int(GPU_MEMORY / model_bytes(model))
        self._graph = graph(model, precision, outer="fp32")
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._call: _Call | None = None  # the last, which may not have ended
        if not provider.fixed:
            self._session((0,))  # what does not open is known now

    @classmethod
    def open(
        cls, model: Model, *, precision: str, device: torch.device | None, threads: int | None, unit: Unit = AUTO
    ) -> Self:
        """By the first provider of `unit` that agrees with FP32 on a film frame; the CPU's needs no such proof."""
        del device
        found = providers(unit)
        if found == [CPU] and precision != "fp32":
            raise BackendError(f"ONNX Runtime computes in fp32 on the CPU, not in {precision}; use precision auto.")
        refused: list[str] = []
        failures: tuple[type[Exception], ...] = (*NOT_USABLE, *_errors())
        for provider, each in _tries(found, precision):
            try:
                opened = cls(model, provider, precision=each, threads=threads, gpu=unit.index)
                opened.reason = ", without ".join((opened._proof(model), *refused))
                return opened
            except Cancelled:
                raise
            except failures as error:
                refused.append(f"{provider.title} in {each} ({first_line(error).rstrip('.')})")
        raise BackendError(f"ONNX Runtime does not run here: {'; '.join(refused)}.")

    @classmethod
    def best_precision(cls, device: torch.device | None, unit: Unit = AUTO) -> tuple[str, str]:
        """FP16 on a GPU."""
        del device
        first = providers(unit)[0]
        return ("fp32", "what it computes in on a CPU") if first is CPU else ("fp16", f"faster by {first.title}")

    def _proof(self, model: Model) -> str:
        """How far the provider is from FP32.

        Raises:
            BackendError: too far.
        """
        if self.provider is CPU:
            return "by the CPU"
        reference = ONNXRuntimeBackend(model, threads=self._num_threads)
        return f"by {self.provider.title}: {self.provider.why}, {accuracy.prove_beside(self, reference)}"

    def run(self, batch: Pictures) -> Pictures:
        """(N, 3, H, W) float32 -> (N, 3, H*scale, W*scale) float32; both share their memory with the runtime."""
        num, channels, height, width = batch.shape
        self._settle()
        result = np.empty((num, channels, height * self.scale, width * self.scale), np.float32)
        try:
            session = self._session((num, height, width))
            binding = session.io_binding()
            binding.bind_input(INPUT, "cpu", 0, "float32", tuple(batch.shape), batch.ctypes.data)
            binding.bind_output(OUTPUT, "cpu", 0, "float32", tuple(result.shape), result.ctypes.data)
            self._call = _Call(session, binding, self._runtime.RunOptions(), batch, result)
            self._wait(self._call)
        except _errors() as error:
            raise _translate(error, batch) from error
        self._call = None
        return result

    def _wait(self, call: _Call) -> None:
        """Wait for the result, or for `cancel` or Ctrl-C: then leave at once; the runtime stops after its node."""
        call.start()
        try:
            while call.is_alive():
                call.join(POLL_SECONDS)
                if self._state.cancelled.is_set():
                    raise Cancelled("The network was stopped before it had finished.")
        except (Cancelled, KeyboardInterrupt):
            call.stop()
            raise
        if call.error is not None:
            raise call.error

    def _settle(self) -> None:
        """Wait for a call that was left (the rest of one node): until then it writes."""
        if self._call is not None and self._call.is_alive():
            self._call.join()
        self._call = None

    def _session(self, shape: tuple[int, ...]) -> Any:
        key = shape if self.provider.fixed else ()
        if key not in self._sessions:
            while len(self._sessions) >= MAX_SESSIONS:
                self._sessions.popitem(last=False)
            self._sessions[key] = self._opened(key)
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def _opened(self, shape: tuple[int, ...]) -> Any:
        """A session for that shape, or without one for any."""
        options = self._runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self._num_threads  # named, so that it pins none: a decoder wants the same cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # for the same reason
        options.enable_mem_pattern = self.provider.name != "Dml"  # which it forbids
        for name, side in zip("nhw", shape, strict=False):
            options.add_free_dimension_override_by_name(name, side)
        numbers = {"device_id": str(self._gpu)} if self.provider.numbered else {}
        settings = {**self.provider.options, **numbers}
        if self.provider.full_name in self._runtime.get_available_providers():
            order = dict.fromkeys((self.provider.full_name, CPU.full_name))  # which takes what the first does not know
            given = [(name, settings if name == self.provider.full_name else {}) for name in order]
            session = self._runtime.InferenceSession(self._graph, options, providers=given)
        else:
            options.add_provider_for_devices([_devices(self.provider)[self._gpu]], settings)
            session = self._runtime.InferenceSession(self._graph, options)
        if self.provider.full_name not in session.get_providers():  # it warns, and takes the CPU
            raise BackendError(f"{self.provider.title} does not start")
        return session

    def close(self) -> None:
        """Wait for an abandoned call (the rest of one node), and free the sessions."""
        super().close()
        self._settle()
        self._sessions.clear()


def _tries(found: list[Provider], precision: str) -> list[tuple[Provider, str]]:
    """Providers with the precisions that each is tried in."""
    return [(each, kind) for each in found for kind in dict.fromkeys(("fp32",) if each is CPU else (precision, "fp32"))]


@cache
def _errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: kinds of its own, which have nothing in common, and Python's from its bindings."""
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state"))
    own = [kind for kind in state.values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)


def providers(unit: Unit) -> list[Provider]:
    """Those that are installed and drive such a unit, in their order.

    Raises:
        BackendError: there are none.
    """
    built = _import().get_available_providers()
    found = [each for each in PROVIDERS if each.full_name in built or _devices(each)]
    if unit.kind != "auto":
        found = [each for each in found if (each is CPU) == (unit.kind == "cpu") and unit.kind != "npu"]
    if not found:
        known = ", ".join(each.title for each in PROVIDERS if each is not CPU)
        raise BackendError(f"ONNX Runtime has no provider for a {unit.kind.upper()} here; it knows {known}.")
    return found


def _devices(provider: Provider) -> list[Any]:
    """The GPUs that a provider from a package of its own drives."""
    found: list[Any] = getattr(_import(), "get_ep_devices", list)()  # ONNX Runtime before 1.23 has no such packages
    return [device for device in found if device.ep_name == provider.full_name and provider is not CPU]


@cache
def _import() -> ModuleType:
    """ONNX Runtime, with the providers that packages beside it bring."""
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        line = "pip install 'vidsr-upscaler[onnxruntime]'"
        raise BackendError(f"onnxruntime is not installed; run {line}, or use the backend cpu.") from error
    for module in iter_modules():
        if module.name.startswith(PLUGINS):
            with suppress(Exception):  # one that does not load is one that is not there
                plugin = import_module(module.name)
                runtime.register_execution_provider_library(module.name, plugin.get_library_path())
    return runtime


def _translate(error: Exception, batch: Pictures) -> BackendError:
    size = "x".join(map(str, batch.shape))
    text = str(error)
    if any(words in text.lower() for words in ("alloc", "out of memory", "e_outofmemory", "887a0005")):
        return OutOfMemoryError(f"A batch of {size} does not fit into memory; use a smaller tile.")
    return BackendError(f"onnxruntime failed on a batch of {size}: {first_line(error)}")
