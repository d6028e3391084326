"""Shipped weights and their model card, out of a training run."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from train import checkpoint
from train.card import LICENCE, card, perceptual_trunk, purpose
from train.data import find_photos
from train.evaluate import add_measures, chosen_perceptual, measure, measure_video, read_benchmarks, rounded
from train.recipe import Recipe
from train.trained import Trained
from vidsr.errors import ModelError, OutputError, UsageError
from vidsr.files import write
from vidsr.models import registry, scales
from vidsr.models.srgan import build, macs_per_pixel


def read_run(path: Path) -> Trained:
    """Take a checkpoint, or the best one of a run's folder: the newest annealed one, else the newest stable one.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    if (path / "state.json").exists():
        chosen = path
    else:
        found = [*checkpoint.list_checkpoints(path / "stable"), *checkpoint.list_checkpoints(path / "anneal")]
        if not found:
            raise ModelError(f"{path} holds no checkpoint; give a run's folder or one of its step-NNNNNNNN folders.")
        chosen = found[-1]
    saved = checkpoint.load(chosen)
    return Trained(Recipe.from_dict(saved.state["recipe"]), saved, read_notes(chosen.parent.parent / "run.json"))


def mix(trained: Trained, name_or_path: str, share: float) -> Trained:
    """Weights at `share` (0 to 1) of the way from another model's to those of `trained`, its notes saying so.

    The way of Wang et al. (arXiv:1809.00219, section 3.4) to take the artefacts out of adversarial weights.

    Raises:
        UsageError: `share` is not from 0 to 1.
        ModelError: no such model, or one of another graph.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"--share must be from 0 to 1, not {share:g}.")
    other = registry.load(name_or_path, trained.recipe.generator.scale)
    if other.config != trained.recipe.generator:
        raise ModelError(f"{name_or_path} has another graph than {trained.recipe.name}; they cannot be mixed.")
    weights, tensors = other.module.state_dict(), dict(trained.saved.tensors)
    for name, value in weights.items():
        tensors[f"ema.{name}"] = value.lerp(tensors[f"ema.{name}"].float().cpu(), share)
    words = f"; shipped are the weights {share:g} of the way there from {other.name} ({other.weights_hash[:12]})"
    saved = replace(trained.saved, tensors=tensors)
    return replace(trained, saved=saved, notes={**trained.notes, "mixed": words, "share": share})


def read_notes(path: Path) -> dict[str, object]:
    """What `train.fit.note` wrote there; nothing where it cannot be read."""
    try:
        values: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values


def write_weights(trained: Trained, target: Path, metrics: Mapping[str, object] | None = None) -> None:
    """Write the averaged weights, see `weights_file`, in one piece.

    Raises:
        ModelError: the checkpoint does not hold the generator that its recipe describes.
        OutputError: `target` cannot be written.
    """
    content = weights_file(trained, metrics)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, content)
    except OSError as error:
        raise OutputError(f"Cannot write the weights {target} ({error.strerror}); check the folder.") from error


def weights_file(trained: Trained, metrics: Mapping[str, object] | None = None) -> bytes:
    """The averaged weights as FP16 safetensors, with everything a reader may ask in the header.

    Raises:
        ModelError: the checkpoint does not hold the generator that its recipe describes.
    """
    recipe, module = trained.recipe, build(trained.recipe.generator)
    tensors = {name.removeprefix("ema."): t for name, t in trained.saved.tensors.items() if name.startswith("ema.")}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError("The checkpoint does not hold the generator of its own recipe; take another one.") from error
    header = {
        "format": registry.FORMAT,
        "name": recipe.name,
        "config": json.dumps(recipe.generator.to_dict()),
        "scale": str(recipe.generator.scale),
        "macs_per_pixel": str(macs_per_pixel(recipe.generator)),
        "purpose": purpose(recipe, trained.share),
        "loss": recipe.losses.in_words(),
        "perceptual_loss": perceptual_trunk(recipe.losses),
        "training_data": json.dumps(trained.notes.get("data", {})),
        "metrics": json.dumps(metrics or {}),
        "recipe": recipe.digest(),
        "steps": trained.phase,
        "licence": LICENCE,
    }
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    data = save(halves, header)
    size = int.from_bytes(data[:8], "little")
    return scales.in_order(json.loads(data[8 : 8 + size])) + data[8 + size :]


def measured(name: str, scale: int) -> dict[str, Any]:
    """The figures in the header of shipped weights.

    Raises:
        ModelError: there are none of that name and scale.
    """
    found = registry.find(name, scale).metadata.get("metrics")
    return found if isinstance(found, dict) else {}


def summarise_data(folders: list[Path], photos: list[Path]) -> dict[str, object]:
    """What a model was trained on: the number of photos, and how many under which licence, by their index.tsv.

    An index.tsv stands at the top of a folder of photos: a header line, then file, source and licence per line.
    """
    licences = {
        (folder / row[0]).resolve(): row[2] for folder in folders for row in _read_index(folder) if len(row) >= 3
    }
    counted = Counter(licences.get(photo, "not stated") for photo in photos)
    return {"photos": len(photos), "licences": dict(counted.most_common())}


def _read_index(folder: Path) -> list[list[str]]:
    try:
        lines = (folder / "index.tsv").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split("\t") for line in lines[1:]]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``export`` to the commands of ``python -m train``."""
    parser = commands.add_parser("export", help="write FP16 weights and their model card")
    parser.add_argument("source", type=Path, help="a run's folder, or one of its checkpoints")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .safetensors file; its card is put beside"
    )
    parser.add_argument("--benchmarks", type=Path, help="folder with Set5 and Set14, for the figures in the header")
    parser.add_argument("--mix", metavar="NAME", help="a model of the same graph, to take artefacts out: see --share")
    parser.add_argument("--share", type=float, default=0.6, help="with --mix: 0: that model, 1: the run (default: 0.6)")
    parser.add_argument("--centre", type=Path, metavar="DIR", help="photos over which each colour's mean is set right")
    parser.add_argument("--history", default="", help="for the card: where weights began that this run took by --init")
    parser.add_argument("--beside", metavar="NAME", action="append", default=[], help="for the card: a shipped model's")
    add_measures(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    trained = read_run(args.source)
    if args.mix:
        trained = mix(trained, args.mix, args.share)
    if args.centre:
        from train.centre import centre  # it needs Pillow

        trained = centre(trained, find_photos([args.centre], excluded=()))
    if args.history:
        trained = replace(trained, notes={**trained.notes, "history": args.history})
    scale, trunk = trained.recipe.generator.scale, perceptual_trunk(trained.recipe.losses)
    perceptual = chosen_perceptual(args, trunk) if args.benchmarks or args.videobench else []
    write_weights(trained, args.output)
    model = registry.load(str(args.output.resolve()), scale)
    metrics: dict[str, object] = {
        name: rounded(measure(model, pairs, perceptual)["mean"]) | {"border": scale}
        for name, pairs in read_benchmarks(args.benchmarks, scale).items()
    }
    if args.videobench:
        metrics["video"] = {k: v for k, v in measure_video(args, model, perceptual).to_dict().items() if k != "clips"}
    write_weights(trained, args.output, metrics)
    beside = {name: measured(name, scale) for name in args.beside}
    write(args.output.with_suffix(".md"), card(trained, args.output, metrics, beside))
    print(args.output)
    return 0
