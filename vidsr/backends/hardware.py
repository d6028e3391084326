"""Cores, and which GPUs torch would find: it is not loaded where the answer is none, since that takes two seconds."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

from vidsr.stages import loading

UNITS_OF_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8"}  # as Linux calls them
TORCH = "pip install 'vidsr-upscaler[torch]'"  # what installs it
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"  # NVIDIA's


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_threads() -> int:
    """How many threads compute where nobody says: one a core, or as many as OMP_NUM_THREADS says."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else num_cores()


def has_int8_units() -> bool:
    """Whether this processor multiplies numbers of 8 bits in units of their own, as Linux, or else numpy, knows it."""
    with suppress(OSError, StopIteration):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        flags = next(line for line in text.splitlines() if line.startswith("flags"))
        return not UNITS_OF_INT8.isdisjoint(flags.split())
    with suppress(ImportError, AttributeError):
        return bool(import_module("numpy._core._multiarray_umath").__cpu_features__.get("AVX512VNNI"))
    return False


def has_torch() -> bool:
    """Whether torch is installed; it is not loaded."""
    return find_spec("torch") is not None


def has_nvidia() -> bool:
    """Whether torch finds an NVIDIA GPU (or one of AMD's, where its build is for those)."""
    if not _may_have_gpu():
        return False
    load_torch()
    from torch import cuda

    return cuda.is_available()


def load_torch() -> None:
    """Import torch, which must be installed.

    Python looks for garbage three times when it ends: not among what torch brought, which stays until then.
    """
    if "torch" not in sys.modules:
        with loading():
            import_module("torch")
        gc.freeze()


def open_ahead(index: int = 0) -> None:
    """Where a GPU is likely, begin in a thread what comes before any work on that one: torch's libraries, its context.

    Both are calls of C, beside which Python goes on as it does not beside an import. Whoever imports torch finds them
    done; where they fail nothing is said, and they fail there again.
    """
    found = find_spec("torch") if sys.platform == "linux" and "torch" not in sys.modules else None
    if found is None or found.origin is None:
        return
    libraries = Path(found.origin).with_name("lib")
    if (libraries / "libtorch_cuda.so").exists():
        os.environ.setdefault(
            "CUDA_MODULE_LOADING", "LAZY"
        )  # read as the driver begins; the default of those since CUDA 12.2
        Thread(target=_open, args=(libraries / "libtorch_global_deps.so", index), name="vidsr-gpu").start()


def _open(needed: Path, index: int) -> None:
    """Load what torch loads first, as it does, and NVIDIA's driver; open the GPU as CUDA's runtime will."""
    with suppress(OSError, AttributeError):
        driver = ctypes.CDLL(DRIVER)
        ctypes.CDLL(None).dlopen(os.fsencode(needed), os.RTLD_NOW | os.RTLD_GLOBAL)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), index) == 0:
            driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


def has_apple() -> bool:
    """Whether torch finds an Apple GPU."""
    if not has_torch() or ("torch" not in sys.modules and sys.platform != "darwin"):
        return False
    from torch.backends import mps

    return mps.is_available()


def has_driver() -> bool:
    """Whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _may_have_gpu() -> bool:
    if not has_torch():
        return False
    if "torch" in sys.modules:
        return True
    build = metadata.version("torch").partition("+")[2]  # cpu, cu130, rocm7.0; empty: that of the package index
    return build != "cpu" and (build.startswith("rocm") or has_driver())
