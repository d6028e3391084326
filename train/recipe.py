"""A recipe: everything that decides what a training run becomes, as a TOML file and a frozen dataclass."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_type_hints

from vidsr.errors import UsageError
from vidsr.models.srgan import GeneratorConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECIPES = Path(__file__).parent / "recipes"
OPTIMISERS = ("adam", "muon")
PRECISIONS = ("auto", "fp32", "bf16")
SOURCES = ("photos", "baked")
DISCRIMINATORS = ("paper", "patch", "blurred")

# The keys of the first shipped weights. A later key counts in the digest only where it is not at its default,
# so that the hash in the header of those weights still names their recipe.
FIRST_KEYS = {"name", "generator", "steps", "batch", "patch", "rate", "warmup", "betas", "optimiser", "ema", "seed"}
FIRST_KEYS |= {"precision", "log_every", "evaluate_every", "checkpoint_minutes"}
FIRST_KEYS |= {"graph", "scale", "channels", "blocks", "skip"}
PLACES = {"trunk_file", "keeps"}  # where something lies on one machine decides nothing
WEIGHTS = ("pixel", "perceptual", "lpips", "adversarial", "artefact", "shift", "flat", "grid", "kept")


@dataclass(frozen=True)
class Losses:
    """What the generator is trained for: the weights of a sum.

    `trunk` names the network and layer of the perceptual loss, `trunk_file` its weights where no package brings
    them, `seen` how many pictures of a batch it compares (0: all, or one of every pair). `lpips` weighs the distance
    of ``stlpips-vgg16:lpips3`` besides. `ramp` is the number of
    steps over which the adversarial weight rises from zero, after those that the discriminator has for itself.
    `flat` weighs how far constant colours come out off, `grid` a pattern that repeats at each pixel of the source
    (`train.grid`), `kept` the difference from what the model `keeps` (a shipped one's name, or a file) draws, its
    coarse colours set right, and with `grid` without that pattern: together they mend colours and leave details.
    With `ensemble` it draws each picture in eight orientations, and the mean of those is learned.

    Raises:
        UsageError: a value is impossible.
    """

    pixel: float = 1.0
    perceptual: float = 0.0
    lpips: float = 0.0
    adversarial: float = 0.0
    artefact: float = 0.0
    shift: float = 0.0
    flat: float = 0.0
    grid: float = 0.0
    kept: float = 0.0
    trunk: str = ""
    trunk_file: str = ""
    keeps: str = ""
    ensemble: bool = False
    ramp: int = 5000
    seen: int = 0

    def __post_init__(self) -> None:
        _check_types(self, "losses.")
        for name in (*WEIGHTS, "ramp", "seen"):
            if getattr(self, name) < 0:
                raise UsageError(f"The recipe's losses.{name} must not be negative, not {getattr(self, name)}.")
        if self.perceptual and not self.trunk:
            raise UsageError(
                'A perceptual loss needs losses.trunk in the recipe: "vgg19:conv5_4", or "stlpips-vgg16:lpips3".'
            )
        if bool(self.kept) != bool(self.keeps):
            raise UsageError(
                "losses.kept and losses.keeps belong together: a weight, and the model whose details stay."
            )
        if self.ensemble and not self.kept:
            raise UsageError(
                "losses.ensemble says how the model draws whose details stay: set losses.kept and losses.keeps."
            )
        if not self.pixel + self.perceptual + self.lpips + self.kept:
            raise UsageError("The recipe needs losses.pixel, losses.perceptual, losses.lpips or losses.kept above 0.")

    def in_words(self) -> str:
        """The weighted sum, for a model card."""
        by_eight = " on average in eight orientations" if self.ensemble else ""
        names = {
            "pixel": "L1",
            "perceptual": self._perceptual_in_words(),
            "lpips": "ST-LPIPS of the first 3 stages of VGG16",
            "adversarial": "adversarial" + (f" (risen over {self.ramp:,} steps)" if self.ramp else ""),
            "artefact": "artefacts (LDL)",
            "shift": "difference of shifted outputs",
            "flat": "mean square on constants",
            "grid": "mean square of what repeats at each pixel of the source",
            "kept": f"L1 from the details that {Path(self.keeps).name} draws{by_eight}",
        }
        parts = [(getattr(self, name), words) for name, words in names.items()]
        return " + ".join(words if weight == 1 else f"{weight:g} {words}" for weight, words in parts if weight)

    def _perceptual_in_words(self) -> str:
        network, _, layer = self.trunk.partition(":")
        if layer.startswith("lpips"):
            return f"LPIPS of the first {layer.removeprefix('lpips')} stages of {network}"
        return f"L1 of the features {self.trunk}"


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The network that tells originals from upscaled pictures: `channels` of its first layer, and its own rate.

    `kind` is ``paper`` (one logit per picture), ``patch`` (group norms, a logit per place) or ``blurred`` (that with
    blurred strides). It learns `alone` for so many steps before the generator moves. `jitter`: originals and outputs
    are shown to it shifted together by 0 to so many pixels. `relative`: it says which of the two is the original of a
    place (arXiv:1807.00734, paired), not whether each looks like one. `details`: it is given what is finer than two
    pixels beside the picture, many times as strong.

    Raises:
        UsageError: a value is impossible.
    """

    channels: int = 64
    rate: float = 1e-4
    kind: str = "paper"
    alone: int = 0
    jitter: int = 0
    relative: bool = False
    details: bool = False

    def __post_init__(self) -> None:
        _check_types(self, "discriminator.")
        if self.kind not in DISCRIMINATORS:
            names = ", ".join(DISCRIMINATORS)
            raise UsageError(f"The recipe's discriminator.kind must be one of {names}, not {self.kind!r}.")
        if self.details and self.kind == "paper":
            raise UsageError("discriminator.details belongs to the kinds patch and blurred, not to paper.")
        if self.alone < 0 or self.jitter < 0:
            raise UsageError("The recipe needs discriminator.alone >= 0 and discriminator.jitter >= 0.")
        if self.channels < 1 or self.rate <= 0:
            raise UsageError("The recipe needs discriminator.channels >= 1 and discriminator.rate > 0.")


@dataclass(frozen=True)
class Recipe:
    """One run. `patch` is the LR side of a training crop in pixels, `steps` the length of the constant-rate phase.

    `data` says what --data holds: photos, or a cache of degraded clips as ``bake`` writes it. `sharpen` is how much
    the originals are sharpened (`train.filters.sharpen`) before outputs are compared to them. `patches` is how many
    samples of a batch are constants, slow slopes and noise (`train.patches`) instead.

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
    data: str = "photos"
    sharpen: float = 0.0
    patches: int = 0
    losses: Losses = field(default_factory=Losses)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        _check_types(self, "")
        for name in ("steps", "batch", "patch", "log_every", "evaluate_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"The recipe's {name} must be at least 1, not {getattr(self, name)}.")
        for name, allowed in (("optimiser", OPTIMISERS), ("precision", PRECISIONS), ("data", SOURCES)):
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"The recipe's {name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}."
                )
        if self.rate <= 0 or self.warmup < 0 or not 0 <= self.ema < 1 or self.sharpen < 0:
            raise UsageError("The recipe needs rate > 0, warmup >= 0, 0 <= ema < 1 and sharpen >= 0.")
        if not 0 <= self.patches < self.batch:
            raise UsageError(f"The recipe's patches must be from 0 to below its batch, not {self.patches}.")
        if self.losses.shift and self.data != "baked":
            raise UsageError('losses.shift needs shifted pairs, which only data = "baked" has; set one or the other.')

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a recipe from `to_dict`'s result; unknown and missing keys are refused by name (`UsageError`)."""
        _check_keys(cls, values, "")
        if missing := [key for key in ("name", "generator", "steps") if key not in values]:
            raise UsageError(f"The recipe key {missing[0]!r} is missing.")
        settings = dict(values)
        for name, table in (("losses", Losses), ("discriminator", DiscriminatorConfig)):
            inner = _table(settings.get(name, {}), name)
            _check_keys(table, inner, f"{name}.")
            settings[name] = table(**inner)
        settings["generator"] = GeneratorConfig.from_dict(_table(settings["generator"], "generator"))
        if isinstance(settings.get("betas"), list):
            settings["betas"] = tuple(settings["betas"])
        return cls(**settings)

    def to_dict(self) -> dict[str, object]:
        """All settings by name, as JSON can hold them."""
        return asdict(self)

    def digest(self) -> str:
        """SHA-256 of all settings that decide something: names a recipe in the header of the weights it made."""
        return hashlib.sha256(json.dumps(_deciding(self), sort_keys=True).encode()).hexdigest()


def _deciding(settings: "DataclassInstance") -> dict[str, object]:
    """The first keys, and the later ones that are not at their default; tables of settings likewise."""
    said: dict[str, object] = {}
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.name in PLACES or (one.name not in FIRST_KEYS and value == _default(one)):
            continue
        said[one.name] = _deciding(value) if hasattr(value, "__dataclass_fields__") else value
    return said


def _default(one: Field[object]) -> object:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"The recipe's {name} must be a table: write [{name}] above its keys.")
    return dict(value)


