"""What installs vidsr: the scripts, the container and the workflow say what the package says."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PACKAGE["project"]["optional-dependencies"]
(TORCH,) = EXTRAS["torch"]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NEED_TORCH = ("Makefile", ".github/workflows/test.yml")  # by its build for the CPU: for tests
INSTALLERS = (
    "Dockerfile",
    "Makefile",
    "scripts/install/install.sh",
    "scripts/install/install.ps1",
    ".github/workflows/test.yml",
)


@pytest.mark.parametrize("name", INSTALLERS)
def test_an_installer_names_the_torch_and_the_extras_of_the_package(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    wanted = set(re.findall(r"torch>=[^'\" ]+", text))
    assert wanted <= {TORCH}
    assert bool(wanted) == (name in NEED_TORCH)
    extras = {extra for group in re.findall(r"\[([a-z,]+)\]['\"]", text) for extra in group.split(",")}
    assert extras <= EXTRAS.keys()
    assert set(re.findall(r"https://[^ '\"}\n)]*whl[^ '\"}\n)]*", text)) <= {CPU_INDEX}


def test_the_workflow_runs_the_tests_as_make_does() -> None:
    lines = [(ROOT / name).read_text(encoding="utf-8") for name in NEED_TORCH]
    (threads, made), (there, run) = (
        (re.findall(r"OMP_NUM_THREADS\W+(\d)", text), re.findall(r"-m pytest (-n .*)", text)) for text in lines
    )
    assert threads == there == ["1"]
    assert made[0].removesuffix(" --durations 10") == run[0]


def test_a_machine_without_a_gpu_gets_no_torch_and_one_with_a_gpu_does() -> None:
    """But where OpenVINO does not exist."""
    needs = [line.partition(";") for line in PACKAGE["project"]["dependencies"]]
    (torch,) = (line for line in needs if line[0] == TORCH)
    (openvino,) = (line for line in needs if line[0].startswith("openvino"))
    assert openvino[2].replace("!=", "==") == torch[2]
    assert {name for name, lines in EXTRAS.items() if TORCH in lines} == {"torch", "tensorrt", "rtx", "models"}


def test_the_container_is_not_run_as_root_and_tells_how_it_is() -> None:
    stages: dict[str, list[str]] = {}
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"FROM \S+ AS (\w+)", line):
            stages[found[1]] = []
        elif stages:
            stages[list(stages)[-1]].append(line)
    for target in ("cpu", "cuda"):
        assert "USER 1000" in stages[target][-2:]
    assert any(line.startswith("HEALTHCHECK") and '"vidsr", "doctor"' in line for line in stages["base"])
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {"vidsr", "engines", "pyproject.toml", PACKAGE["project"]["readme"], *PACKAGE["project"]["license-files"]}
    assert allowed == needed


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh here")
def test_the_script_says_what_is_missing_in_one_sentence(tmp_path: Path) -> None:
    script = str(ROOT / "scripts" / "install" / "install.sh")
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", script, "gone.whl"], capture_output=True, text=True, env=home, check=False)
    assert done.returncode == 2
    assert done.stderr == "install.sh: gone.whl does not exist; name a wheel or a checkout of vidsr.\n"
    home["PYTHON"] = "nosuchpython"
    done = subprocess.run(["sh", script], capture_output=True, text=True, env=home, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert list(tmp_path.iterdir()) == []
