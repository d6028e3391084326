"""What a lease does: its phases, each with a recipe and a share of the time, and what is baked for them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from train import bake
from train.data import crop_size
from train.recipe import Recipe, read_recipe, read_toml
from vidsr.errors import UsageError

PLANS = Path(__file__).parent.parent / "plans"
LEAST_SECONDS = 2.0  # of a phase
ENDLESS = 10**9  # steps: the clock ends a phase
STARTS = ("init", "after", "resume")


@dataclass(frozen=True)
class Phase:
    """One training, whose weights are called `name`: `recipe`, changed by `changes`, for its `share` of the time.

    It begins with new weights; with those that `init` names (shipped ones, a file, a run's folder); with those of the
    phase that it comes `after`; or it goes on from the newest stable checkpoint in the run's folder `resume`, moments
    and discriminator included. It may keep the details of an earlier phase (`keeps`; the recipe weighs them by
    `losses.kept`). Its rate is constant for `hold` of its time, then falls to zero.

    Raises:
        UsageError: a value is impossible, or there is no such recipe.
    """

    name: str
    recipe: Recipe
    share: float
    hold: float = 0.5
    init: str = ""
    after: str = ""
    resume: str = ""
    keeps: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            raise UsageError(f"A phase's name becomes a file's: letters, digits, - and _, not {self.name!r}.")
        if self.share <= 0 or not 0 <= self.hold < 1:
            raise UsageError(f"The phase {self.name} needs share > 0 and 0 <= hold < 1.")
        if sum(bool(getattr(self, start)) for start in STARTS) > 1:
            raise UsageError(f"The phase {self.name} can begin in one way only: {', '.join(STARTS)}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A phase as a plan's TOML gives it."""
        known = [*(one.name for one in fields(cls)), "changes"]
        _check_keys(values, known, "phase key")
        if missing := [key for key in ("name", "recipe", "share") if key not in values]:
            raise UsageError(f"A phase of the plan has no {missing[0]!r}.")
        for key in set(values) - {"changes"}:
            number = key in ("share", "hold")
            if isinstance(values[key], bool) or not isinstance(values[key], (int, float) if number else str):
                raise UsageError(f"The phase key {key!r} is of the wrong kind: {values[key]!r}.")
        recipe = read_recipe(values["recipe"]).to_dict() | {"steps": ENDLESS, "checkpoint_minutes": 1.0}
        for key, value in dict(values.get("changes", {})).items():
            before = recipe.get(key)
            recipe[key] = {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value
        rest = {key: value for key, value in values.items() if key not in ("recipe", "changes")}
        return cls(recipe=Recipe.from_dict(recipe), **rest)


@dataclass(frozen=True)
class Baking:
    """The pairs for phases that train on them: `plan`, made by `processes` (0: one to a core, but for one).

    The first phase that needs them begins with what there is by then, `least` pairs at least.
    """

    plan: bake.BakePlan = field(default_factory=bake.BakePlan)
    processes: int = 0
    least: int = 500


@dataclass(frozen=True)
class LeasePlan:
    """A lease: photos and benchmarks as paths from the folder where the command runs, and the phases in order.

    `reserve` is the share of the seconds that is kept for the figures of the last phase.

    Raises:
        UsageError: a value is impossible.
    """

    name: str
    phases: Sequence[Phase]
    photos: Sequence[Path] = ()
    benchmarks: Path | None = None
    baking: Baking = field(default_factory=Baking)
    reserve: float = 0.05

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if not names:
            raise UsageError(f"The plan {self.name} has no [[phases]].")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"The plan {self.name} has two phases called {twice[0]}.")
        for number, phase in enumerate(self.phases):
            for verb, other in (("comes after", phase.after), ("keeps the details of", phase.keeps)):
                if other and other not in names[:number]:
                    before = ", ".join(names[:number]) or "none"
                    raise UsageError(f"The phase {phase.name} {verb} the unknown phase {other!r}; before it: {before}.")
            if phase.keeps and not phase.recipe.losses.kept:
                raise UsageError(f"The phase {phase.name} keeps details, but its recipe weighs none: set losses.kept.")
            scale = phase.recipe.generator.scale
            if phase.recipe.data == "baked" and scale != self.baking.plan.scale:
                raise UsageError(
                    f"The phase {phase.name} is x{scale}, the pairs of [bake] are x{self.baking.plan.scale}."
                )
        if not 0 <= self.reserve < 1:
            raise UsageError(f"The plan's reserve must be from 0 to below 1, not {self.reserve}.")

    @property
    def bakes(self) -> bool:
        """Whether a phase trains on baked pairs."""
        return any(phase.recipe.data == "baked" for phase in self.phases)

    @property
    def smallest_photo(self) -> int:
        """Pixels that each side of a photo must have."""
        sides = [crop_size(p.recipe.patch, p.recipe.generator.scale) for p in self.phases if p.recipe.data == "photos"]
        return max([*sides, *([self.baking.plan.window] if self.bakes else [])])

    def check_seconds(self, seconds: float) -> None:
        """Raise `UsageError` where no phase could do anything in `seconds`."""
        least = len(self.phases) * LEAST_SECONDS / (1 - self.reserve)
        if seconds < least:
            raise UsageError(
                f"The plan {self.name} with {len(self.phases)} phases needs {least:.0f} seconds at least, and "
                f"minutes to be of use; --seconds says {seconds:g}."
            )


def read_plan(name_or_path: str) -> LeasePlan:
    """Read a plan by its file, or by the name of one in `train/plans`.

    Raises:
        UsageError: no such plan, not TOML, an unknown key or recipe, or an impossible value.
    """
    path, values = read_toml(name_or_path, PLANS, "plan")
    return _plan(values, path.stem)


def _plan(values: dict[str, Any], name: str) -> LeasePlan:
    _check_keys(values, ["name", "photos", "benchmarks", "reserve", "bake", "phases"], "plan key")
    phases, baking = values.get("phases", []), dict(values.get("bake", {}))
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise UsageError("The plan's phases are tables: write [[phases]] above each.")
    own = {key: baking.pop(key) for key in ("processes", "least") if key in baking}
    _check_keys(baking, [one.name for one in fields(bake.BakePlan)], "bake key")
    scale = baking.get("scale", 4)
    baking = {"crop": bake.DEFAULT_CROPS.get(scale, 64), "per_shard": 8} | baking
    folders = values.get("photos", [])
    return LeasePlan(
        str(values.get("name", name)),
        [Phase.from_dict(phase) for phase in phases],
        [Path(folder) for folder in ([folders] if isinstance(folders, str) else folders)],
        Path(values["benchmarks"]) if "benchmarks" in values else None,
        Baking(bake.BakePlan(**baking), **own),
        values.get("reserve", LeasePlan.reserve),
    )


def _check_keys(values: Mapping[str, object], known: Sequence[str], what: str) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f"Unknown {what} {unknown[0]!r}; the keys are {', '.join(known)}.")
