"""The 3x3 convolutions of 64 channels in a training step by vidsr's own kernels, where they are right and faster.

The gradient of the input is the same convolution with the weights turned half round, and inputs and outputs exchanged;
those of weights and bias are torch's. Weights change with every step, so each call orders them anew, on the device.
Before a pixel shuffle a convolution is of 64 to 256 channels, back of 256 to 64: the kernel makes 64 outputs at a time
of 64 inputs, so forward it is four parts in one launch, and back four groups one after another, which add in FP32.

Imported only where Triton is at hand.
"""

import copy
import hashlib
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, library, nn
from triton.errors import TritonError

from vidsr import findings
from vidsr.backends.torch.kernels import rows as by_rows
from vidsr.backends.torch.kernels.conv import WAYS, HalfStrip, fits, launch
from vidsr.backends.torch.kernels.tuner import CHANNELS, Strip, Tuner, milliseconds, strips_for
from vidsr.models.graph import SHUFFLE

log = logging.getLogger("train")

TRIAL = (8, 93, 131)  # (N, H, W) on which ways are tried: of several strips each way, and no multiple of one
SLACK = 1.5  # times torch's own error in bf16 that a way may have
BESIDE = 2**31  # numbers that a batch must have fewer of, or 32 bits do not count them

Shape = tuple[int, int, int]  # (N, H, W)
Layer = tuple[int, Shape]  # a convolution of 64 to so many channels, on inputs of that shape


def quickest(generator: nn.Module, device: torch.device, shape: Shape) -> nn.Module:
    """`generator`, or one of the same parameters by kernels where those are right and faster for inputs of `shape`."""
    found = layers(generator, shape)
    why = {layer: why_not(device, *layer) for layer in dict.fromkeys(found.values())}
    for (channels, size), word in why.items():
        by = f"torch: {word}" if word else "our kernels"
        log.info("3x3 convolutions of %d to %d channels on %dx%dx%d by %s", CHANNELS, channels, *size, by)
    names = [name for name, layer in found.items() if why[layer] is None]
    return by_kernels(generator, names) if names else generator


def layers(generator: nn.Module, shape: Shape) -> dict[str, Layer]:
    """The convolutions of `generator` that the kernel can do, by name, where its input is of `shape`."""
    found, (num, height, width) = {}, shape
    for name, module in generator.named_modules():  # in the order in which they work
        if fits(module):
            found[name] = module.out_channels, (num, height, width)
            if module.out_channels > CHANNELS:  # a pixel shuffle follows
                height, width = SHUFFLE * height, SHUFFLE * width
    return found


def by_kernels(generator: nn.Module, names: Iterable[str]) -> nn.Module:
    """A generator of the same parameters, whose convolutions of those names go by kernels under autocast.

    `generator` itself stays as it is: its names, its copies and what is saved of it.
    """
    quick = copy.deepcopy(generator, {id(parameter): parameter for parameter in generator.parameters()})
    for name in names:
        quick.set_submodule(name, _ByKernel(quick.get_submodule(name)))
    return quick


class _ByKernel(nn.Module):
    """`conv`: by the kernel in bf16 under autocast, else by torch."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return self.conv(x)  # type: ignore[no-any-return]
        weight, bias = self.conv.get_parameter("weight"), self.conv.get_parameter("bias")
        return conv3x3(x.bfloat16(), weight.bfloat16(), bias.bfloat16())


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, I, H, W), (O, I, 3, 3) and (O,), all bf16 -> (N, O, H, W), channels last, by the fastest way.

    I or O is 64, the other a multiple of it. `torch.compile` sees one operation, and its gradients.

    Raises:
        RuntimeError: the device runs none of them.
    """
    made: Tensor = torch.ops.vidsr.conv3x3(x, weight, bias)
    return made


def _made(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return convolved(x, weight, bias, _tuner(x.device, *weight.shape[:2]))


def _shaped(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: ARG001
    shape = len(x), len(weight), *x.shape[2:]
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:2])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    of_x = conv3x3(gradient, turned(weight)) if ctx.needs_input_grad[0] else None
    _, of_weight, of_bias = _torch_gradients(gradient, x, weight, [False, *ctx.needs_input_grad[1:]])
    return of_x, of_weight, of_bias


