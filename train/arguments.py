"""What the commands that train have in common: recipe, data, device."""

import argparse
import os
import platform
from pathlib import Path

import torch
from platformdirs import user_cache_path

from train import export
from train.cache import open_cache
from train.data import crop_size, find_photos, open_bank
from train.draw import Drawn
from train.recipe import Recipe, read_recipe
from train.sample import Source
from vidsr.errors import UsageError
from vidsr.models import registry


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `read`, `choose_device` and `open_source` take."""
    parser.add_argument("recipe", help="a TOML file, or the name of one in train/recipes")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        help="folder of photos, may be repeated; or a baked cache where the recipe says so",
    )
    parser.add_argument("--steps", type=int, help="length of the constant-rate phase, instead of the recipe's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos (default: the user's cache folder)")


def read(args: argparse.Namespace) -> Recipe:
    """The recipe, of the length that was asked for."""
    recipe = read_recipe(args.recipe)
    return recipe if args.steps is None else Recipe.from_dict(recipe.to_dict() | {"steps": args.steps})


def open_source(args: argparse.Namespace, recipe: Recipe) -> tuple[Source, dict[str, object]]:
    """The training data, and what a model card says of it.

    Raises:
        MediaError: a folder without an image, a damaged or too small image, or no cache.
        UsageError: several caches.
    """
    if recipe.data == "baked":
        if len(args.data) > 1:
            raise UsageError(f"The recipe {recipe.name} trains on one baked cache; give --data once.")
        cache = open_cache(args.data[0])
        if recipe.losses.kept and not recipe.losses.shift and not recipe.losses.ensemble:  # drawn ahead is one way up
            cache = Drawn(args.data[0], registry.load(recipe.losses.keeps, recipe.generator.scale)).put_into(cache)
        return cache, cache.header.data | {"pairs": len(cache), "degraded_by": cache.header.maker}
    photos = find_photos(args.data)
    folder = args.cache or user_cache_path("vidsr") / "photos"
    bank = open_bank(photos, folder, crop_size(recipe.patch, recipe.generator.scale))
    return bank, export.summarise_data(args.data, photos)


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one.

    Raises:
        UsageError: it is unknown, or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}; use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"The device {name} is not there: torch finds no CUDA GPU; use --device cpu.")
    return device


def machine(device: torch.device) -> str:
    """The machine in words, for a model card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} of {os.cpu_count()} threads"
