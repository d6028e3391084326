"""Run by `test_conv.py` in a process of its own: generators by Triton's interpreter, on the CPU.

Prints one JSON line for each: how far kernels and torch's half precision are from FP32.
"""

from __future__ import annotations

import json
import os

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import torch

from tests.backends.torch.kernels.making import error, untrained
from vidsr.backends.torch.kernels.network import with_kernels
from vidsr.models.fused import fuse
from vidsr.models.srgan import GeneratorConfig

CONFIGS = (
    GeneratorConfig("srgan", 4, blocks=1),
    GeneratorConfig("fast", 4, blocks=4, skip=2),
    GeneratorConfig("fast", 2, blocks=1),
)
SIZES = ((1, 4, 19), (2, 3, 5), (1, 2, 2))  # (N, H, W); strips of the interpreter are 16 wide and 3 high


def main() -> None:
    torch.manual_seed(0)
    for config in CONFIGS:
        module = untrained(config)
        kernels = with_kernels(fuse(module), torch.device("cpu")).half()
        for num, height, width in SIZES:
            batch = torch.rand(num, 3, height, width)
            expected = module(batch)
            made = kernels(batch.half().contiguous(memory_format=torch.channels_last))
            print(
                json.dumps(
                    {
                        "network": f"{config.graph} x{config.scale}",
                        "shape": list(made.shape),
                        "expected_shape": list(expected.shape),
                        "kernels": error(made, expected),
                        "torch": error(fuse(module).half()(batch.half()), expected),
                    }
                )
            )


if __name__ == "__main__":
    main()
