"""Makes a release of what is checked out: `make release VERSION=0.2.0`. It pushes nothing and uploads nothing.

The version goes into `vidsr/__init__.py` and the changelog's Unreleased section becomes its own; from that the wheel
and the source distribution are built into `dist/`, with that section as notes, and checksums. Then it is committed and
tagged. Whatever fails before leaves the tree as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

VERSION_FILE, CHANGELOG = Path("vidsr/__init__.py"), Path("CHANGELOG.md")
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.M)
_UNRELEASED = re.compile(r"^## \[Unreleased\]\n(.*?)(?=^## \[|\Z)", re.M | re.S)


def main() -> None:
    """Check, and unless `--only-check` is given make the release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="like 0.2.0")
    parser.add_argument("--only-check", action="store_true", help="say whether it could be made, and make nothing")
    wanted = parser.parse_args()
    notes = check(wanted.version)
    if not wanted.only_check:
        release(wanted.version, notes)


def check(version: str) -> str:
    """The notes of a release under that name; ends the program in one sentence where there can be none."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        sys.exit(f"a version looks like 0.2.0, not {version!r}")
    current = _VERSION.search(VERSION_FILE.read_text(encoding="utf-8"))
    if current is None:
        sys.exit(f"{VERSION_FILE} names no __version__")
    if _numbers(version) <= _numbers(current[1]):
        sys.exit(f"{version} does not come after {current[1]}, which {VERSION_FILE} names")
    if changed := git("status", "--porcelain"):
        sys.exit(f"the tree is not clean; commit or stash first:\n{changed}")
    if git("tag", "--list", f"v{version}"):
        sys.exit(f"the tag v{version} exists already")
    section = _UNRELEASED.search(CHANGELOG.read_text(encoding="utf-8"))
    if section is None or not section[1].strip():
        sys.exit(f"{CHANGELOG} has nothing under [Unreleased]")
    return section[1].strip() + "\n"


def release(version: str, notes: str) -> None:
    """Build, commit and tag."""
    dist = Path("dist")
    try:
        _replace(VERSION_FILE, _VERSION, f'__version__ = "{version}"')
        _replace(CHANGELOG, _UNRELEASED, f"## [Unreleased]\n\n## [{version}] - {date.today()}\n\n{notes}\n")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", name]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
            (folder / f"CHANGELOG-{version}.md").write_text(notes, encoding="utf-8")
            files = sorted(folder.iterdir())
            sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
            (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
            git("commit", "-q", "-m", f"Release {version}", str(VERSION_FILE), str(CHANGELOG))
            git("tag", "-a", f"v{version}", "-m", f"vidsr {version}\n\n{notes}", "--cleanup=verbatim")
            shutil.rmtree(dist, ignore_errors=True)
            dist.mkdir()  # open to all, unlike the temporary folder
            for file in folder.iterdir():
                shutil.copy(file, dist)
    except BaseException:
        git("checkout", "-q", "--", str(VERSION_FILE), str(CHANGELOG))
        raise
    print(f"v{version} is tagged here, and in {dist}/ are {', '.join(sorted(file.name for file in dist.iterdir()))}")


def git(*arguments: str) -> str:
    """What git says."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _replace(path: Path, pattern: re.Pattern[str], text: str) -> None:
    path.write_text(pattern.sub(lambda _: text, path.read_text(encoding="utf-8"), count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
