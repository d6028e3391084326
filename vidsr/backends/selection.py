"""Which runtime runs a generator: what was asked for, or the first of the table that is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from vidsr.backends import LISTED, PRECISIONS, Runtime, Unit, find, hardware
from vidsr.backends.base import NOT_USABLE, Backend
from vidsr.errors import BackendError, Cancelled, UsageError
from vidsr.models.registry import Model
from vidsr.stages import stage
from vidsr.words import first_line

if TYPE_CHECKING:
    import torch


def open_backend(
    name: str, model: Model, *, precision: str = "auto", threads: int | None = None, device: int | str = "auto"
) -> tuple[Backend, str]:
    """Make `model` ready to run on the backend of that name; returns it with the reason for this choice.

    ``auto`` takes the first of the table that is there; a backend that is named is used or refused.
    `threads` limits the CPU backends (None: the runtime's choice), `device` is what `Unit.of` takes.

    Raises:
        UsageError: an unknown name, precision or device.
        BackendError: what was named is not available here.
    """
    named = None if name == "auto" else find(name)
    if precision not in PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}; use {', '.join(PRECISIONS)}.")
    unit = Unit.of(device)
    if named is None:
        return _first(model, precision, threads, unit)
    return _open(named, "as asked", model, precision, threads, unit)


def _first(model: Model, precision: str, threads: int | None, unit: Unit) -> tuple[Backend, str]:
    """The first runtime of the table that is there, and opens where it is one that may fail."""
    lacks: list[str] = []
    failures: list[str] = []
    for row, where in _candidates(unit):
        if precision not in ("auto", *row.precisions):
            continue
        if (lack := _lack(row)) is not None:
            lacks += [lack] if lack else []
            continue
        try:
            why = ", without ".join((_here(row, where, lacks), *failures))
            return _open(row, why, model, precision, threads, where)
        except Cancelled:
            raise
        except NOT_USABLE as error:
            if not row.tried:
                raise
            failures.append(f"{row.title} ({first_line(error).rstrip('.')})")
    known = " and ".join(dict.fromkeys((*lacks, *(f"no {failure}" for failure in failures))))
    raise BackendError(f"There is no runtime for device {unit.kind} here: {known or 'none is known'}.")


def _candidates(unit: Unit) -> Iterator[tuple[Runtime, Unit]]:
    """What ``auto`` asks in turn, and for what: GPUs that torch does not know before any CPU."""
    rows = [row for row in LISTED if unit.kind == "auto" or unit.kind in row.units]
    on_torch = [row for row in rows if row.torch not in ("", "cpu")]
    yield from ((row, unit) for row in on_torch)
    if unit.kind == "auto":
        yield from ((row, Unit("gpu")) for row in rows if row.is_accelerated)
    yield from ((row, unit) for row in rows if row not in on_torch)


def _here(row: Runtime, unit: Unit, lacks: list[str]) -> str:
    """Why it is this runtime: the GPU that it has, or what those before it lack."""
    if row.gpu:
        from torch import cuda

        return cuda.get_device_name(_place(row, unit))
    if row.torch == "mps":
        return "an Apple GPU"
    return ", and ".join(dict.fromkeys(lacks)) or f"device {unit.kind}, as asked"


def _lack(row: Runtime) -> str | None:
    """What keeps ``auto`` from a runtime; None where nothing does, empty where it is not worth a word."""
    if row.gpu:  # TensorRT says itself what is missing
        if hardware.has_nvidia():
            return None
        wanted = not hardware.has_torch() and hardware.has_driver()
        return f"torch is not installed, which an NVIDIA GPU needs ({hardware.TORCH})" if wanted else "no NVIDIA GPU"
    if row.torch == "mps" and not hardware.has_apple():
        return "no Apple GPU" if sys.platform == "darwin" else ""
    if row.is_installed:
        return None
    return f"{row.package} is not installed" if row.name == "openvino" else ""


def _open(row: Runtime, why: str, model: Model, precision: str, threads: int | None, unit: Unit) -> tuple[Backend, str]:
    with stage("device"):
        place, kind = _place(row, unit), _kind(row)
        precision, why_precision = _choose_precision(kind, precision, model, place, unit)
    if precision not in row.precisions:
        known = " and ".join(row.precisions)
        raise BackendError(f"{row.title} computes in {known}, not in {precision}; use precision auto.")
    with stage("network"):
        backend = kind.open(model, precision=precision, device=place, threads=threads, unit=unit)
    if backend.precision != precision:
        why_precision = "what opened"
    said = f"; {backend.reason}" if backend.reason else ""
    return backend, f"{row.name}: {why}; {backend.precision.upper()}: {why_precision}{said}"


def _place(row: Runtime, unit: Unit) -> torch.device | None:
    """Where torch runs a network; None for runtimes that do without it.

    Raises:
        BackendError: it does not run on such a unit, or there is none.
    """
    if unit.kind not in ("auto", *row.units):
        kinds = " and ".join(row.units)
        raise BackendError(f"{row.title} runs on the device {kinds}, not on {unit.kind}; use device auto.")
    if not row.torch:
        return None
    if not hardware.has_torch():
        raise BackendError(f"torch is not installed; run {hardware.TORCH}, or use the backend auto.")
    if row.gpu and not hardware.has_nvidia():
        raise BackendError("This torch finds no NVIDIA GPU; use the backend auto, or install a CUDA build of torch.")
    if row.torch == "mps" and not hardware.has_apple():
        raise BackendError("This torch finds no Apple GPU; use the backend auto.")
    hardware.load_torch()
    import torch

    if row.gpu and unit.index >= torch.cuda.device_count():
        raise BackendError(
            f"There is no GPU {unit.index}; this machine has {torch.cuda.device_count()}, counted from 0."
        )
    return torch.device("cuda", unit.index) if row.gpu else torch.device(row.torch)


def _kind(row: Runtime) -> type[Backend]:
    module, _, name = row.home.partition(":")
    kind: type[Backend] = vars(import_module(module))[name]
    return kind


def _choose_precision(
    kind: type[Backend], precision: str, model: Model, device: torch.device | None, unit: Unit
) -> tuple[str, str]:
    if precision != "auto":
        return precision, "as asked"
    if not model.is_network:
        return "fp32", "there is nothing to speed up"
    why_not = kind.why_not_int8(model, unit)
    if why_not is None:
        return "int8", "this CPU has units for it"
    best, why = kind.best_precision(device, unit)
    return best, f"{why}, {why_not}" if why_not else why
