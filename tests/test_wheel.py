"""What users get: the wheel, installed alone into an empty environment, upscales a clip with no network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import av
import pytest
from packaging.requirements import Requirement

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


def needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """What `name` requires, and what that requires, by name; added to `found`."""
    for line in distribution(name).requires or ():
        one = Requirement(line)
        if one.name not in found and (one.marker is None or one.marker.evaluate({"extra": ""})):
            found[one.name] = distribution(one.name)
            needed(one.name, found)
    return found


def site_packages(python: Path) -> Path:
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def environment(folder: Path, *options: str) -> Path:
    """The Python of a new one."""
    subprocess.run([sys.executable, "-m", "venv", *options, str(folder)], check=True)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def pip(python: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody link")
def test_the_wheel_runs_with_what_it_names_alone_and_offline(wheel: Path, tmp_path: Path) -> None:
    """Of what is installed here only what the wheel requires is there, linked: pip would unpack half a gigabyte."""
    python = environment(tmp_path / "env", "--without-pip")
    pip(python, "install", "-q", "--no-compile", "--no-deps", "--no-index", str(wheel))
    place = site_packages(python)
    for one in needed("vidsr-upscaler", {}).values():
        for top in {path.parts[0] for path in one.files or () if path.parts[0] not in ("..", "__pycache__")}:
            if not (place / top).exists():
                (place / top).symlink_to(Path(str(one.locate_file(top))))
    pip(python, "check")  # nothing is missing, and no version is another than the wheel's
    assert_it_upscales(python, tmp_path)


@pytest.mark.soak
def test_pip_installs_the_wheel_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """In `make soak` because pip unpacks half a gigabyte, in 40 s; its neighbour links the same packages."""
    python = environment(tmp_path / "env")
    pip(python, "install", "-q", "--no-compile", str(wheel))
    assert_it_upscales(python, tmp_path)


def assert_it_upscales(python: Path, folder: Path) -> None:
    source, output = ROOT / "samples" / "sintel.mp4", folder / "out.mp4"
    command = [str(python), "-I", "-c", OFFLINE, "upscale", str(source), "-o", str(output), "--end", "0.2"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert str(ROOT / "vidsr") not in result.stderr
    with av.open(str(output)) as container:
        frames = list(container.decode(video=0))
        assert [(frame.width, frame.height) for frame in frames] == [(1280, 544)] * 5
        assert container.streams.audio
