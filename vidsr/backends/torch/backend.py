"""torch itself, on the CPU (the reference in FP32), on an NVIDIA GPU or on an Apple one."""

from __future__ import annotations

import copy
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from vidsr.backends import AUTO, Unit, accuracy
from vidsr.backends.base import Backend, auto_on_cpu, check_batch, leaves, max_pixels, model_bytes, model_countable
from vidsr.backends.torch.graphs import Graphs
from vidsr.backends.torch.kernels import why_none
from vidsr.backends.torch.speedups import Choice, Speedups, best
from vidsr.errors import BackendError, OutOfMemoryError
from vidsr.models.fused import fuse
from vidsr.models.registry import Model
from vidsr.stages import stage
from vidsr.words import first_line

HALOS = 6  # width of the smallest tile in halos: a layer of such a tile lasts well under a second on two cores
GPU_SHARE = 0.5  # of the GPU's free memory that one call may take; colour, copies and other programs need the rest
NO_MEMORY = ("MPS backend out of memory", "can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""What torch, the driver and libraries say of it."""
COMPILE_SECONDS, COMPILE_GAIN = 13.0, 0.5  # what compiling for one shape takes, and its share of a call saved: an H200
AUTOTUNE = "max-autotune-no-cudagraphs"  # a mode of torch.compile
MAX_COMPILED = 6  # shapes; torch stops after some more, in silence


class TorchBackend(Backend):
    """Runs the module channels last. Name ``cpu``, ``cuda`` or ``mps``.

    On the CPU and on Apple's GPUs it goes layer by layer. `speedups` says what is done to be faster; where torch cannot
    compile or capture after all, it goes on without, and `notes` says why. It compiles only for shapes that `prepare`
    was told of.

    bf16 keeps the input, the last convolution and the sum that makes the output in FP32: near 1.0 a bf16 step is a
    whole 8-bit code value.
    """

    def __init__(
        self,
        model: Model,
        *,
        precision: str,
        device: torch.device,
        threads: int | None = None,
        speedups: Speedups | None = None,
    ) -> None:
        super().__init__()
        self.name, self.precision, self.device, self.scale = device.type, precision, device, model.scale
        self.unit = {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, "NVIDIA GPU")
        self.dtype = torch.float16 if precision == "fp16" else torch.float32
        self.threads = (threads or torch.get_num_threads()) if device.type == "cpu" else None  # results depend on it
        self._graphs: Graphs | None = None
        self._compiled: set[tuple[int, ...]] = set()  # shapes that are worth it
        self._ran: set[tuple[int, ...]] = set()  # those of them that came
        self._network = model.module
        self._run: Callable[[Tensor], Tensor] | None = None
        self._body: Callable[[Tensor], Tensor] | None = None
        if device.type == "cuda":
            self.max_pixels = _gpu_pixels(model, device, self.dtype)
            choice = Choice(speedups) if speedups else _tried(model, precision, device)
            self.speedups, self._strips, self.reason = choice.speedups, choice.strips, choice.why
            self._run = self._assemble()
        else:
            self.max_pixels = (
                _shared_pixels(model, self.dtype) if device.type == "mps" else max_pixels(model, halos=HALOS)
            )
            self.speedups, self._strips = speedups or Speedups(compiled=False, captured=False), ()
            self._module = self._built()
            if precision == "bf16":
                _lower(self._module)
            for leaf in leaves(self._module):
                leaf.register_forward_pre_hook(lambda *_: self._state.check())

    @classmethod
    def open(
        cls, model: Model, *, precision: str, device: torch.device | None, threads: int | None, unit: Unit = AUTO
    ) -> Self:
        """By the fastest way that is at hand; on an Apple GPU once it has agreed with FP32 on a film frame."""
        del unit  # it is `device`
        assert device is not None
        opened = cls(model, precision=precision, device=device, threads=threads)
        if device.type == "mps":
            opened.reason = accuracy.prove(opened, model)
        return opened

    @classmethod
    def best_precision(cls, device: torch.device | None, unit: Unit = AUTO) -> tuple[str, str]:
        """FP16 on a GPU, bf16 on a CPU that has units for it."""
        del unit
        assert device is not None
        if device.type != "cpu":
            return "fp16", "twice as fast on a GPU"
        units = torch.cpu.get_capabilities()
        return auto_on_cpu(bool(units.get("avx512_bf16") or units.get("amx_bf16")))

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H*scale, W*scale), both `dtype` on `device`."""
        self._state.check()
        check_batch(batch, self.device, self.dtype)
        try:
            return self._on_gpu(batch) if self.device.type == "cuda" else self._plain(batch)
        except RuntimeError as error:
            raise _translate(error, tuple(batch.shape), self.device) from error

    def prepare(self, shape: tuple[int, int, int], num_calls: int | None = None) -> str:
        """Let batches of (N, H, W), of which `num_calls` will come, run compiled where that saves more than it takes.

        Returns what was decided, in words; empty where nothing had to be.
        """
        self._state.check()
        full = (shape[0], 3, *shape[1:])
        if not self.speedups.compiled or full in self._compiled:
            return ""
        if num_calls is not None:
            try:
                saved = num_calls * COMPILE_GAIN * self._seconds(full)
            except RuntimeError as error:
                raise _translate(error, full, self.device) from error
            if saved < COMPILE_SECONDS:
                return f"not compiled: it would save about {saved:.0f} s, and take about {COMPILE_SECONDS:.0f} s"
        if len(self._compiled) >= MAX_COMPILED:
            return f"not compiled: it is for {MAX_COMPILED} sizes already"
        self._compiled.add(full)
        if self._graphs is not None:
            self._graphs.clear()  # one may be there of this shape, not compiled
            self._body = _Body(self._forward, self._module)
        return ""

    def body(self) -> Callable[[Tensor], Tensor] | None:
        """The module, where it may be captured."""
        self._state.check()
        return self._body

    def _seconds(self, shape: tuple[int, ...]) -> float:
        """Of a call that is neither compiled nor captured."""
        batch = torch.zeros(shape, device=self.device, dtype=self.dtype).contiguous(memory_format=torch.channels_last)
        with torch.cuda.device(self.device):
            for _ in range(2):  # the first chooses algorithms
                began = time.perf_counter()
                self._forward(batch)
                torch.cuda.synchronize(self.device)
        return time.perf_counter() - began

    def _plain(self, batch: Tensor) -> Tensor:
        if self.threads and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)  # counts for the calling thread
        with torch.no_grad():
            result: Tensor = self._module(batch.contiguous(memory_format=torch.channels_last))
            return result.contiguous()

    def _on_gpu(self, batch: Tensor) -> Tensor:
        """By the fastest path that works here; one that fails is left for good."""
        while True:
            assert self._run is not None
            try:
                with torch.cuda.device(self.device):
                    return self._run(batch.contiguous(memory_format=torch.channels_last)).contiguous()
            except torch.OutOfMemoryError:
                if self._graphs is not None:
                    self._graphs.clear()
                raise
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                if _is_memory(error) or not (self.speedups.compiled or self.speedups.kernels or self.speedups.captured):
                    raise
                self._simplify(error)

    def _simplify(self, error: Exception) -> None:
        """Without `torch.compile` or kernels, then without CUDA graphs: all change the speed alone."""
        speedups = self.speedups
        what = (
            "torch.compile" if speedups.compiled else "the network by kernels" if speedups.kernels else "a CUDA graph"
        )
        captured = speedups.captured and (speedups.compiled or speedups.kernels)
        self.speedups = Speedups(speedups.fused, compiled=False, captured=captured)
        self.notes.append(f"{what} failed on {self.device}, the network runs without: {first_line(error)}")
        self._run = self._assemble()

    def _built(self) -> nn.Module:
        """The module of `speedups`, a copy of its own, channels last."""
        module = fuse(self._network) if self.speedups.fused else self._network
        if self.speedups.kernels:
            if why := why_none(self.device) or ("" if self.precision == "fp16" else "they are for half precision"):
                raise BackendError(f"The kernels do not run on {self.device}: {why}.")
            from vidsr.backends.torch.kernels.conv import WAYS
            from vidsr.backends.torch.kernels.network import with_kernels
            from vidsr.backends.torch.kernels.tuner import strips_for

            strips = self._strips or (() if self.speedups.ends else strips_for(self.device, WAYS))
            module = with_kernels(module, self.device, strips)
        built = copy.deepcopy(module).to(self.device, self.dtype)
        return built.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _assemble(self) -> Callable[[Tensor], Tensor]:
        """The function that runs the module by `speedups`."""
        self._module = self._built()
        mode = AUTOTUNE if self.speedups.autotuned else None
        self._quick: Callable[[Tensor], Tensor] = (
            torch.compile(self._module, dynamic=False, mode=mode) if self.speedups.compiled else self._module
        )
        if self._graphs is not None:
            self._graphs.clear()
        self._graphs = Graphs(self._forward, self.device) if self.speedups.captured else None
        self._body = _Body(self._forward, self._module) if self._graphs else None
        return self._graphs or self._forward

    def _forward(self, batch: Tensor) -> Tensor:
        if compiled := tuple(batch.shape) in self._compiled:
            first = tuple(batch.shape) not in self._ran
            self._ran.add(tuple(batch.shape))
        module = self._quick if compiled else self._module
        # benchmark: cuDNN tries its algorithms once for each shape. TF32 has 10 bits, which is no FP32
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            with stage("compiling") if compiled and first else nullcontext():
                result: Tensor = module(batch)
            return result

    def close(self) -> None:
        """Drop the weights."""
        super().close()
        if self._graphs is not None:
            self._graphs.clear()
        if self._compiled:
            torch.compiler.reset()  # what it compiled counts towards a limit for all modules of the class
            self._compiled.clear()
        self._graphs = self._run = self._body = None
        self._network = self._module = self._quick = nn.Identity()


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """`run`, and the module for as long as somebody has it: a graph that still runs reads its weights."""

    run: Callable[[Tensor], Tensor]
    module: nn.Module

    def __call__(self, batch: Tensor) -> Tensor:
        return self.run(batch)


def _tried(model: Model, precision: str, device: torch.device) -> Choice:
    """What is best there; without room to try the kernels, what torch has."""
    try:
        with torch.cuda.device(device):
            return best(model, precision, device)
    except torch.OutOfMemoryError:
        return Choice(Speedups(compiled=False), why="without our kernels: there is no room to try them")


def _gpu_pixels(model: Model, device: torch.device, dtype: torch.dtype) -> int:
    """The largest N*H*W of one call, by the memory that is free now and by cuDNN's way of counting."""
    per_pixel = model_bytes(model) * dtype.itemsize / torch.float32.itemsize
    by_memory = GPU_SHARE * torch.cuda.mem_get_info(device)[0] / per_pixel
    return max(1, min(int(by_memory), model_countable(model)))


def _shared_pixels(model: Model, dtype: torch.dtype) -> int:
    """The largest N*H*W of one call on an Apple GPU, by the memory that it may take of the machine's."""
    memory = GPU_SHARE * torch.mps.recommended_max_memory()
    return max(1, int(memory / (model_bytes(model) * dtype.itemsize / torch.float32.itemsize)))


def _lower(module: nn.Module) -> None:
    """Turn all layers but the last convolution to bf16; every layer converts its own input."""
    layers = [leaf for leaf in leaves(module) if any(True for _ in leaf.parameters())]
    for layer in layers:
        tail = layer is layers[-1]
        dtype = torch.float32 if tail else torch.bfloat16
        layer.to(dtype)
        layer.register_forward_pre_hook(lambda _, inputs, dtype=dtype: tuple(x.to(dtype) for x in inputs))


def _is_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


def _translate(error: RuntimeError, shape: tuple[int, ...], device: torch.device) -> BackendError:
    size = "x".join(map(str, shape))
    if _is_memory(error):
        return OutOfMemoryError(f"A batch of {size} does not fit into the memory of {device}; use a smaller tile.")
    return BackendError(f"torch failed on a batch of {size}: {first_line(error)}")
