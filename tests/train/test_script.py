"""scripts/train_on_gpu.sh, rehearsed on the CPU: begins, goes on, anneals and exports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import ROOT
from vidsr.models import registry

RECIPE = """
name = "tiny"
steps = 1000000
batch = 2
patch = 8
log_every = 2
precision = "fp32"

[generator]
graph = "fast"
scale = 2
channels = 4
blocks = 1
"""


def test_a_run_in_pieces_ends_in_weights(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(photos / "a.png")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    out = tmp_path / "out"

    def call(**settings: str) -> str:
        command = ["bash", str(ROOT / "scripts" / "train_on_gpu.sh"), str(recipe), str(photos), "0.02"]
        env = os.environ | {"OUT": str(out), "PYTHON": sys.executable, "XDG_CACHE_HOME": str(tmp_path)} | settings
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode in (0, 130), done.stderr
        return done.stderr

    call()
    assert "steps/s" in (out / "doctor-tiny.txt").read_text()
    first = sorted((out / "runs" / "tiny" / "stable").iterdir())[-1].name
    call()
    second = sorted((out / "runs" / "tiny" / "stable").iterdir())[-1].name
    assert second > first
    call(ANNEAL="2")
    assert registry.load(str(out / "tiny.safetensors"), 2).name == "tiny"
    assert "annealing it to zero" in (out / "tiny.md").read_text()
