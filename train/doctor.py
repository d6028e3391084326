"""What a recipe will take here: data rate, steps per second against what the hardware allows, memory, time."""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from train import arguments
from train.crops import Sample
from train.fit import choose_bf16
from train.gan import Adversarial
from train.recipe import Recipe
from train.run import Run
from train.sample import Source, samples
from train.stage import Stage
from vidsr.errors import UsageError
from vidsr.models.work import multiply_adds

WARM_STEPS = 2  # before steps are timed: compiling, choosing algorithms
MATMUL_SIDE = {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True)
class Diagnosis:
    """Measured on this machine: rates per second, times in seconds, memory in bytes, work in multiply-adds a step.

    `peak` is the rate of multiply-adds of a large matrix product in the training precision; `floor` the time that a
    step's convolutions would take at this rate.
    """

    device: str
    bf16: bool
    batches_per_second: float
    steps_per_second: float
    macs_per_step: int
    peak: float
    memory: int
    steps: int

    @property
    def floor(self) -> float:
        """Seconds a step."""
        return self.macs_per_step / self.peak

    @property
    def left(self) -> float:
        """Seconds for all steps of the recipe."""
        return self.steps / self.steps_per_second

    def lines(self) -> list[str]:
        """The report for people."""
        share = self.floor * self.steps_per_second
        ahead = self.batches_per_second / self.steps_per_second
        return [
            f"device        {self.device}, {'bf16 autocast' if self.bf16 else 'FP32'}",
            f"data          {self.batches_per_second:,.1f} batches/s, {ahead:,.0f} times what the steps take",
            f"speed         {self.steps_per_second:.3g} steps/s, {1 / self.steps_per_second:.3g} s a step",
            f"work          {self.macs_per_step / 1e9:,.1f} G multiply-adds a step",
            f"floor         {self.floor:.3g} s a step at the {self.peak / 1e9:,.0f} G multiply-adds/s of a matrix "
            f"product; this is {share:.0%} of it",
            f"memory        {self.memory / 2**20:,.0f} MiB at most",
            f"time          {self.left / 3600:.1f} hours for {self.steps:,} steps",
        ]


def measure(recipe: Recipe, source: Source, device: torch.device, steps: int) -> Diagnosis:
    """Train `steps` steps of a run that is thrown away, and time its parts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run = Run(recipe, device)
    run.bf16 = choose_bf16(run)
    stream = samples(source, recipe, run.random, device)
    rate = _rate(lambda: next(stream), steps, device)
    stage = Adversarial(run) if recipe.losses.adversarial else Stage(run)
    run.model.train()
    sample = next(stream)
    macs = step_macs(stage, sample)

    def step() -> None:
        stage.step(next(stream))
        run.step += 1

    speed = _rate(step, steps, device)
    peak = matmul_rate(device, torch.bfloat16 if run.bf16 else torch.float32)
    name = arguments.machine(device)
    return Diagnosis(name, run.bf16, rate, speed, macs, peak, peak_memory(device), recipe.steps)


def _rate(action: Callable[[], object], count: int, device: torch.device) -> float:
    for _ in range(WARM_STEPS):
        action()
    _wait(device)
    began = time.perf_counter()
    for _ in range(count):
        action()
    _wait(device)
    return count / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_macs(stage: Stage, sample: Sample) -> int:
    """Multiply-adds of all convolutions and dense layers of one step.

    A backward pass takes as many again for the inputs, and for the weights: a trained network counts three times; the
    trunk twice forward, and once back to the input; the discriminator twice trained, and once there and back.
    """
    total = 3 * multiply_adds(stage.run.model, sample.lr).total()
    if stage.trunk:
        total += 3 * multiply_adds(stage.trunk, sample.hr).total()
    if isinstance(stage, Adversarial):
        total += 8 * multiply_adds(stage.discriminator, sample.hr).total()
        if stage.weights.artefact:
            total += multiply_adds(stage.run.ema, sample.lr).total()
    return total


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-adds per second of the quickest of five products of square matrices."""
    side = MATMUL_SIDE[device.type]
    a = torch.rand(side, side, device=device).to(dtype)
    rates = []
    for _ in range(5):
        _wait(device)
        began = time.perf_counter()
        a @ a
        _wait(device)
        rates.append(side**3 / (time.perf_counter() - began))
    return max(rates)


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has held at most: on the GPU where it trains there, else in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``doctor`` to the commands of ``python -m train``."""
    parser = commands.add_parser("doctor", help="measure what training a recipe will take here")
    arguments.add(parser)
    parser.add_argument("--measure", type=int, default=5, metavar="N", help="steps to time (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    recipe = arguments.read(args)
    if args.measure < 1:
        raise UsageError(f"--measure needs at least 1 step, not {args.measure}.")
    device = arguments.choose_device(args.device)
    source, _ = arguments.open_source(args, recipe)
    report = measure(recipe, source.near(device), device, args.measure)
    if args.json:
        print(json.dumps(asdict(report) | {"floor": report.floor, "left": report.left}))
    else:
        print("\n".join(report.lines()))
    return 0
