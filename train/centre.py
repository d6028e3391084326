"""The mean of each colour set right: the last bias of a generator moved by what its outputs are off over photos."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from train.data import read_image
from train.inference import run
from train.resample import downscale
from train.trained import Trained
from vidsr.errors import MediaError
from vidsr.models.srgan import build

SIDE = 256  # HR pixels of the middle of each photo that count
BIAS = "ema.tail.bias"


def centre(trained: Trained, photos: Sequence[Path]) -> Trained:
    """The same weights with the means over `photos` right, its notes saying by how much they were off.

    Raises:
        MediaError: a photo cannot be read, or is smaller than the scale.
    """
    scale = trained.recipe.generator.scale
    module = build(trained.recipe.generator).eval().requires_grad_(False)
    tensors = dict(trained.saved.tensors)
    module.load_state_dict({name.removeprefix("ema."): t for name, t in tensors.items() if name.startswith("ema.")})
    off = mean_error(module, photos, scale)
    bias = tensors[BIAS].float()
    tensors[BIAS] = bias - off.repeat_interleave(len(bias) // 3) / 255  # the phases of a colour stand together
    words = f"; the means of red, green and blue over {len(photos)} photos then moved by " + ", ".join(
        f"{-value:+.2f}" for value in off.tolist()
    )
    notes = {**trained.notes, "mixed": trained.notes.get("mixed", "") + f"{words} codes"}
    return replace(trained, saved=replace(trained.saved, tensors=tensors), notes=notes)


def mean_error(module: nn.Module, photos: Sequence[Path], scale: int) -> Tensor:
    """(3,): what red, green and blue of the outputs are above the originals in code values, the mean over `photos`."""
    errors = []
    for path in photos:
        hr = _middle(read_image(path), scale, path)
        sr = run(module, downscale(hr / 255, scale) * 255)
        errors.append((sr - hr).mean((1, 2)))
    return torch.stack(errors).mean(0)


def _middle(pixels: np.ndarray, scale: int, path: Path) -> Tensor:
    """(3, H, W) code values: the middle of a photo, its sides multiples of `scale`."""
    height, width = (min(side, SIDE) // scale * scale for side in pixels.shape[:2])
    if not height * width:
        raise MediaError(f"The image {path} is smaller than {scale} pixels; take it out.")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    cut = np.array(pixels[top : top + height, left : left + width])
    return torch.from_numpy(cut).permute(2, 0, 1).float()
