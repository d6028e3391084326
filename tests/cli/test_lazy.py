"""What a command needs no network for loads none: asserted on `sys.modules` after each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.clips import make_clip
from tests.conftest import ROOT

NETWORKS = {"torch", "openvino", "onnxruntime", "tensorrt", "torch_tensorrt", "ray"}
COMPILERS = {"torch._dynamo", "triton"}  # seconds, for those who compile on a GPU
SCRIPT = """
import contextlib, io, json, sys
from vidsr.cli import main
for line in json.loads(sys.argv[1]):
    sys.argv = ["vidsr", *line]
    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    modules = sorted({name.partition(".")[0] for name in sys.modules} | {"torch._dynamo"} & sys.modules.keys())
    print(json.dumps([code, said.getvalue().strip(), modules]))
"""


def all_loaded(lines: Sequence[Sequence[str]], folder: Path) -> list[tuple[int, str, set[str]]]:
    """(exit code, stderr, the modules loaded until then) of `vidsr`, one line after the other in a process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([list(map(str, line)) for line in lines])],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(code, said, set(modules)) for code, said, modules in found]


def loaded(*arguments: str, folder: Path) -> tuple[int, str, set[str]]:
    (found,) = all_loaded([arguments], folder)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lazy")
    make_clip(made / "clip.mp4", frames=3)
    Image.new("RGB", (8, 8)).save(made / "photo.png")
    (made / "taken.mp4").write_bytes(b"of somebody else")
    return made


def test_help_loads_nothing_that_is_heavy(folder: Path) -> None:
    commands: tuple[list[str], ...] = ([], ["upscale"], ["bench"], ["compare"], ["models"])
    found = all_loaded([[*command, "--help"] for command in commands], folder)
    for command, (code, _, modules) in zip(commands, found, strict=True):
        assert code == 0
        assert not modules & (NETWORKS | {"av", "numpy", "PIL", "rich"}), command


MISTAKES: list[tuple[tuple[str, ...], int, str]] = [
    (("clip.mp4", "--scale", "9"), 2, "scale must be from 1 to 4"),
    (("clip.mp4", "--tile", "tiny"), 2, "--tile must be"),
    (("clip.mp4", "--tile", "²"), 2, "--tile must be"),
    (("clip.mp4", "--start", ""), 2, "a time looks like"),
    (("clip.mp4", "--fps", ""), 2, "--fps must look like"),
    (("clip.mp4", "--container", ""), 2, "no output container ''"),
    (("clip.mp4", "--size", "big"), 2, "size must look like"),
    (("clip.mp4", "--start", "5:00"), 2, "lies behind the end"),
    (("clip.mp4", "-o", "-", "--start", "5:00"), 2, "lies behind the end"),
    (("photo.png", "-o", "out.mp4"), 2, "an image cannot be written under this name; use .png"),
    (("photo.png", "-o", "-"), 2, "photo.png is one image, and the output stdout is for a film"),
    (("photo.png", "-o", "big_%d.png"), 2, "photo.png is one image, and the output big_%d.png is for a film"),
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
    (("",), 2, "the name of a source is empty"),
    (("clip.mp4", "-o", ""), 2, "the name behind -o (output) is empty"),
    (("clip.mp4", "--log-dir", "", "-o", "x.mp4"), 2, "the folder behind --log-dir is empty"),
    (("clip.mp4", "-o", "taken.mp4/"), 2, "taken.mp4 is no folder"),
    (("clip.mp4", "-o", "-", "--json"), 2, "leave one out"),
    (("clip.mp4", "-o", "-", "--ray", "local"), 2, "is a stream"),
    (("clip.mp4", "--dry-run", "--ray", "local"), 2, "dry run"),
]


