"""`--steady` on this machine: milliseconds a frame on the device and by the processor. One JSON line for each size.

python scripts/steady.py --size 480x270,960x540

Pictures go up and come down as in a job, and nothing runs beside it. What the device makes is compared with what the
processor does: the most codes that any sample is off, and how many are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from PIL import Image

from vidsr.backends.tensorrt.key import parse_size
from vidsr.frame import Colour, Frame, PixelFormat, Plane
from vidsr.upscaling import steady_device
from vidsr.upscaling.drawings import Made
from vidsr.upscaling.steady import Steadier

SCALE, LENGTH = 4, 8  # of the large pictures; how many there are
STEP = 1.3  # small pixels that they go to the right each time


def main() -> None:
    """Time the device, then the processor, on the same film."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="960x540", help="WIDTHxHEIGHT of the source, separated by commas")
    parser.add_argument("--device", default="cuda", help="torch's name of it")
    parser.add_argument("--rounds", type=int, default=8, help="times over the film")
    wanted = parser.parse_args()
    device = torch.device(wanted.device)
    known = {"why not": steady_device.why_not(device), "why no kernels": steady_device.why_not_fused(device)}
    for size in wanted.size.split(","):
        height, width = parse_size(size)
        clip, notes = film(height, width), list[str]()
        there, here = steady_device.DeviceSteadier(1.0, device, notes), Steadier(1.0)
        (made, *found), (exact, *host) = timed(there, clip, wanted.rounds), timed(here, clip, 1)
        off = [np.abs(a.astype(int) - b) for a, b in zip(made.planes, exact.planes, strict=True)]
        line = {
            "size": size, **known, "notes": notes,
            "device ms, least and median": found, "processor ms, least and median": host,
            "most codes off": max(int(one.max()) for one in off),
            "share off": round(float(np.mean(np.concatenate([one.ravel() for one in off]) > 0)), 5),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


def timed(steadier: Steadier, clip: Sequence[Made], rounds: int) -> tuple[Frame, float, float]:
    """The last picture, and milliseconds for each: the least, and the median, of all but the first time over."""
    took, made = list[float](), clip[0][1]
    for number in range(rounds + 1):
        for before, own, behind in zip(clip, clip[1:], clip[2:], strict=False):
            began = time.perf_counter()
            made = steadier(own, [before, behind])
            if number:
                took.append(1000 * (time.perf_counter() - began))
    return made, round(min(took), 3), round(float(np.median(took)), 3)


def film(height: int, width: int) -> list[Made]:
    """Smooth noise that moves, and large pictures of it, each with noise of its own; `yuv420p`."""
    format = PixelFormat.parse("yuv420p")
    noise = np.random.default_rng(0)
    wide = width + int(STEP * LENGTH) + 2
    whole = Image.fromarray(noise.normal(128, 40, (height // 3 + 1, wide // 3 + 1)).astype(np.float32))

    def picture(number: int, times: int) -> Frame:
        planes = list[Plane]()
        for tall, broad in format.plane_shapes(width * times, height * times):
            left = number * STEP / wide * whole.width
            box = (left, 0, left + width / wide * whole.width, whole.height)
            drawn = np.asarray(whole.resize((broad, tall), Image.Resampling.BICUBIC, box))
            planes.append((drawn + noise.normal(0, 2, drawn.shape)).clip(0, 255).astype(np.uint8))
        return Frame(tuple(planes), format, Colour(), number, Fraction(1, 25))

    return [(picture(number, 1), picture(number, SCALE)) for number in range(LENGTH)]


main()
