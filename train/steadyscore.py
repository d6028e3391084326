"""``python -m train steadybench``: the benchmark of steadiness, and the figures of an upscaler on it."""

import argparse
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from train.inference import Film
from train.metrics import crop_border, psnr, rgb_to_y
from train.scenes import MIXED, Layer, Scene
from train.steadybench import SCENES, SteadyBench, make, open_bench
from train.videoscore import EVERY, ORIGINAL, Distance, Part, VideoScore, add_options, average, make_or_measure, mean
from vidsr.errors import UsageError

ALL = Part()
IDENTITY = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], dtype=torch.float64)


def measure(
    process: Film, folder: Path, part: Part = ALL, *, name: str = "", distances: Mapping[str, Distance] | None = None
) -> VideoScore:
    """Measure what `process` makes of whole clips, on that part of the benchmark in `folder`.

    Rows and clips of the score are as `vidsr`'s video benchmark has them. Measures, in code values:

    - psnr_y (dB): against the clean originals.
    - warp_error: mean absolute difference of successive frames, laid on each other by the motion of what each pixel
      shows; the original has some, too, by the sampling and where the light changes.
    - along: root mean square change of the error against the original from frame to frame, along that motion.
    - still: the same, of layers that do not move between the two frames.
    - ghost: mean absolute error of what another layer covers in a neighbouring frame, or of whole frames at a cut.
    - each distance by its name, and as ``tlp-NAME`` as the video benchmark has it, no pair across a cut.

    Raises:
        MediaError: no benchmark there, or a damaged one.
        UsageError: a quality that the benchmark does not have, or nothing left to measure.
    """
    bench = open_bench(folder)
    chosen, num = bench.scenes[: part.clips], min(part.frames or bench.plan.frames, bench.plan.frames)
    if unknown := sorted(set(part.crfs or ()) - set(bench.plan.crfs)):
        raise UsageError(f"The benchmark has no CRF {unknown[0]}, only {', '.join(map(str, bench.plan.crfs))}.")
    if not chosen or num < 2:
        raise UsageError("Measuring steadiness needs at least 1 scene and 2 frames.")
    crfs = part.crfs or bench.plan.crfs
    clips = {scene.name: _measure_scene(process, bench, scene, num, crfs, distances or {}) for scene in chosen}
    rows = {row: mean([one[row] for one in clips.values()]) for row in next(iter(clips.values()))}
    return VideoScore(name, bench.plan.scale, bench.digest, num * len(chosen), rows, clips)


def _measure_scene(
    process: Film, bench: SteadyBench, scene: Scene, num: int, crfs: Sequence[int], distances: Mapping[str, Distance]
) -> dict[str, dict[str, float]]:
    hr, seen, border = bench.originals(scene, num), bench.layers(scene, num), bench.plan.scale
    rows = {}
    for crf in crfs:
        sr = process(bench.decoded(scene, crf, num))
        error = [a - b for a, b in zip(sr, hr, strict=True)]
        lumas = [crop_border(rgb_to_y(a) - rgb_to_y(b), border) for a, b in zip(sr, hr, strict=True)]
        row = {"psnr_y": average([psnr(one, torch.zeros_like(one)) for one in lumas])}
        row |= _along(scene, sr, error, seen, border) | _ghosts(scene, error, seen, border)
        for name, distance in distances.items():
            row[name] = average([distance(a, b) for a, b in list(zip(sr, hr, strict=True))[::EVERY]])
            row[f"tlp-{name}"] = _tlp(distance, scene, sr, hr)
        rows[f"crf{crf}"] = row
    nothing = [torch.zeros_like(frame) for frame in hr]
    return rows | {ORIGINAL: _along(scene, hr, nothing, seen, border)}


def _tlp(distance: Distance, scene: Scene, sr: list[Tensor], hr: list[Tensor]) -> float:
    pairs = [k for k in range(len(sr) - 1) if k + 1 not in scene.cuts][::EVERY]
    return 100 * average([abs(distance(sr[k + 1], sr[k]) - distance(hr[k + 1], hr[k])) for k in pairs])


