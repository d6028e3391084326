"""Whether a network in INT8 is as good as it is in FP32: figure by figure, each with what it may lose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train import evaluate, probes
from train.constants import COARSE
from train.evaluate import Pair
from train.inference import run
from train.metrics import crop_border
from train.videoscore import VideoScore
from vidsr.backends.accuracy import INT8, p999
from vidsr.perceptual import Perceptual

LOSS = {"fast": 0.05, "srgan": 0.1}  # dB of PSNR to the original
FARTHER = 1.02  # of a perceptual distance
UNSTEADIER = 1.01  # of flicker, which is measured no finer
TINT = 0.25  # codes that a picture's or a constant's mean colour may move
PATTERN = 0.05  # codes more of a checkerboard or hatch
BAND = 0.5  # codes that a wide place of a slow slope may move


@dataclass(frozen=True)
class Figure:
    """One measure: what it is of, in FP32 and in INT8, and the worst that INT8 may be."""

    name: str
    exact: float
    coded: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether INT8 is good enough: above the limit where that is below FP32, else below it."""
        return self.coded >= self.limit if self.limit < self.exact else self.coded <= self.limit


def table(figures: Sequence[Figure]) -> str:
    """For people."""
    side = max(len(one.name) for one in figures)
    lines = [f"{'':<{side}}{'FP32':>10}{'INT8':>10}{'limit':>10}"]
    for one in figures:
        verdict = "" if one.holds else "  does not hold"
        lines.append(f"{one.name:<{side}}{one.exact:>10.4f}{one.coded:>10.4f}{one.limit:>10.4f}{verdict}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Both:
    """A generator and the same one in INT8; `graph` decides how much it may lose."""

    exact: nn.Module
    coded: nn.Module
    graph: str
    scale: int
    halo: int

    def each(self, measure: Callable[[nn.Module], Mapping[str, float]]) -> Iterator[tuple[str, float, float]]:
        """Every figure of `measure`, of either one."""
        before, after = measure(self.exact), measure(self.coded)
        yield from ((name, value, after[name]) for name, value in before.items())


def apart(both: Both, pictures: Sequence[Tensor], name: str) -> list[Figure]:
    """How far INT8 is from FP32 on `pictures`, (3, h, w) in [0, 1]: the differences of all together, and of colours."""
    errors, tints = [], []
    for picture in pictures:
        off = run(both.coded, picture * 255) - run(both.exact, picture * 255)
        errors.append(off.abs().flatten())
        tints.append(float(off.mean((1, 2)).abs().max()))
    return [
        Figure(f"{name}: 99.9th percentile, codes", 0.0, p999(torch.cat(errors).numpy()), INT8.p999),
        Figure(f"{name}: mean colour, codes", 0.0, max(tints), TINT),
    ]


def benchmark(both: Both, name: str, pairs: Sequence[Pair], perceptual: Sequence[Perceptual]) -> list[Figure]:
    """On a benchmark of pictures."""

    def measure(module: nn.Module) -> Mapping[str, float]:
        figures = evaluate.evaluate(module, pairs, both.scale, perceptual)
        return evaluate.mean([row for _, row in figures])

    found = [
        Figure(f"{name}: {measure}", exact, coded, _limit(both, measure, exact))
        for measure, exact, coded in both.each(measure)
        if measure in ("psnr_y", "shift_flicker", *(one.name for one in perceptual))
    ]
    return found + apart(both, [pair.lr.expand(3, -1, -1) / 255 for pair in pairs], name)


def video(both: Both, measure: Callable[[nn.Module], VideoScore], distances: Sequence[str]) -> list[Figure]:
    """On the video benchmark."""

    def rows(module: nn.Module) -> Mapping[str, float]:
        kept = ("psnr_y", "flicker", "warp_error", *distances)
        scored = measure(module).rows
        return {f"{row} {name}": v for row, one in scored.items() for name, v in one.items() if name in kept}

    return [
        Figure(f"video: {name}", exact, coded, _limit(both, name.split()[1], exact))
        for name, exact, coded in both.each(rows)
        if not name.startswith("original")
    ]


def _limit(both: Both, measure: str, exact: float) -> float:
    if measure == "psnr_y":
        return exact - LOSS[both.graph]
    return exact * (UNSTEADIER if measure in ("shift_flicker", "flicker", "warp_error") else FARTHER)


def flats(both: Both) -> list[Figure]:
    """Where there is nothing to draw: constants, checkerboards, hatches, and bands on slow slopes."""
    exact, coded = (_flat(module, both.scale, both.halo) for module in (both.exact, both.coded))
    constants = [
        Figure(f"constants: {name}", value, coded.constants[name], value + TINT)
        for name, value in exact.constants.items()
    ]
    patterns = [
        Figure(f"flats: {name}", value, coded.patterns[name], value + PATTERN) for name, value in exact.patterns.items()
    ]
    bands = float(F.avg_pool2d((coded.slopes - exact.slopes) * 255, COARSE).abs().max())  # of a wide place
    return [*constants, *patterns, Figure("slopes: bands, codes", 0.0, bands, BAND)]


class _Flat(NamedTuple):
    """What a generator makes of pictures without details; `slopes` without their borders."""

    constants: Mapping[str, float]
    patterns: Mapping[str, float]
    slopes: Tensor


@lru_cache(2)  # FP32 is the same beside every candidate
@torch.inference_mode()
def _flat(module: nn.Module, scale: int, halo: int) -> _Flat:
    lr = probes.slopes(probes.INNER + 2 * halo) / 255
    return _Flat(
        constants=vars(probes.drift(module)),
        patterns={"checkerboard": evaluate.checkerboard(module, scale), **probes.hatch(module, scale, halo)},
        slopes=crop_border(module(lr), halo * scale),
    )
