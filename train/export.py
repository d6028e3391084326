"""Shipped weights and their model card, out of a training run."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from train import checkpoint
from train.recipe import Recipe
from vidsr.errors import ModelError, OutputError
from vidsr.models import registry
from vidsr.models.srgan import build, macs_per_pixel

LICENCE = "MIT"
PURPOSE = "clean pictures, by a pixel loss"  # of every recipe so far


@dataclass(frozen=True)
class Trained:
    """A checkpoint about to be shipped, with what its run noted."""

    recipe: Recipe
    saved: checkpoint.Checkpoint
    notes: Mapping[str, Any]

    @property
    def phase(self) -> str:
        """Where the weights began, and how the learning rate stood at the end, in words."""
        anneal, step, origin = (self.saved.state[key] for key in ("anneal", "step", "origin"))
        began = f"from {origin}, " if origin else ""
        if not anneal:
            return f"{began}{step:,} steps at a constant rate, not annealed"
        done = step - anneal["start"]
        piece = f"then {done:,} of {anneal['steps']:,} annealing it to zero"
        return f"{began}{anneal['start']:,} steps at a constant rate, {piece}"


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
    return Trained(Recipe.from_dict(saved.state["recipe"]), saved, _read_notes(chosen.parent.parent / "run.json"))


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values


def write_weights(trained: Trained, target: Path, metrics: Mapping[str, Any] | None = None) -> None:
    """Write the averaged weights as FP16 safetensors, in one piece, with everything a reader may ask in the header.

    Raises:
        ModelError: the checkpoint does not hold the generator that its recipe describes.
        OutputError: `target` cannot be written.
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
        "purpose": PURPOSE,
        "training_data": json.dumps(trained.notes.get("data", {})),
        "metrics": json.dumps(metrics or {}),
        "recipe": recipe.digest(),
        "steps": trained.phase,
        "licence": LICENCE,
    }
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
        part.write_bytes(_in_order(save(halves, header)))
        part.replace(target)
    except OSError as error:
        raise OutputError(f"Cannot write the weights {target} ({error.strerror}); check the folder.") from error


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with the keys of its header sorted: equal weights are equal bytes, and equal hashes."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def summarise_data(folders: list[Path], photos: list[Path]) -> dict[str, Any]:
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


def card(trained: Trained, weights: Path, metrics: Mapping[str, Any]) -> str:
    """The model card, as Markdown: what it is, how it was made, on what, and what it measures."""
    recipe, generator = trained.recipe, trained.recipe.generator
    lines = [
        f"# {recipe.name} x{generator.scale}",
        "",
        f"Upscales a picture by {generator.scale}. Licence of the weights: {LICENCE}. "
        "This card is written by `python -m train export`.",
        "",
        f"- Graph: `{generator.graph}`, {generator.channels} channels, {generator.blocks} blocks, "
        f"skip {generator.skip}; {macs_per_pixel(generator) / 1000:,.0f} k multiply-adds per input pixel.",
        f"- File: {weights.stat().st_size:,} bytes, FP16, averaged weights.",
        "- Loss: L1 against the original, LR made by antialiased bicubic reduction and rounded to 8 bit.",
        f"- Recipe: {recipe.optimiser}, rate {recipe.rate:g}, batches of {recipe.batch} patches of "
        f"{recipe.patch}x{recipe.patch} LR pixels, averaged with {recipe.ema:g}; hash `{recipe.digest()[:16]}`.",
        f"- Length: {trained.phase}; {trained.saved.state['seconds'] / 3600:.1f} hours.",
        f"- Machine: {trained.notes.get('machine', 'not noted')}.",
        "",
        "It knows clean pictures only: noise and compression blocks of its input are enlarged with everything else.",
        "",
        "## Measured",
        "",
        *_metrics_table(metrics),
        "",
        "## Trained on",
        "",
        *_data_list(trained.notes.get("data", {})),
    ]
    return "\n".join(lines) + "\n"


def _metrics_table(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return ["Nothing: it was exported without `--benchmarks`."]
    head = [
        "| benchmark | PSNR Y (dB) | SSIM Y | PSNR RGB (dB) | SSIM RGB | border cropped (pixels) |",
        "|---|---|---|---|---|---|",
    ]
    rows = [
        f"| {name} | {row['psnr_y']:.2f} | {row['ssim_y']:.4f} | {row['psnr_rgb']:.2f} | {row['ssim_rgb']:.4f} "
        f"| {row['border']} |"
        for name, row in metrics.items()
    ]
    return [*head, *rows, "", "The FP16 weights as shipped, run in FP32; outputs rounded to 8 bit."]


def _data_list(data: Mapping[str, Any]) -> list[str]:
    if not data:
        return ["Not noted."]
    rows = [f"- {count}: {licence}" for licence, count in data["licences"].items()]
    return [
        f"{data['photos']:,} photos; none of them is part of the package. Licences as their sources state them:",
        "",
        *rows,
    ]
