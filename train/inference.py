"""A generator on pictures of code values, as benchmarks and films are measured."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from vidsr.frame import SRGB, Frame, Matrix, PixelFormat
from vidsr.upscaling.codes import ycc_matrix
from vidsr.upscaling.drawings import chosen, gathered
from vidsr.upscaling.steady import Steadier

Upscale = Callable[[Tensor], Tensor]  # (3, h, w) code values -> (3, h*scale, w*scale) code values, rounded
Film = Callable[[list[Tensor]], list[Tensor]]  # the same of a whole clip


@torch.inference_mode()
def run(module: nn.Module, lr: Tensor) -> Tensor:
    """(C, H, W) code values -> (C, H*scale, W*scale) code values, clamped, not rounded.

    A grey picture passes as RGB and comes out as the luma of BT.709, as ``vidsr upscale`` makes it.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    batch: Tensor = module(lr.expand(3, -1, -1)[None].to(device) / 255)
    sr = batch[0].float().cpu().clamp(0, 1).mul(255)
    if lr.shape[0] == 3:
        return sr
    luma = torch.from_numpy(ycc_matrix(Matrix.BT709)[0]).float()
    return torch.einsum("chw,c->hw", sr, luma)[None]


def upscale(module: nn.Module, lr: Tensor) -> Tensor:
    """As `run`, rounded: what an 8-bit picture can hold."""
    return run(module, lr).round()


class SelfEnsemble(nn.Module):
    """The mean of what a network makes of a picture in its eight orientations, each turned back.

    Timofte, Rothe and Van Gool 2016 (arXiv:1511.02228), "enhanced prediction".
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H * scale, W * scale)."""
        made = []
        for mirrored, turns in product((False, True), range(4)):
            seen = torch.rot90(lr.mT if mirrored else lr, turns, (2, 3))
            back = torch.rot90(self.network(seen.contiguous()), -turns, (2, 3))
            made.append(back.mT if mirrored else back)
        return torch.stack(made).mean(0)


def each(upscale: Upscale) -> Film:
    """Every picture by itself."""
    return lambda frames: [upscale(frame) for frame in frames]


def film(module: nn.Module, steady: float = 0) -> Film:
    """A clip by `upscale`, each picture blended with its neighbours by `Steadier`, as RGB, from 0 to 1."""

    def made(frames: list[Tensor]) -> list[Tensor]:
        large = [upscale(module, frame) for frame in frames]
        return _steadied(frames, large, steady) if steady else large

    return made


def _steadied(small: list[Tensor], large: list[Tensor], steady: float) -> list[Tensor]:
    steadier = Steadier(steady)
    found = gathered((one, _frame(large[one.number])) for one in chosen(_frame(_grey(frame)) for frame in small))
    return [torch.stack([torch.from_numpy(plane).float() for plane in steadier(*one).planes]) for one in found]


def _grey(rgb: Tensor) -> Tensor:
    return torch.einsum("chw,c->hw", rgb, torch.from_numpy(ycc_matrix(Matrix.BT709)[0]).float())[None]


def _frame(picture: Tensor) -> Frame:
    planes = tuple(picture.round().clamp(0, 255).byte().numpy())
    model: Literal["grey", "rgb"] = "grey" if len(planes) == 1 else "rgb"
    return Frame(planes, PixelFormat(model), SRGB, 0, Fraction(1))
