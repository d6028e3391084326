"""scripts/on_gpu.sh, rehearsed on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def rehearse(out: Path, *steps: str) -> dict[str, dict[str, object]]:
    """What each step of the rehearsal printed, by its name."""
    environment = {**os.environ, "OUT": str(out), "PYTHON": sys.executable}
    result = subprocess.run(
        [ROOT / "scripts" / "on_gpu.sh", "--rehearse", *steps],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    lines = ("correctness", "nvdec-nvenc")  # pytest's words, and an event a line
    return {path.stem: json.loads(path.read_text() or "{}") for path in out.glob("*.json") if path.stem not in lines}


def test_steps_can_be_chosen(tmp_path: Path) -> None:
    found = rehearse(tmp_path, "network-bicubic", "whole")
    assert set(found) == {"network-bicubic", "whole-job"}
    assert found["network-bicubic"]["networks"]
    assert found["whole-job"]["jobs"]
    assert (tmp_path / "network-bicubic.png").stat().st_size > 1000


@pytest.mark.soak
def test_the_rehearsal_leaves_figures(tmp_path: Path) -> None:
    """Minutes on one core: every step of the script, on the CPU."""
    found = rehearse(tmp_path)
    assert {"doctor", "network-fast", "fp32-fast", "network-bicubic", "whole-job"} <= set(found)
    assert found["network-fast"]["networks"]
    assert " passed" in (tmp_path / "correctness.json").read_text()
    done = [json.loads(line) for line in (tmp_path / "nvdec-nvenc.json").read_text().splitlines()]
    assert [event["num_frames"] for event in done if event["event"] == "done"] == [96]
