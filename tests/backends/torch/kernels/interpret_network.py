"""Run by `test_conv.py` in a process of its own: generators by Triton's interpreter, on the CPU.

Prints one JSON line for each: how far kernels and torch's half precision are from FP32. The last line is of how they
come to be trusted.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.backends.torch.kernels import interpreted  # noqa: F401  (before the kernels)
from tests.backends.torch.kernels.making import error, untrained
from tests.conformance.test_backends import make_model
from vidsr import findings
from vidsr.backends.torch import trust
from vidsr.backends.torch.kernels.conv import Conv3x3, HalfStrip
from vidsr.backends.torch.kernels.network import with_kernels
from vidsr.backends.torch.kernels.tuner import INTERPRETED
from vidsr.models.fused import fuse
from vidsr.models.srgan import GeneratorConfig

SIZES = ((1, 4, 19), (2, 3, 5), (1, 2, 2))  # (N, H, W); strips of the interpreter are 16 wide and 3 high
CONFIGS = (
    (GeneratorConfig("srgan", 4, blocks=1), ((1, 2, 9), (2, 1, 3), (1, 1, 1))),  # it grows twice on the way
    (GeneratorConfig("fast", 4, blocks=4, skip=2), SIZES),
    (GeneratorConfig("fast", 2, blocks=1), SIZES),
)


def main() -> None:
    torch.manual_seed(0)
    for config, sizes in CONFIGS:
        module = untrained(config)
        kernels = with_kernels(fuse(module), torch.device("cpu")).half()
        halves = with_kernels(fuse(module), torch.device("cpu"), [HalfStrip(*INTERPRETED)]).half()
        for num, height, width in sizes:
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
                        "halves": error(halves(batch.half()), expected) if config is CONFIGS[-1][0] else 0.0,
                        "torch": error(fuse(module).half()(batch.half()), expected),
                    }
                )
            )
    print(json.dumps(trusted(Path(sys.argv[1]))))


def trusted(folder: Path) -> dict[str, object]:
    """What is said of kernels that are right, of the same in a next process, and of wrong ones after an update."""
    config, cpu = GeneratorConfig("fast", 2, blocks=1), torch.device("cpu")
    model = replace(make_model("fast", 2, channels=64), config=config, given=untrained(config))
    findings.folder = lambda: folder
    trust.SHAPE = (1, 5, 20)
    tried, real, why_not = [], Conv3x3.forward, trust.Trial.why_not
    trust.Trial.why_not = lambda self, strips: tried.append(strips) or why_not(self, strips)  # type: ignore[method-assign]
    right = trust.trusted_strips(model, cpu)
    again = trust.trusted_strips(model, cpu)
    Conv3x3.forward = lambda *inputs: real(*inputs).roll(1, -1)  # type: ignore[method-assign]
    findings._code = lambda: "of the next release"  # type: ignore[assignment]
    wrong = trust.trusted_strips(model, cpu)
    said = [[list(map(str, strips)), why] for strips, why in (right, again, wrong)]
    return {"said": said, "tried": len(tried)}


if __name__ == "__main__":
    main()
