"""`python -m tests.backends.tensorrt.stand_ins ARGUMENTS` is `vidsr ARGUMENTS`, the GPU of which is only said to exist.

TensorRT-RTX compiles ahead of time for a named compute capability, and needs no device for it. torch_tensorrt asks
torch about one while it is imported, and its compiled runtime wants a CUDA build of torch: these answers let both pass.
The export, the lowering, the converters, TensorRT's builder and the bytes of the engine are the real ones.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import torch


def answer_for_a_gpu(capability: tuple[int, int] = (8, 9)) -> None:
    """Answer what torch_tensorrt asks on import. `torch.cuda.is_available` stays as it is."""
    cuda: Any = torch.cuda
    cuda.get_device_capability = lambda *_: capability
    cuda.current_device = lambda: 0
    bindings: Any = torch._C
    if not hasattr(bindings, "_CudaDeviceProperties"):
        bindings._CudaDeviceProperties = object
    is_file = os.path.isfile
    path: Any = os.path
    path.isfile = lambda name: "torchtrt" not in str(name) and is_file(name)


if __name__ == "__main__":
    from vidsr.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in a shell's background
    answer_for_a_gpu()
    main()
