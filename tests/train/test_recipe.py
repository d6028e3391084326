"""Recipes: what is read, and what is refused by name."""

from pathlib import Path

import pytest

from train.recipe import RECIPES, Losses, Recipe, read_recipe
from vidsr.errors import ModelError, UsageError
from vidsr.models.registry import available_models
from vidsr.models.srgan import macs_per_pixel

TEXT = 'name = "x"\nsteps = 10\n[generator]\ngraph = "fast"\nscale = 2\nblocks = 4\n'


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = read_recipe(str(path.relative_to(RECIPES).with_suffix("")))
    model = (
        path.stem.replace("-finish", "").replace("-gan", "").replace("-ensemble", "")
    )  # the end of a model's training
    assert model == f"{recipe.name}-x{recipe.generator.scale}"
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_shipped_recipes_build_the_graphs_of_the_design() -> None:
    assert macs_per_pixel(read_recipe("srresnet-x4").generator) == 2_218_176
    fast = read_recipe("fast-x4").generator
    assert (fast.channels, fast.blocks) == (64, 8)


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
        ("sharpen = -0.5\n" + TEXT, UsageError, "sharpen >= 0"),
        ("ema = 1.0\n" + TEXT, UsageError, "0 <= ema < 1"),
        ("name = [\n", UsageError, "not valid TOML"),
        ('rate = "fast"\n' + TEXT, UsageError, "rate must be a number, not 'fast'"),
        ("data = 3\n" + TEXT, UsageError, "data must be text in quotes, not 3"),
        ('data = "air"\n' + TEXT, UsageError, "data must be one of photos, baked"),
        ("betas = 0.9\n" + TEXT, UsageError, "betas must be two numbers in brackets"),
        ("losses = 1\n" + TEXT, UsageError, r"losses must be a table: write \[losses\]"),
        (TEXT + "[losses]\nstyle = 1.0\n", UsageError, "Unknown recipe key 'losses.style'"),
        (TEXT + "[losses]\npixel = -1.0\n", UsageError, r"losses\.pixel must not be negative"),
        (TEXT + "[losses]\nperceptual = 1.0\n", UsageError, r"needs losses\.trunk"),
        (TEXT + "[losses]\npixel = 0.0\n", UsageError, "above 0"),
        (TEXT + "[losses]\nkept = 1.0\n", UsageError, r"losses\.kept and losses\.keeps belong together"),
        (TEXT + "[losses]\nensemble = true\n", UsageError, r"set losses\.kept and losses\.keeps"),
        (TEXT + "[losses]\nshift = 1.0\n", UsageError, 'only data = "baked" has'),
        (TEXT + "[discriminator]\nrate = 0.0\n", UsageError, r"discriminator\.rate > 0"),
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


def test_digests_in_shipped_headers_still_name_their_recipes() -> None:
    """Each is one of train/recipes, of the model's own name."""
    recipes = [read_recipe(str(path)) for path in RECIPES.rglob("*.toml")]
    known = {(one.digest(), one.name, one.generator.scale) for one in recipes}
    made = {(info.metadata["recipe"], info.name, info.scale) for info in available_models() if info.path}
    assert made <= known
    assert read_recipe("fast-x2").digest().startswith("c4d65fc1169dacde")


def test_a_later_key_counts_only_where_it_decides(recipe: Recipe) -> None:
    values = recipe.to_dict()
    judged = Recipe.from_dict(values | {"losses": {"adversarial": 0.1}})
    assert judged.digest() != recipe.digest()
    assert Recipe.from_dict(values | {"losses": {"adversarial": 0.1, "trunk_file": "x"}}).digest() == judged.digest()
    first = {name: value for name, value in values.items() if name not in ("losses", "discriminator", "data")}
    assert Recipe.from_dict(first).digest() == recipe.digest()


def test_losses_in_words() -> None:
    text = (
        "L1 + 0.03 L1 of the features vgg16:conv4_3+ + 0.05 ST-LPIPS of the first 3 stages of VGG16 + 0.01 adversarial "
    )
    text += "(risen over 400 steps) + artefacts (LDL)"
    assert read_recipe("gpu/srgan-x4").losses.in_words() == text
    assert Losses(adversarial=0.02).in_words() == "L1 + 0.02 adversarial (risen over 5,000 steps)"
    kept = Losses(pixel=0.0, flat=0.5, kept=1.0, keeps="/photos/first.safetensors")
    assert kept.in_words() == "0.5 mean square on constants + L1 from the details that first.safetensors draws"
    ensemble = Losses(pixel=0.0, kept=1.0, keeps="srresnet", ensemble=True)
    assert ensemble.in_words() == "L1 from the details that srresnet draws on average in eight orientations"
    lpips = Losses(perceptual=0.2, trunk="stlpips-vgg16:lpips3")
    assert lpips.in_words() == "L1 + 0.2 LPIPS of the first 3 stages of stlpips-vgg16"
