"""`vidsr doctor`: what this machine offers, ready to paste into a bug report."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Annotated

import typer

from vidsr.errors import VidsrError

PACKAGES = ("torch", "av", "openvino", "torch-tensorrt", "torch-tensorrt-rtx", "numpy", "pillow", "typer", "rich")
ENCODERS = (
    "libx264",
    "libx265",
    "libsvtav1",
    "libvpx-vp9",
    "ffv1",
    "prores_ks",
    "h264_nvenc",
    "hevc_nvenc",
    "av1_nvenc",
)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> None:
    """Check the runtimes, encoders and models that vidsr can use here, and say what would make it faster."""
    facts = dict(_facts())
    if json:
        from vidsr.cli.data import print_json

        print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")


def _facts() -> Iterator[tuple[str, str]]:
    from vidsr import __version__

    yield "vidsr", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    yield (
        "cpu",
        f"{_cpu_name()}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
    )
    for package in PACKAGES:
        yield package, _version(package)
    yield "gpu", _tried(_gpu)
    yield "cpu units", _tried(_cpu_units)
    for encoder in ENCODERS:
        yield encoder, _tried(lambda name=encoder: _encoder(name))  # type: ignore[misc]
    yield "models", _tried(_models)
    yield "advice", _tried(_advice)


def _tried(question: Callable[[], str]) -> str:
    """The answer, or the error in one line: a doctor examines what is broken."""
    try:
        return question()
    except VidsrError as error:
        return f"no: {error}"
    except Exception as error:
        return f"fails: {type(error).__name__}: {error}".splitlines()[0]


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none that torch can use"
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return ", ".join(f"{k}: {gpu.name} ({gpu.total_memory >> 20} MiB)" for k, gpu in enumerate(properties))


def _cpu_units() -> str:
    import torch

    return ", ".join(name for name, there in torch.cpu.get_capabilities().items() if there is True) or "none"


def _encoder(name: str) -> str:
    from vidsr.media.codecs import check_encoder

    check_encoder(name)
    return "works"


def _models() -> str:
    from vidsr.models.registry import available_models

    return ", ".join(f"{model.name} x{model.scale}" for model in available_models())


def _advice() -> str:
    import torch

    if torch.cuda.is_available():
        return "the GPU is used"
    if sys.modules.get("openvino") is None and _version("openvino") == "not installed":
        return "install OpenVINO for a faster CPU path: pip install openvino"
    return "this is the CPU path; an NVIDIA GPU with a CUDA build of torch is many times faster"
