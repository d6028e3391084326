"""`vidsr doctor`: what this machine offers, ready to paste into a bug report."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from vidsr.backends import LISTED
from vidsr.backends.hardware import TORCH, has_torch, num_cores
from vidsr.build import version
from vidsr.cli.options import Json
from vidsr.cli.output import print_json
from vidsr.cli.sentences import complain, filled
from vidsr.errors import MediaError, VidsrError
from vidsr.machine import cpu_name, gpus
from vidsr.media.encoders import HARDWARE_DECODERS, OFFERED
from vidsr.words import num_bytes

if TYPE_CHECKING:
    import torch

CPU_RUNTIMES = [row for row in LISTED if not row.gpu]
OF_CPU = [name for row in CPU_RUNTIMES for name in row.distributions[:1]]
PACKAGES = ("torch", "triton", "av", *OF_CPU, "numpy", "pillow", "typer", "rich")
WRONG = ("wrong: ", "fails: ")  # how answers to trials begin that should be others
NO_TORCH = "torch is not installed"
DECODERS = ("h264", "hevc", "libdav1d", "vp9", "mpeg2video", "prores")
CUDA_TORCH = "pip install --force-reinstall 'torch>=2.11,<2.14'"
CPU_TORCH = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cpu"
EXAMPLES = """\b
Examples:
  vidsr doctor           ready to paste into a bug report
  vidsr doctor --check   tries all that a machine has: what to send of it
  vidsr doctor --json
"""  # \b: lines as they are


def doctor(
    check: Annotated[
        bool, typer.Option("--check", help="Run every backend on every device, and a whole job; takes a minute.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the runtimes, encoders and models that vidsr can use here, and say what would make it faster.

    Exit code 1 if a trial of --check is wrong or fails; what this machine does not have is neither.
    """
    facts, tried = dict(_facts()), dict(_trials()) if check else {}
    _show(facts | tried, json=json)
    if wrong := [name for name, answer in tried.items() if answer.startswith(WRONG)]:
        complain(f"not as it should be here: {', '.join(wrong)}; send all of the above")
        raise typer.Exit(1)


def _show(facts: dict[str, str], *, json: bool) -> None:
    if json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(filled(f"{name:<{width}}  {value}", sys.stdout, width + 2))


def _trials() -> Iterator[tuple[str, str]]:
    """Each trial beside its answer; one that ends in a bug is an answer, too."""
    from vidsr.cli import trials

    for name, trial in trials.trials():
        yield name, _tried(trial)


def _facts() -> Iterator[tuple[str, str]]:
    from vidsr import __version__
    from vidsr.build import build, weights

    yield "vidsr", f"{__version__}, {build()}, {weights()}"
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    yield "cpu", f"{cpu_name()}, {num_cores()} cores"
    yield "cpu units", _tried(_cpu_units)
    yield "openvino devices", _tried(_openvino_devices)
    yield "onnxruntime providers", _tried(_onnxruntime_providers)
    yield "driver", _tried(_driver)
    yield "gpu", _tried(_gpu)
    yield "cuda", _tried(_cuda)
    yield "tensorrt", _tried(_tensorrt)
    yield "engines", _tried(_engines)
    for package in PACKAGES:
        yield package, version(package) or "not installed"
    yield "compiler", _tried(_compiler)
    yield "kernels", _tried(_kernels)
    yield "colour", _tried(_colour)
    yield "step", _tried(_step)
    for row in OFFERED:
        yield row.name, _tried(lambda name=row.name: _encoder(name))  # type: ignore[misc]
    for decoder in DECODERS:
        yield f"{decoder} decoder", _tried(lambda name=decoder: _decoder(name))  # type: ignore[misc]
    for name in HARDWARE_DECODERS:
        yield name, _tried(lambda name=name: _hardware_decoder(name))  # type: ignore[misc]
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


def _driver() -> str:
    from vidsr.backends.tensorrt.gpu import driver_version

    return driver_version() or "no NVIDIA driver"


def _gpu() -> str:
    cards = (
        f"{gpu['index']}: {gpu['name']}, compute capability {gpu['compute_capability']}, "
        f"{gpu['memory_mib']} MiB, {gpu['free_mib']} MiB free"
        for gpu in gpus()
    )
    return "; ".join(cards) or "none that torch can use"


def _cuda() -> str:
    if not has_torch():
        return NO_TORCH
    import torch

    built: str | None = torch.version.cuda
    if built is None:
        return "this torch is built without CUDA"
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return f"{built} in torch, cuDNN {cudnn}"


def _openvino_devices() -> str:
    from vidsr.backends.openvino import devices

    return ", ".join(devices())


def _onnxruntime_providers() -> str:
    from vidsr.backends import AUTO
    from vidsr.backends.onnxruntime import providers

    return ", ".join(each.title for each in providers(AUTO))


def _tensorrt() -> str:
    from vidsr.backends.tensorrt.flavour import installed

    flavour = installed()
    if flavour is None:
        return "not installed"
    flavour.load()
    kind = "TensorRT-RTX" if flavour.name == "rtx" else "TensorRT"
    return f"{kind} {flavour.tensorrt}, torch-tensorrt {flavour.torch_tensorrt}"


