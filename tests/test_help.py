"""What the command says of itself: its help, and what the shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.models import ArgumentInfo

from tests.conftest import Result
from tests.test_docs import commands
from vidsr.cli import bench, compare, probe, verify

Cli = Callable[..., Result]


def test_help_is_readable_at_80_columns(vidsr: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    names = [name for name, command in commands()]
    assert len(names) >= 12
    for name in names:
        text = vidsr(*name.split(), "--help").out
        assert max(map(len, text.splitlines())) <= 80, text
        assert "..." not in text.split("Commands:")[-1] if "Commands:" in text else "Examples:" in text, name


MAKERS = ("nvenc", "qsv", "amf", "videotoolbox")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vidsr up", {"upscale"}),
        ("vidsr upscale --model ", {"auto", "bicubic", "fast"}),
        ("vidsr upscale clip.mp4 --backend o", {"openvino", "onnxruntime"}),
        (
            "vidsr upscale --codec h",
            {"h264", "hevc"} | {f"{codec}_{maker}" for codec in ("h264", "hevc") for maker in MAKERS},
        ),
        ("vidsr upscale --container m", {"mp4", "m4v", "mov", "mkv"}),
        ("vidsr compare a.mp4 --model fast,bi", {"fast,bicubic"}),
        ("vidsr engine build rtx", {"rtx3060", "rtx4090", "rtx5090"}),
    ],
)
def test_the_shell_completes(line: str, offered: set[str], vidsr: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_VIDSR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    assert offered <= set(vidsr().out.split()) <= offered | shipped_models()


def shipped_models() -> set[str]:
    from vidsr.models.registry import available_models

    return {info.name for info in available_models()}


def test_completion_offers_what_there_is_and_loads_no_network_library() -> None:
    code = (
        "import sys\nfrom vidsr.cli import main\ntry:\n    main()\nfinally:\n"
        "    print([m for m in ('torch', 'openvino') if m in sys.modules], file=sys.stderr)"
    )
    environment = os.environ | {
        "_VIDSR_COMPLETE": "complete_bash", "COMP_WORDS": "vidsr upscale --model f", "COMP_CWORD": "3",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "fast" in done.stdout.split()
    assert done.stderr.strip().endswith("[]")


def test_completion_installs(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "vidsr", "--install-completion", "bash"]
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "_VIDSR_COMPLETE=complete_bash" in "".join(p.read_text() for p in tmp_path.rglob("*.sh"))


@pytest.mark.parametrize("command", [probe.probe, verify.verify, compare.compare, bench.bench])
def test_whether_a_file_may_be_read_is_found_by_its_reader(command: Callable[..., None]) -> None:
    """The parser would call it bad usage; who runs the tests may be one who may read everything."""
    hints = get_type_hints(command, include_extras=True).values()
    files = [part for hint in hints for part in getattr(hint, "__metadata__", ()) if isinstance(part, ArgumentInfo)]
    assert files
    assert not any(file.readable for file in files)
