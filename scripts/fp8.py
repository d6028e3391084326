"""What FP8 (e4m3) makes of a network's 3x3 convolutions: the arithmetic's error, computed on a CPU. JSON on stdout.

python scripts/fp8.py --model srgan --frames 3

Pixels and weights of these convolutions are rounded to e4m3, their sums and all else stay in FP32: no kernel's error is
in it. Weights are scaled for each output channel, pixels not at all, or for the layer by what the frame itself has at
most. The picture is compared with FP32's, in 8-bit codes.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from vidsr.backends.accuracy import compare
from vidsr.media.read.reader import Reader
from vidsr.models import registry
from vidsr.upscaling import colour

FP8, LARGEST = torch.float8_e4m3fn, 448.0
TINY = 1e-12  # of weights that are all zero
WAYS = {"fp16": (torch.float16, False), "fp8, pixels as they are": (FP8, False), "fp8, a scale a layer": (FP8, True)}
COLOURS = 3
SIDE = 96  # of the part of a frame that is looked at


def main() -> None:
    """Print a line for half precision and for each way of scaling."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="srgan")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--film", default="samples/sintel.mp4")
    parser.add_argument("--frames", type=int, default=3, help="how many, spread over the film")
    wanted = parser.parse_args()
    module = registry.load(wanted.model, wanted.scale).module
    pictures = list(frames(Path(wanted.film), wanted.frames))
    with torch.no_grad():
        expected = torch.cat([module(picture) for picture in pictures])
        for name, (dtype, scaled) in WAYS.items():
            other = rounded(module, dtype, scaled=scaled)
            print(json.dumps({"way": name} | beside(torch.cat([other(one) for one in pictures]), expected)), flush=True)


def frames(film: Path, num: int) -> Iterator[Tensor]:
    """The middle of frames that are as far apart as can be: (1, 3, H, W) RGB."""
    with Reader(film) as reader:
        decoded = list(reader)
    for frame in decoded[:: max(1, len(decoded) // num)][:num]:
        rgb = colour.to_rgb(frame.planes, frame.format, frame.colour)
        top, left = ((side - SIDE) // 2 for side in rgb.shape[2:])
        yield rgb[..., top : top + SIDE, left : left + SIDE].clamp(0, 1)


def rounded(module: nn.Module, dtype: torch.dtype, *, scaled: bool) -> nn.Module:
    """A copy whose 3x3 convolutions of many channels get pixels and weights as `dtype` holds them."""
    made, top = copy.deepcopy(module), LARGEST if dtype == FP8 else 1.0

    def held(x: Tensor, scale: Tensor | float) -> Tensor:
        return (x / scale).to(dtype).float() * scale

    def narrow(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return held(inputs[0], inputs[0].abs().max() / top if scaled else 1.0)

    for conv in made.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3) and conv.in_channels > COLOURS:
            conv.weight.data = held(
                conv.weight.data, conv.weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=TINY) / top
            )
            conv.register_forward_pre_hook(narrow)
    return made


def beside(made: Tensor, expected: Tensor) -> dict[str, object]:
    """PSNR in dB; in codes the 99.9th percentile, the largest difference, and that of each channel's mean."""
    found, apart = compare(made, expected), (made.clamp(0, 1) - expected.clamp(0, 1)) * 255
    means = [round(float(mean), 3) for mean in apart.mean((0, 2, 3))]
    return {"psnr": found.psnr, "p99.9": found.p999, "most": round(float(apart.abs().max()), 2), "means": means}


if __name__ == "__main__":
    main()
