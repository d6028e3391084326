"""Pixel-loss training: warm-up, a constant rate for as long as wanted, and an anneal to zero from any checkpoint."""

import copy
import csv
import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train import checkpoint
from train.data import Bank, batches, crop_size
from train.evaluate import Pair, psnr_y
from train.optimiser import make_optimisers
from train.recipe import Recipe
from vidsr.errors import ModelError, OutputError
from vidsr.models.srgan import build

log = logging.getLogger("train")

COLUMNS = ("step", "loss", "rate", "steps_per_second")


@dataclass(frozen=True)
class Anneal:
    """The last piece of a run: the rate falls linearly to zero over `steps`, from step `start` on."""

    start: int
    steps: int


@dataclass
class Run:
    """The whole state of a training run; `Trainer` moves it, a checkpoint holds all of it."""

    recipe: Recipe
    device: torch.device
    anneal: Anneal | None = None
    step: int = 0
    seconds: float = 0.0
    bf16: bool | None = None
    origin: str | None = None  # in words, the run whose weights this one began with
    model: nn.Module = field(init=False)
    ema: nn.Module = field(init=False)
    optimisers: list[torch.optim.Optimizer] = field(init=False)
    random: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.recipe.seed)
        self.model = build(self.recipe.generator).to(self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimisers = make_optimisers(self.recipe.optimiser, self.model, self.recipe.rate, self.recipe.betas)
        self.random = torch.Generator().manual_seed(self.recipe.seed)

    @property
    def last_step(self) -> int:
        """The step at which this piece of the run ends."""
        return self.anneal.start + self.anneal.steps if self.anneal else self.recipe.steps

    def rate(self) -> float:
        """Learning rate of the step to come."""
        if self.anneal:
            return self.recipe.rate * (1 - (self.step - self.anneal.start) / self.anneal.steps)
        return self.recipe.rate * min(1.0, (self.step + 1) / max(1, self.recipe.warmup))

    def freeze(self) -> checkpoint.Checkpoint:
        """Everything needed to go on to the bit."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        for number, optimiser in enumerate(self.optimisers):
            for index, values in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{number}.{index}.{key}": value for key, value in values.items()}
        tensors["random"] = self.random.get_state()
        state = {"recipe": self.recipe.to_dict(), "step": self.step, "seconds": round(self.seconds, 1)}
        state |= {"bf16": self.bf16, "origin": self.origin, "anneal": asdict(self.anneal) if self.anneal else None}
        return checkpoint.Checkpoint(tensors, state)

    def thaw(self, saved: checkpoint.Checkpoint) -> None:
        """Take over a checkpoint's state; the piece to run (constant rate or anneal) stays this run's own.

        Raises:
            ModelError: it is a checkpoint of another model or optimiser.
        """
        if saved.state["recipe"]["generator"] != self.recipe.generator.to_dict():
            raise ModelError(
                f"The checkpoint holds the model {saved.state['recipe']['name']} with another generator than the "
                f"recipe {self.recipe.name}; give the recipe that it was made with, or another --out."
            )
        if saved.state["recipe"]["optimiser"] != self.recipe.optimiser:
            raise ModelError("The checkpoint was made with another optimiser than the recipe's; use another --out.")
        self.model.load_state_dict(_below(saved.tensors, "model."))
        self.ema.load_state_dict(_below(saved.tensors, "ema."))
        for number, optimiser in enumerate(self.optimisers):
            flat = _below(saved.tensors, f"optimiser.{number}.")
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in flat.items():
                index, key = name.split(".", 1)
                state.setdefault(int(index), {})[key] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        self.random.set_state(saved.tensors["random"])
        self.step, self.seconds = saved.state["step"], saved.state["seconds"]
        self.bf16, self.origin = saved.state.get("bf16"), saved.state.get("origin")


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@dataclass
class Trainer:
    """Runs `run` on the photos of `bank`, into the folder `out`.

    `benchmarks` are measured every `evaluate_every` steps of the recipe, with the averaged weights.
    """

    run: Run
    bank: Bank
    out: Path
    benchmarks: dict[str, list[Pair]] = field(default_factory=dict)
    stop: bool = False

    @property
    def folder(self) -> Path:
        """Where this piece of the run keeps its checkpoints."""
        return self.out / ("anneal" if self.run.anneal else "stable")

    def train(self) -> bool:
        """Train until the piece is finished (True) or a signal asks to stop (False); writes a checkpoint either way."""
        run, recipe = self.run, self.run.recipe
        stream = batches(self.bank, recipe.batch, recipe.patch, recipe.generator.scale, run.random, run.device)
        run.bf16 = amp = choose_bf16(run)
        precision = "bf16 autocast" if amp else "FP32"
        log.info("%s: step %d to %d on %s, %s", recipe.name, run.step, run.last_step, run.device, precision)
        run.model.train()
        with _signals(self):
            self._loop(stream, amp)
        self._save()
        return run.step >= run.last_step

    def _loop(self, stream: Iterator[tuple[Tensor, Tensor]], amp: bool) -> None:
        run, recipe = self.run, self.run.recipe
        saved = lap = time.monotonic()
        losses: list[Tensor] = []
        while run.step < run.last_step and not self.stop:
            losses.append(self._step(*next(stream), amp))
            if run.step % recipe.log_every == 0 or run.step == run.last_step:
                now = time.monotonic()
                self._report(losses, (now - lap) / len(losses))
                run.seconds += now - lap
                lap, losses = time.monotonic(), []
            if time.monotonic() - saved > recipe.checkpoint_minutes * 60:
                self._save()
                saved = time.monotonic()

    def _step(self, lr: Tensor, hr: Tensor, amp: bool) -> Tensor:
        run = self.run
        for optimiser in run.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = run.rate()
        with torch.autocast(run.device.type, torch.bfloat16, enabled=amp):
            sr = run.model(lr)
        loss = F.l1_loss(sr.float(), hr)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in run.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        run.step += 1
        average(run.ema, run.model, min(run.recipe.ema, run.step / (run.step + 10)))
        return loss.detach()

    def _report(self, losses: list[Tensor], seconds_per_step: float) -> None:
        run = self.run
        loss = float(torch.stack(losses).mean())
        if loss != loss:
            raise ModelError(f"The loss became NaN before step {run.step}; lower the recipe's rate and use --resume.")
        row: dict[str, Any] = dict(zip(COLUMNS, (run.step, loss, run.rate(), 1 / seconds_per_step), strict=True))
        left = (run.last_step - run.step) * seconds_per_step
        text = (
            f"step {run.step}/{run.last_step}  loss {loss:.5f}  {1 / seconds_per_step:.2f} steps/s  left {_clock(left)}"
        )
        if run.step % run.recipe.evaluate_every == 0 or run.step == run.last_step:
            scale = run.recipe.generator.scale
            scores = {name: psnr_y(run.ema, pairs, scale) for name, pairs in self.benchmarks.items()}
            row |= scores
            text += "".join(f"  {name} {value:.2f} dB" for name, value in scores.items())
        log.info(text)
        self._append(row)

    def _append(self, row: dict[str, Any]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / "log.csv"
        new = not path.exists()
        names = [*COLUMNS, *self.benchmarks]
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})

    def _save(self) -> None:
        path = checkpoint.save(self.folder, self.run.step, self.run.freeze())
        log.info("checkpoint %s", path)


def average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move every weight of `ema` towards `model`'s: ema = decay * ema + (1 - decay) * model."""
    with torch.no_grad():
        weights = [parameter.detach() for parameter in model.parameters()]
        torch._foreach_lerp_(list(ema.parameters()), weights, 1 - decay)


def choose_bf16(run: Run) -> bool:
    """Whether to train in bf16 autocast: as the recipe says, as the run began, or by timing forward and backward."""
    if run.recipe.precision != "auto":
        return run.recipe.precision == "bf16"
    if run.bf16 is not None:
        return run.bf16
    if run.device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return _seconds(run, amp=True) < 0.9 * _seconds(run, amp=False)


def _seconds(run: Run, amp: bool) -> float:
    """Time of the quickest of four passes over one small batch; leaves no trace in `run`."""
    model = copy.deepcopy(run.model)
    lr = torch.full((2, 3, run.recipe.patch, run.recipe.patch), 0.5, device=run.device)
    passes = []
    for _ in range(4):
        began = time.perf_counter()
        with torch.autocast(run.device.type, torch.bfloat16, enabled=amp):
            total = model(lr).float().sum()
        total.backward()
        passes.append(time.perf_counter() - began)
    return min(passes)


@contextmanager
def _signals(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM end the training after the step in progress."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        trainer.stop = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def initialise(run: Run, saved: checkpoint.Checkpoint) -> None:
    """Begin a new run with the averaged weights of another one, wherever name and shape are the same.

    Raises:
        ModelError: nothing fits.
    """
    own = run.model.state_dict()
    weights = _below(saved.tensors, "ema.")
    fitting = {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    if not fitting:
        raise ModelError(f"No weight of {saved.state['recipe']['name']} fits into {run.recipe.name}; leave out --init.")
    run.model.load_state_dict(own | fitting)
    run.ema.load_state_dict(run.model.state_dict())
    other = saved.state["recipe"]
    run.origin = f"{other['name']} x{other['generator']['scale']} at step {saved.state['step']:,}"
    log.info("%s: %d of %d weights from %s", run.recipe.name, len(fitting), len(own), run.origin)


def note(out: Path, values: dict[str, Any]) -> None:
    """Write `values` to `out`/run.json: what a model card needs to know about the run."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def smallest_photo(recipe: Recipe) -> int:
    """Pixels that each side of a photo must have for the recipe's crops."""
    return crop_size(recipe.patch, recipe.generator.scale)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
