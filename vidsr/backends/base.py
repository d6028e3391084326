"""What every backend is, and what backends share."""

from __future__ import annotations

import operator
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from vidsr.backends import AUTO, Unit
from vidsr.errors import BackendError, Cancelled
from vidsr.models.config import GeneratorConfig, elements_per_pixel, largest_per_pixel
from vidsr.models.registry import Model

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

BYTES = 1.5 * 4  # of an element of FP32, and half as much again
MEMORY = 1 << 30  # bytes that the activations of one call may take
GPU_MEMORY = 2 << 30  # of a GPU whose memory nobody tells; a call that does not fit is halved
CALL_MACS = 40e9  # multiply-adds of one call: about a second on two ordinary cores
PROBE = 16  # side of the picture on which activations are counted
MAX_ELEMENTS = 2**31 - 1  # of one tensor

Pictures = NDArray[np.float32]
"""(N, 3, H, W) in the host's memory."""

NOT_USABLE = (BackendError, ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
"""What a runtime of another version, or one with parts missing, may raise."""


class State:
    """Whether a backend may still run; thread-safe."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.closed = False

    def check(self) -> None:
        """Raise `Cancelled` or, after closing, `BackendError`."""
        if self.cancelled.is_set():
            raise Cancelled("The network was stopped before it had finished.")
        if self.closed:
            raise BackendError("This backend is closed; open another one.")


class Backend(ABC):
    """Runs one generator: (N, 3, H, W) RGB in [0, 1] on `device` as `dtype` -> (N, 3, H*scale, W*scale), not clamped.

    One call at a time; `cancel` alone may come from another thread. H and W are at least 2. What stands here is all
    that is ever called; what a runtime has nothing to say to, it leaves as it is.
    """

    name: str
    precision: str  # of the arithmetic: fp32, bf16, fp16 or int8
    device: torch.device
    dtype: torch.dtype
    needs_torch: bool = True  # False: it is a `HostBackend`
    scale: int
    max_pixels: int | None = None  # the largest N*H*W that one call should hold
    threads: int | None = None  # those of the CPU that results depend on; None: they depend on none
    unit: str = "CPU"  # what computes, in words
    reason: str = ""  # what runs it and why, as far as it chose that itself
    facts: Mapping[str, str] = MappingProxyType({})  # what else results depend on, for who goes on with them

    def __init__(self) -> None:
        self.notes: list[str] = []  # what had to be done to go on, to be taken away by who reads it
        self._state = State()

    @classmethod
    @abstractmethod
    def open(
        cls, model: Model, *, precision: str, device: torch.device | None, threads: int | None, unit: Unit = AUTO
    ) -> Self:
        """Make `model` ready on torch's `device`, or (None) on the `unit` that a runtime finds by itself.

        `threads` limits a CPU's (None: the runtime's choice).

        Raises:
            BackendError: it is not installed, or does not run so here.
        """

    @classmethod
    def best_precision(cls, device: torch.device | None, unit: Unit = AUTO) -> tuple[str, str]:
        """The precision that ``auto`` means there for a network with weights, and why.

        Raises:
            BackendError: the runtime is missing.
        """
        del device, unit
        return "fp32", "the one there is"

    @classmethod
    def why_not_int8(cls, model: Model, unit: Unit = AUTO) -> str | None:
        """Why ``auto`` does not take INT8 for `model` there: in a few words, or none where nobody asks.

        None: it does.
        """
        del model, unit
        return ""

    @property
    def on_host(self) -> bool:
        """Whether its batches are in the host's memory."""
        return not self.needs_torch or self.device.type == "cpu"

    @abstractmethod
    def __call__(self, batch: Tensor) -> Tensor:
        """Run the generator.

        Raises:
            OutOfMemoryError: the batch did not fit.
            Cancelled: `cancel` was called.
            BackendError: a batch of the wrong shape, type or device; a closed backend; a failed runtime.
        """

    def body(self) -> Callable[[Tensor], Tensor] | None:
        """What a call runs, channels last on the current stream of `device`, as a CUDA graph may hold it; or None.

        It is the same object as long as it is the same work, and keeps what that needs in memory.

        Raises:
            Cancelled: `cancel` was called.
            BackendError: the backend is closed.
        """
        return None

    def prepare(self, shape: tuple[int, int, int], num_calls: int | None = None) -> str:
        """Get ready for batches of (N, H, W), of which `num_calls` will come (None: nobody knows).

        Returns what was decided, in words; empty where nothing had to be.

        Raises:
            OutOfMemoryError: such a batch does not fit.
            BackendError: it cannot be compiled.
        """
        del shape, num_calls
        return ""

    def cancel(self) -> None:
        """Make a call in progress in another thread raise `Cancelled` soon; later calls raise it too."""
        self._state.cancelled.set()

    def close(self) -> None:
        """Free what the backend holds; closing twice is fine."""
        self._state.closed = True


