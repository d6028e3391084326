"""Photos and a recipe small enough to train in a second."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from train import checkpoint
from train.data import Bank, find_photos, open_bank
from train.recipe import Recipe
from vidsr import perceptual
from vidsr.perceptual import Distance


def photo(seed: int, height: int = 64, width: int = 72) -> np.ndarray:
    """(H, W, 3) uint8: smooth colour with edges, different for every seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / random.uniform(2, 9) + y / random.uniform(2, 9) + random.uniform(0, 6)) for _ in range(3)]
    edge = (x + random.integers(0, width) > y + random.integers(0, height)) * 0.3
    values: np.ndarray = np.stack(waves, -1) * 0.3 + 0.35 + edge[..., None]
    return (values * 255).clip(0, 255).round().astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def changed(recipe: Recipe, **values: object) -> Recipe:
    return Recipe.from_dict(recipe.to_dict() | values)


def newest(folder: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(checkpoint.list_checkpoints(folder)[-1])


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Perceptual networks without their packages: of the same shape, with random weights."""

    def load(name: str) -> Distance:
        torch.manual_seed(0)
        return Distance(name).eval().requires_grad_(False)

    monkeypatch.setattr(perceptual, "load", load)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with five photos of two sizes."""
    folder = tmp_path / "photos"
    for number in range(5):
        save(folder / f"{number}.png", photo(number, 64 + 8 * (number % 2), 72))
    return folder


@pytest.fixture(scope="module")
def large_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three photos of 288x300, smooth."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        large = F.interpolate(torch.from_numpy(photo(number, 96, 100)).permute(2, 0, 1)[None].float(), scale_factor=3)
        smooth = F.avg_pool2d(large, 5, 1, 2)[0].permute(1, 2, 0).round().byte().numpy()
        save(folder / f"{number}.png", smooth)
    return folder


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.from_dict(
        {
            "name": "tiny",
            "generator": {"graph": "fast", "scale": 2, "channels": 8, "blocks": 2},
            "steps": 12,
            "batch": 2,
            "patch": 8,
            "warmup": 4,
            "optimiser": "muon",
            "precision": "fp32",
            "log_every": 4,
            "evaluate_every": 8,
        }
    )


@pytest.fixture
def bank(photos: Path, tmp_path: Path) -> Bank:
    return open_bank(find_photos([photos]), tmp_path / "cache", 24)
