"""Figures of a model: on a benchmark by the conventions of published tables, under a pan, and on plain colours."""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from train import metrics
from train.constants import endless
from train.data import read_image
from train.inference import film, run, upscale
from train.metrics import colour_drift, crop_border, psnr, rgb_to_y, shift_flicker, ssim
from train.probes import SIDE, drift, hatch
from train.resample import downscale
from vidsr.errors import BackendError, MediaError, UsageError
from vidsr.models import registry
from vidsr.perceptual import SOURCES, Perceptual

if TYPE_CHECKING:
    from train.videoscore import VideoScore

log = logging.getLogger("train")

BENCHMARKS = ("Set5", "Set14")
PERCEPTUAL = ("stlpips-alex", "squeezenet")  # neither is ever trained on
MIN_SIDE = 40  # HR pixels: what the pan of `flicker` needs at x4
PAN_DOWN, PAN_RIGHT, PAN_FRAMES = 1, 3, 4  # HR pixels per frame: every frame falls differently on the LR grid
PAN_BORDER = 3  # LR pixels that a pan's frames lose on every side: what lies there knows different surroundings
GREYS = range(16, 241, 16)

# A model's figures, by these names; those of a benchmark are the means over its pictures.
COLUMNS = {
    "psnr_y": ("PSNR Y (dB)", ".2f"),
    "ssim_y": ("SSIM Y", ".4f"),
    "psnr_rgb": ("PSNR RGB (dB)", ".2f"),
    "ssim_rgb": ("SSIM RGB", ".4f"),
    "stlpips-alex": ("ST-LPIPS AlexNet", ".3f"),
    "stlpips-vgg": ("ST-LPIPS VGG16", ".3f"),
    "squeezenet": ("SqueezeNet", ".3f"),
    "shift_flicker": ("shift-flicker", ".2f"),
    "colour_drift": ("colour drift", ".2f"),
    "checkerboard": ("checkerboard", ".3f"),
    "hatch_slopes": ("hatch on slopes", ".2f"),
    "hatch_dark": ("hatch in the dark", ".2f"),
    "drift_mean": ("drift on constants", ".2f"),
    "drift_worst": ("worst drift", ".2f"),
}
LEGEND = (
    "ST-LPIPS and SqueezeNet are perceptual distances, lower is better; shift-flicker, colour drift, checkerboard "
    "(on flat grey), hatch (finer than the source's pixels, on slow slopes and on dark noise) and the drift on 125 "
    "constant colours are in code values of 255."
)
Figures = dict[str, float]


@dataclass(frozen=True)
class Pair:
    """One benchmark picture: code values 0 to 255, float32, (C, H, W) with C = 3, or 1 for a grey picture."""

    name: str
    lr: Tensor
    hr: Tensor


def read_benchmark(folder: Path, scale: int) -> list[Pair]:
    """The pairs ``*_LR.png`` and ``*_HR.png`` in `folder`, or in its subfolder ``x2`` or ``x4``.

    Raises:
        MediaError: there are none, one of a pair is missing, too small, or not of a size that fits the scale.
    """
    inner = folder / f"x{scale}"
    found = sorted((inner if inner.is_dir() else folder).glob("*_HR.*"))
    if not found:
        raise MediaError(f"{folder} holds no benchmark for x{scale}; it needs pairs NNN_LR.png and NNN_HR.png.")
    return [_read_pair(path, scale) for path in found]


def read_benchmarks(folder: Path | None, scale: int) -> dict[str, list[Pair]]:
    """Those of Set5 and Set14 that stand in `folder`, by name; none without a folder."""
    return {name: read_benchmark(folder / name, scale) for name in BENCHMARKS if folder and (folder / name).is_dir()}


def _read_pair(path: Path, scale: int) -> Pair:
    hr = _read(path)
    lr = _read(path.with_name(path.name.replace("_HR.", "_LR.")))
    if [side * scale for side in lr.shape[1:]] != list(hr.shape[1:]):
        raise MediaError(f"{path} is not x{scale} the size of its LR picture; check --scale.")
    if min(hr.shape[1:]) < MIN_SIDE:
        raise MediaError(f"{path} is smaller than {MIN_SIDE} pixels; a benchmark needs larger pictures.")
    return Pair(path.stem.removesuffix("_HR"), lr, hr)


def _read(path: Path) -> Tensor:
    values = read_image(path)
    with Image.open(path) as image:
        grey = image.mode in ("1", "L", "I;16")
    planes = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).float()
    return planes[:1] if grey else planes


