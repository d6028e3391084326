"""Run by `test_ends.py` in a process of its own: the first and the last convolution by Triton's interpreter.

Prints one JSON line for each: how far kernel and torch's half precision are from float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.backends.torch.kernels import interpreted  # noqa: F401  (before the kernels)
from tests.backends.torch.kernels.making import error
from vidsr.backends.torch.kernels.ends import HEADS, OUT, TAILS, WIDE, HeadConv, Tail5x5
from vidsr.backends.torch.kernels.tuner import Tuner, strips_for

CPU = torch.device("cpu")
SLOPE = 0.2
TAIL_SIZES = ((1, 7, 19), (2, 3, 16), (1, 1, 2))  # (N, H, W); strips of the interpreter are 16 wide and 3 high
HEAD_SIZES = ((2, 3, 19), (1, 1, 1))


def say(
    layer: str, batch: Tensor, made: Tensor, network: Callable[[nn.Conv2d, Tensor], Tensor], conv: nn.Conv2d
) -> None:
    expected = network(conv.double(), batch.double())
    half = network(conv.half(), batch)
    facts = {"layer": layer, "shape": list(made.shape), "expected_shape": list(expected.shape)}
    print(json.dumps(facts | {"kernel": error(made, expected), "torch": error(half, expected)}))


def main() -> None:
    torch.manual_seed(0)
    tail = nn.Conv2d(WIDE, OUT, 5, padding=2).half().requires_grad_(False)
    by_kernel = Tail5x5(tail, Tuner(CPU, strips_for(CPU, TAILS)))
    for num, height, width in TAIL_SIZES:
        batch = torch.randn(num, WIDE, height, width).half()
        say("tail", batch, by_kernel(batch), lambda conv, x: F.pixel_shuffle(conv(x), 2), tail)
    for size in (9, 3):
        head = nn.Conv2d(3, 64, size, padding=size // 2).half().requires_grad_(False)
        first = HeadConv(head, Tuner(CPU, strips_for(CPU, HEADS)), slope=SLOPE)
        for num, height, width in HEAD_SIZES:
            batch = torch.rand(num, 3, height, width).half()
            say(f"head {size}", batch, first(batch), lambda conv, x: F.leaky_relu(conv(x), SLOPE), head)


if __name__ == "__main__":
    main()