def _along(
    scene: Scene, frames: list[Tensor], error: list[Tensor], seen: list[Tensor], border: int
) -> dict[str, float]:
    """The measures along the motion, over every pixel that shows the same layer in both frames of a pair."""
    warp, along, still = [], [], []
    for k, _ in enumerate(pairwise(frames)):
        for number, layer in enumerate(scene.layers, 1):
            motion = layer.motion(k, k + 1)
            if motion is None:
                continue
            place = _places(motion, seen[k])
            both = (seen[k] == number) & (_at(seen[k + 1] == number, place) > 0.999) & _inside(place, border)
            if not both.any():
                continue
            warp.append((_at(frames[k + 1], place) - frames[k])[:, both].abs().flatten())
            change = (_at(error[k + 1], place) - error[k])[:, both].square().flatten()
            along.append(change)
            if torch.equal(motion, IDENTITY):
                still.append(change)
    found = {"warp_error": _joined(warp), "along": _joined(along) ** 0.5, "still": _joined(still) ** 0.5}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _ghosts(scene: Scene, error: list[Tensor], seen: list[Tensor], border: int) -> dict[str, float]:
    """The error of what is covered in a neighbouring frame."""
    found = []
    for k, one in enumerate(error):
        for other in {k - 1, k + 1} & set(range(len(error))):
            if max(k, other) in scene.cuts:
                found.append(crop_border(one, border).abs().flatten())
                continue
            for number, layer in enumerate(scene.layers, 1):
                bare = _covered(layer, number, (seen[k], seen[other]), (k, other), border)
                found += [one[:, bare].abs().flatten()] if bare.any() else []
    return {"ghost": _joined(found)} if found else {}


def _covered(layer: Layer, number: int, seen: tuple[Tensor, Tensor], frames: tuple[int, int], border: int) -> Tensor:
    """Which pixels show the layer in the first frame, and lie behind another one in the second."""
    motion = layer.motion(*frames)
    if motion is None:
        return torch.zeros_like(seen[0], dtype=torch.bool)
    place = _places(motion, seen[0])
    before = _at((seen[1] != number) & (seen[1] != MIXED), place) > 0.999
    return (seen[0] == number) & before & _inside(place, border)


def _places(motion: Tensor, like: Tensor) -> Tensor:
    """(H, W, 2): where each pixel goes."""
    height, width = like.shape
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1) @ motion.T


def _inside(place: Tensor, border: int) -> Tensor:
    height, width = place.shape[:2]
    sides = torch.tensor([width - 1.0, height - 1.0], dtype=torch.float64)
    inside = ((place >= border) & (place <= sides - border)).all(-1)
    edge = torch.zeros(height, width, dtype=torch.bool)
    edge[border : height - border, border : width - border] = True
    return inside & edge


def _at(values: Tensor, place: Tensor) -> Tensor:
    """(C, H, W), or (H, W), sampled at `place`, bilinear."""
    planes = values.float()[None] if values.ndim == 3 else values.float()[None, None]
    sides = torch.tensor([planes.shape[-1] - 1.0, planes.shape[-2] - 1.0], dtype=torch.float64)
    grid = (place / sides.clamp(min=1) * 2 - 1).float()[None]
    found = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    return found if values.ndim == 3 else found[0]


def _joined(parts: list[Tensor]) -> float:
    return float(torch.cat(parts).double().mean().item()) if parts else math.nan


def by_kind(report: VideoScore, bench: SteadyBench) -> VideoScore:
    """`report` with a row for each kind of scene and quality."""
    rows: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(scene.kind for scene in bench.scenes if scene.name in report.clips):
        clips = [report.clips[s.name] for s in bench.scenes if s.kind == kind and s.name in report.clips]
        rows |= {f"{kind} {row}": mean([clip[row] for clip in clips]) for row in report.rows if row != ORIGINAL}
    return VideoScore(report.model, report.scale, report.benchmark, report.num_frames, report.rows | rows, report.clips)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``steadybench`` to the commands of ``python -m train``."""
    parser = commands.add_parser("steadybench", help="make the benchmark of steadiness, or measure a model on it")
    add_options(parser, "scenes", SCENES)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    return make_or_measure(args, make, open_bench, measure, lambda report: by_kind(report, open_bench(args.out)))
