"""``python -m train quantise``: measures how a model computes in INT8, and writes that into its weights' header."""

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from train import holding
from train.codes import emulated, measured
from train.evaluate import add_measures, chosen_perceptual, read_benchmarks
from train.holding import Both, Figure
from train.inference import film, run
from train.markdown import table
from train.small_pictures import small_pictures
from vidsr.backends.accuracy import INT8, p999
from vidsr.errors import ModelError, OutputError, UsageError
from vidsr.files import write
from vidsr.models import registry, scales
from vidsr.models.config import GeneratorConfig
from vidsr.models.scales import Scale
from vidsr.models.work import multiply_adds

log = logging.getLogger("train")

PICTURES, SIDE = 64, 64  # how many are measured, and their sides in pixels of the source
HELD = 4  # of so many one is kept back, to choose by
ROOM = 0.75  # of the limit: pictures that nobody has seen are harder
FEWEST = 0.5  # of the multiply-adds: with fewer in INT8 it is not worth it


def candidates(config: GeneratorConfig) -> list[str]:
    """The convolutions that may compute in INT8: the first and the last one see and make the picture itself."""
    found = scales.convolutions(config)
    return found[1:-1] if config.graph == "fast" else found[1:]


def choose(
    model: registry.Model, seen: Sequence[Tensor], kept: Sequence[Tensor], off: float = INT8.p999 * ROOM
) -> dict[str, Scale]:
    """The scales after `seen`, less those of the convolutions that cost most, until `kept` are near enough to FP32.

    `off` is how far they may be, in codes at the 99.9th percentile. Constants and patterns must hold as well.

    Raises:
        ModelError: they would be too few.
    """
    assert isinstance(model.config, GeneratorConfig)
    found = measured(model.module, candidates(model.config), seen)
    exact = [run(model.module, picture * 255) for picture in kept]

    def changes(chosen: Mapping[str, Scale]) -> np.ndarray:
        module = emulated(model.module, chosen)
        parts = [run(module, a * 255) - b for a, b in zip(kept, exact, strict=True)]
        return torch.cat([part.abs().flatten() for part in parts]).numpy()

    cost = {name: float(np.square(changes({name: scale})).mean()) for name, scale in found.items()}
    order, work = sorted(cost, key=lambda name: cost[name]), multiply_adds(model.module, kept[0][None])
    while sum(work[name] for name in order) >= FEWEST * work.total():
        chosen = {name: found[name] for name in found if name in order}
        far = p999(changes(chosen))
        log.info("%d of %d convolutions in INT8: 99.9th percentile %.2f codes", len(chosen), len(found), far)
        if far <= off:
            failing = _failing(holding.flats(_both(model, chosen)))
            if not failing:
                return chosen
            log.info("does not hold: %s", ", ".join(failing))
        log.info("%s stays in FP32", order.pop())
    raise ModelError(f"{model.name} x{model.scale} in INT8 is too far from FP32, so nothing was written.")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``quantise`` to the commands of ``python -m train``."""
    parser = commands.add_parser("quantise", help="measure a model's INT8 scales, and write them into its weights")
    parser.add_argument("model", help="a shipped model's name, or a .safetensors file")
    parser.add_argument(
        "--data", type=Path, action="append", required=True,
        help="folder of photos and clips, or a baked cache; may be repeated",
    )  # fmt: skip
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4))
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"how many to measure (default: {PICTURES})")
    parser.add_argument(
        "--off", type=float, default=INT8.p999 * ROOM, metavar="CODES",
        help="how far pictures that are kept back may be, at the 99.9th percentile (default: %(default)s): less leaves "
        "more convolutions in FP32",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, help="another file for the weights with their scales")
    parser.add_argument("--benchmarks", type=Path, help="folder with Set5 and Set14: INT8 must hold there, too")
    add_measures(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    model = registry.load(args.model, args.scale)
    if model.path is None or not isinstance(model.config, GeneratorConfig):
        raise UsageError(f"{args.model} has no weights file of vidsr's own, which alone can have scales.")
    if args.pictures < 2 * HELD:
        raise UsageError(f"--pictures must be at least {2 * HELD}, not {args.pictures}.")
    if not args.off > 0:
        raise UsageError(f"--off must be above 0, not {args.off:g}.")
    pictures = small_pictures(args.data, model.scale, args.pictures, SIDE)
    kept = pictures[::HELD]
    chosen = choose(model, [one for number, one in enumerate(pictures) if number % HELD], kept, args.off)
    both = _both(model, chosen)
    figures = [*holding.apart(both, kept, "kept back"), *holding.flats(both), *_measured(args, model, both)]
    print(holding.table(figures))
    if failing := _failing(figures):
        raise ModelError(f"INT8 does not hold ({', '.join(failing)}), so nothing was written.")
    target = args.output or model.path
    _write(model, chosen, target)
    _write_card(target, figures, len(chosen), len(scales.convolutions(model.config)))
    print(target)
    return 0


def _both(model: registry.Model, chosen: Mapping[str, Scale]) -> Both:
    assert isinstance(model.config, GeneratorConfig)
    return Both(model.module, emulated(model.module, chosen), model.config.graph, model.scale, model.halo)


def _failing(figures: Sequence[Figure]) -> list[str]:
    return [one.name for one in figures if not one.holds]


def _measured(args: argparse.Namespace, model: registry.Model, both: Both) -> list[Figure]:
    found, perceptual = list[Figure](), []
    if args.benchmarks or args.videobench:
        perceptual = chosen_perceptual(args, str(model.metadata.get("perceptual_loss", "")))
    for name, pairs in read_benchmarks(args.benchmarks, model.scale).items():
        log.info("%s: %d pictures in FP32 and in INT8", name, len(pairs))
        found += holding.benchmark(both, name, pairs, perceptual)
    if args.videobench:
        from train import videoscore  # it needs PyAV

        part = videoscore.Part(args.clips, args.frames)
        distances = {one.name: one for one in perceptual}
        found += holding.video(
            both,
            lambda module: videoscore.measure(
                film(module), args.videobench, part, name=model.name, distances=distances
            ),
            list(distances),
        )
    return found


def _write(model: registry.Model, chosen: Mapping[str, Scale], target: Path) -> None:
    """The weights with their scales, in one piece; whatever else the file holds stays as it is.

    Raises:
        OutputError: `target` cannot be written.
    """
    assert model.path is not None
    data = model.path.read_bytes()
    plain = scales.put(scales.put(data, "{}"), None)  # with its header in order, as it is with scales
    text = scales.to_text(chosen, scales.identity(plain))
    try:
        write(target, scales.put(data, text))
    except OSError as error:
        raise OutputError(f"Cannot write the weights {target} ({error.strerror}); check the folder.") from error


def _write_card(weights: Path, figures: Sequence[Figure], num: int, total: int) -> None:
    """Put what was measured at the end of the card beside the weights, where there is one."""
    path = weights.with_suffix(".md")
    if not path.exists():
        return
    text = re.sub(r"\n## INT8\n.*?(?=\n## |\Z)", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"- File: [\d,]+ bytes", f"- File: {weights.stat().st_size:,} bytes", text)
    rows = [[one.name, *(f"{value:.4f}" for value in (one.exact, one.coded, one.limit))] for one in figures]
    lines = [
        "## INT8",
        "",
        f"{num} of {total} convolutions may run in INT8, by the scales in the header of the weights; the others stay "
        "in FP32. Both emulated exactly, on a CPU:",
        "",
        *table(["", "FP32", "INT8", "limit"], rows),
    ]
    write(path, text.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n")
