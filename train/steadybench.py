"""The benchmark of steadiness: scenes like life's, with their exact motion and what covers what, and compressed copies.

The clean originals and the maps of layers are kept beside, without loss. The same photos and the same PyAV and Pillow
give the same bytes.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.camera import Shot
from train.data import find_photos, read_image
from train.resample import downscale
from train.scenes import KINDS, Layer, Scene, compose, noisy, plan_scenes
from train.videobench import FORMAT, BenchPlan, read_clip, read_index, write_hr, write_lr
from vidsr.errors import MediaError, UsageError
from vidsr.files import write

INDEX = "steady.json"
SCENES = len(KINDS)


@dataclass(frozen=True)
class SteadyBench:
    """A benchmark on disk; `digest` names its plan, motion and every byte of its clips."""

    folder: Path
    plan: BenchPlan
    scenes: tuple[Scene, ...]
    digest: str

    def originals(self, scene: Scene, num: int) -> list[Tensor]:
        """The first `num` clean HR frames: (3, size, size) float32, whole code values."""
        return [frame.round() for frame in read_clip(self.folder / f"{scene.name}.hr.mkv", num)]

    def layers(self, scene: Scene, num: int) -> list[Tensor]:
        """Which layer each pixel of the first `num` frames shows: (size, size) float32, see `compose`."""
        return [frame[0].round() for frame in read_clip(self.folder / f"{scene.name}.layers.mkv", num)]

    def decoded(self, scene: Scene, crf: int, num: int) -> list[Tensor]:
        """The first `num` LR frames at that quality, (3, h, w) code values, as the upscaler sees them: not rounded."""
        return list(read_clip(self.folder / f"{scene.name}.crf{crf}.mp4", num))


def make(plan: BenchPlan, photos: Path, out: Path) -> SteadyBench:
    """Make the benchmark over the photos in a folder, in their order by name, or find it already made in `out`.

    Raises:
        MediaError: no photo there, a damaged or too small one.
        UsageError: `out` holds another benchmark.
        OutputError: `out` cannot be written.
    """
    pictures = {path.name: read_image(path) for path in find_photos([photos])[: 2 * plan.clips]}
    for name, picture in pictures.items():
        if min(picture.shape[:2]) < plan.size:
            height, width = picture.shape[:2]
            raise MediaError(f"The photo {name} is {width}x{height}, smaller than a scene of {plan.size} pixels.")
    shapes = [(name, picture.shape[:2]) for name, picture in pictures.items()]
    scenes = plan_scenes(plan.clips, plan.frames, plan.size, shapes, plan.seed)
    if (out / INDEX).exists():
        found = open_bench(out)
        if found.plan != plan or found.scenes != tuple(scenes):
            raise UsageError(f"{out} holds another benchmark; choose another --out, or leave --data out.")
        return found
    out.mkdir(parents=True, exist_ok=True)
    planes = {name: torch.from_numpy(one.copy()).permute(2, 0, 1).float() for name, one in pictures.items()}
    paths = [path for number, scene in enumerate(scenes) for path in _written(plan, out, scene, planes, number)]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    index = {"format": FORMAT, "plan": asdict(plan), "scenes": [asdict(scene) for scene in scenes], "files": files}
    write(out / INDEX, json.dumps(index, indent=1) + "\n")
    return open_bench(out)


def _written(plan: BenchPlan, out: Path, scene: Scene, planes: dict[str, Tensor], number: int) -> Sequence[Path]:
    frames, seen = zip(*compose(scene, planes, plan.size), strict=True)
    small = [downscale(frame / 255, plan.scale) for frame in frames]
    small = noisy(scene, small, np.random.default_rng((plan.seed, number, 1)))
    coded = [write_lr(out / f"{scene.name}.crf{crf}.mp4", small, crf) for crf in plan.crfs]
    maps = write_hr(out / f"{scene.name}.layers.mkv", [one.expand(3, -1, -1) for one in seen])
    return [write_hr(out / f"{scene.name}.hr.mkv", frames), maps, *coded]


def open_bench(folder: Path) -> SteadyBench:
    """Read the index of a benchmark.

    Raises:
        MediaError: none in `folder`, a damaged one, or one of another format.
    """
    return SteadyBench(folder, *read_index(folder / INDEX, "benchmark of steadiness", _scenes))


def _scenes(index: dict[str, Any]) -> tuple[Scene, ...]:
    return tuple(_scene(one) for one in index["scenes"])


def _scene(one: dict[str, Any]) -> Scene:
    layers = (
        Layer(layer["photo"], layer["shape"], tuple(view and Shot(**view) for view in layer["views"]))
        for layer in one["layers"]
    )
    return Scene(one["name"], one["kind"], tuple(layers), tuple(one["light"]))
