"""Two processes with half a batch each equal one with the whole."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import warm
from train import checkpoint
from train.__main__ import main
from train.processes import World
from vidsr.errors import UsageError

RECIPE = """
name = "two"
steps = 8
batch = 4
patch = 8
warmup = 2
precision = "fp32"
log_every = 4
evaluate_every = 8
[generator]
graph = "fast"
scale = 2
channels = 8
blocks = 2
[losses]
pixel = 1.0
adversarial = 0.01
ramp = 4
[discriminator]
channels = 4
rate = 1e-3
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_train_as_one(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(RECIPE)
    places = ["gan", str(tmp_path / "two.toml"), "--data", str(photos), "--cache", str(tmp_path / "cache")]
    assert main([*places, "--out", str(tmp_path / "one")]) == 0
    common = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "train", *places, "--out", str(tmp_path / "both")]
    workers = [
        warm.Popen(command, env=os.environ | common | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [worker.communicate(timeout=180)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert "step 8/8" in said[0]
    assert "step" not in said[1]
    one, both = (checkpoint.load(tmp_path / name / "stable" / "step-00000008").tensors for name in ("one", "both"))
    assert one.keys() == both.keys()
    weights = [name for name in one if name.startswith(("model.", "discriminator.", "ema."))]
    for name in weights:
        off = (one[name] - both[name]).abs()  # Adam makes a whole step of a gradient that is nothing but rounding
        assert off.max() < 3e-3, name
        assert off.mean() < 1e-4, name
    assert torch.equal(one["random"], both["random"])


def test_a_batch_must_divide() -> None:
    with pytest.raises(UsageError, match="A batch of 5 cannot be divided among 2 processes"):
        World(0, 2).check(5)
    World(0, 2).check(6)
