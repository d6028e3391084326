"""The runtimes that a generator can run on: a row for each, and no such fact elsewhere. Loads none of them.

`selection.open_backend` opens one. A new one is a module with a `base.Backend`, and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from vidsr.errors import UsageError

PRECISIONS = ("auto", "fp16", "bf16", "fp32")


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime.

    Args:
        name: what ``--backend`` takes.
        title: its name among people.
        home: ``module:Class``, the `base.Backend` that runs it.
        precisions: that it computes in, on some machine.
        why: where it is to be preferred.
        gpu: whether it needs an NVIDIA GPU that torch finds.
        package: the module that must be installed besides torch; empty: none.
        distributions: the packages that bring it, as pip knows them.
        extra: of vidsr's own package, which installs it.
        tried: whether ``auto`` goes on to the next where it cannot be opened.
        listed: whether people are told of it; others are for tests.
    """

    name: str
    title: str
    home: str
    precisions: tuple[str, ...]
    why: str
    gpu: bool = False
    package: str = ""
    distributions: tuple[str, ...] = ()
    extra: str = ""
    tried: bool = False
    listed: bool = True

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
        gpu=True,
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
        gpu=True,
    ),
    Runtime(
        name="openvino",
        title="OpenVINO",
        home="vidsr.backends.openvino:OpenVINOBackend",
        precisions=("fp32", "bf16"),
        why="the fastest on a CPU",
        package="openvino",
        distributions=("openvino",),
        extra="cpu",
    ),
    Runtime(
        name="cpu",
        title="torch on the CPU",
        home="vidsr.backends.torch.backend:TorchBackend",
        precisions=("fp32", "bf16"),
        why="everywhere; in FP32 the reference of all others",
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
