"""One place for the version, hooks that are `make check`, and a release that is one command."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import vidsr

ROOT = Path(__file__).parent.parent
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-01\n\n- The first.\n"
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "little"
requires-python = ">=3.11"
dynamic = ["version"]

[tool.hatch.version]
path = "vidsr/__init__.py"

[tool.hatch.build.targets.wheel]
packages = ["vidsr"]
"""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project of the same shape, committed."""
    folder = tmp_path / "project"
    (folder / "vidsr").mkdir(parents=True)
    (folder / "vidsr" / "__init__.py").write_text('"""Little."""\n\n__version__ = "0.1.0"\n')
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / ".gitignore").write_text("dist/\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.name", "T")
    git(folder, "config", "user.email", "t@example.org")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Begin")
    return folder


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "release.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def state(folder: Path) -> tuple[str, str, str]:
    return git(folder, "rev-parse", "HEAD"), git(folder, "tag"), git(folder, "status", "--porcelain")


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "vidsr/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", vidsr.__version__)


def test_the_hooks_are_what_make_check_runs() -> None:
    hooks = re.findall(r"entry: make (\w+),", (ROOT / ".pre-commit-config.yaml").read_text())
    found = re.search(r"^check: ([\w ]+?)  ##", (ROOT / "Makefile").read_text(), re.M)
    assert found is not None
    assert hooks == found[1].split()


def test_a_release_is_tagged_built_and_summed(project: Path) -> None:
    made = release(project, "0.2.0")
    assert made.returncode == 0, made.stderr
    head, tags, changed = state(project)
    assert (tags, changed) == ("v0.2.0", "")
    assert git(project, "rev-parse", "v0.2.0^{commit}") == head
    assert git(project, "log", "-1", "--format=%s") == "Release 0.2.0"
    log = (project / "CHANGELOG.md").read_text()
    assert re.search(
        r"## \[Unreleased\]\n\n## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- A thing\.\n\n## \[0\.1", log
    )
    dist = project / "dist"
    names = {path.name for path in dist.iterdir()}
    assert names == {"SHA256SUMS", "CHANGELOG-0.2.0.md", "little-0.2.0-py3-none-any.whl", "little-0.2.0.tar.gz"}
    for line in (dist / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
        names.remove(name)
    assert names == {"SHA256SUMS"}
    wheel = zipfile.ZipFile(dist / "little-0.2.0-py3-none-any.whl")
    assert b'__version__ = "0.2.0"' in wheel.read("vidsr/__init__.py")
    assert (dist / "CHANGELOG-0.2.0.md").read_text() == "### Added\n\n- A thing.\n"
    assert "### Added" in git(project, "tag", "-n9", "--list", "v0.2.0"), "a heading is no comment"
    assert "nothing under [Unreleased]" in release(project, "0.3.0").stderr


@pytest.mark.parametrize(
    ("version", "says"), [("0.1.0", "does not come after 0.1.0"), ("0.0.9", "does not come"), ("next", "looks like")]
)
def test_a_version_that_is_none_is_refused(project: Path, version: str, says: str) -> None:
    before = state(project)
    refused = release(project, version)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert state(project) == before


def test_a_tree_that_is_not_clean_is_refused(project: Path) -> None:
    (project / "more.txt").write_text("not committed")
    before = state(project)
    refused = release(project, "0.2.0")
    assert refused.returncode == 1
    assert "more.txt" in refused.stderr
    assert state(project) == before
    assert (project / "CHANGELOG.md").read_text() == CHANGELOG


def test_a_build_that_fails_leaves_the_tree_as_it_was(project: Path) -> None:
    (project / "pyproject.toml").write_text(PROJECT.replace('packages = ["vidsr"]', "packages = 7"))
    git(project, "commit", "-qam", "Break")
    before = state(project)
    assert release(project, "0.2.0").returncode == 1
    assert state(project) == before
    assert not (project / "dist").exists()


def test_only_a_check_makes_nothing(project: Path) -> None:
    before = state(project)
    assert release(project, "0.2.0", "--only-check").returncode == 0
    assert state(project) == before
