"""The shipped recipes, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidsr.backends.tensorrt import recipes
from vidsr.backends.tensorrt.flavour import RTX_CAPABILITIES
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.errors import UsageError

HEIGHTS = {480, 540, 720, 1080}
GPUS = {"h100": (9, 0), "a100": (8, 0), "rtx5090": (12, 0), "rtx4090": (8, 9), "rtx3060": (8, 6), "t4": (7, 5)}


def test_every_gpu_has_its_recipe() -> None:
    known = recipes.recipes()
    assert known.keys() == {*GPUS, recipes.GENERIC}
    for label, capability in GPUS.items():
        recipe = known[label]
        assert recipe.capability == capability
        assert {profile.opt[1] for profile in recipe.static} == HEIGHTS
        assert all(profile.is_static for profile in recipe.static)
        assert recipe.dynamic.min < recipe.dynamic.opt < recipe.dynamic.max
        assert recipe.precision == "fp16"
        assert (label == "h100") == (capability not in RTX_CAPABILITIES)


@pytest.mark.parametrize(
    ("name", "capability", "label"),
    [
        ("NVIDIA GeForce RTX 4090", (8, 9), "rtx4090"),
        ("NVIDIA GeForce RTX 4070", (8, 9), "rtx4090"),
        ("NVIDIA H100 80GB HBM3", (9, 0), "h100"),
        ("NVIDIA H200", (9, 0), "h100"),
        ("NVIDIA A100-SXM4-40GB", (8, 0), "a100"),
        ("NVIDIA A30", (8, 0), "a100"),
        ("NVIDIA B200", (10, 0), "generic"),
        ("Tesla T4", (7, 5), "t4"),
    ],
)
def test_a_gpu_finds_its_recipe(name: str, capability: tuple[int, int], label: str) -> None:
    assert recipes.for_target(Gpu(capability, name)).label == label


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    text = (recipes.CHECKOUT / "rtx4090.toml").read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("batch = 1", "batch = 2"))
    assert recipes.find(str(mine)).static[0].opt == (2, 480, 854)
    for old, new, match in (
        ("batch = 1", "batch = 0", "batch"),
        ('"fp16"', '"int8"', "precision"),
        ('"854x480"', '"854"', "854"),
        ('min = "2x2"', 'min = "4000x4000"', "grow"),
        ("batch", "bach", "bach"),
        ("[dynamic]", "[dynamic", "TOML"),
    ):
        mine.write_text(text.replace(old, new))
        with pytest.raises(UsageError, match=match):
            recipes.find(str(mine))
    for label in ("rtx9999", str(tmp_path / "none.toml")):
        with pytest.raises(UsageError, match="recipe"):
            recipes.find(label)
