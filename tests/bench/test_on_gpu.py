from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.soak
def test_the_rehearsal_leaves_figures(tmp_path: Path) -> None:
    """Minutes on one core: every step of the script, on the CPU."""
    environment = {**os.environ, "OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    result = subprocess.run(
        [ROOT / "scripts" / "on_gpu.sh", "--rehearse"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    for name in ("network-bicubic", "network-srgan", "fp32-srgan", "whole-job"):
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["networks"]
    assert (tmp_path / "out" / "network-srgan.png").stat().st_size > 1000
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_random_weights_are_a_model(tmp_path: Path) -> None:
    from vidsr.models import registry

    path = tmp_path / "m.safetensors"
    script = ROOT / "scripts" / "random_weights.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, script, "srgan", "1", path], env=environment, check=True)
    assert registry.load(str(path), 4).config.blocks == 1
