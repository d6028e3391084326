"""What users get: the wheel, installed alone into an empty environment, upscales a clip with no network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).parent.parent
OFFLINE = """
import socket, sys
def refuse(*_):
    raise OSError("this test allows no network")
socket.socket.connect = socket.getaddrinfo = refuse
from vidsr.cli import main
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith("vidsr_upscaler-")
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"vidsr"}
    weights = [name for name in names if name.endswith(".safetensors")]
    assert "vidsr/models/weights/fast-x4.safetensors" in weights
    assert "vidsr/models/weights/fast-x2.safetensors" in weights
    assert "vidsr/py.typed" in names
    assert {"vidsr/backends/tensorrt/gpus/rtx4090.toml", "vidsr/backends/accuracy.png"} <= set(names)


def test_the_wheel_runs_alone_and_offline(wheel: Path, tmp_path: Path) -> None:
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    install = [str(python), "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    source, output = ROOT / "samples" / "sintel.mp4", tmp_path / "out.mp4"
    command = [str(python), "-I", "-c", OFFLINE, "upscale", str(source), "-o", str(output), "--end", "0.2"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert str(ROOT / "vidsr") not in result.stderr
    with av.open(str(output)) as container:
        frames = list(container.decode(video=0))
        assert [(frame.width, frame.height) for frame in frames] == [(1280, 544)] * 5
        assert container.streams.audio
