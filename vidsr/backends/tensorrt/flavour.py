"""Which TensorRT is installed. Asking loads neither it nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, TypeAlias

from vidsr.build import version
from vidsr.errors import BackendError

RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))  # what TensorRT-RTX 1.5 compiles for
FULL_CAPABILITY = (7, 5)  # the least that TensorRT 11 knows
INSTALL = "install it with `pip install 'vidsr-upscaler[rtx]'` (RTX GPUs) or `'vidsr-upscaler[tensorrt]'` (all of them)"

Parts: TypeAlias = "tuple[Any, Any, Any, object]"
"""TensorRT's builder, its network, its configuration, and what must outlive them."""


@dataclass(frozen=True)
class Flavour:
    """One of the two TensorRTs: `name` is ``rtx`` or ``full``, `module` its runtime; versions of both packages."""

    name: str
    module: str
    tensorrt: str
    torch_tensorrt: str

    def supports(self, capability: tuple[int, int]) -> bool:
        """Whether it can compile for GPUs of that compute capability."""
        return capability in RTX_CAPABILITIES if self.name == "rtx" else capability >= FULL_CAPABILITY

    def load(self) -> ModuleType:
        """The runtime's module.

        Raises:
            BackendError: its libraries cannot be loaded.
        """
        try:
            return import_module(self.module)
        except (ImportError, OSError) as error:
            raise BackendError(f"{self.module} {self.tensorrt} cannot be loaded: {error}; reinstall it.") from error


def installed() -> Flavour | None:
    """What is installed; of both, the RTX flavour, as torch_tensorrt itself decides."""
    for name, package, module in (
        ("rtx", "torch-tensorrt-rtx", "tensorrt_rtx"),
        ("full", "torch-tensorrt", "tensorrt"),
    ):
        if compiler := version(package):
            runtime = next(filter(None, map(version, (module, f"{module}_cu13", f"{module}_cu12"))), "")
            return Flavour(name, module, runtime, compiler)
    return None


def require() -> Flavour:
    """What is installed.

    Raises:
        BackendError: neither flavour is.
    """
    if (flavour := installed()) is None:
        raise BackendError(f"TensorRT is not installed; {INSTALL}, or use the backend auto.")
    return flavour
