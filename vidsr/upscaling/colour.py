"""Frame planes to R'G'B' and back, in torch on the network's device; `host` does it in numpy. Pure functions.

The matrix, range and chroma siting follow ITU-T H.273. Primaries and transfer are left alone: the network works in the
source's own R'G'B'. Chroma is interpolated linearly at its true positions going up, and goes through a triangle filter
of the chroma spacing's radius, centred on its true positions, coming down. Codes are rounded to nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidsr import findings
from vidsr.backends.torch import kernels
from vidsr.frame import Colour, PixelFormat, Plane
from vidsr.stages import stage
from vidsr.upscaling.block import Block
from vidsr.upscaling.codes import between, chroma_offset, codes_to_rgb, rgb_to_codes, triangle
from vidsr.upscaling.staging import as_plane, as_tensor

CHECKED = ("yuv420p", "yuv422p10le", "gbrp")  # layouts in which a kernel is tried
CHECKED_SIZES = ((45, 67), (48, 64))  # (height, width): Triton compiles for multiples of 16 by themselves
CLOSE = 1e-5  # of RGB in [0, 1] in FP32, where sums round otherwise
How: TypeAlias = tuple[NDArray[np.float64], float, int, tuple[int, int], tuple[float, float]]
PlaneMaker = Callable[[Tensor, NDArray[np.float64], float, int, tuple[int, int], tuple[float, float]], Tensor]
"""Makes a plane: `_plane`, or `vidsr.upscaling.colour_kernel.plane`."""


def to_rgb(
    planes: Sequence[Plane],
    format: PixelFormat,
    colour: Colour,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Planes of a frame -> (1, 3, H, W) RGB, nominally in [0, 1], on `device` as `dtype`; see `decode`."""
    return decode([as_tensor(plane).to(device) for plane in planes], format, colour).to(dtype)


def from_rgb(rgb: Tensor, format: PixelFormat, colour: Colour) -> tuple[Plane, ...]:
    """(1, 3, H, W) RGB of any float type -> planes of `format`, without alpha; see `encode`."""
    return tuple(as_plane(codes.cpu()) for codes in encode(rgb, format, colour))


def decode(planes: Sequence[Tensor], format: PixelFormat, colour: Colour) -> Tensor:
    """Codes of a frame's planes, (H, W) each on one device -> (1, 3, H, W) RGB float32 there, nominally in [0, 1].

    Codes are uint8, or uint16 in the bits of int16. Those outside the nominal range (super-whites, colours that RGB
    cannot hold) come out below 0 or above 1: whoever needs [0, 1] clamps. Alpha is ignored. A grey picture becomes
    three equal channels.
    """
    height, width = planes[0].shape
    device, bits = planes[0].device, format.bits
    if format.model == "grey":
        matrix, offset = codes_to_rgb(format, colour)
        grey = _as_float(planes[0], bits).mul_(float(matrix[0, 0])).add_(float(offset[0]))
        return grey.expand(3, height, width)[None].contiguous()
    codes = torch.empty((3, height, width), device=device)
    codes[0] = _as_float(planes[0], bits)
    chroma = torch.stack([_as_float(plane, bits) for plane in planes[1:3]])
    (sx, sy), (x, y) = format.chroma_shift, chroma_offset(format, colour.siting)
    chroma = _interpolate(chroma, 1, 1 << sy, y, height)
    codes[1:] = _interpolate(chroma, 2, 1 << sx, x, width)
    if device.type != "cpu":
        return _mixed(codes, format, colour)[None]
    gain, bias = _decoding_on_cpu(format, colour)
    return torch.addmm(bias, gain, codes.view(3, -1)).view(1, 3, height, width)


def encode(rgb: Tensor, format: PixelFormat, colour: Colour) -> tuple[Tensor, ...]:
    """(1, 3, H, W) RGB of any float type -> codes of the planes of `format`, without alpha, on the same device.

    Codes are uint8, or uint16 in the bits of int16. Values outside [0, 1] are kept as far as the codes
    0 .. 2**bits - 1 reach. Grey is the luma of `colour`'s matrix.
    """
    if why_not_fused(rgb.device) is None:
        from vidsr.upscaling.colour_kernel import plane

        return _planes(plane, rgb[0], format, colour)
    return encode_by_torch(rgb, format, colour)


