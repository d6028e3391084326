"""A generator on one picture of code values, as benchmarks and films are measured."""

import torch
from torch import Tensor, nn

from vidsr.frame import Matrix
from vidsr.upscaling.codes import ycc_matrix


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
