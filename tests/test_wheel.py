"""What users get: the wheel, installed alone into an empty environment, upscales a clip with no network."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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
    assert not list((folder / "env").rglob("site-packages/torch"))
    with av.open(str(output)) as container:
        frames = list(container.decode(video=0))
        assert [(frame.width, frame.height) for frame in frames] == [(1280, 544)] * 5
        assert container.streams.audio


@pytest.mark.soak
@pytest.mark.parametrize("line", ["pip", "pipx", "uvx"])
def test_each_line_of_the_readme_leads_from_nothing_to_a_frame(wheel: Path, tmp_path: Path, line: str) -> None:
    """With an empty home and empty caches; the tool itself comes from the package index. Prints what it took."""
    tools, home, output = tmp_path / "tools", tmp_path / "home", tmp_path / "out.mp4"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True)
    there = tools / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(there / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir"]
    if line != "pip":
        subprocess.run([*pip, {"pipx": "pipx", "uvx": "uv"}[line]], check=True, capture_output=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = kept | {"HOME": str(home), "PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin")}
    environment |= {"UV_CACHE_DIR": str(home / "uv"), "PIP_NO_CACHE_DIR": "1"}
    job = ["upscale", str(ROOT / "samples" / "sintel.mp4"), "--end", "0.04", "-o", str(output), "-q"]
    lines = {
        "pip": [[*pip, str(wheel)], [str(there / "vidsr"), *job]],
        "pipx": [[str(there / "pipx"), "install", "-q", str(wheel)], [str(home / "bin" / "vidsr"), *job]],
        "uvx": [[str(there / "uvx"), "-q", "--python", sys.executable, "--from", str(wheel), "vidsr", *job]],
    }
    began = time.monotonic()
    for command in lines[line]:
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    seconds, places = time.monotonic() - began, (tools, home)
    files = {path.stat().st_ino: path.stat().st_size for place in places for path in place.rglob("*") if path.is_file()}
    print(f"{line}: {seconds:.0f} s from nothing to a frame, {sum(files.values()) / 1e6:.0f} MB on the disk")
    with av.open(str(output)) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(1280, 544)]
    assert not [path for place in places for path in place.rglob("torch/version.py")]
