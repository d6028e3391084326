"""A recipe: everything that decides what a training run becomes, as a TOML file and a frozen dataclass."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from vidsr.errors import UsageError
from vidsr.models.srgan import GeneratorConfig

RECIPES = Path(__file__).parent / "recipes"
OPTIMISERS = ("adam", "muon")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Recipe:
    """One run. `patch` is the LR side of a training crop in pixels, `steps` the length of the constant-rate phase.

    Raises:
        UsageError: a value is impossible.
    """

    name: str
    generator: GeneratorConfig
    steps: int
    batch: int = 16
    patch: int = 32
    rate: float = 1e-3
    warmup: int = 200
    betas: tuple[float, float] = (0.9, 0.99)
    optimiser: str = "adam"
    ema: float = 0.999
    precision: str = "auto"
    seed: int = 0
    log_every: int = 100
    evaluate_every: int = 2000
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch", "log_every", "evaluate_every"):
            if type(getattr(self, name)) is not int:
                raise UsageError(f"The recipe's {name} must be a whole number, not {getattr(self, name)!r}.")
            if getattr(self, name) < 1:
                raise UsageError(f"The recipe's {name} must be at least 1, not {getattr(self, name)}.")
        if self.optimiser not in OPTIMISERS:
            raise UsageError(f"The recipe's optimiser must be one of {', '.join(OPTIMISERS)}, not {self.optimiser!r}.")
        if self.precision not in PRECISIONS:
            raise UsageError(f"The recipe's precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}.")
        if self.rate <= 0 or self.warmup < 0 or not 0 <= self.ema < 1:
            raise UsageError("The recipe needs rate > 0, warmup >= 0 and 0 <= ema < 1.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a recipe from `to_dict`'s result; unknown and missing keys are refused by name (`UsageError`)."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise UsageError(f"Unknown recipe key {unknown[0]!r}; the keys are {', '.join(known)}.")
        if missing := [key for key in ("name", "generator", "steps") if key not in values]:
            raise UsageError(f"The recipe key {missing[0]!r} is missing.")
        settings = dict(values)
        settings["generator"] = GeneratorConfig.from_dict(settings["generator"])
        if "betas" in settings:
            settings["betas"] = tuple(settings["betas"])
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, as JSON can hold them."""
        return asdict(self)

    def digest(self) -> str:
        """SHA-256 of all settings: names a recipe in the header of the weights that it made."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by its file, or by the name of one in `train/recipes`.

    Raises:
        UsageError: no such recipe, not TOML, an unknown key, or an impossible value.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.exists():
        path = RECIPES / f"{name_or_path}.toml"
    try:
        return Recipe.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        shipped = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise UsageError(f"Cannot read the recipe {name_or_path}; give a TOML file or one of {shipped}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe {path} is not valid TOML: {error}.") from error
