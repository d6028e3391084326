"""Run by `test_colour.py` in a process of its own: Triton's kernels by its interpreter, on the CPU.

Prints one JSON line for each layout: what came out, and how far it is from torch's way.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from itertools import product

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import torch

from vidsr.frame import Colour, Matrix, PixelFormat
from vidsr.upscaling import colour as colours
from vidsr.upscaling.colour_kernel import plane

LAYOUTS = ("yuv420p", "yuv420p10le", "yuv422p", "yuv411p", "yuv440p", "yuv444p16le", "gray", "gbrp", "gbrp16le")
SITINGS = ("left", "center", "bottom")
SIZES = ((5, 9), (1, 1), (2, 600))  # (height, width); a row of the last is more than one program


def main() -> None:
    torch.cuda.device = lambda _: nullcontext()  # type: ignore[assignment,misc,return-value]
    torch.manual_seed(0)
    for name, siting, (height, width) in product(LAYOUTS, SITINGS, SIZES):
        format = PixelFormat.parse(name)
        if not any(format.chroma_shift) and siting != "left":
            continue
        matrix = Matrix.RGB if format.model == "rgb" else Matrix.BT709
        colour = Colour(matrix, full_range=siting == "center", siting=siting)  # type: ignore[arg-type]
        rgb = torch.rand(1, height, width, 3).mul(1.2).sub(0.1).half().movedim(-1, 1)  # channels last, beyond [0, 1]
        expected = colours.encode(rgb, format, colour)
        made = colours._planes(plane, rgb[0], format, colour)
        differences = [(a.int() & 0xFFFF) - (b.int() & 0xFFFF) for a, b in zip(made, expected, strict=True)]
        print(
            json.dumps(
                {
                    "layout": f"{name} {siting} {width}x{height}",
                    "shapes": [list(codes.shape) for codes in made],
                    "types": [str(codes.dtype) for codes in made],
                    "expected_shapes": [list(codes.shape) for codes in expected],
                    "expected_types": [str(codes.dtype) for codes in expected],
                    "most": max(int(difference.abs().max()) for difference in differences),
                    "differing": sum(int((difference != 0).sum()) for difference in differences),
                    "samples": sum(codes.numel() for codes in made),
                    "spread": int(made[0].int().max() - made[0].int().min()),
                }
            )
        )


if __name__ == "__main__":
    main()
