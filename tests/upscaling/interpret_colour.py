"""Run by `test_colour.py` in a process of its own: Triton's kernels by its interpreter, on the CPU.

Prints one JSON line for each layout: what came out, and how far it is from torch's way. Then one for each kind of step.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.backends.torch.kernels import interpreted  # noqa: F401  (before the kernels)
from vidsr.frame import Canvas, Colour, Matrix, PixelFormat
from vidsr.upscaling import colour as colours
from vidsr.upscaling.block import Block
from vidsr.upscaling.colour_kernel import pictures, plane
from vidsr.upscaling.step import Kind, make, make_plainly

LAYOUTS = ("yuv420p", "yuv420p10le", "yuv422p", "yuv411p", "yuv440p", "yuv444p16le", "gray", "gbrp", "gbrp16le")
SITINGS = ("left", "center", "bottom")
SIZES = ((5, 9), (1, 1), (1, 600))  # (height, width); the row of the last is more than one program


def main() -> None:
    torch.cuda.device = lambda _: nullcontext()  # type: ignore[assignment,misc,return-value]
    torch.manual_seed(0)
    for name, siting, (height, width) in product(LAYOUTS, SITINGS, SIZES):
        format = PixelFormat.parse(name)
        if siting != "left":
            if not any(format.chroma_shift) or (height, width) != SIZES[0]:
                continue
            height, width = 3, 5
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
                    "decoded": decoded(format, colour, width, height),
                }
            )
        )


def noise(block: Block, num: int) -> Tensor:
    codes = block.empty(num, torch.device("cpu"))
    return codes.copy_(torch.randint(0, 1 << block.format.bits, codes.shape))


def decoded(format: PixelFormat, colour: Colour, width: int, height: int) -> float:
    """The largest difference of RGB between the kernel's two pictures and torch's."""
    block = Block(format, width, height)
    planes, rgb = block.planes(noise(block, 2)), torch.zeros(2, height, width, 3).movedim(-1, 1)
    pictures(planes, *colours.decoding(format, colour), rgb, clamped=False)
    expected = [colours.decode([plane[index] for plane in planes], format, colour) for index in range(2)]
    return float((rgb - torch.cat(expected)).abs().max())


def steps() -> None:
    """Whole steps by kernels against torch's; and what they say of a network whose values are no numbers."""
    twice = partial(F.interpolate, scale_factor=2.0)
    for source, target, size, padded in (
        ("yuv420p", "yuv420p", (18, 10), (10, 6)),
        ("yuv422p10le", "yuv420p", (15, 9), (9, 7)),
        ("gray", "gbrp16le", (18, 10), (9, 5)),
        ("yuva444p", "gray10le", (18, 10), (9, 5)),
    ):
        formats = [PixelFormat.parse(name) for name in (source, target)]
        canvas = Canvas(size, formats[1], Colour(Matrix.RGB if formats[1].model == "rgb" else Matrix.BT709))
        kind = Kind(2, (9, 5), formats[0], Colour(siting="center"), canvas, 2, padded, True, torch.float16)
        codes = noise(kind.source, 2)
        made, expected = (kind.target.empty(2, torch.device("cpu")) for _ in range(2))
        colours.why_not_fused = lambda _: None  # type: ignore[assignment]
        make(kind, lambda batch: broken_second(twice(batch)), codes, made)
        make_plainly(kind, twice, codes, expected)
        pairs = zip(kind.target.planes(made[:1]), kind.target.planes(expected[:1]), strict=True)
        difference = torch.cat([((a.int() & 0xFFFF) - (b.int() & 0xFFFF)).abs().flatten() for a, b in pairs])
        print(
            json.dumps(
                {
                    "step": f"{source} {target}",
                    "most": int(difference.max()),
                    "differing": float((difference > 0).float().mean()),
                    "marks": [block[:, kind.target.mark].tolist() for block in (made, expected)],
                }
            )
        )


def broken_second(large: Tensor) -> Tensor:
    large[1, 2, 3, 4] = torch.inf
    return large


if __name__ == "__main__":
    main()
    steps()