class HostBackend(Backend):
    """A backend that needs no torch: pictures come from the host's memory, and go there, as float32.

    They are arrays of numpy, or tensors of torch, and what comes out is of the same kind. Its `device` and `dtype`, for
    those who have tensors, load torch.
    """

    needs_torch = False

    @cached_property
    def device(self) -> torch.device:  # type: ignore[override]
        """The CPU."""
        from torch import device

        return device("cpu")

    @cached_property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        """FP32."""
        from torch import float32

        return float32

    @overload
    def __call__(self, batch: Pictures, *, once: bool = False) -> Pictures: ...

    @overload
    def __call__(self, batch: Tensor, *, once: bool = False) -> Tensor: ...

    def __call__(self, batch: Any, *, once: bool = False) -> Any:
        """(N, 3, H, W) float32 -> (N, 3, H*scale, W*scale) float32, an array or a tensor as what came.

        `once` says that no other batch of this shape need come: nothing is prepared for more.
        """
        self._state.check()
        run = self.run_once if once else self.run
        if isinstance(batch, np.ndarray):
            if batch.dtype != np.float32:
                raise BackendError(f"This backend takes float32, not {batch.dtype}.")
            _check_shape(batch)
            return run(np.ascontiguousarray(batch))
        from torch import from_numpy

        check_batch(batch, self.device, self.dtype)
        return from_numpy(run(batch.contiguous().numpy()))

    @abstractmethod
    def run(self, batch: Pictures) -> Pictures:
        """What `__call__` does, to a batch in one piece that is right; the result is nobody else's."""

    def run_once(self, batch: Pictures) -> Pictures:
        """As `run`, where no other batch of this shape need come."""
        return self.run(batch)


def auto_on_cpu(has_bf16: bool) -> tuple[str, str]:
    """`Backend.best_precision` of a CPU."""
    return ("bf16", "this CPU has bf16 units") if has_bf16 else ("fp32", "this CPU has no bf16 units")


def check_batch(batch: Tensor, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse (`BackendError`) what is no (N, 3, H, W) of that type on that device, or holds nothing."""
    _check_shape(batch)
    if batch.dtype != dtype or batch.device.type != device.type:
        raise BackendError(f"This backend takes {dtype} on {device}, not {batch.dtype} on {batch.device}.")


def _check_shape(batch: Tensor | Pictures) -> None:
    shape = "x".join(map(str, batch.shape))
    if batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape:
        raise BackendError(f"A backend takes batches of shape (N, 3, H, W), not {shape or 'a scalar'}.")


def max_pixels(model: Model, *, halos: int, memory: float = MEMORY) -> int:
    """The largest N*H*W of one call: bounded in memory and time, but no smaller than tiles `halos` halos wide.

    Smaller tiles would spend most of their work on their borders, and `cancel` stops a long call anyway.
    """
    by_time = max(CALL_MACS / model.macs_per_pixel, (halos * model.halo) ** 2)
    return int(min(by_time, memory / model_bytes(model)))


def model_bytes(model: Model) -> float:
    """`activation_bytes` of a model, of ours without torch."""
    if isinstance(model.config, GeneratorConfig):
        return BYTES * elements_per_pixel(model.config)
    return activation_bytes(model.module)


def model_countable(model: Model) -> int:
    """`countable_pixels` of a model, of ours without torch."""
    if isinstance(model.config, GeneratorConfig):
        return int(MAX_ELEMENTS / largest_per_pixel(model.config))
    return countable_pixels(model.module)


def activation_bytes(module: nn.Module) -> float:
    """Memory of an FP32 call per input pixel: the largest input plus output of a layer, and half as much again."""
    return BYTES * _largest(module, operator.add)


def countable_pixels(module: nn.Module) -> int:
    """The largest N*H*W at which 32 bits count the elements of every tensor: cuDNN and TensorRT have no more."""
    return int(MAX_ELEMENTS / _largest(module, max))


def _largest(module: nn.Module, size: Callable[[int, int], int]) -> float:
    """The largest `size` that a layer has of its elements of input and output, per pixel of the network's input."""
    import torch

    largest = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, size(inputs[0].numel(), output.numel()))

    hooks = [leaf.register_forward_hook(count) for leaf in leaves(module)]
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, PROBE, PROBE))
    finally:
        for hook in hooks:
            hook.remove()
    return largest / PROBE**2


def leaves(module: nn.Module) -> list[nn.Module]:
    """The modules that hold no others, in the order of their definition."""
    return [child for child in module.modules() if not any(child.children())]
