"""Run by `test_steady_device.py` in a process of its own: the kernel that blends planes, by Triton's interpreter.

Prints one JSON line for each kind of plane: how far it is from torch's operations.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import torch

from vidsr.upscaling.steady_device import by_kernel, by_torch
from vidsr.upscaling.taps_device import DeviceBlending

KINDS = (
    (torch.uint8, 8, (22, 37), (8, 8), 2),
    (torch.int16, 16, (9, 600), (8, 32), 2),
    (torch.uint8, 8, (16, 30), (7, 9), 1),
)


def main() -> None:
    torch.cuda.device = lambda _: nullcontext()  # type: ignore[assignment,misc,return-value]
    torch.manual_seed(0)
    for dtype, bits, (height, width), block, num in KINDS:
        own, *others = [torch.randint(0, 1 << bits, (height, width)).to(dtype) for _ in range(1 + num)]
        rows, columns = -(-height // block[0]), -(-width // block[1])
        shift = torch.randint(-30, 30, (num, rows, columns, 2)).int()
        weights = torch.randint(0, 77, (num, -(-height // 3), -(-width // 3))).short()
        taps = torch.rand(2, 2, rows, columns) - 0.4
        how = DeviceBlending(block, shift, weights, taps, bits)
        made, expected = (make(own, others, how).int() & how.top for make in (by_kernel, by_torch))
        apart = (made - expected).abs()
        changed = (made != own.int() & how.top).float().mean()
        print(json.dumps({"most": int(apart.max()), "apart": int((apart > 0).sum()), "changed": float(changed)}))


main()