def score(sr: Tensor, hr: Tensor, border: int, perceptual: Iterable[Perceptual] = ()) -> Figures:
    """Measure one picture; the values of a grey one count as they are, for Y and for RGB.

    `border` pixels are cropped for all figures but the perceptual ones, which see the whole picture.
    """
    distances = {distance.name: distance(sr, hr) for distance in perceptual}
    sr, hr = crop_border(sr, border), crop_border(hr, border)
    sr_y, hr_y = (sr, hr) if hr.shape[0] == 1 else (rgb_to_y(sr), rgb_to_y(hr))
    figures = {
        "psnr_y": psnr(sr_y, hr_y),
        "ssim_y": ssim(sr_y, hr_y),
        "psnr_rgb": psnr(sr, hr),
        "ssim_rgb": ssim(sr, hr),
    }
    return figures | distances | {"colour_drift": colour_drift(sr, hr)}


def pan(hr: Tensor, scale: int) -> list[Tensor]:
    """A camera that moves over (C, H, W) code values: PAN_FRAMES HR crops of one size, whole LR pixels each."""
    height = (hr.shape[1] - PAN_DOWN * (PAN_FRAMES - 1)) // scale * scale
    width = (hr.shape[2] - PAN_RIGHT * (PAN_FRAMES - 1)) // scale * scale
    starts = [(PAN_DOWN * frame, PAN_RIGHT * frame) for frame in range(PAN_FRAMES)]
    return [hr[:, top : top + height, left : left + width] for top, left in starts]


def flicker(module: nn.Module, hr: Tensor, scale: int) -> float:
    """Shift-flicker between consecutive frames of `pan`, each reduced and upscaled on its own."""
    frames = [upscale(module, downscale(frame / 255, scale) * 255) for frame in pan(hr, scale)]
    values = [shift_flicker(*pair, -PAN_DOWN, -PAN_RIGHT, PAN_BORDER * scale) for pair in pairwise(frames)]
    return sum(values) / len(values)


def checkerboard(module: nn.Module, scale: int) -> float:
    """Mean strength of the pattern that a model leaves on flat greys without an end (`train.constants`).

    It is taken before rounding: below half a code value it still shows in 10 bit, and over soft gradients.
    """
    flats = (torch.full((3, SIDE, SIDE), float(grey)) for grey in GREYS)
    with endless(module):
        values = [metrics.checkerboard(run(module, flat), scale) for flat in flats]
    return sum(values) / len(values)


def psnr_y(module: nn.Module, pairs: list[Pair], scale: int) -> float:
    """Mean PSNR on Y in dB, `scale` pixels cropped: the quick figure that is logged during training."""
    return sum(_psnr_y(upscale(module, pair.lr), pair.hr, scale) for pair in pairs) / len(pairs)


def _psnr_y(sr: Tensor, hr: Tensor, border: int) -> float:
    sr, hr = crop_border(sr, border), crop_border(hr, border)
    return psnr(sr, hr) if hr.shape[0] == 1 else psnr(rgb_to_y(sr), rgb_to_y(hr))


def evaluate(
    module: nn.Module, pairs: Iterable[Pair], scale: int, perceptual: Sequence[Perceptual] = ()
) -> Iterator[tuple[str, Figures]]:
    """Name and figures of every picture, one after the other; `scale` pixels are cropped."""
    for pair in pairs:
        figures = score(upscale(module, pair.lr), pair.hr, scale, perceptual)
        yield pair.name, figures | {"shift_flicker": flicker(module, pair.hr, scale)}


def mean(figures: Sequence[Figures]) -> Figures:
    """The mean of each figure."""
    return {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]}


def rounded(figures: Figures) -> Figures:
    """The same figures with as many decimals as are reproducible."""
    return {name: round(value, 4) for name, value in figures.items()}


def open_perceptual(names: Sequence[str] | None, trained_on: str = "") -> list[Perceptual]:
    """The perceptual distances to measure with: those named, or (None) as many of PERCEPTUAL as are installed.

    Args:
        names: of `vidsr.perceptual.SOURCES`; empty for none.
        trained_on: the trunk that the model's own loss used, as its header names it.

    Raises:
        UsageError: only the network that the model was trained on is named.
        BackendError: one of those named is not installed.
    """
    if names and all(trained_on.startswith(name) for name in names):
        raise UsageError(f"The model was trained on {trained_on}; name another --perceptual beside {names[0]}.")
    found = []
    for name in PERCEPTUAL if names is None else dict.fromkeys(names):
        try:
            found.append(Perceptual(name))
        except BackendError as error:
            if names is not None:
                raise
            log.warning("%s is not measured. %s", name, error)
    return found


