"""Every way of the 3x3 convolution of 64 channels on this GPU: milliseconds, TFLOP/s, error. One JSON line for each.

python scripts/ways.py --size 960x540

Also what cuDNN makes of the layer, a plain product of matrices, and the kernel with pixels and weights in FP8 (e4m3),
these scaled for each channel: what that would gain and cost. The error is the largest difference from FP64, in half
precision's own step at the largest value (2 ** -11 of it); rounding the result alone costs half a step.

The last lines are of training: 64 to 64 and 64 to 256 channels, forward and back to the input, on the crops of a step.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train import kernels
from vidsr.backends.tensorrt.key import parse_size
from vidsr.backends.torch.kernels.conv import STRIPS, WAYS, Conv3x3, conv3x3
from vidsr.backends.torch.kernels.rows import TRIALS
from vidsr.backends.torch.kernels.tuner import CHANNELS, Strip, Tuner, strips_for, ways
from vidsr.bench.timing import matrix_peak

CALLS = 30
CROPS = ((32, 48, 48), (32, 32, 32))  # (N, H, W) of `train/recipes/gpu`
LAYERS = ((CHANNELS, 1), (4 * CHANNELS, 1), (4 * CHANNELS, 2))  # of `srgan` x4: channels, and a factor of the crop
SEEN = (1, 96)  # pictures and rows whose error is looked at: FP64 takes its time


def main() -> None:
    """Time each way by itself, as the tuner would run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="960x540", help="WIDTHxHEIGHT of the layer")
    parser.add_argument("--num", type=int, default=1, help="pictures at a time")
    wanted = parser.parse_args()
    height, width = parse_size(wanted.size)
    device = torch.device("cuda")
    print(json.dumps({"matrix product": f"{matrix_peak(device, torch.float16, 0.3) / 1e12:.0f} TFLOP/s"}), flush=True)
    torch.manual_seed(0)
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(device).half().requires_grad_(False)
    shape = (wanted.num, CHANNELS, height, width)
    x, bridge = (
        torch.randn(shape, device=device).half().contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    flop = 2 * 9 * CHANNELS**2 * wanted.num * height * width
    conv_last = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        say("cuDNN, convolution alone", lambda: conv_last(x), None, flop)
    for strip in strips_for(device, WAYS):
        tried(str(strip), partial(whole, conv, x, bridge, strip), flop)
    for strip, rows in ways(strips_for(device, STRIPS)[:2], device, (wanted.num, height, width)):
        tried(f"{strip} fp8", partial(fp8, conv, x, strip, rows), flop)
    for strip in strips_for(device, TRIALS) if TRIALS else ():
        tried(str(strip), partial(whole, conv, x, bridge, strip), flop)
    for (num, height, width), (channels, factor) in product(CROPS, LAYERS):
        training(device, channels, (num, factor * height, factor * width))


def training(device: torch.device, channels: int, crops: tuple[int, int, int]) -> None:
    """Print a line of the layer, 64 to `channels`, forward and back to its input on (N, H, W)."""
    flop = 2 * 2 * 9 * CHANNELS * channels * math.prod(crops)
    line: dict[str, object] = {"training": "x".join(map(str, crops)), "channels": channels}
    line["why not"] = kernels.why_not(device, channels, crops)
    for name, milliseconds in zip(("kernels", "cuDNN"), kernels.times(device, channels, crops), strict=True):
        if milliseconds is not None:
            line[name] = {"milliseconds": round(milliseconds, 4), "TFLOP/s": round(flop / milliseconds / 1e9)}
    print(json.dumps(line), flush=True)


def tried(name: str, prepare: Callable[[], tuple[Callable[[], Tensor], float]], flop: int) -> None:
    """Print a line of what `prepare` makes: a call, and its error."""
    try:
        call, error = prepare()
        say(name, call, error, flop)
    except Exception as why:  # of Triton, its compilers or the driver: the next way is tried
        print(json.dumps({"way": name, "fails": str(why)[:300]}), flush=True)


def whole(conv: nn.Conv2d, x: Tensor, bridge: Tensor, strip: Strip) -> tuple[Callable[[], Tensor], float]:
    """The layer with a bridge as the network has it, and its error."""
    kernel = Conv3x3(conv, Tuner(x.device, [strip])).to(x.device)
    return partial(kernel, x, bridge), worst(kernel, conv, x, bridge)


def fp8(conv: nn.Conv2d, x: Tensor, strip: Strip, rows: int) -> tuple[Callable[[], Tensor], float]:
    """The layer without a bridge in FP8: a call of the kernel, whose sums stay scaled, and the error of it all."""
    num, _, height, width = x.shape
    layer = Conv3x3(conv, Tuner(x.device, [strip])).to(x.device)
    scale = layer.weight.float().abs().amax(1) / 16  # (1, out): sums stay in half precision's range
    weight = (layer.weight / scale).to(torch.float8_e4m3fn)
    bias = (layer.bias / scale[0]).half()
    pixels = x.permute(0, 2, 3, 1).contiguous().to(torch.float8_e4m3fn)
    out = torch.empty((num, height, width, CHANNELS), dtype=torch.float16, device=x.device)

    def call() -> Tensor:
        conv3x3[(-(-width // strip.block), -(-height // rows), num)](
            pixels, weight, bias, out, out, height, width, width, rows, 0.0, 1.0,
            channels=CHANNELS, groups=1, parts=1, block=strip.block, stages=strip.stages, add=False, activate=False,
            shuffle=False, beside=False, half=False, num_warps=strip.warps, num_stages=strip.stages,
        )  # fmt: skip
        return out

    seen = SEEN[1]
    made = call()[:1, :seen].double() * scale[0].double()
    expected = F.conv2d(x[:1, :, : seen + 1].double(), conv.weight.double(), None, padding=1)[:, :, :seen]
    expected += 0 if conv.bias is None else conv.bias.double()[:, None, None]
    error = (made.permute(0, 3, 1, 2) - expected).abs().max() / expected.abs().max()
    return call, float(error) * 2**11


def worst(kernel: Conv3x3, conv: nn.Conv2d, x: Tensor, bridge: Tensor) -> float:
    """The error of the first and the last rows of the first picture."""
    made = kernel(x, bridge)
    exact = conv.weight.double(), conv.bias.double() if conv.bias is not None else None
    found = []
    rows = SEEN[1]
    for part in (slice(0, rows), slice(-rows, None)):
        expected = F.conv2d(x[:1, :, part].double(), *exact, padding=1) + bridge[:1, :, part].double()
        inner = slice(0, -1) if part.start == 0 else slice(1, None)  # the edge that the cut makes is none
        error = (made[:1, :, part].double() - expected)[:, :, inner].abs().max() / expected.abs().max()
        found.append(float(error) * 2**11)
    return max(found)


def say(name: str, call: Callable[[], Tensor], error: float | None, flop: int) -> None:
    """Print a line of `CALLS` calls one after another."""
    call()  # compiles, or chooses
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()  # Python launches more slowly than such kernels end
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    graph.replay()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    seconds = begin.elapsed_time(end) / 1000 / CALLS
    line = {"way": name, "milliseconds": round(1000 * seconds, 4), "TFLOP/s": round(flop / seconds / 1e12)}
    print(json.dumps(line | ({} if error is None else {"error": round(error, 2)})), flush=True)


if __name__ == "__main__":
    main()
