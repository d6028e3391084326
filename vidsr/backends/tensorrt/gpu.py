"""The GPU that an engine is for."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

from vidsr.errors import BackendError, UsageError

TEXT = 96  # bytes that NVML may need for the driver's version


@dataclass(frozen=True)
class Gpu:
    """A GPU by compute capability, name and driver; `index` is None where it is not in this machine."""

    capability: tuple[int, int]
    name: str = ""
    driver: str = ""
    index: int | None = None

    @property
    def dotted(self) -> str:
        """The compute capability as people write it: ``8.9``."""
        return f"{self.capability[0]}.{self.capability[1]}"

    @property
    def label(self) -> str:
        """The compute capability as NVIDIA's compilers write it: ``sm89``."""
        return f"sm{self.capability[0]}{self.capability[1]}"


def of_device(index: int) -> Gpu:
    """The GPU of that index, counted from 0 among the visible ones. Loads torch.

    Raises:
        BackendError: torch finds no GPU.
        UsageError: see `here`.
    """
    if (found := here(index)) is None:
        raise BackendError("This torch finds no NVIDIA GPU; TensorRT needs one, and a CUDA build of torch.")
    return found


def here(index: int) -> Gpu | None:
    """The GPU of that index, counted from 0 among the visible ones; None where torch finds no GPU at all.

    Raises:
        UsageError: there are GPUs, but none of that index, or it is negative.
    """
    import torch

    if index < 0:
        raise UsageError(f"device must not be negative, got {index}")
    if not torch.cuda.is_available():
        return None
    if index >= torch.cuda.device_count():
        raise UsageError(f"There is no GPU {index}; this machine has {torch.cuda.device_count()}, counted from 0.")
    properties = torch.cuda.get_device_properties(index)
    return Gpu((properties.major, properties.minor), properties.name, driver_version(), index)


def parse_capability(text: str) -> tuple[int, int]:
    """``8.9`` -> (8, 9).

    Raises:
        UsageError: something else.
    """
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise UsageError(f"A compute capability looks like 8.9, not {text!r}.")
    return int(major), int(minor)


def driver_version() -> str:
    """The NVIDIA driver's version as its management library (NVML) gives it; empty where there is none."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return ""
    if nvml.nvmlInit_v2() != 0:
        return ""
    try:
        text = ctypes.create_string_buffer(TEXT)
        return text.value.decode() if nvml.nvmlSystemGetDriverVersion(text, TEXT) == 0 else ""
    finally:
        nvml.nvmlShutdown()
