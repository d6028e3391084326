"""Recipes: what is read, and what is refused by name."""

from pathlib import Path

import pytest

from train.recipe import RECIPES, Recipe, read_recipe
from vidsr.errors import ModelError, UsageError
from vidsr.models.srgan import macs_per_pixel

TEXT = 'name = "x"\nsteps = 10\n[generator]\ngraph = "fast"\nscale = 2\nblocks = 4\n'


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = read_recipe(path.stem)
    assert path.stem == f"{recipe.name}-x{recipe.generator.scale}"
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_shipped_recipes_build_the_graphs_of_the_design() -> None:
    assert macs_per_pixel(read_recipe("srresnet-x4").generator) == 2_218_176
    fast = read_recipe("fast-x4").generator
    assert (fast.channels, fast.blocks) == (64, 6)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    assert read_recipe(str(path)).steps == 10


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("patience = 3\n" + TEXT, UsageError, "Unknown recipe key 'patience'"),
        (TEXT + "wings = 2\n", ModelError, "Unknown generator setting 'wings'"),
        ('name = "x"\nsteps = 1\n', UsageError, "recipe key 'generator' is missing"),
        ("batch = 0\n" + TEXT, UsageError, "batch must be at least 1, not 0"),
        ('batch = "8"\n' + TEXT, UsageError, "batch must be a whole number, not '8'"),
        ('optimiser = "sgd"\n' + TEXT, UsageError, "optimiser must be one of adam, muon"),
        ('precision = "fp16"\n' + TEXT, UsageError, "precision must be one of"),
        ("rate = 0\n" + TEXT, UsageError, "rate > 0"),
        ("ema = 1.0\n" + TEXT, UsageError, "0 <= ema < 1"),
        ("name = [\n", UsageError, "not valid TOML"),
    ],
)
def test_wrong_recipes(tmp_path: Path, text: str, error: type[Exception], sentence: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(error, match=sentence):
        read_recipe(str(path))


def test_unknown_recipe_lists_what_exists() -> None:
    with pytest.raises(UsageError, match=r"Cannot read the recipe fats; .* fast-x2, fast-x4"):
        read_recipe("fats")


def test_digest_names_the_settings(recipe: Recipe) -> None:
    again = Recipe.from_dict(recipe.to_dict())
    assert again.digest() == recipe.digest()
    other = Recipe.from_dict(recipe.to_dict() | {"rate": recipe.rate * 2})
    assert other.digest() != recipe.digest()
