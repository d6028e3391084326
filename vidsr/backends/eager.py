"""torch as it is, on the CPU (the reference in FP32) or on an NVIDIA GPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vidsr.backends.base import State, check_batch, leaves, max_pixels
from vidsr.errors import BackendError, OutOfMemoryError
from vidsr.models.registry import Model

HALOS = 6  # width of the smallest tile in halos: a layer of such a tile lasts well under a second on two cores
GPU_SHARE = 0.5  # of the GPU's free memory that one call may take


class EagerBackend:
    """Runs the module layer by layer, channels last. Name ``cpu`` or ``cuda``.

    bf16 keeps the input, the last convolution and the sum that makes the output in FP32: near 1.0 a bf16 step is a
    whole 8-bit code value.

    Raises:
        BackendError: a precision that the device cannot do.
    """

    def __init__(self, model: Model, *, precision: str, device: torch.device, threads: int | None = None) -> None:
        if (device.type, precision) not in (("cpu", "fp32"), ("cpu", "bf16"), ("cuda", "fp32"), ("cuda", "fp16")):
            raise BackendError(f"torch on {device.type} does not run {precision} here; use --precision auto.")
        self.name, self.precision, self.device, self.scale = device.type, precision, device, model.scale
        self.dtype = torch.float16 if precision == "fp16" else torch.float32
        memory = {} if device.type == "cpu" else {"memory": GPU_SHARE * torch.cuda.mem_get_info(device)[0]}
        self.max_pixels: int | None = max_pixels(model, halos=HALOS, **memory)
        self._threads = threads
        self._state = State()
        module: Any = copy.deepcopy(model.module).to(device, self.dtype)
        self._module: nn.Module | None = module.to(memory_format=torch.channels_last)
        if precision == "bf16":
            _lower(module)
        for leaf in leaves(module):
            leaf.register_forward_pre_hook(lambda *_: self._state.check())

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H*scale, W*scale), both `dtype` on `device`."""
        self._state.check()
        check_batch(batch, self.device, self.dtype)
        assert self._module is not None
        if self._threads and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # counts for the calling thread
        try:
            with torch.no_grad():
                result: Tensor = self._module(batch.contiguous(memory_format=torch.channels_last))
                return result.contiguous()
        except RuntimeError as error:
            raise _translate(error, batch) from error

    def cancel(self) -> None:
        """Stop before the next layer."""
        self._state.cancelled.set()

    def close(self) -> None:
        """Drop the weights."""
        self._state.closed = True
        self._module = None


def _lower(module: nn.Module) -> None:
    """Turn all layers but the last convolution to bf16; every layer converts its own input."""
    layers = [leaf for leaf in leaves(module) if any(True for _ in leaf.parameters())]
    for layer in layers:
        tail = layer is layers[-1]
        dtype = torch.float32 if tail else torch.bfloat16
        layer.to(dtype)
        layer.register_forward_pre_hook(lambda _, inputs, dtype=dtype: tuple(x.to(dtype) for x in inputs))


def _translate(error: RuntimeError, batch: Tensor) -> BackendError:
    size = "x".join(map(str, batch.shape))
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return OutOfMemoryError(
            f"A batch of {size} does not fit into the memory of {batch.device}; use a smaller --tile."
        )
    return BackendError(f"torch failed on a batch of {size}: {str(error).splitlines()[0]}")
