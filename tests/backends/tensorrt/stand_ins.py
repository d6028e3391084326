"""`python -m tests.backends.tensorrt.stand_ins ARGUMENTS` is `vidsr ARGUMENTS`, which builds as where its GPU is.

That is, by torch_tensorrt; behind the word ``and`` come the arguments of another call. It asks torch about a device
while it is imported, and its compiled runtime wants a CUDA build of torch: these answers let both pass. The export, the
lowering, the converters, TensorRT's builder and the bytes of the engine are the real ones.
"""

from __future__ import annotations

import os
import sys
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
    from vidsr.backends.tensorrt import engines
    from vidsr.backends.tensorrt.key import LOWERED
    from vidsr.cli import main

    engines.AHEAD = LOWERED

    answer_for_a_gpu()
    calls = [words.split("\0") for words in "\0".join(sys.argv[1:]).split("\0and\0")]
    for words in calls:
        sys.argv[1:] = words
        try:
            main()
        except SystemExit as ended:
            if ended.code or words is calls[-1]:
                raise