_LIBRARY = library.Library("vidsr", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("conv3x3(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.impl("conv3x3", _made, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
library.register_fake("vidsr::conv3x3", _shaped, lib=_LIBRARY)
library.register_autograd("vidsr::conv3x3", _gradients, setup_context=_keep, lib=_LIBRARY)


def turned(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) -> (I, O, 3, 3): the convolution by which a gradient goes from the output to the input."""
    return weight.flip(2, 3).transpose(0, 1)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, tuner: Tuner) -> Tensor:
    """`conv3x3` by the ways of `tuner`.

    Raises:
        RuntimeError: the device runs none of them.
    """
    num, _, height, width = x.shape
    parts, groups = (channels // CHANNELS for channels in weight.shape[:2])
    x = x.contiguous(memory_format=torch.channels_last)
    out = _shaped(x, weight)
    sums = torch.empty_like(out, dtype=torch.float32) if groups > 1 else out  # of the groups so far
    beside = max(x.numel(), out.numel()) < BESIDE
    taps = weight.view(parts, CHANNELS, groups, CHANNELS, 3, 3).permute(2, 0, 4, 5, 3, 1)  # group, part, y, x, in, out

    def layer(strip: Strip, rows: int) -> None:
        ordered = by_rows.columns(taps) if isinstance(strip, by_rows.RowStrip) else taps
        ordered = ordered.reshape(groups, parts, 9 * CHANNELS, CHANNELS).contiguous()
        for group in range(groups):
            first, last = group == 0, group == groups - 1
            launch(
                strip, rows, x, ordered[group], bias if first else None, out if last else sums,
                bridge=None if first else sums, beside=beside, group=group,
            )  # fmt: skip

    shape = (parts, height, num * width) if beside else (num * parts, height, width)
    try:
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            layer(*tuner.best(shape, layer))
    except (TritonError, AssertionError) as error:  # the latter where it does not find the driver's library
        raise RuntimeError(f"Triton: {error}") from error
    return out


def why_not(device: torch.device, channels: int, shape: Shape) -> str | None:
    """Why kernels are not used on `device` for a `Layer`, in a few words; found out once, and remembered."""
    strips, why = agreed(device, channels)
    if not strips:
        return why
    facts = _facts(device) | {"ways": [str(strip) for strip in strips]}
    name = f"training {channels} {'x'.join(map(str, shape))}"
    return _remembered(name, facts, partial(slower, device, channels, shape))


@lru_cache
def _tuner(device: torch.device, outputs: int, inputs: int) -> Tuner:
    strips, why = agreed(device, max(outputs, inputs))
    if not strips:
        raise RuntimeError(f"The kernels do not run on {device}: {why}.")
    return Tuner(device, strips, use=f"training {inputs}-{outputs}")


@lru_cache
def agreed(device: torch.device, channels: int) -> tuple[tuple[Strip, ...], str]:
    """The ways of the kernel that do what torch does on `device`, 64 to `channels` and back; why, where there is none.

    Of `WAYS`, but those that add in FP16.
    """
    ways = [strip for strip in strips_for(device, WAYS) if not isinstance(strip, HalfStrip)]
    facts = _facts(device)
    why = {
        way: _remembered(f"training {channels} {way}", facts, partial(disagree, device, way, channels)) for way in ways
    }
    agreed = tuple(way for way in ways if why[way] is None)
    return agreed, "" if agreed else next((word for word in why.values() if word), "there is none for it")


def _facts(device: torch.device) -> dict[str, object]:
    return findings.machine(device) | {"training": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]}


def _remembered(name: str, facts: findings.Facts, agree: Callable[[], str | None]) -> str | None:
    try:
        return findings.why_not_trusted(name, facts, agree)
    except torch.OutOfMemoryError:
        return "there is no room to try them"


def disagree(device: torch.device, strip: Strip, channels: int) -> str | None:
    """Whether one way is farther from FP64 than torch is in bf16, forward or back, in a few words; None where not."""
    x, weight, bias, gradient = _numbers(device, channels, TRIAL)
    tuner = Tuner(device, [strip], use="trial")
    exact = _by_torch(x.double(), weight.double(), bias.double(), gradient.double())
    made = convolved(x, weight, bias, tuner), convolved(gradient, turned(weight), None, tuner)
    for name, ours, torchs, right in zip(
        ("pictures", "gradients"), made, _by_torch(x, weight, bias, gradient), exact, strict=True
    ):
        ours_off, torchs_off = (float((each - right).norm() / right.norm()) for each in (ours, torchs))
        if not ours_off <= SLACK * torchs_off:  # nor where it is no number
            return f"their {name} are {ours_off:.1%} from FP64 here, torch's {torchs_off:.1%}"
    return None


def slower(device: torch.device, channels: int, shape: Shape) -> str | None:
    """Whether torch takes less time forward and back to the input, in a few words; None where kernels do."""
    ours, torchs = times(device, channels, shape)
    if ours is not None and torchs is not None and ours >= torchs:
        return f"its own take {torchs:.3f} ms here, ours {ours:.3f}"
    return None if ours is not None else "ours do not run here"


def times(device: torch.device, channels: int, shape: Shape) -> tuple[float | None, float | None]:
    """Milliseconds of a `Layer` forward and back to its input: by kernels, by torch; None where they fail."""
    x, weight, bias, gradient = _numbers(device, channels, shape)

    def by_kernel() -> None:
        conv3x3(x, weight, bias)
        conv3x3(gradient, turned(weight))

    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=True):
        return milliseconds(by_kernel), milliseconds(lambda: _by_torch(x, weight, bias, gradient))


def _numbers(device: torch.device, channels: int, shape: Shape) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input, weight, bias and the output's gradient for a trial, in bf16."""
    random, (num, *size) = torch.Generator().manual_seed(0), shape
    sizes = (num, CHANNELS, *size), (channels, CHANNELS, 3, 3), (channels,), (num, channels, *size)
    x, weight, bias, gradient = (torch.randn(size, generator=random).to(device, torch.bfloat16) for size in sizes)
    last = {"memory_format": torch.channels_last}
    return x.contiguous(**last), (weight / 24).contiguous(**last), bias, gradient.contiguous(**last)


def _by_torch(x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The convolution, and the gradient of its input."""
    return F.conv2d(x, weight, bias, padding=1), _torch_gradients(gradient, x, weight, [True, False, False])[0]


def _torch_gradients(gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Of input, weight and bias, those that are wanted."""
    size = [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(gradient, x, weight, *size, wanted)
    return found