def encode_by_torch(rgb: Tensor, format: PixelFormat, colour: Colour) -> tuple[Tensor, ...]:
    """`encode` by torch's operations, whatever kernels there are."""
    return _planes(_plane, rgb[0].float(), format, colour)


@lru_cache(maxsize=16)
def why_not_fused(device: torch.device) -> str | None:
    """Why torch makes the planes on `device` step by step, in a few words; None where one kernel makes each of them.

    The kernel is trusted once it has agreed with torch there, to one code, on noise in a few layouts; that is
    remembered on this machine.

    Raises:
        torch.OutOfMemoryError: there is no room to try it.
    """
    if (why := kernels.why_none(device)) is not None:
        return why
    facts = findings.machine(device)
    return findings.why_not_trusted("colour", facts, lambda: _why_wrong(device))


def _why_wrong(device: torch.device) -> str | None:
    """Where the kernels' planes and pictures are not torch's."""
    from vidsr.upscaling.colour_kernel import pictures, plane

    with stage("kernels"):
        for name, (height, width) in product(CHECKED, CHECKED_SIZES):
            format, rgb = PixelFormat.parse(name), torch.rand((3, height, width), device=device).half()
            made, expected = _planes(plane, rgb, format, Colour()), _planes(_plane, rgb.float(), format, Colour())
            if any(int((a.int() - b.int()).abs().max()) > 1 for a, b in zip(made, expected, strict=True)):
                return f"its kernel is wrong here in {name}"
            block = Block(format, width, height)
            codes = torch.randint(0, 1 << format.bits, (2, block.size), device=device).to(made[0].dtype)
            planes, back = block.planes(codes), torch.empty((2, height, width, 3), device=device).movedim(-1, 1)
            pictures(planes, *decoding(format, Colour()), back, clamped=False)
            for index, picture in enumerate(back):
                torchs = decode([each[index] for each in planes], format, Colour())
                if float((picture - torchs[0]).abs().max()) > CLOSE:
                    return f"its kernel reads {name} wrongly here"
    return None


def _planes(make: PlaneMaker, rgb: Tensor, format: PixelFormat, colour: Colour) -> tuple[Tensor, ...]:
    """(3, H, W) RGB -> codes of the planes of `format` without alpha."""
    return tuple(make(rgb, *how) for how in encoding(format, colour))


def encoding(format: PixelFormat, colour: Colour) -> list[How]:
    """How each plane without alpha is made of RGB: what a `PlaneMaker` is told of it."""
    matrix, offset = rgb_to_codes(format, colour)
    planes: list[How] = [(matrix[0], float(offset[0]), format.bits, (1, 1), (0.0, 0.0))]
    if format.model != "grey":
        (sx, sy), place = format.chroma_shift, chroma_offset(format, colour.siting)
        for row, bias in zip(matrix[1:], offset[1:], strict=True):
            planes.append((row, float(bias), format.bits, (1 << sx, 1 << sy), place))
    return planes


def decoding(
    format: PixelFormat, colour: Colour
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, int], tuple[float, float]]:
    """(A, b) such that rgb = A @ codes + b, the pixels (x, y) between chroma samples, and where the first stands."""
    sx, sy = format.chroma_shift
    return *codes_to_rgb(format, colour), (1 << sx, 1 << sy), chroma_offset(format, colour.siting)


def _plane(
    rgb: Tensor, row: NDArray[np.float64], bias: float, bits: int, factor: tuple[int, int], offset: tuple[float, float]
) -> Tensor:
    """(3, H, W) RGB float32 -> codes of a plane: see `colour_kernel.plane`, which does it in one pass."""
    mixed = _decimate(_mix(rgb, row), 0, factor[1], offset[1])
    return _quantise(_decimate(mixed, 1, factor[0], offset[0]), bias, bits)


