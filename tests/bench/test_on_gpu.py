"""scripts/on_gpu.sh, rehearsed on the CPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def rehearse(out: Path, *words: str) -> tuple[dict[str, str], str]:
    """What each step of the rehearsal printed, by its name; and the last line of all."""
    result = subprocess.run(
        [ROOT / "scripts" / "on_gpu.sh", "--rehearse", *words],
        env={**os.environ, "OUT": str(out), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    parts = re.split(r"^== (\S+): .*\n", (out / "results.txt").read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True)), result.stdout.splitlines()[-1]


def test_steps_can_be_chosen(tmp_path: Path) -> None:
    found, counts = rehearse(tmp_path, "network-bicubic", "whole", "ways")
    assert set(found) == {"network-bicubic", "whole-job"}
    assert json.loads(found["network-bicubic"])["networks"]
    assert json.loads(found["whole-job"])["jobs"]
    assert (tmp_path / "network-bicubic.png").stat().st_size > 1000
    assert counts.startswith("0 failed, 0 without time, 1 not here")
    assert {path.name for path in tmp_path.iterdir()} == {"results.txt", "log.txt", "network-bicubic.png"}


def test_what_has_no_time_left_is_counted(tmp_path: Path) -> None:
    found, counts = rehearse(tmp_path, "--seconds", "1", "network", "timeline")
    assert found == {}
    assert counts.startswith("0 failed, 4 without time, 0 not here")


@pytest.mark.soak
def test_the_rehearsal_leaves_figures(tmp_path: Path) -> None:
    """Minutes on one core: every step of the script, on the CPU."""
    found, _ = rehearse(tmp_path)
    assert {"doctor", "network-fast", "fp32-fast", "network-bicubic", "whole-job", "graph-fast"} <= set(found)
    assert json.loads(found["network-fast"])["networks"]
    assert " passed" in found["correctness"]
    assert "timeline: imports" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    done = [json.loads(line) for line in found["nvdec-nvenc"].splitlines()]
    assert [event["num_frames"] for event in done if event["event"] == "done"] == [10]
