"""``python -m train``: fit, evaluate, export."""

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from train import fit
from train.data import find_photos, open_bank
from train.evaluate import read_benchmark
from train.recipe import read_recipe
from vidsr.errors import UsageError, VidsrError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Make the weights that vidsr runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("fit", help="train a generator on photos with a pixel loss")
    one.add_argument("recipe", help="a TOML file, or the name of one in train/recipes")
    one.add_argument("--data", type=Path, action="append", required=True, help="folder of photos; may be repeated")
    one.add_argument("--out", type=Path, help="folder of the run (default: runs/NAME)")
    one.add_argument("--benchmarks", type=Path, help="folder with Set5 and Set14, measured now and then")
    one.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    one.add_argument("--steps", type=int, help="length of the constant-rate phase, instead of the recipe's")
    one.add_argument("--anneal", type=int, metavar="N", help="take the newest stable checkpoint to rate 0 in N steps")
    one.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    one.add_argument("--cache", type=Path, help="folder for decoded photos (default: the user's cache folder)")
    one.set_defaults(run=_fit)
    return parser


def _fit(args: argparse.Namespace) -> int:
    recipe = read_recipe(args.recipe)
    if args.steps is not None:
        recipe = type(recipe).from_dict(recipe.to_dict() | {"steps": args.steps})
    if args.anneal is not None and args.anneal < 1:
        raise UsageError(f"--anneal needs at least 1 step, not {args.anneal}.")
    out = args.out or Path("runs") / recipe.name
    photos = find_photos(args.data)
    bank = open_bank(photos, args.cache or out.parent / "cache", fit.smallest_photo(recipe))
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    run = fit.start(recipe, out, device, resume=args.resume, anneal=args.anneal)
    fit.note(out, {"photos": len(photos), "folders": [folder.name for folder in args.data], "machine": _machine()})
    names = ("Set5", "Set14")
    found = [name for name in names if args.benchmarks and (args.benchmarks / name).is_dir()]
    pairs = {name: read_benchmark(args.benchmarks / name, recipe.generator.scale) for name in found}
    finished = fit.Trainer(run, bank.to(device), out, pairs).train()
    return 0 if finished else 130


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} of {os.cpu_count()} threads"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error is one sentence on stderr and exit code 1 or 2."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except VidsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
