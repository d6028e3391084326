"""Which runtime runs a generator: what was asked for, or the first of the table that is there."""

from __future__ import annotations

from importlib import import_module

from torch import cuda
from torch import device as Device

from vidsr.backends import LISTED, PRECISIONS, Runtime, find
from vidsr.backends.base import Backend
from vidsr.errors import BackendError, Cancelled, UsageError
from vidsr.models.registry import Model
from vidsr.stages import stage

NOT_USABLE = (BackendError, ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
"""What a runtime of another version, or one with parts missing, may raise."""


def open_backend(
    name: str, model: Model, *, precision: str = "auto", threads: int | None = None, device: int = 0
) -> tuple[Backend, str]:
    """Make `model` ready to run on the backend of that name; returns it with the reason for this choice.

    ``auto`` takes the first of the table that is there; a backend that is named is used or refused.
    `threads` limits the CPU backends (None: the runtime's choice), `device` is the index of the GPU.

    Raises:
        UsageError: an unknown name or precision.
        BackendError: what was named is not available here.
    """
    named = None if name == "auto" else find(name)
    if precision not in PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}; use {', '.join(PRECISIONS)}.")
    if named is None:
        return _first(model, precision, threads, device)
    return _open(named, "as asked", model, precision, threads, device)


def _first(model: Model, precision: str, threads: int | None, device: int) -> tuple[Backend, str]:
    """The first runtime of the table that is there, and opens where it is one that may fail."""
    lacks: list[str] = []
    failures: list[str] = []
    for row in LISTED:
        if lack := _lack(row):
            lacks.append(lack)
            continue
        place = _place(row, device)
        why = cuda.get_device_name(place) if row.gpu else ", and ".join(dict.fromkeys(lacks))
        why = ", without ".join((why, *failures))
        try:
            return _open(row, why, model, precision, threads, device)
        except Cancelled:
            raise
        except NOT_USABLE as error:
            if not row.tried:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            failures.append(f"{row.title} ({reason.rstrip('.')})")
    raise BackendError(f"There is no runtime here: {', and '.join(dict.fromkeys(lacks))}.")


def _lack(row: Runtime) -> str:
    """What keeps ``auto`` from a runtime; empty where nothing does. One that is tried says itself what is missing."""
    if row.gpu and not cuda.is_available():
        return "no NVIDIA GPU"
    return "" if row.tried or row.is_installed else f"{row.package} is not installed"


def _open(
    row: Runtime, why: str, model: Model, precision: str, threads: int | None, device: int
) -> tuple[Backend, str]:
    with stage("device"):
        place, kind = _place(row, device), _kind(row)
        precision, why_precision = _choose_precision(kind, precision, model, place)
    if precision not in row.precisions:
        known = " and ".join(row.precisions)
        raise BackendError(f"{row.title} computes in {known}, not in {precision}; use precision auto.")
    with stage("network"):
        backend = kind.open(model, precision=precision, device=place, threads=threads)
    said = f"; {backend.reason}" if backend.reason else ""
    return backend, f"{row.name}: {why}; {precision.upper()}: {why_precision}{said}"


def _place(row: Runtime, device: int) -> Device:
    """Where a runtime runs."""
    if not row.gpu:
        return Device("cpu")
    if not cuda.is_available():
        raise BackendError("This torch finds no NVIDIA GPU; use the backend auto, or install a CUDA build of torch.")
    if not 0 <= device < cuda.device_count():
        raise BackendError(f"There is no GPU {device}; this machine has {cuda.device_count()}, counted from 0.")
    return Device("cuda", device)


def _kind(row: Runtime) -> type[Backend]:
    module, _, name = row.home.partition(":")
    kind: type[Backend] = vars(import_module(module))[name]
    return kind


def _choose_precision(kind: type[Backend], precision: str, model: Model, device: Device) -> tuple[str, str]:
    if precision != "auto":
        return precision, "as asked"
    if not any(True for _ in model.module.parameters()):
        return "fp32", "there is nothing to speed up"
    return kind.best_precision(device)
