"""Run by `test_kernels.py` in a process of its own: training by kernels, by Triton's interpreter on the CPU.

Prints one JSON line for each size, of how far output and gradients are from float64; then one of a whole step, and one
of how kernels come to be used. With the argument ``compile``: one of a step that `torch.compile` has seen.
"""

import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.backends.torch.kernels import interpreted  # noqa: F401  (before the kernels)
from tests.backends.torch.kernels.making import error, untrained
from train import kernels
from train.stage import PreciseTail
from vidsr import findings
from vidsr.backends.torch.kernels.tuner import CHANNELS
from vidsr.models.srgan import GeneratorConfig

CPU = torch.device("cpu")
SIZES = ((2, 4, 9), (1, 1, 5))  # (N, H, W); strips of the interpreter are 16 wide and 3 high
WIDE = 256  # channels before a pixel shuffle
PARTS = ("output", "x", "weight", "bias")


def through(convolution: object, inputs: list[Tensor], gradient: Tensor) -> list[Tensor]:
    """What a convolution makes, and the gradients of its inputs."""
    assert callable(convolution)
    leaves = [each.clone().requires_grad_(True) for each in inputs]
    output = convolution(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, gradient)]


def torchs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


def sizes() -> None:
    for channels, (num, height, width) in product((CHANNELS, WIDE), SIZES):
        shape = (num, channels, height, width)
        x, weight = torch.randn(num, CHANNELS, height, width), torch.randn(channels, CHANNELS, 3, 3) / 24
        inputs = [x, weight, torch.randn(channels), torch.randn(shape)]
        row: dict[str, object] = {"shape": shape}
        for kind in (torch.float32, torch.bfloat16)[: 1 + (height == 1)]:  # the trial of a way is in bf16, too
            *given, gradient = (each.to(kind) for each in inputs)
            exact = through(torchs, [each.double() for each in given], gradient.double())
            made = through(kernels.conv3x3, given, gradient)
            plain = through(torchs, given, gradient)
            row[str(kind)] = {
                part: [error(a, c), error(b, c)] for part, a, b, c in zip(PARTS, made, plain, exact, strict=True)
            }
            if kind == torch.float32:  # of a linear function: <f(x), g> = <x, f'(g)>, whatever the direction
                moved = ((made[0] - given[2][:, None, None]) * gradient).sum()
                row["adjoint"] = [float((a * b).sum() / moved) for a, b in zip(given[:2], made[1:3], strict=True)]
        print(json.dumps(row | {"last": made[0].is_contiguous(memory_format=torch.channels_last)}))


def gradients(generator: nn.Module, module: Callable[[Tensor], Tensor], lr: Tensor, amp: bool) -> list[Tensor]:
    """Of `generator`'s parameters, after a step of its own loss through `module`."""
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        sr = module(lr)
    loss = (sr.float() - 0.5).square().mean()
    return [sr.detach(), *torch.autograd.grad(loss, list(generator.parameters()))]


def generators() -> tuple[nn.Module, nn.Module, nn.Module, Tensor]:
    """One with its parameters, the same by kernels and by torch as a step has them, and what they are given."""
    last = torch.channels_last
    generator = untrained(GeneratorConfig("srgan", 4, blocks=1)).requires_grad_(True)
    generator.to(memory_format=last)  # type: ignore[call-overload]
    lr = torch.rand(2, 3, 2, 5).contiguous(memory_format=last)
    quick = kernels.by_kernels(generator, kernels.layers(generator, (2, 2, 5)))
    return generator, PreciseTail(quick), PreciseTail(generator), lr


def step() -> None:
    generator, quick, plain, lr = generators()
    exact = gradients(generator, plain, lr, amp=False)
    same = all(map(torch.equal, gradients(generator, quick, lr, amp=False), exact))
    bf16 = [gradients(generator, way, lr, amp=True) for way in (quick, plain)]
    offs = [[off(a, b) for a, b in zip(each, exact, strict=True)] for each in bf16]
    quick = quick.get_submodule("generator")
    used = [name for name, module in quick.named_modules() if isinstance(module, kernels._ByKernel)]
    row = {"same": same, "used": used, "layers": kernels.layers(generator, (8, 32, 48))}
    print(json.dumps(row | {"saved": list(generator.state_dict()), "offs": offs}))


def compiled() -> None:
    generator, quick, _, lr = generators()
    whole = torch.compile(quick, backend="aot_eager", fullgraph=True, dynamic=False)
    ways = (gradients(generator, way, lr, amp=True) for way in (whole, quick))
    print(json.dumps({"same": all(map(torch.equal, *ways))}))


def off(made: Tensor, expected: Tensor) -> float:
    return float((made - expected).norm() / expected.norm())


def chosen(folder: Path) -> dict[str, object]:
    """Which convolutions go by kernels that are right and faster, slower, wrong; and what is tried again."""
    findings.folder = lambda: folder
    tried: list[str] = []
    used: dict[str, list[int]] = {}
    generator = untrained(GeneratorConfig("srgan", 2, blocks=1))
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    real, right = kernels.disagree, kernels.turned
    kernels.disagree = lambda *layer: tried.append(f"{layer[1]} {layer[2]}") or real(*layer)
    for name, narrow, wide, turned in (
        ("faster", 1.0, 1.0, right),
        ("remembered", 9.0, 9.0, right),  # another time would say otherwise
        ("slower", 3.0, 1.0, right),
        ("not turned", 1.0, 1.0, lambda weight: right(weight).roll(64, 1)),  # groups exchanged, where there are several
    ):
        if name not in ("faster", "remembered"):
            findings._code = partial(str, name)  # type: ignore[assignment]  # of another release
        kernels.agreed.cache_clear()
        ours = {CHANNELS: narrow, WIDE: wide}
        kernels.times, kernels.turned = lambda *layer, ours=ours: (ours[layer[1]], 2.0), turned
        quick = kernels.quickest(generator, CPU, (2, 3, 4))
        convs = [module.conv for module in quick.modules() if isinstance(module, kernels._ByKernel)]
        used[name] = [len(conv.get_parameter("weight")) for conv in convs]
    few = untrained(GeneratorConfig("fast", 2, channels=16, blocks=1))
    used["16 channels"] = [] if kernels.quickest(few, CPU, (2, 3, 4)) is few else [16]
    return {"used": used, "tried": tried}


def main() -> None:
    torch.manual_seed(0)
    folder = Path(sys.argv[1])
    findings.folder = lambda: folder / "first"
    kernels.TRIAL = (1, 2, 9)
    if sys.argv[2:] == ["compile"]:
        compiled()
        return
    sizes()
    step()
    print(json.dumps(chosen(folder / "second")))


if __name__ == "__main__":
    main()
