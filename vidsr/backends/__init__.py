"""Runtimes for a generator behind one small protocol, and the choice among them."""

from __future__ import annotations

from importlib.util import find_spec

from torch import cpu, cuda
from torch import device as Device

from vidsr.backends.base import Backend
from vidsr.errors import BackendError, Cancelled, UsageError
from vidsr.models.registry import Model

BACKENDS = ("auto", "tensorrt", "cuda", "openvino", "cpu", "nearest")
PRECISIONS = ("auto", "fp16", "bf16", "fp32")
NOT_USABLE = (BackendError, ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
"""What a TensorRT of another version, or one with parts missing, may raise."""

__all__ = ["BACKENDS", "PRECISIONS", "Backend", "open_backend"]


def open_backend(
    name: str, model: Model, *, precision: str = "auto", threads: int | None = None, device: int = 0
) -> tuple[Backend, str]:
    """Make `model` ready to run on the backend of that name; returns it with the reason for this choice.

    ``auto`` takes the first of tensorrt, cuda, openvino and cpu that is there, and cuda where no engine can be had;
    a backend that is named is used or refused.
    `threads` limits the CPU backends (None: the runtime's choice), `device` is the index of the GPU.

    Raises:
        UsageError: an unknown name or precision.
        BackendError: what was named is not available here.
    """
    if name not in BACKENDS or precision not in PRECISIONS:
        wrong = f"backend {name!r}" if name not in BACKENDS else f"precision {precision!r}"
        known = BACKENDS[:-1] if name not in BACKENDS else PRECISIONS  # the last backend is for tests
        raise UsageError(f"Unknown {wrong}; use {', '.join(known)}.")
    chosen, why = _choose(name, device)
    _require(chosen, device)
    if name == "auto" and chosen == "cuda":
        try:
            return _open_named("tensorrt", why, model, precision, threads, device)
        except Cancelled:
            raise
        except NOT_USABLE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            why = f"{why}, without TensorRT ({reason.rstrip('.')})"
    return _open_named(chosen, why, model, precision, threads, device)


def _open_named(
    name: str, why: str, model: Model, precision: str, threads: int | None, device: int
) -> tuple[Backend, str]:
    precision, why_precision = _choose_precision(name, precision, model)
    backend = _open(name, model, precision, threads, device)
    engine = f"; {backend.reason}" if name == "tensorrt" else ""  # type: ignore[attr-defined]
    return backend, f"{name}: {why}; {precision.upper()}: {why_precision}{engine}"


def _choose(name: str, device: int) -> tuple[str, str]:
    if name != "auto":
        return name, "as asked"
    if cuda.is_available():
        return "cuda", cuda.get_device_name(device if device < cuda.device_count() else 0)
    if find_spec("openvino") is not None:
        return "openvino", "no NVIDIA GPU"
    return "cpu", "no NVIDIA GPU, and openvino is not installed"


def _require(name: str, device: int) -> None:
    if name == "tensorrt" and not cuda.is_available():
        raise BackendError("TensorRT needs an NVIDIA GPU, and this torch finds none; use --backend auto.")
    if name == "cuda" and not cuda.is_available():
        raise BackendError("This torch finds no NVIDIA GPU; use --backend auto, or install a CUDA build of torch.")
    if name in ("tensorrt", "cuda") and not 0 <= device < cuda.device_count():
        raise BackendError(f"There is no GPU {device}; this machine has {cuda.device_count()}, counted from 0.")


def _choose_precision(name: str, precision: str, model: Model) -> tuple[str, str]:
    if precision != "auto":
        return precision, "as asked"
    if name == "nearest" or not any(True for _ in model.module.parameters()):
        return "fp32", "there is nothing to speed up"
    if name in ("tensorrt", "cuda"):
        return "fp16", "twice as fast on a GPU"
    if _has_bf16(name):
        return "bf16", "this CPU has bf16 units"
    return "fp32", "this CPU has no bf16 units"


def _has_bf16(name: str) -> bool:
    if name == "openvino":
        from vidsr.backends.openvino import computes_bf16

        return computes_bf16()
    units = cpu.get_capabilities()
    return bool(units.get("avx512_bf16") or units.get("amx_bf16"))


def _open(name: str, model: Model, precision: str, threads: int | None, device: int) -> Backend:
    if name == "nearest":
        from vidsr.backends.nearest import NearestBackend

        return NearestBackend(model.scale)
    if name == "openvino":
        from vidsr.backends.openvino import OpenVINOBackend

        return OpenVINOBackend(model, precision=precision, threads=threads)
    if name == "tensorrt":
        from vidsr.backends.tensorrt.backend import open_tensorrt

        return open_tensorrt(model, precision=precision, device=device)
    from vidsr.backends.torch.backend import EagerBackend

    place = Device("cuda", device) if name == "cuda" else Device("cpu")
    return EagerBackend(model, precision=precision, device=place, threads=threads)
