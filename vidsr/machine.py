"""What this machine is: for benchmarks and bug reports."""

from __future__ import annotations

import platform

from vidsr.backends import LISTED
from vidsr.backends.hardware import has_nvidia, num_cores
from vidsr.build import version


def cpu_name() -> str:
    """The processor as it calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def gpus() -> list[dict[str, str | int]]:
    """The GPUs that torch may use: index, name, compute capability, total and free memory in MiB."""
    if not has_nvidia():
        return []
    import torch

    found: list[dict[str, str | int]] = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {
                "index": index,
                "name": properties.name,
                "compute_capability": f"{properties.major}.{properties.minor}",
                "memory_mib": properties.total_memory >> 20,
                "free_mib": torch.cuda.mem_get_info(index)[0] >> 20,
            }
        )
    return found


def describe() -> dict[str, str]:
    """Processor, GPUs and versions in words."""
    cards = ", ".join(f"{gpu['index']}: {gpu['name']} ({gpu['memory_mib']} MiB)" for gpu in gpus())
    packages = dict.fromkeys(("torch", "av", *(name for row in LISTED for name in row.distributions)))
    versions = ", ".join(f"{name} {found}" for name in packages if (found := version(name)))
    return {
        "cpu": f"{cpu_name()}, {num_cores()} cores",
        "gpu": cards or "none",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "versions": versions,
    }
