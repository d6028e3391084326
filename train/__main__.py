"""``python -m train``: bake, draw, fit, gan, lease, evaluate, export, quantise, doctor."""

import argparse
import importlib.util
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from train import STARTED, arguments, bake, doctor, draw, evaluate, export, fit, quantise
from train.lease import command as lease
from train.origin import initialise, read_origin
from train.processes import join
from train.recipe import Recipe
from train.run import start
from vidsr.errors import UsageError, VidsrError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Make the weights that vidsr runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_training(commands.add_parser("fit", help="train a generator on photos with a pixel loss"))
    _add_training(commands.add_parser("gan", help="train a generator against a discriminator"))
    lease.add_parser(commands)
    bake.add_parser(commands)
    draw.add_parser(commands)
    evaluate.add_parser(commands)
    export.add_parser(commands)
    quantise.add_parser(commands)
    doctor.add_parser(commands)
    if importlib.util.find_spec("av"):  # a machine that trains on a baked cache needs no PyAV
        from train import steadyscore, videoscore

        videoscore.add_parser(commands)
        steadyscore.add_parser(commands)
    return parser


def _add_training(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser)
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--benchmarks", type=Path, help="folder with Set5 and Set14, measured now and then")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--anneal", type=int, metavar="N", help="take the newest stable checkpoint to rate 0 in N steps"
    )
    parser.add_argument("--init", metavar="NAME", help="begin with the weights of a shipped model, a file or a run")
    parser.add_argument("--minutes", type=float, metavar="N", help="stop after this time, with a checkpoint")
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    recipe = arguments.read(args)
    _check(args, recipe)
    with join(arguments.choose_device(args.device)) as (world, device):
        if not world.first:
            logging.getLogger().setLevel(logging.WARNING)
        out = args.out or Path("runs") / Path(args.recipe).stem
        source, data = arguments.open_source(args, recipe)
        run = start(recipe, out, device, resume=args.resume, anneal=args.anneal)
        if args.init and run.step == 0:
            initialise(run, read_origin(args.init, recipe.generator.scale))
        if world.first:
            notes = {"data": data, "machine": arguments.machine(device), "losses": recipe.losses.in_words()}
            fit.note(out, notes | {"origin": run.origin, "processes": world.size})
        pairs = evaluate.read_benchmarks(args.benchmarks, recipe.generator.scale) if world.first else {}
        trainer = fit.Trainer(run, source.near(device), out, pairs, args.minutes, world)
        return 0 if trainer.train() else 130


def _check(args: argparse.Namespace, recipe: Recipe) -> None:
    if args.anneal is not None and args.anneal < 1:
        raise UsageError(f"--anneal needs at least 1 step, not {args.anneal}.")
    if args.minutes is not None and args.minutes <= 0:
        raise UsageError(f"--minutes must be above 0, not {args.minutes:g}.")
    if bool(recipe.losses.adversarial) != (args.command == "gan"):
        right = "gan" if recipe.losses.adversarial else "fit"
        raise UsageError(f"The recipe {args.recipe} is one for `python -m train {right}`; use that command.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error is one sentence on stderr and exit code 1 or 2."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = _parser().parse_args(argv)
    args.began = STARTED if argv is None else time.monotonic()
    try:
        return int(args.run(args))
    except VidsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        where = error.filename or "a file of the run"
        print(f"error: {where}: {error.strerror}; check the path and the free space.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
