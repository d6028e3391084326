"""Checkpoints appear whole or not at all."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from tests import warm
from train import checkpoint
from train.checkpoint import Checkpoint, list_checkpoints, load, save
from vidsr.errors import ModelError, OutputError


def some(value: float = 1.0) -> Checkpoint:
    tensors = {
        "a": torch.full((3, 4), value),
        "step": torch.tensor(value),
        "random": torch.arange(9, dtype=torch.uint8),
    }
    return Checkpoint(tensors, {"step": int(value), "note": "x"})


def test_round_trip(tmp_path: Path) -> None:
    back = load(save(tmp_path, 7, some(7)))
    assert {name: (t.dtype, t.tolist()) for name, t in back.tensors.items()} == {
        name: (t.dtype, t.tolist()) for name, t in some(7).tensors.items()
    }
    assert back.state["step"] == 7


def test_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 90, 1000):
        save(tmp_path, step, some(step))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000090", "step-00001000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000090", "step-00001000"]


def test_same_step_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, 5, some(1))
    save(tmp_path, 5, some(2))
    assert load(list_checkpoints(tmp_path)[0]).tensors["a"][0, 0] == 2


def test_every_file_stays_below_15_mib(tmp_path: Path) -> None:
    tensors = {f"t{number}": torch.zeros(1_000_000) + number for number in range(9)}  # 4 MB each
    path = save(tmp_path, 1, Checkpoint(tensors, {}))
    sizes = [file.stat().st_size for file in path.iterdir()]
    assert max(sizes) < 15 * 2**20
    assert len(sizes) > 3
    assert load(path).tensors["t8"][0] == 8


def test_parts_and_foreign_folders_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "step-00000009").mkdir()
    (tmp_path / ".part-1-step-00000010").mkdir()
    assert list_checkpoints(tmp_path) == []
    assert list_checkpoints(tmp_path / "missing") == []


KILLED_AT_EACH_CALL = """
import os, signal, sys, torch
from pathlib import Path
from train import checkpoint

tensors = {f"t{n}": torch.full((1000,), 2.0) for n in range(3)}
checkpoint.PART_BYTES = 5000
calls = 0

def fatal_after(function, limit):
    def counted(*args, **kwargs):
        global calls
        result = function(*args, **kwargs)
        calls += 1
        if calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return counted

for limit in map(int, sys.argv[2:]):
    child = os.fork()
    if child == 0:
        checkpoint.save_file = fatal_after(checkpoint.save_file, limit)
        checkpoint.sync_file = fatal_after(checkpoint.sync_file, limit)
        checkpoint.rename = fatal_after(checkpoint.rename, limit)
        checkpoint.save(Path(sys.argv[1]) / str(limit), 2, checkpoint.Checkpoint(tensors, {"step": 2}))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_while_writing_leaves_the_previous_one(tmp_path: Path) -> None:
    """A process is killed after every call that writes or syncs a part of a checkpoint: one whole one always loads."""
    limits = [str(limit) for limit in range(1, 9)]  # 3 parts written, 3 and state.json synced, the folder renamed
    for limit in limits:
        save(tmp_path / limit, 1, some(1))
    command = [sys.executable, "-c", KILLED_AT_EACH_CALL, str(tmp_path), *limits]
    done = warm.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * 8
    newest = [load(list_checkpoints(tmp_path / limit)[-1]).state["step"] for limit in limits]
    assert newest == [1, 1, 1, 1, 1, 1, 1, 2]  # the new one is seen only once all of it is synced


def test_leftovers_of_a_killed_process_go_with_the_next_save(tmp_path: Path) -> None:
    (tmp_path / ".part-1-step-00000010").mkdir(parents=True)
    save(tmp_path, 11, some(1))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000011"]


@pytest.mark.parametrize("damage", ["cut", "missing", "state", "format"])
def test_damage_is_a_sentence(tmp_path: Path, damage: str) -> None:
    path = save(tmp_path, 1, some())
    part, state = path / "tensors-000.safetensors", path / "state.json"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-5])
    elif damage == "missing":
        part.unlink()
    elif damage == "state":
        state.write_text("{")
    else:
        state.write_text(state.read_text().replace('"format": 1', '"format": 3'))
    with pytest.raises(ModelError, match="has format 3" if damage == "format" else "is not a whole checkpoint"):
        load(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Cannot write the checkpoint"):
        save(tmp_path, 1, some())


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write the checkpoint"):
        checkpoint.save(tmp_path / "file", 1, some())