def _engines() -> str:
    from vidsr.backends.tensorrt.cache import EngineCache, engine_folder

    folder = engine_folder()
    entries = EngineCache(folder).entries() if folder.is_dir() else []
    size = sum(entry.engine.num_bytes for entry in entries if entry.engine is not None)
    damaged = sum(bool(entry.problem) for entry in entries)
    wrong = f", {damaged} damaged (vidsr engine prune)" if damaged else ""
    return f"{len(entries)} in {folder}, {num_bytes(size)}{wrong}"


def _compiler() -> str:
    if not has_torch():
        return NO_TORCH
    from vidsr.backends.torch import kernels

    why = kernels.why_none(_place())
    return f"neither kernels nor torch.compile: {why}" if why else "makes kernels"


def _kernels() -> str:
    """Whether the network that a job would take on a GPU runs by them."""
    if not has_torch():
        return NO_TORCH
    from vidsr.backends.torch.speedups import trusted
    from vidsr.models import registry

    name, _ = registry.default_model(4, gpu=True)
    strips, why = trusted(registry.load(name, 4), "fp16", _place())
    return f"{name} runs by them where TensorRT is not" if strips else f"{name} runs without them: {why}"


def _colour() -> str:
    if not has_torch():
        return "by numpy"
    from vidsr.upscaling.colour import why_not_fused

    why = why_not_fused(_place())
    return f"step by step: {why}" if why else "one kernel a plane"


def _step() -> str:
    if not has_torch():
        return NO_TORCH
    from vidsr.upscaling.stepper import why_not

    why = why_not(_place())
    return f"copies, colour and network one by one: {why}" if why else "one graph a batch, from codes to codes"


def _place() -> torch.device:
    """The device that a job would take."""
    import torch

    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def _cpu_units() -> str:
    if not has_torch():
        return f"{NO_TORCH}, which knows them"
    import torch

    return ", ".join(name for name, there in torch.cpu.get_capabilities().items() if there is True) or "none"


def _encoder(name: str) -> str:
    from vidsr.media.write.encoder import check_encoder

    check_encoder(name)
    return "works"


def _decoder(name: str) -> str:
    from vidsr.media.read.nvdec import check_decoder

    check_decoder(name)
    return "works"


def _hardware_decoder(name: str) -> str:
    from vidsr.media.read.nvdec import NVDEC_CODECS, check_nvdec

    taken, refused = [], []
    for codec in NVDEC_CODECS:
        try:
            check_nvdec(codec, 0 if name == "nvdec" else name)
            taken.append(codec)
        except MediaError as error:
            refused.append(str(error))
    if not taken:
        return f"no: {refused[0]}"
    return "; ".join((f"decodes {', '.join(taken)} (--decoder {name})", *refused))


def _models() -> str:
    from vidsr.models.registry import available_models

    return ", ".join(f"{model.name} x{model.scale}" for model in available_models())


def _cuda_bytes() -> int:
    """What packages of CUDA take on the disk, by their own records."""
    from importlib import metadata

    names = {found.metadata["Name"] or "" for found in metadata.distributions()}
    found = [name for name in names if name.startswith(("nvidia-", "cuda-")) or name == "triton"]
    return sum(file.size or 0 for name in found for file in metadata.files(name) or ())


def _advice() -> str:
    """The next step to a faster path, with the line that takes it."""
    if has_torch() and (advice := _advice_of_torch()):
        return advice
    if _driver() != "no NVIDIA driver":
        return f"this NVIDIA GPU needs torch: {TORCH}"
    missing = next((row for row in CPU_RUNTIMES if not row.is_installed and row.name == "openvino"), None)
    if missing is not None:
        return f"install {missing.title} for a faster CPU path: pip install 'vidsr-upscaler[{missing.extra}]'"
    return "nothing for the CPU; an NVIDIA GPU with a CUDA build of torch is many times faster"


def _advice_of_torch() -> str:
    """What its build and the GPUs call for; empty: nothing."""
    import torch

    from vidsr.backends.tensorrt.flavour import installed
    from vidsr.backends.tensorrt.gpu import parse_capability

    if torch.cuda.is_available():
        flavour, cards = installed(), gpus()
        known = flavour and all(flavour.supports(parse_capability(str(gpu["compute_capability"]))) for gpu in cards)
        if known:
            return "nothing: TensorRT and the GPU are used"
        if flavour is not None and flavour.name == "rtx":
            return (
                "TensorRT-RTX does not know every GPU here: pip uninstall torch-tensorrt-rtx, then "
                "pip install 'vidsr-upscaler[tensorrt]'"
            )
        if flavour is not None:
            return "nothing: TensorRT does not know every GPU here, where torch runs the network"
        extra = "rtx" if all("RTX" in str(gpu["name"]) for gpu in cards) else "tensorrt"
        return f"install TensorRT for the fastest path: pip install 'vidsr-upscaler[{extra}]'"
    if _driver() != "no NVIDIA driver":
        if torch.version.cuda is None:
            return (
                f"this GPU needs a CUDA build of torch: {CUDA_TORCH} (on Windows from the index that pytorch.org names)"
            )
        return (
            f"torch is built for CUDA {torch.version.cuda} and finds no GPU: update its driver (CUDA_VISIBLE_DEVICES?)"
        )
    if torch.version.cuda is not None and (size := _cuda_bytes()):
        return f"this torch is built for CUDA, of which {num_bytes(size)} are for nothing here: {CPU_TORCH}"
    return ""
