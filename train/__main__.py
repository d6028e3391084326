"""``python -m train``: fit, evaluate, export."""

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path

from train import export, fit
from train.data import find_photos, open_bank
from train.evaluate import Score, evaluate, mean, read_benchmark
from train.recipe import Recipe, read_recipe
from vidsr.errors import UsageError, VidsrError
from vidsr.models import registry

BENCHMARKS = ("Set5", "Set14")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Make the weights that vidsr runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_fit(commands.add_parser("fit", help="train a generator on photos with a pixel loss"))
    _add_evaluate(commands.add_parser("evaluate", help="measure PSNR and SSIM on a benchmark"))
    _add_export(commands.add_parser("export", help="write FP16 weights and their model card"))
    return parser


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a TOML file, or the name of one in train/recipes")
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of photos; may be repeated")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--benchmarks", type=Path, help="folder with Set5 and Set14, measured now and then")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--steps", type=int, help="length of the constant-rate phase, instead of the recipe's")
    parser.add_argument(
        "--anneal", type=int, metavar="N", help="take the newest stable checkpoint to rate 0 in N steps"
    )
    parser.add_argument("--init", type=Path, metavar="RUN", help="begin with the weights of another run that fit")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos (default: the user's cache folder)")
    parser.set_defaults(run=_fit)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--benchmark", required=True, help="a folder of pairs, or its name in --benchmarks")
    parser.add_argument("--benchmarks", type=Path, default=Path(), help="folder that holds Set5 and Set14")
    parser.add_argument("--model", default=registry.BICUBIC, help="a shipped model's name, or a .safetensors file")
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4))
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_evaluate)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a run's folder, or one of its checkpoints")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .safetensors file; its card is put beside"
    )
    parser.add_argument("--benchmarks", type=Path, help="folder with Set5 and Set14, for the figures in the header")
    parser.set_defaults(run=_export)


def _fit(args: argparse.Namespace) -> int:
    recipe = _with_steps(read_recipe(args.recipe), args.steps)
    if args.anneal is not None and args.anneal < 1:
        raise UsageError(f"--anneal needs at least 1 step, not {args.anneal}.")
    device = _device(args.device)
    out = args.out or Path("runs") / Path(args.recipe).stem
    photos = find_photos(args.data)
    bank = open_bank(photos, args.cache or user_cache_path("vidsr") / "photos", fit.smallest_photo(recipe))
    run = fit.start(recipe, out, device, resume=args.resume, anneal=args.anneal)
    if args.init and run.step == 0:
        fit.initialise(run, export.read_run(args.init).saved)
    fit.note(out, {"data": export.summarise_data(args.data, photos), "machine": _machine(device)})
    pairs = {name: read_benchmark(args.benchmarks / name, recipe.generator.scale) for name in _found(args.benchmarks)}
    return 0 if fit.Trainer(run, bank.near(device), out, pairs).train() else 130


def _with_steps(recipe: Recipe, steps: int | None) -> Recipe:
    return recipe if steps is None else Recipe.from_dict(recipe.to_dict() | {"steps": steps})


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}; use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"The device {name} is not there: torch finds no CUDA GPU; use --device cpu.")
    return device


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} of {os.cpu_count()} threads"


def _found(benchmarks: Path | None) -> list[str]:
    return [name for name in BENCHMARKS if benchmarks and (benchmarks / name).is_dir()]


def _evaluate(args: argparse.Namespace) -> int:
    model = registry.load(args.model, args.scale)
    folder = args.benchmarks / args.benchmark
    scores = dict(evaluate(model.module, read_benchmark(folder, args.scale), args.scale))
    total = mean(list(scores.values()))
    if args.json:
        pictures = {name: one.to_dict() for name, one in scores.items()}
        head = {"model": model.name, "scale": model.scale, "benchmark": folder.name, "border": args.scale}
        print(json.dumps(head | {"mean": total.to_dict(), "pictures": pictures}))
        return 0
    print(f"{model.name} x{model.scale} on {folder.name}, {args.scale} pixels cropped, outputs rounded to 8 bit")
    print(f"{'picture':<12}  PSNR Y   SSIM Y   PSNR RGB  SSIM RGB")
    for name, one in [*scores.items(), ("mean", total)]:
        print(_line(name, one))
    return 0


def _line(name: str, one: Score) -> str:
    return f"{name:<12}  {one.psnr_y:6.2f}   {one.ssim_y:.4f}   {one.psnr_rgb:8.2f}  {one.ssim_rgb:8.4f}"


def _export(args: argparse.Namespace) -> int:
    trained = export.read_run(args.source)
    scale = trained.recipe.generator.scale
    export.write_weights(trained, args.output)
    metrics: dict[str, Any] = {}
    for name in _found(args.benchmarks):
        model = registry.load(str(args.output.resolve()), scale)
        scores = evaluate(model.module, read_benchmark(args.benchmarks / name, scale), scale)
        metrics[name] = mean([one for _, one in scores]).to_dict() | {"border": scale}
    export.write_weights(trained, args.output, metrics)
    args.output.with_suffix(".md").write_text(export.card(trained, args.output, metrics), encoding="utf-8")
    print(args.output)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error is one sentence on stderr and exit code 1 or 2."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except VidsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; check the path and the free space.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