def test_a_mistake_is_found_without_a_network(folder: Path) -> None:
    found = all_loaded([("upscale", *arguments) for arguments, _, _ in MISTAKES], folder)
    for (arguments, exit_code, says), (code, said, modules) in zip(MISTAKES, found, strict=True):
        assert code == exit_code, (arguments, said)
        assert says in said, arguments
        assert len(said.splitlines()) == 1, said
        assert not modules & NETWORKS, arguments
    assert (folder / "taken.mp4").read_bytes() == b"of somebody else"


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("clip.mp4", "--scale", "2"), "try: vidsr upscale clip.mp4 --scale 2"),
    (("gone.mkv",), "try: vidsr upscale gone.mkv"),
    (("--scale", "2", "clip.mp4"), "try: vidsr upscale --scale 2 clip.mp4"),
    (("--scale", "2", "upscale", "clip.mp4"), ""),
    ((".", "-r"), "try: vidsr upscale . -r"),
    (("longer-than-a-name-may-be" * 200,), ""),
    (("upscale", "clip.mp4", "--scale", "x4"), "try: --scale 4"),
    (("upscale", "clip.mp4", "--scale=x4"), "try: --scale 4"),
    (("upscale", "-dash.mp4"), "a file whose name begins with a dash is written ./-dash.mp4"),
    (("upscale", "clip.mp4", "--scale", "2,5"), "try: --scale 2.5"),
    (("-i", "a b.mp4", "-o", "b.mp4", "-s", "2"), "try: vidsr upscale 'a b.mp4' -o b.mp4 --scale 2"),
    (("upscale", "-i", "clip.mp4", "-n", "fast", "-s", "4x"), "try: vidsr upscale clip.mp4 --model fast --scale 4"),
    (("upscale", "clip.mp4", "--outscale=2", "-t", "256"), "try: vidsr upscale clip.mp4 --scale 2 --tile 256"),
    (("probe", "-i", "clip.mp4"), ""),
    (("upscale", "clip.mp4", "--nonesuch"), ""),
]


def test_a_wrong_line_names_the_right_one(folder: Path) -> None:
    found = all_loaded([arguments for arguments, _ in WRONG], folder)
    for (arguments, hint), (code, said, modules) in zip(WRONG, found, strict=True):
        assert code == 2, arguments
        assert (said.splitlines()[-1] == f"vidsr: {hint}") if hint else ("vidsr: " not in said), arguments
        assert not modules & NETWORKS, arguments


JOB = {
    *("PIL", "absl", "av", "filelock", "numpy", "openvino", "platformdirs", "safetensors"),
    *("annotated_doc", "annotated_types", "packaging", "pydantic", "pydantic_core", "rich"),
    *("click", "pygments", "shellingham", "typer", "typing_extensions", "typing_inspection"),
}
"""All that a job on a CPU may load from outside: a new name here is more to install, and slower to start."""


def test_a_job_on_a_cpu_loads_what_is_listed(folder: Path) -> None:
    pytest.importorskip("openvino")
    line = ("upscale", "clip.mp4", "-o", "job.mp4", "--scale", "2", "--model", "fast", "--steady", "0.5", "-q")
    code, said, modules = loaded(*line, "--device", "cpu", folder=folder)
    (folder / "job.mp4").unlink()
    assert code == 0, said
    outside = {name for name in modules - set(sys.stdlib_module_names) if not name.startswith("_")}
    assert outside - {"vidsr", "cython_runtime"} <= JOB
    assert "torch" not in modules


@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_a_dry_run_loads_the_library_of_the_backend_that_runs(folder: Path, backend: str) -> None:
    """A runtime that does not run is not loaded."""
    line = ("upscale", "clip.mp4", "--model", "bicubic", "--backend", backend, "--scale", "2", "--dry-run")
    code, said, modules = loaded(*line, folder=folder)
    assert code == 0, said
    assert "measured on" in said
    runs = re.search(r"bicubic x2: as asked\. (\w+): ", said)
    assert runs is not None, said
    own = {"openvino": {"openvino"}, "tensorrt": {"torch", "tensorrt", "torch_tensorrt"}}.get(runs[1], {"torch"})
    assert modules & NETWORKS <= own
    assert backend == "auto" or not modules & COMPILERS
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "photo.png", "taken.mp4"]


def test_the_end_looks_for_no_garbage() -> None:
    """Of all that torch brings, that would take a second."""
    script = (
        "from vidsr.cli import main\n"
        "class Circle:\n    def __init__(self): self.one = self\n    def __del__(self): print('looked for')\n"
        "kept = Circle()\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, []), done.stderr
    assert done.stdout.startswith("vidsr ")


def test_the_end_is_soon_and_without_a_word_of_triton() -> None:
    """Whose library says at length what of it is left where nobody looks for garbage at the end."""
    pytest.importorskip("triton")
    end = "import sys, vidsr.backends.hardware as h; h.load_torch(); import triton; sys.argv[1:] = ['--version']"
    code = f"{end}; from vidsr.cli import main; main()"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    count = "import gc, vidsr.backends.hardware as h; h.load_torch(); print(gc.get_freeze_count())"
    kept = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, env=env, check=True)
    assert int(kept.stdout) > 100_000, "torch's objects are not looked through"
