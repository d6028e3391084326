"""The runtimes that a generator can run on: a row for each, and no such fact elsewhere. Loads none of them.

`selection.open_backend` opens one. A new one is a module with a `base.Backend`, and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

from vidsr.build import version
from vidsr.errors import UsageError

PRECISIONS = ("auto", "fp16", "bf16", "fp32", "int8")
UNITS = ("auto", "cpu", "gpu", "npu")
"""What ``--device`` takes besides the number of a GPU."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is to compute: a kind of `UNITS`, and the number of one among its kind."""

    kind: str = "auto"
    index: int = 0

    @classmethod
    def of(cls, device: int | str) -> Self:
        """The unit that ``--device`` means: a number is a GPU's.

        Raises:
            UsageError: there is no such thing.
        """
        text = str(device).strip().lower()
        if text.isdecimal():
            return cls("gpu", int(text))
        if text in UNITS:
            return cls(text)
        raise UsageError(f"device must be {', '.join(UNITS)}, or the number of a GPU, not {device!r}")


AUTO = Unit()


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime.

    Args:
        name: what ``--backend`` takes.
        title: its name among people.
        home: ``module:Class``, the `base.Backend` that runs it.
        precisions: that it computes in, on some machine.
        why: where it is to be preferred.
        torch: the kind of torch's device that it runs on, which has to be there; empty: it does without torch.
        units: kinds of `UNITS` that it can compute on.
        package: the module that must be installed; empty: none.
        distributions: the packages that bring it, as pip knows them.
        extra: of vidsr's own package, which installs it.
        accelerators: packages with which it drives a GPU that torch may not know: ``auto`` then tries that early.
        tried: whether ``auto`` goes on to the next where it cannot be opened.
        listed: whether people are told of it; others are for tests.
    """

    name: str
    title: str
    home: str
    precisions: tuple[str, ...]
    why: str
    torch: str = ""
    units: tuple[str, ...] = ("cpu",)
    package: str = ""
    distributions: tuple[str, ...] = ()
    extra: str = ""
    accelerators: tuple[str, ...] = ()
    tried: bool = False
    listed: bool = True

    @property
    def gpu(self) -> bool:
        """Whether it needs an NVIDIA GPU that torch finds."""
        return self.torch == "cuda"

    @property
    def is_accelerated(self) -> bool:
        """Whether one of `accelerators` is installed; none is loaded."""
        return self.is_installed and any(map(version, self.accelerators))

    @property
    def is_installed(self) -> bool:
        """Whether `package` is there; it is not loaded."""
        return not self.package or find_spec(self.package) is not None


RUNTIMES = (
    Runtime(
        name="tensorrt",
        title="TensorRT",
        home="vidsr.backends.tensorrt.backend:TensorRTBackend",
        precisions=("fp16", "fp32"),
        why="the fastest on an NVIDIA GPU, by engines that are built once",
        torch="cuda",
        units=("gpu",),
        package="torch_tensorrt",
        distributions=("torch-tensorrt", "torch-tensorrt-rtx"),
        tried=True,
    ),
    Runtime(
        name="cuda",
        title="torch on a GPU",
        home="vidsr.backends.torch.backend:TorchBackend",
        precisions=("fp16", "fp32"),
        why="any NVIDIA GPU, with nothing to build",
        torch="cuda",
        units=("gpu",),
        package="torch",
        distributions=("torch",),
        extra="torch",
    ),
    Runtime(
        name="mps",
        title="torch on an Apple GPU",
        home="vidsr.backends.torch.backend:TorchBackend",
        precisions=("fp16", "fp32"),
        why="the GPU of a Mac, with nothing to install",
        torch="mps",
        units=("gpu",),
        package="torch",
        distributions=("torch",),
        extra="torch",
        tried=True,
    ),
    Runtime(
        name="openvino",
        title="OpenVINO",
        home="vidsr.backends.openvino:OpenVINOBackend",
        precisions=("fp32", "bf16", "fp16", "int8"),
        why="the fastest on a CPU; Intel's GPUs, too",
        units=("cpu", "gpu", "npu"),
        package="openvino",
        distributions=("openvino",),
        extra="cpu",
        tried=True,
    ),
    Runtime(
        name="onnxruntime",
        title="ONNX Runtime",
        home="vidsr.backends.onnxruntime:ONNXRuntimeBackend",
        precisions=("fp16", "fp32"),
        why="GPUs of every vendor, by the provider that is installed; any CPU",
        units=("cpu", "gpu"),
        package="onnxruntime",
        distributions=("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-migraphx"),
        extra="onnxruntime",
        accelerators=("onnxruntime-directml", "onnxruntime-migraphx", "onnxruntime-ep-nv-tensorrt-rtx"),
        tried=True,
    ),
    Runtime(
        name="cpu",
        title="torch on the CPU",
        home="vidsr.backends.torch.backend:TorchBackend",
        precisions=("fp32", "bf16"),
        why="everywhere; in FP32 the reference of all others",
        torch="cpu",
        package="torch",
        distributions=("torch",),
        extra="torch",
    ),
    Runtime(
        name="nearest",
        title="nearest neighbour",
        home="vidsr.backends.nearest:NearestBackend",
        precisions=("fp32",),
        why="tests of everything else",
        listed=False,
    ),
)
"""``auto`` takes the first that is there."""

LISTED = tuple(row for row in RUNTIMES if row.listed)
NAMES = ("auto", *(row.name for row in LISTED))
"""What ``--backend`` offers."""


def find(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        UsageError: there is none.
    """
    if (row := next((row for row in RUNTIMES if row.name == name), None)) is None:
        raise UsageError(f"Unknown backend {name!r}; use {', '.join(NAMES)}.")
    return row


def may_use_gpu(name: str) -> bool:
    """Whether ``--backend`` of that name takes a GPU where there is one."""
    return name in ("auto", *(row.name for row in RUNTIMES if row.gpu))