def _check_keys(cls: type, values: Mapping[str, object], table: str) -> None:
    known = [one.name for one in fields(cls)]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f"Unknown recipe key '{table}{unknown[0]}'; the keys are {', '.join(known)}.")


def _check_types(settings: object, table: str) -> None:
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if kind is int and type(value) is not int:
            raise UsageError(f"The recipe's {table}{name} must be a whole number, not {value!r}.")
        if kind is float and type(value) not in (int, float):
            raise UsageError(f"The recipe's {table}{name} must be a number, not {value!r}.")
        if kind is bool and type(value) is not bool:
            raise UsageError(f"The recipe's {table}{name} must be true or false, not {value!r}.")
        if kind is str and type(value) is not str:
            raise UsageError(f"The recipe's {table}{name} must be text in quotes, not {value!r}.")
        if kind == tuple[float, float] and not _is_pair(value):
            raise UsageError(f"The recipe's {table}{name} must be two numbers in brackets, not {value!r}.")


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(one) in (int, float) for one in value)


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by its file, or by the name of one in `train/recipes`.

    Raises:
        UsageError: no such recipe, not TOML, an unknown key, or an impossible value.
    """
    return Recipe.from_dict(read_toml(name_or_path, RECIPES, "recipe")[1])


def read_toml(name_or_path: str, folder: Path, what: str) -> tuple[Path, dict[str, Any]]:
    """The file of that name, or the one in `folder`, and what it holds. `what` it is, for a sentence.

    Raises:
        UsageError: there is none, or it is not TOML.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.exists():
        path = folder / f"{name_or_path}.toml"
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        shipped = ", ".join(sorted(file.stem for file in folder.glob("*.toml")))
        raise UsageError(f"Cannot read the {what} {name_or_path}; give a TOML file or one of {shipped}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The {what} {path} is not valid TOML: {error}.") from error
