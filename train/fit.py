"""The training loop: warm-up, a constant rate for as long as wanted, and an anneal to zero from any checkpoint."""

import copy
import json
import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from train import checkpoint
from train.alarms import Watch
from train.crops import Sample
from train.data import crop_size
from train.evaluate import Pair, psnr_y
from train.gan import Adversarial
from train.probes import drift
from train.processes import World
from train.recipe import Recipe
from train.run import Run
from train.sample import Source, samples
from train.stage import Stage, Terms
from vidsr.errors import ModelError
from vidsr.files import write

log = logging.getLogger("train")

COLUMNS = ("step", "loss", "rate", "steps_per_second")
WAIT_EVERY = 20  # steps after which a GPU is waited for: a clock must not run ahead of it
REPORT_SECONDS = 10.0  # between two reports of a run by the clock
MEASURE_SHARE = 0.05  # of its time that a run by the clock measures benchmarks
AGREE_EVERY = 10  # steps between two moments at which several processes may stop together


@dataclass
class Trainer:
    """Runs `run` on the pairs of `source`, into the folder `out`, for `minutes` at most.

    `benchmarks` are measured every `evaluate_every` steps of the recipe, with the averaged weights.
    """

    run: Run
    source: Source
    out: Path
    benchmarks: dict[str, list[Pair]] = field(default_factory=dict)
    minutes: float | None = None
    world: World = field(default_factory=World)
    stop: bool = False
    interrupted: bool = field(init=False, default=False)
    _saved: int | None = field(init=False, default=None)
    _measured: float = field(init=False, default=-math.inf)  # when benchmarks may be measured again

    @property
    def folder(self) -> Path:
        """Where this piece of the run keeps its checkpoints."""
        return self.out / self.run.phase

    def train(self) -> bool:
        """Train to the end of the piece or of `minutes` (True), or until a signal asks to stop (False).

        A checkpoint is written either way.
        """
        run, recipe = self.run, self.run.recipe
        self.world.check(recipe.batch)
        stream = samples(self.source, recipe, run.random, run.device, self.world)
        run.bf16 = self.world.same(choose_bf16(run), run.device)
        stage = Adversarial(run, self.world) if recipe.losses.adversarial else Stage(run, self.world)
        precision = "bf16 autocast" if run.bf16 else "FP32"
        until = f"{run.clock.seconds:.0f} seconds" if run.clock else f"step {run.last_step}"
        log.info("%s: step %d to %s on %s, %s", recipe.name, run.step, until, run.device, precision)
        run.model.train()
        with _signals(self), torch.backends.cudnn.flags(enabled=True, benchmark=True):  # shapes never change
            self._loop(stage, stream)
        self.save()
        return not self.interrupted

    def _loop(self, stage: Stage, stream: Iterator[Sample]) -> None:
        run, recipe = self.run, self.run.recipe
        began = saved = lap = time.monotonic()
        pending: list[Terms] = []
        watch: Watch | None = None
        while (run.clock or run.step < run.last_step) and not self._done(began, pending):
            self._follow_clock()
            pending.append(stage.step(next(stream)))
            run.step += 1
            average(run.ema, run.model, min(recipe.ema, run.step / (run.step + 10)))
            if run.device.type == "cuda" and run.step % WAIT_EVERY == 0:
                torch.cuda.current_stream(run.device).synchronize()
            if self._due(time.monotonic() - lap):
                means = self._means(pending)
                elapsed = time.monotonic() - lap
                if self.world.first:
                    watch = watch or self._watch(means)
                    self.report(watch, means, elapsed / len(pending))
                run.seconds += elapsed
                lap, pending = time.monotonic(), []
            if time.monotonic() - saved > recipe.checkpoint_minutes * 60:
                self.save()
                saved = time.monotonic()
        run.seconds += time.monotonic() - lap
        if watch:
            watch.close()

    def _follow_clock(self) -> None:
        """Save what was reached at the constant rate before the anneal begins."""
        if self.run.clock and self.run.clock.annealed and not self.run.anneal:
            self.save()
        self.run.follow_clock()

    def _due(self, seconds: float) -> bool:
        """Whether it is time for a report, `seconds` after the last one."""
        run = self.run
        if run.clock:
            return seconds > min(REPORT_SECONDS, run.clock.seconds / 4) or run.clock.gone >= 1
        return run.step % run.recipe.log_every == 0 or run.step == run.last_step

    def _done(self, began: float, pending: list[Terms]) -> bool:
        """Whether to stop before the next step; several processes agree on it now and then."""
        clock = self.run.clock
        late = self.minutes is not None and time.monotonic() - began > self.minutes * 60
        late |= clock is not None and clock.gone >= 1
        if self.world.size == 1:
            return self.stop or late
        if len(pending) % AGREE_EVERY:
            return False
        self.interrupted = self.world.any(self.interrupted, self.run.device)
        return self.world.any(self.stop or late, self.run.device)

    def _means(self, pending: list[Terms]) -> dict[str, float]:
        """Every figure's mean over the steps since the last report; of several colours, the largest one's."""
        means = {name: torch.stack([terms[name].float() for terms in pending]).mean(0) for name in pending[0]}
        values = {name: float(self.world.mean(value).abs().max()) for name, value in means.items()}
        if any(value != value for value in values.values()):
            step = self.run.step
            raise ModelError(f"The loss became NaN before step {step}; lower the recipe's rate and use --resume.")
        return values if len(values) > 3 else {name: values[name] for name in ("loss", "drift")}

    def _watch(self, means: dict[str, float]) -> Watch:
        columns = [*COLUMNS, *(name for name in means if name != "loss"), "constants", *self.benchmarks]
        return Watch(self.out, columns, self.run.recipe.generator.scale)

    def report(self, watch: Watch, means: dict[str, float], seconds_per_step: float) -> None:
        """Say and note how the run stands, `means` since the last report."""
        run, recipe = self.run, self.run.recipe
        head = (run.step, means["loss"], run.rate(), 1 / seconds_per_step)
        row: dict[str, float] = dict(zip(COLUMNS, head, strict=True)) | means
        left = (run.last_step - run.step) * seconds_per_step
        of = f"/{run.last_step}"
        if run.clock:
            left, of = run.clock.seconds * (1 - run.clock.gone), ""
        text = f"step {run.step}{of}  loss {means['loss']:.5f}"
        text += "".join(f"  {name} {value:.4g}" for name, value in means.items() if name not in ("loss", "drift"))
        text += f"  {1 / seconds_per_step:.2f} steps/s  left {_clock(left)}"
        if self._measures():
            scores = self._measure(watch)
            row |= scores | {"constants": drift(run.ema).worst}
            text += "".join(f"  {name} {value:.2f} dB" for name, value in scores.items())
        log.info(text)
        watch.report(row, falling=not run.anneal and not recipe.losses.adversarial)

    def _measures(self) -> bool:
        """Whether this report measures the benchmarks; by the clock, as often as they take a small share of it."""
        run = self.run
        if run.clock:
            return time.monotonic() > self._measured and run.clock.gone < 1
        return run.step % run.recipe.evaluate_every == 0 or run.step == run.last_step

    def _measure(self, watch: Watch) -> dict[str, float]:
        """The benchmarks' PSNR, and a picture of a few crops; every size is new, so nothing is tuned for it."""
        run, began = self.run, time.monotonic()
        scale = run.recipe.generator.scale
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            scores = {name: psnr_y(run.ema, pairs, scale) for name, pairs in self.benchmarks.items()}
            sample = self._fixed_sample()
            watch.picture(run.step, run.ema, sample.lr, sample.hr)
        self._measured = time.monotonic() + (time.monotonic() - began) / MEASURE_SHARE
        return scores

    def _fixed_sample(self) -> Sample:
        """The same pairs at every call, from the training data, without a trace in the run's randomness."""
        random = torch.Generator(self.run.device).manual_seed(self.run.recipe.seed)
        return next(samples(self.source, self.run.recipe, random, self.run.device))

    def save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.world.first and self.run.step != self._saved:
            path = checkpoint.save(self.folder, self.run.step, self.run.freeze())
            self._saved = self.run.step
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
            total = model(lr.contiguous(memory_format=torch.channels_last)).float().sum()
        total.backward()
        passes.append(time.perf_counter() - began)
    return min(passes)


@contextmanager
def _signals(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM end the training after the step in progress."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        trainer.stop = trainer.interrupted = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def note(out: Path, values: dict[str, object]) -> None:
    """Write `values` to `out`/run.json: what a model card needs to know about the run."""
    out.mkdir(parents=True, exist_ok=True)
    write(out / "run.json", json.dumps(values, indent=2) + "\n")


def smallest_photo(recipe: Recipe) -> int:
    """Pixels that each side of a photo must have for the recipe's crops."""
    return crop_size(recipe.patch, recipe.generator.scale)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
