"""What the strengths of models do, measured into docs/figures/strength.json: each must go one way.

    python scripts/strength.py    # minutes on a CPU; then python scripts/figures.py writes the table

Noise: the deviation, in codes of 8 bit, of what comes out of three greys with noise of 8 codes. Detail: that of what
comes out of a film's pictures (samples/sintel.mp4) and is finer than the source's own pixels could show.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vidsr.media.read.reader import Reader
from vidsr.models.names import STAGES
from vidsr.models.registry import available_models, load
from vidsr.upscaling.colour import to_rgb

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures" / "strength.json"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FALLS = {"denoise": "noise"}  # with these strengths less is left, with the others more is there
NOISE, SIDE = 8 / 255, 48
PLACES = ((30, 96, 40), (80, 150, 30))  # picture, left, top: faces, hair, cloth


def grey_noise() -> Tensor:
    """(3, 3, SIDE, SIDE) in [0, 1]."""
    levels = torch.tensor([0.25, 0.5, 0.75]).view(3, 1, 1, 1)
    generator = torch.Generator().manual_seed(1)
    return (levels + NOISE * torch.randn(3, 3, SIDE, SIDE, generator=generator)).clamp(0, 1)


def film() -> Tensor:
    """(2, 3, 64, 96) in [0, 1]."""
    found = []
    with Reader(ROOT / "samples" / "sintel.mp4") as reader:
        for number, frame in enumerate(reader):
            for picture, left, top in PLACES:
                if number == picture:
                    rgb = to_rgb(frame.planes, frame.format, frame.colour)
                    found.append(rgb[..., top : top + 64, left : left + 96])
    return torch.cat(found)


def noise_left(large: Tensor) -> float:
    """In codes, less a margin that the border takes."""
    inside = large[..., 16:-16, 16:-16]
    return float((inside - inside.mean((-2, -1), keepdim=True)).std() * 255)


def detail(large: Tensor, scale: int) -> float:
    """What no enlargement of the reduced picture has, in codes."""
    small = F.interpolate(large, scale_factor=1 / scale, mode="bicubic", antialias=True, align_corners=False)
    again = F.interpolate(small, large.shape[-2:], mode="bicubic", antialias=True, align_corners=False)
    return float((large - again)[..., 16:-16, 16:-16].std() * 255)


def measured() -> list[dict[str, object]]:
    """A row for each strength of each model."""
    noisy, pictures, rows = grey_noise(), film(), []
    for info in available_models():
        for stage, _ in STAGES.get(info.name, ()):
            for strength in STRENGTHS:
                model = load(f"{info.name}@{stage}={strength:g}", info.scale)
                with torch.inference_mode():
                    left, drawn = noise_left(model.module(noisy)), detail(model.module(pictures), info.scale)
                row = {"model": info.name, "scale": info.scale, "stage": stage, "strength": strength}
                rows.append({**row, "noise": round(left, 2), "detail": round(drawn, 2), "weights": model.weights_hash})
                print(rows[-1], file=sys.stderr)
    return rows


def wrong_ways(rows: list[dict[str, object]]) -> list[str]:
    """Where a strength does not go one way."""
    wrong = []
    for one, two in pairwise(rows):
        if (one["model"], one["scale"], one["stage"]) == (two["model"], two["scale"], two["stage"]):
            kind = FALLS.get(str(one["stage"]), "detail")
            before, after = float(str(one[kind])), float(str(two[kind]))
            if (before < after) if kind == "noise" else (before > after):
                wrong.append(f"{kind} of {two['model']} x{two['scale']} at {two['strength']}")
    return wrong


def main() -> None:
    """Measure, keep, and fail where a strength does not go one way."""
    rows = measured()
    FIGURES.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    if wrong := wrong_ways(rows):
        sys.exit(f"not one way: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
