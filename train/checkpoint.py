"""Checkpoints: folders of small safetensors files that appear whole or not at all."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidsr.errors import ModelError, OutputError
from vidsr.files import rename, sync_file

PART_BYTES = 14 * 2**20  # every file stays below 15 MiB, header included
FORMAT = 1
PART = ".part-"  # begins the name of a folder that is being written


@dataclass(frozen=True)
class Checkpoint:
    """A training run at one moment: tensors by name, and plain values that JSON can hold."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write `folder`/step-NNNNNNNN under a temporary name, sync, rename, and remove all but the newest `keep`.

    Raises:
        OutputError: the folder cannot be written, or is full.
    """
    target = folder / f"step-{step:08d}"
    part = folder / f"{PART}{target.name}"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write(part, checkpoint)
        if target.exists():
            shutil.rmtree(target)
        rename(part, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"Cannot write the checkpoint {target} ({reason}); free some space.") from error
    for old in [*list_checkpoints(folder)[:-keep], *folder.glob(f"{PART}*")]:
        shutil.rmtree(old)
    return target


def _write(part: Path, checkpoint: Checkpoint) -> None:
    files = []
    for number, names in enumerate(_split(checkpoint.tensors)):
        path = part / f"tensors-{number:03d}.safetensors"
        save_file({name: checkpoint.tensors[name].detach().cpu().contiguous() for name in names}, path)
        files.append(path)
    state = part / "state.json"
    state.write_text(json.dumps({"format": FORMAT, "files": [path.name for path in files], **checkpoint.state}))
    for path in (*files, state):
        sync_file(path)


def _split(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Names in groups of at most `PART_BYTES`; a single larger tensor has a group of its own."""
    groups: list[list[str]] = []
    filled = PART_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if filled + size > PART_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def load(path: Path) -> Checkpoint:
    """Read one checkpoint folder back.

    Raises:
        ModelError: it is no checkpoint, or a part of it is missing or damaged.
    """
    try:
        state = json.loads((path / "state.json").read_text())
        tensors: dict[str, Tensor] = {}
        for name in state["files"]:
            tensors |= load_file(path / name)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{path} is not a whole checkpoint; take an earlier one beside it.") from error
    if state.get("format") != FORMAT:
        raise ModelError(f"The checkpoint {path} has format {state.get('format')}, this version reads {FORMAT}.")
    return Checkpoint(tensors, state)
