"""The whole state of a training run, in memory and in a checkpoint."""

import copy
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from train import checkpoint
from train.discriminator import make_discriminator
from train.optimiser import make_optimisers
from train.recipe import Recipe
from vidsr.errors import ModelError, OutputError
from vidsr.models.srgan import GeneratorConfig, build

MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam


@dataclass(frozen=True)
class Anneal:
    """The last piece of a run: the rate falls linearly to zero over `steps`, from step `start` on."""

    start: int
    steps: int


@dataclass
class Clock:
    """Rates by time: constant up to the share `hold` of `seconds`, then linearly to zero at their end."""

    seconds: float
    hold: float
    began: float = field(default_factory=time.monotonic)

    @property
    def gone(self) -> float:
        """Share of the seconds that has gone, at most 1."""
        return min(1.0, (time.monotonic() - self.began) / self.seconds)

    @property
    def annealed(self) -> float:
        """Share of the anneal that has gone, 0 before it."""
        return max(0.0, self.gone - self.hold) / (1 - self.hold)


@dataclass
class Run:
    """The whole state of a training run; `Trainer` moves it, a checkpoint holds all of it.

    `discriminator` and `critic`, its optimiser, exist where the recipe weighs an adversarial loss.
    """

    recipe: Recipe
    device: torch.device
    anneal: Anneal | None = None
    clock: Clock | None = None  # in place of steps, it says when the rate falls and when the piece ends
    step: int = 0
    seconds: float = 0.0
    bf16: bool | None = None
    origin: str | None = None  # in words, the weights that this run began with
    model: nn.Module = field(init=False)
    ema: nn.Module = field(init=False)
    optimisers: list[torch.optim.Optimizer] = field(init=False)
    discriminator: nn.Module | None = field(init=False, default=None)
    critic: torch.optim.Adam | None = field(init=False, default=None)
    random: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        self.model = build(recipe.generator).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimisers = make_optimisers(recipe.optimiser, self.model, recipe.rate, recipe.betas)
        if recipe.losses.adversarial:
            judge = make_discriminator(recipe.discriminator)
            self.discriminator = judge.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            parameters = self.discriminator.parameters()
            self.critic = torch.optim.Adam(parameters, recipe.discriminator.rate, (0.9, 0.99), fused=True)
        self.random = torch.Generator(self.device).manual_seed(recipe.seed)

    @property
    def last_step(self) -> int:
        """The step at which this piece of the run ends, where no clock says it."""
        return self.anneal.start + self.anneal.steps if self.anneal else self.recipe.steps

    @property
    def phase(self) -> str:
        """What this piece is called, and the folder of its checkpoints: ``stable`` or ``anneal``."""
        return "anneal" if self.anneal else "stable"

    def rate(self) -> float:
        """Learning rate of the step to come."""
        return self.recipe.rate * self._factor()

    def _factor(self) -> float:
        if self.clock:
            return min(1.0, (self.step + 1) / max(1, self.recipe.warmup)) * (1 - self.clock.annealed)
        if self.anneal:
            return 1 - (self.step - self.anneal.start) / self.anneal.steps
        return min(1.0, (self.step + 1) / max(1, self.recipe.warmup))

    def set_rates(self) -> None:
        """Give all optimisers the rates of the step to come; the discriminator's warms up and falls with the other."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate()
        if self.critic:
            self.critic.param_groups[0]["lr"] = self.recipe.discriminator.rate * self._factor()

    def follow_clock(self) -> bool:
        """Begin the anneal when its time comes (True), and go on estimating how many steps it will be."""
        if not self.clock or not self.clock.annealed:
            return False
        begins = self.anneal is None
        start = self.anneal.start if self.anneal else self.step
        done = self.step - start
        self.anneal = Anneal(start, max(done, 1, round(done / self.clock.annealed)))
        return begins

    def freeze(self) -> checkpoint.Checkpoint:
        """Everything needed to go on to the bit."""
        tensors = {f"{part}.{name}": value for part, module in self._modules() for name, value in _state(module)}
        for part, optimiser in self._optimisers():
            for index, values in optimiser.state_dict()["state"].items():
                tensors |= {f"{part}.{index}.{key}": value for key, value in values.items()}
        for name in [name for name in tensors if name.startswith("critic.") and name.endswith(MOMENTS)]:
            tensors[name] = tensors[name].bfloat16()  # loses nothing: `round_moments` did it already
        tensors["random"] = self.random.get_state()
        state = {"recipe": self.recipe.to_dict(), "step": self.step, "seconds": round(self.seconds, 1)}
        state |= {"bf16": self.bf16, "origin": self.origin, "anneal": asdict(self.anneal) if self.anneal else None}
        return checkpoint.Checkpoint(tensors, state)

    def thaw(self, saved: checkpoint.Checkpoint) -> None:
        """Take over a checkpoint's state; the piece to run (constant rate or anneal) stays this run's own.

        Raises:
            ModelError: it is a checkpoint of another model or optimiser.
        """
        self._check(saved)
        for part, module in self._modules():
            module.load_state_dict(below(saved.tensors, f"{part}."))
        for part, optimiser in self._optimisers():
            _load(optimiser, below(saved.tensors, f"{part}."))
        self._thaw_random(saved.tensors["random"], saved.state["step"])
        self.step, self.seconds = saved.state["step"], saved.state["seconds"]
        self.bf16, self.origin = saved.state.get("bf16"), saved.state.get("origin")

    def _thaw_random(self, state: Tensor, step: int) -> None:
        """Go on with the same choices; on a device of another kind, whose states are of another size, with new ones."""
        if state.shape == self.random.get_state().shape:
            self.random.set_state(state)
        else:
            self.random.manual_seed(self.recipe.seed + step)

    def _check(self, saved: checkpoint.Checkpoint) -> None:
        made = saved.state["recipe"]
        if GeneratorConfig.from_dict(made["generator"]) != self.recipe.generator:
            raise ModelError(
                f"The checkpoint holds the model {made['name']} with another generator than the "
                f"recipe {self.recipe.name}; give the recipe that it was made with, or another --out."
            )
        if made["optimiser"] != self.recipe.optimiser:
            raise ModelError("The checkpoint was made with another optimiser than the recipe's; use another --out.")
        judged = any(name.startswith("discriminator.") for name in saved.tensors)
        judge, own = made.get("discriminator", {}), self.recipe.discriminator
        kept = (judge.get("kind", "paper"), judge.get("channels", 64), judge.get("details", False))
        other = kept != (own.kind, own.channels, own.details)
        if judged != bool(self.discriminator) or (judged and other):
            raise ModelError(
                f"The checkpoint of {made['name']} holds no discriminator, or another one than the recipe's; begin a "
                "new run with --init, or use another --out."
            )

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield from (("model", self.model), ("ema", self.ema))
        if self.discriminator:
            yield "discriminator", self.discriminator

    def _optimisers(self) -> Iterator[tuple[str, torch.optim.Optimizer]]:
        yield from ((f"optimiser.{number}", optimiser) for number, optimiser in enumerate(self.optimisers))
        if self.critic:
            yield "critic", self.critic


def round_moments(optimiser: torch.optim.Optimizer) -> None:
    """Keep Adam's moments at BF16's precision, so that half the bytes in a checkpoint hold them to the bit."""
    moments = [state[name] for state in optimiser.state.values() for name in MOMENTS]
    torch._foreach_copy_(moments, [moment.bfloat16() for moment in moments])


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.state_dict().items()


def _load(optimiser: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """Fill the optimiser's state, every moment laid out in memory as its parameter is."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, object]] = {}
    for name, value in flat.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        alike = value.shape == parameter.shape
        state.setdefault(int(index), {})[key] = torch.empty_like(parameter).copy_(value) if alike else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def start(recipe: Recipe, out: Path, device: torch.device, *, resume: bool = False, anneal: int | None = None) -> Run:
    """A new run in `out`, one that goes on from its newest checkpoint, or an anneal of its newest stable checkpoint.

    Raises:
        OutputError: `out` holds a run already, and neither `resume` nor `anneal` was asked for.
        ModelError: there is nothing to resume or anneal, or it is of another model.
    """
    stable = checkpoint.list_checkpoints(out / "stable")
    annealed = checkpoint.list_checkpoints(out / "anneal")
    if anneal is not None:
        return _start_anneal(recipe, device, stable, annealed if resume else [], anneal, out)
    if stable and not resume:
        raise OutputError(f"{out} holds a run already; go on with --resume, or give another --out.")
    run = Run(recipe, device)
    if resume:
        if not stable:
            raise ModelError(f"{out} holds no checkpoint to resume; start it without --resume.")
        run.thaw(checkpoint.load(stable[-1]))
    return run


def _start_anneal(
    recipe: Recipe, device: torch.device, stable: list[Path], annealed: list[Path], steps: int, out: Path
) -> Run:
    if annealed:
        saved = checkpoint.load(annealed[-1])
        run = Run(recipe, device, Anneal(**saved.state["anneal"]))
        run.thaw(saved)
        return run
    if not stable:
        raise ModelError(f"{out} holds no stable checkpoint to anneal; train it first without --anneal.")
    saved = checkpoint.load(stable[-1])
    run = Run(recipe, device, Anneal(saved.state["step"], steps))
    run.thaw(saved)
    return run
