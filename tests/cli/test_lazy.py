"""What a command needs no network for loads none: asserted on `sys.modules` after each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.clips import make_clip
from tests.conftest import ROOT

NETWORKS = {"torch", "openvino", "onnxruntime", "tensorrt", "torch_tensorrt", "ray"}
SCRIPT = """
import atexit, json, os, sys
atexit.register(lambda: print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr))
sys.argv = ["vidsr", *sys.argv[1:]]
from vidsr.cli import main
main()
"""


def loaded(*arguments: object, folder: Path) -> tuple[int, str, set[str]]:
    """(exit code, stderr, the modules that were loaded) of `vidsr` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    said, _, modules = done.stderr.strip().rpartition("\n")
    return done.returncode, said, set(json.loads(modules))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lazy")
    make_clip(made / "clip.mp4", frames=3)
    Image.new("RGB", (8, 8)).save(made / "photo.png")
    (made / "taken.mp4").write_bytes(b"of somebody else")
    return made


def test_help_loads_nothing_that_is_heavy(folder: Path) -> None:
    for command in ([], ["upscale"], ["bench"], ["compare"], ["models"]):
        code, _, modules = loaded(*command, "--help", folder=folder)
        assert code == 0
        assert not modules & (NETWORKS | {"av", "numpy", "PIL", "rich"}), command


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("clip.mp4", "--scale", "9"), 2, "scale must be from 1 to 4"),
        (("clip.mp4", "--tile", "tiny"), 2, "--tile must be"),
        (("clip.mp4", "--size", "big"), 2, "size must look like"),
        (("clip.mp4", "--start", "5:00"), 2, "lies behind the end"),
        (("clip.mp4", "-o", "-", "--start", "5:00"), 2, "lies behind the end"),
        (("photo.png", "-o", "out.mp4"), 2, "an image cannot be written under this name; use .png"),
        (("missing.mp4",), 1, "does not exist"),
        (("clip.mp4", "--model", "nonesuch"), 2, "Unknown model 'nonesuch'"),
        (("clip.mp4", "--backend", "nonesuch"), 2, "Unknown backend 'nonesuch'"),
        (("clip.mp4", "--model", "srgan@2"), 2, "a number from 0 to 1"),
        (("clip.mp4", "-o", "out.avi"), 2, "cannot keep the times of all frames: name the output .mp4"),
        (("clip.mp4", "--container", "webm", "--codec", "h264"), 2, "webm cannot hold h264: choose another codec"),
        (("clip.mp4", "--scale", "8"), 2, "in two steps: scale 4, and then what that made with scale 2"),
        (("clip.mp4", "x4"), 2, "to make a video x4, say --scale 4"),
        (("https://example.org/clip.mp4",), 2, "vidsr reads files, not addresses; download it first"),
        (("clip.mp4", "-o", "clip.mp4"), 1, "would replace its own source"),
        (("clip.mp4", "-o", "taken.mp4"), 1, "--overwrite"),
        (("clip.mp4", "-o", "-", "--json"), 2, "leave one out"),
        (("clip.mp4", "-o", "-", "--ray", "local"), 2, "is a stream"),
        (("clip.mp4", "--dry-run", "--ray", "local"), 2, "dry run"),
    ],
)
def test_a_mistake_is_found_without_a_network(
    folder: Path, arguments: tuple[str, ...], exit_code: int, says: str
) -> None:
    code, said, modules = loaded("upscale", *arguments, folder=folder)
    assert code == exit_code, said
    assert says in said
    assert len(said.splitlines()) == 1, said
    assert not modules & NETWORKS
    assert (folder / "taken.mp4").read_bytes() == b"of somebody else"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("clip.mp4", "--scale", "2"), "try: vidsr upscale clip.mp4 --scale 2"),
        (("gone.mkv",), "try: vidsr upscale gone.mkv"),
        (("upscale", "clip.mp4", "--scale", "x4"), "try: --scale 4"),
        (("upscale", "-dash.mp4"), "a file whose name begins with a dash is written ./-dash.mp4"),
        (("upscale", "clip.mp4", "--nonesuch"), ""),
    ],
)
def test_a_wrong_line_names_the_right_one(folder: Path, arguments: tuple[str, ...], hint: str) -> None:
    code, said, modules = loaded(*arguments, folder=folder)
    assert code == 2
    assert (said.splitlines()[-1] == f"vidsr: {hint}") if hint else ("vidsr: " not in said)
    assert not modules & NETWORKS


@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_a_dry_run_loads_torch_and_the_library_of_the_backend_that_runs(folder: Path, backend: str) -> None:
    """torch moves colours, tiles and sizes for every backend; a runtime that does not run is not loaded."""
    line = ("upscale", "clip.mp4", "--model", "bicubic", "--backend", backend, "--scale", "2", "--dry-run")
    code, said, modules = loaded(*line, folder=folder)
    assert code == 0, said
    assert "measured on" in said
    runs = re.search(r"bicubic x2: as asked\. (\w+): ", said)
    assert runs is not None, said
    own = {"openvino": {"openvino"}, "tensorrt": {"tensorrt", "torch_tensorrt"}}.get(runs[1], set())
    assert {"torch"} <= modules & NETWORKS <= {"torch"} | own
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "photo.png", "taken.mp4"]
