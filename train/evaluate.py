"""PSNR and SSIM on a benchmark, by the convention of published tables."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from train.data import read_image
from vidsr.errors import MediaError
from vidsr.metrics import crop_border, psnr, rgb_to_y, ssim


@dataclass(frozen=True)
class Pair:
    """One benchmark picture: code values 0 to 255, float32, (C, H, W) with C = 3, or 1 for a grey picture."""

    name: str
    lr: Tensor
    hr: Tensor


@dataclass(frozen=True)
class Score:
    """PSNR in dB and SSIM, on Y and on RGB, the means over a benchmark (or the values of one picture)."""

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float

    def to_dict(self) -> dict[str, Any]:
        """The four values, rounded to what is reproducible."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def read_benchmark(folder: Path, scale: int) -> list[Pair]:
    """The pairs ``*_LR.png`` and ``*_HR.png`` in `folder`, or in its subfolder ``x2`` or ``x4``.

    Raises:
        MediaError: there are none, one of a pair is missing, or their sizes do not fit the scale.
    """
    inner = folder / f"x{scale}"
    found = sorted((inner if inner.is_dir() else folder).glob("*_HR.*"))
    if not found:
        raise MediaError(f"{folder} holds no benchmark for x{scale}; it needs pairs NNN_LR.png and NNN_HR.png.")
    return [_read_pair(path, scale) for path in found]


def _read_pair(path: Path, scale: int) -> Pair:
    hr = _read(path)
    lr = _read(path.with_name(path.name.replace("_HR.", "_LR.")))
    if [side * scale for side in lr.shape[1:]] != list(hr.shape[1:]):
        raise MediaError(f"{path} is not x{scale} the size of its LR picture; check --scale.")
    return Pair(path.stem.removesuffix("_HR"), lr, hr)


def _read(path: Path) -> Tensor:
    values = read_image(path)
    with Image.open(path) as image:
        grey = image.mode in ("1", "L", "I;16")
    planes = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).float()
    return planes[:1] if grey else planes


@torch.inference_mode()
def upscale(module: nn.Module, lr: Tensor) -> Tensor:
    """(C, H, W) code values -> (C, H*scale, W*scale) code values, rounded; grey passes as RGB."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    batch: Tensor = module(lr.expand(3, -1, -1)[None].to(device) / 255)
    sr = batch[0].float().cpu().clamp(0, 1).mul(255)
    return (sr.mean(0, keepdim=True) if lr.shape[0] == 1 else sr).round()


def score(sr: Tensor, hr: Tensor, border: int) -> Score:
    """Measure one picture; the values of a grey one count as they are, for Y and for RGB."""
    sr, hr = crop_border(sr, border), crop_border(hr, border)
    if hr.shape[0] == 1:
        return Score(psnr(sr, hr), ssim(sr, hr), psnr(sr, hr), ssim(sr, hr))
    sr_y, hr_y = rgb_to_y(sr), rgb_to_y(hr)
    return Score(psnr(sr_y, hr_y), ssim(sr_y, hr_y), psnr(sr, hr), ssim(sr, hr))


def psnr_y(module: nn.Module, pairs: list[Pair], scale: int) -> float:
    """Mean PSNR on Y in dB, `scale` pixels cropped: the quick figure that is logged during training."""
    return sum(_psnr_y(upscale(module, pair.lr), pair.hr, scale) for pair in pairs) / len(pairs)


def _psnr_y(sr: Tensor, hr: Tensor, border: int) -> float:
    sr, hr = crop_border(sr, border), crop_border(hr, border)
    return psnr(sr, hr) if hr.shape[0] == 1 else psnr(rgb_to_y(sr), rgb_to_y(hr))


def evaluate(module: nn.Module, pairs: list[Pair], border: int) -> Iterator[tuple[str, Score]]:
    """Name and score of every picture, one after the other."""
    for pair in pairs:
        yield pair.name, score(upscale(module, pair.lr), pair.hr, border)


def mean(scores: list[Score]) -> Score:
    """The mean of each value."""
    rows = [list(asdict(one).values()) for one in scores]
    return Score(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))
