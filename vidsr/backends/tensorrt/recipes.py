"""Build recipes, one TOML file for each GPU. Loads no torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidsr.backends.tensorrt.gpu import Gpu, parse_capability
from vidsr.backends.tensorrt.key import Profile, Shape, parse_size
from vidsr.errors import UsageError

INSTALLED = Path(__file__).parent / "gpus"  # in the wheel
CHECKOUT = Path(__file__).parents[3] / "engines"
GENERIC = "generic"
PRECISIONS = ("fp16", "fp32")
FIELDS = ("name", "capability", "precision", "batch", "static", "dynamic")


@dataclass(frozen=True)
class EngineRecipe:
    """What is built for a GPU, in input pixels; `capability` is None in the generic recipe."""

    label: str
    name: str
    capability: tuple[int, int] | None
    precision: str
    static: tuple[Profile, ...]
    dynamic: Profile


def recipes() -> dict[str, EngineRecipe]:
    """All recipes that come with vidsr, by label, sorted."""
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    return {path.stem: read(path) for path in sorted(folder.glob("*.toml"))}


def find(label: str) -> EngineRecipe:
    """The recipe of that label, or of that TOML file.

    Raises:
        UsageError: there is none, or the file is no recipe.
    """
    if label.endswith(".toml"):
        return read(Path(label))
    known = recipes()
    if (recipe := known.get(label.lower())) is None:
        raise UsageError(f"There is no recipe for {label!r}; use {', '.join(known)}, or a .toml file.")
    return recipe


def for_target(target: Gpu) -> EngineRecipe:
    """The recipe of a GPU: by its name, else of its compute capability, else the generic one."""
    known = recipes()
    ranked = [recipe for recipe in known.values() if recipe.name and recipe.name in target.name]
    ranked += [recipe for recipe in known.values() if recipe.capability == target.capability]
    return ranked[0] if ranked else known[GENERIC]


def read(path: Path) -> EngineRecipe:
    """Read a recipe.

    Raises:
        UsageError: the file cannot be read, or a value is missing, unknown or impossible.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the recipe {path} ({error.strerror}); check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe {path} is not TOML: {error}.") from error
    if wrong := sorted(set(values) ^ set(FIELDS)):
        raise UsageError(f"The recipe {path} has a wrong or missing value {wrong[0]!r}; it has {', '.join(FIELDS)}.")
    try:
        return _recipe(path.stem, values)
    except (UsageError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"The recipe {path} has an impossible value: {error}") from error


def _recipe(label: str, values: dict[str, Any]) -> EngineRecipe:
    batch, precision = values["batch"], values["precision"]
    if type(batch) is not int or batch < 1 or precision not in PRECISIONS:
        raise UsageError(f"batch must be at least 1 and precision one of {', '.join(PRECISIONS)}.")
    dynamic = Profile(*(_shape(1, values["dynamic"][bound]) for bound in ("min", "opt", "max")))
    if not (dynamic.covers(dynamic.opt) and dynamic.min < dynamic.max):
        raise UsageError("the dynamic sizes must grow from min over opt to max.")
    return EngineRecipe(
        label=label,
        name=values["name"],
        capability=parse_capability(values["capability"]) if values["capability"] else None,
        precision=precision,
        static=tuple(Profile.static(_shape(batch, size)) for size in values["static"]),
        dynamic=dynamic,
    )


def _shape(num: int, size: str) -> Shape:
    return num, *parse_size(size)