def measure(model: registry.Model, pairs: Sequence[Pair], perceptual: Sequence[Perceptual]) -> dict[str, Figures]:
    """Figures of every picture by its name, and under ``mean`` their means and what the model does to flat places."""
    pictures = {}
    for name, figures in evaluate(model.module, pairs, model.scale, perceptual):
        pictures[name] = figures
        log.info("%s x%d: picture %s, %d of %d", model.name, model.scale, name, len(pictures), len(pairs))
    total = mean(list(pictures.values()))
    total["checkerboard"] = checkerboard(model.module, model.scale)
    total |= hatch(model.module, model.scale, model.halo)
    drifted = drift(model.module)
    total |= {"drift_mean": drifted.mean, "drift_worst": drifted.worst}
    return pictures | {"mean": total}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``evaluate`` to the commands of ``python -m train``."""
    parser = commands.add_parser("evaluate", help="measure a model on a benchmark, of pictures or of video")
    parser.add_argument("--benchmark", help="a folder of pairs, or its name in --benchmarks")
    parser.add_argument("--benchmarks", type=Path, default=Path(), help="folder that holds Set5 and Set14")
    parser.add_argument("--model", default=registry.BICUBIC, help="a shipped model's name, or a .safetensors file")
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4))
    add_measures(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_run)


def add_measures(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `chosen_perceptual` and `measure_video` take."""
    parser.add_argument(
        "--perceptual",
        action="append",
        choices=(*SOURCES, "none"),
        help=f"perceptual distance; may be repeated (default: {' and '.join(PERCEPTUAL)}, where installed)",
    )
    parser.add_argument("--videobench", type=Path, metavar="DIR", help="folder of a video benchmark: measure on it too")
    parser.add_argument("--clips", type=int, help="no more than the first N of the video benchmark")
    parser.add_argument("--frames", type=int, help="no more than the first N frames of each clip")


def chosen_perceptual(args: argparse.Namespace, trained_on: str) -> list[Perceptual]:
    """Open what --perceptual says, see `open_perceptual`."""
    names = None if args.perceptual is None else [name for name in args.perceptual if name != "none"]
    return open_perceptual(names, trained_on)


def measure_video(args: argparse.Namespace, model: registry.Model, perceptual: Sequence[Perceptual]) -> "VideoScore":
    """Measure on the video benchmark that --videobench names.

    Raises:
        MediaError: there is none.
        UsageError: it is made for another scale.
    """
    from train import videobench, videoscore  # they need PyAV

    made_for = videobench.open_benchmark(args.videobench).plan.scale
    if made_for != model.scale:
        raise UsageError(f"The video benchmark {args.videobench} is for x{made_for}, not for x{model.scale}.")
    return videoscore.measure(
        film(model.module),
        args.videobench,
        videoscore.Part(args.clips, args.frames),
        name=model.name,
        distances={distance.name: distance for distance in perceptual},
    )


def _run(args: argparse.Namespace) -> int:
    if not args.benchmark and not args.videobench:
        raise UsageError("Say what to measure on: --benchmark Set5, a folder of pairs, or --videobench DIR.")
    model = registry.load(args.model, args.scale)
    pairs = read_benchmark(args.benchmarks / args.benchmark, args.scale) if args.benchmark else []
    perceptual = chosen_perceptual(args, str(model.metadata.get("perceptual_loss", "")))
    figures = measure(model, pairs, perceptual) if pairs else {}
    video = measure_video(args, model, perceptual) if args.videobench else None
    if args.json:
        head = {"model": model.name, "scale": model.scale, "weights": model.weights_hash}
        pictures = _report(args.benchmark, model.scale, figures) if figures else {}
        print(json.dumps(head | pictures | ({"video": video.to_dict()} if video else {})))
        return 0
    if figures:
        name = Path(args.benchmark).name
        print(f"{model.name} x{model.scale} on {name}, {args.scale} pixels cropped, outputs rounded to 8 bit")
        print("\n".join([*table(figures), LEGEND]))
    if video:
        from train import videoscore

        print(videoscore.table(video))
    return 0


def _report(benchmark: str, border: int, figures: Mapping[str, Figures]) -> dict[str, object]:
    pictures = {name: rounded(one) for name, one in figures.items()}
    total = pictures.pop("mean")
    return {"benchmark": Path(benchmark).name, "border": border, "mean": total, "pictures": pictures}


def table(rows: Mapping[str, Figures]) -> list[str]:
    """Rows of figures by their names as aligned lines of text, a heading first."""
    names = [name for name in COLUMNS if any(name in row for row in rows.values())]
    widths = {name: max(len(COLUMNS[name][0]), 8) for name in names}
    lines = ["  ".join([f"{'picture':<12}", *(f"{COLUMNS[name][0]:>{widths[name]}}" for name in names)])]
    for title, row in rows.items():
        cells = [f"{show(name, row):>{widths[name]}}" for name in names]
        lines.append("  ".join([f"{title:<12}", *cells]))
    return lines


def show(name: str, row: Mapping[str, float]) -> str:
    """One figure as text; nothing where it was not measured."""
    return format(row[name], COLUMNS[name][1]) if name in row else ""
