"""``python -m train videobench``: the video benchmark, and the figures of an upscaler on it.

Every frame is measured against its original, and against the one before.
"""

import argparse
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from torch import Tensor

from train.inference import Film, film
from train.metrics import crop_border, psnr, rgb_to_y, shift_flicker, ssim, warp_error
from train.videobench import CRFS, Benchmark, BenchPlan, Clip, make, open_benchmark
from vidsr.errors import UsageError
from vidsr.models import registry

log = logging.getLogger("train")

Distance = Callable[[Tensor, Tensor], float]  # of two (3, H, W) of code values
EVERY = 3  # distances are slow: they are measured on every third frame, and between it and the next
CLIPS = 16  # of a benchmark, unless it is told otherwise
ORIGINAL = "original"  # the row of the HR frames themselves: what the motion alone costs


@dataclass(frozen=True)
class Part:
    """What of a benchmark is measured: its first `clips`, of each the first `frames`, at those `crfs`; None is all."""

    clips: int | None = None
    frames: int | None = None
    crfs: tuple[int, ...] | None = None


@dataclass(frozen=True)
class VideoScore:
    """Figures of one model. rows: quality (``crf23``, ..., ``original``) -> measure -> mean over the clips.

    - psnr_y (dB), ssim_y: against the originals, `scale` pixels cropped.
    - chroma: mean absolute error of R - G and B - G, in code values.
    - flicker: mean absolute difference, in code values, of successive frames of the pans laid on each other.
    - warp_error: the same for every clip, by the exact motion and bilinear sampling; the original has some, too.
    - each distance by its name, and as ``tlp-NAME`` by how much the distance of successive frames differs from that
      of the originals, x100 (Chu et al. 2020); both on every third frame.

    A measure that the clips do not allow is missing. clips: the same for each clip.
    """

    model: str
    scale: int
    benchmark: str
    num_frames: int
    rows: dict[str, dict[str, float]]
    clips: dict[str, dict[str, dict[str, float]]]

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON can hold it, figures rounded to what is reproducible."""
        head = {"model": self.model, "scale": self.scale, "benchmark": self.benchmark, "frames": self.num_frames}
        clips = {name: _rounded(rows) for name, rows in self.clips.items()}
        return head | {"rows": _rounded(self.rows), "clips": clips}


def _rounded(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {row: {name: round(value, 4) for name, value in values.items()} for row, values in rows.items()}


def measure(
    process: Film, folder: Path, part: Part = Part(), *, name: str = "", distances: Mapping[str, Distance] | None = None
) -> VideoScore:
    """Measure what `process` makes of whole clips, on that part of the benchmark in `folder`.

    Raises:
        MediaError: no benchmark there, or a damaged one.
        UsageError: a quality that the benchmark does not have, or nothing left to measure.
    """
    bench = open_benchmark(folder)
    chosen = bench.clips[: part.clips]
    num = min(part.frames or bench.plan.frames, bench.plan.frames)
    if unknown := sorted(set(part.crfs or ()) - set(bench.plan.crfs)):
        raise UsageError(f"The video benchmark has no CRF {unknown[0]}, only {', '.join(map(str, bench.plan.crfs))}.")
    if not chosen or num < 2:
        raise UsageError("Measuring video needs at least 1 clip and 2 frames.")
    found = {}
    for clip in chosen:
        found[clip.name] = _measure_clip(process, bench, clip, num, list(part.crfs or bench.plan.crfs), distances or {})
        log.info("%s: measured, %d of %d", clip.name, len(found), len(chosen))
    rows = {row: mean([one[row] for one in found.values()]) for row in next(iter(found.values()))}
    return VideoScore(name, bench.plan.scale, bench.digest, num * len(chosen), rows, found)


def _measure_clip(
    process: Film, bench: Benchmark, clip: Clip, num: int, crfs: list[int], distances: Mapping[str, Distance]
) -> dict[str, dict[str, float]]:
    hr, scale = bench.originals(clip, num), bench.plan.scale
    steps = {name: _steps(distance, hr) for name, distance in distances.items()}
    rows = {}
    for crf in crfs:
        sr = process(bench.decoded(clip, crf, num))
        rows[f"crf{crf}"] = _spatial(sr, hr, scale, distances) | _temporal(clip, sr, scale)
        for name, distance in distances.items():
            pairs = zip(_steps(distance, sr), steps[name], strict=True)
            rows[f"crf{crf}"][f"tlp-{name}"] = 100 * average([abs(a - b) for a, b in pairs])
    return rows | {ORIGINAL: _temporal(clip, hr, scale)}


def _spatial(sr: list[Tensor], hr: list[Tensor], border: int, distances: Mapping[str, Distance]) -> dict[str, float]:
    pairs = [(crop_border(a, border), crop_border(b, border)) for a, b in zip(sr, hr, strict=True)]
    lumas = [(rgb_to_y(a), rgb_to_y(b)) for a, b in pairs]
    figures = {
        "psnr_y": average([psnr(a, b) for a, b in lumas]),
        "ssim_y": average([ssim(a, b) for a, b in lumas]),
        "chroma": average([_chroma_error(a, b) for a, b in pairs]),
    }
    return figures | {name: average([distance(*one) for one in pairs[::EVERY]]) for name, distance in distances.items()}


def _chroma_error(a: Tensor, b: Tensor) -> float:
    """Of red and blue against green, so that brightness cancels out."""
    error = a - b
    return float((error[[0, 2]] - error[1]).abs().mean().item())


def _temporal(clip: Clip, frames: list[Tensor], border: int) -> dict[str, float]:
    pairs = list(pairwise(frames))
    errors = [warp_error(a, b, clip.motion(k, k + 1), border) for k, (a, b) in enumerate(pairs)]
    figures = {"warp_error": average(errors)}
    if clip.kind == "pan":
        before, after = clip.views[:2]
        down, right = round(before.top - after.top), round(before.left - after.left)
        figures["flicker"] = average([shift_flicker(a, b, down, right, border) for a, b in pairs])
    return figures


def _steps(distance: Distance, frames: list[Tensor]) -> list[float]:
    return [distance(after, before) for before, after in list(pairwise(frames))[::EVERY]]


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of every measure over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: average([row[name] for row in rows if name in row]) for name in names}


def average(values: list[float]) -> float:
    """The mean of at least one value."""
    return math.fsum(values) / len(values)


def table(report: VideoScore) -> str:
    """The rows as text, one quality a line."""
    names = list(dict.fromkeys(name for row in report.rows.values() for name in row))
    head = f"{report.model} x{report.scale}, video benchmark {report.benchmark}, {report.num_frames} frames"
    side = max(9, *map(len, report.rows))
    lines = [head, " " * side + "".join(f"{name:>{max(len(name), 9) + 2}}" for name in names)]
    for row, values in report.rows.items():
        cells = (f"{values[name]:.4f}" if name in values else "-" for name in names)
        widths = (max(len(name), 9) + 2 for name in names)
        lines.append(row.ljust(side) + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    return "\n".join(lines)


class PlannedClips(Protocol):
    """A benchmark on disk."""

    @property
    def plan(self) -> BenchPlan:
        """What it holds."""

    @property
    def digest(self) -> str:
        """Of all that decides its figures."""


class Measure(Protocol):
    """What `measure` is called with."""

    def __call__(
        self, process: Film, folder: Path, part: Part, *, name: str, distances: Mapping[str, Distance] | None
    ) -> VideoScore:
        """The figures."""


def add_options(parser: argparse.ArgumentParser, items: str, usual: int) -> None:
    """The options of a benchmark of `items`, of which as many are usual."""
    parser.add_argument("--data", type=Path, help="folder of photos: make the benchmark from them")
    parser.add_argument("--out", type=Path, required=True, help="folder of the benchmark")
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4))
    parser.add_argument("--size", type=int, default=384, help="side of an HR frame in pixels (default: 384)")
    only = f"make, or measure, only the first N (default: {usual}, or all)"
    parser.add_argument(f"--{items}", dest="items", metavar=items.upper(), type=int, help=only)
    parser.add_argument("--frames", type=int, help="of each only the first N (default: 12, or all)")
    parser.add_argument("--crf", type=int, action="append", help="quality; may be repeated (default: 23, 28, 33)")
    parser.add_argument("--measure", metavar="MODEL", help="a shipped model's name, or a .safetensors file")
    parser.add_argument("--distance", action="append", default=[], help="perceptual distance to measure; repeatable")
    parser.add_argument("--steady", type=float, default=0, help="as of vidsr upscale: 0 (default) to 1")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object on stdout")
    parser.set_defaults(noun=items, usual=usual)


def make_or_measure(
    args: argparse.Namespace,
    make: Callable[[BenchPlan, Path, Path], PlannedClips],
    open_bench: Callable[[Path], PlannedClips],
    measure: Measure,
    shown: Callable[[VideoScore], VideoScore] = lambda report: report,
) -> int:
    """What a command with `add_options` does; `shown` is what its table has of a score.

    Raises:
        UsageError: neither is asked for, or --steady is not from 0 to 1.
        ModelError: no such model for the benchmark's scale.
        BackendError: the weights of a distance are not installed.
    """
    if args.data is None and args.measure is None:
        raise UsageError("Give --data PHOTOS to make the benchmark, --measure MODEL to measure, or both.")
    if not 0 <= args.steady <= 1:
        raise UsageError(f"--steady must be from 0 to 1, not {args.steady:g}.")
    if args.data is not None:
        plan = BenchPlan(args.scale, args.size, args.items or args.usual, args.frames or 12, tuple(args.crf or CRFS))
        made = make(plan, args.data, args.out)
        if args.measure is None:
            print(f"{args.out}: {plan.clips} {args.noun} of {plan.frames} frames, digest {made.digest}")
            return 0
    from vidsr.perceptual import Perceptual

    model = registry.load(args.measure, open_bench(args.out).plan.scale)
    found = {one: Perceptual(one) for one in args.distance}
    part = Part(args.items, args.frames, args.crf and tuple(args.crf))
    report = measure(film(model.module, args.steady), args.out, part, name=model.name, distances=found)
    print(json.dumps(report.to_dict()) if args.json else table(shown(report)))
    return 0


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``videobench`` to the commands of ``python -m train``."""
    parser = commands.add_parser("videobench", help="make the fixed video benchmark, or measure a model on it")
    add_options(parser, "clips", CLIPS)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    return make_or_measure(args, make, open_benchmark, measure)