def decode_alpha(codes: Tensor, bits: int) -> Tensor:
    """(H, W) codes of an alpha plane (full range in every format) -> (1, 1, H, W) float32 in [0, 1]."""
    return _as_float(codes, bits).div_(float((1 << bits) - 1))[None, None]


def encode_alpha(alpha: Tensor, bits: int) -> Tensor:
    """(1, 1, H, W) in [0, 1] -> (H, W) codes of `bits` bits, uint8 or uint16 in the bits of int16."""
    return _quantise(alpha[0, 0].float() * float((1 << bits) - 1), 0.0, bits)


@lru_cache(maxsize=64)
def _decoding_on_cpu(format: PixelFormat, colour: Colour) -> tuple[Tensor, Tensor]:
    matrix, offset = codes_to_rgb(format, colour)
    return torch.tensor(matrix, dtype=torch.float32), torch.tensor(offset[:, None], dtype=torch.float32)


def _as_float(codes: Tensor, bits: int) -> Tensor:
    """Codes as float32; only those of 16 bits reach the sign of int16."""
    return (codes.int() & 0xFFFF).float() if bits == 16 else codes.float()


def _mixed(codes: Tensor, format: PixelFormat, colour: Colour) -> Tensor:
    """(3, H, W) codes -> (3, H, W) RGB, element by element.

    A GPU may round a matrix product to the 10 bits of TF32: some containers switch that on for all programs.
    """
    matrix, offset = codes_to_rgb(format, colour)
    return torch.stack([_mix(codes, row).add_(float(bias)) for row, bias in zip(matrix, offset, strict=True)])


def _mix(rgb: Tensor, row: NDArray[np.float64]) -> Tensor:
    """(3, H, W) -> (H, W): the sum of the channels weighted by `row`."""
    (first, weight), *others = [(channel, float(w)) for channel, w in zip(rgb, row, strict=True) if w != 0]
    mixed = torch.mul(first, weight)
    for channel, weight in others:
        mixed.add_(channel, alpha=weight)
    return mixed


def _quantise(values: Tensor, bias: float, bits: int) -> Tensor:
    """Codes as floats (overwritten), plus `bias`, rounded to nearest, clamped to the code range -> uint8 or int16."""
    values.add_(bias + 0.5).clamp_(0, (1 << bits) - 1)
    if bits <= 8:
        return values.to(torch.uint8)
    return values.to(torch.int32).to(torch.int16) if bits == 16 else values.to(torch.int16)


def _interpolate(x: Tensor, dim: int, factor: int, offset: float, size: int) -> Tensor:
    """Linear interpolation along `dim` to `size` samples; sample k of `x` stands at factor*k + offset, edges repeat."""
    if factor == 1:
        return x
    x = x.movedim(dim, -1)
    padded = torch.cat((x[..., :1], x, x[..., -1:]), -1)
    out = torch.empty((*x.shape[:-1], size), device=x.device)
    for phase in range(min(factor, size)):
        start, way = between(phase, factor, offset)
        num = -(-(size - phase) // factor)
        before, after = padded[..., start + 1 :][..., :num], padded[..., start + 2 :][..., :num]
        out[..., phase::factor] = torch.lerp(before, after, way)
    return out.movedim(-1, dim)


def _decimate(x: Tensor, dim: int, factor: int, offset: float) -> Tensor:
    """Every `factor`-th sample of `x` along `dim`, at factor*k + offset, through a triangle of that radius."""
    if factor == 1:
        return x
    x = x.movedim(dim, -1)
    size = x.shape[-1]
    taps = dict(triangle(factor, offset))
    out = x[..., ::factor] * taps.pop(0)
    num = out.shape[-1]
    for j, weight in taps.items():
        low, high = max(0, -(j // factor)), min(num, (size - 1 - j) // factor + 1)
        if high > low:
            out[..., low:high].add_(x[..., low * factor + j :: factor][..., : high - low], alpha=weight)
        out[..., :low].add_(x[..., :1], alpha=weight)
        out[..., max(low, high) :].add_(x[..., -1:], alpha=weight)
    return out.movedim(-1, dim)
