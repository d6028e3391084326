"""Which vidsr this is, beyond its version: the commit where one is known, and the weights. Loads nothing heavy."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parent
DISTRIBUTION = "vidsr-upscaler"
SHORT = 10  # hexadecimal digits


def build() -> str:
    """``commit 0123456789`` of a checkout or of what was installed from git; ``wheel`` of anything else."""
    commit = _checked_out(PACKAGE.parent / ".git") or _installed()
    return f"commit {commit[:SHORT]}" if commit else "wheel"


def weights() -> str:
    """How many files of weights came with it, and the first digits of the SHA-256 of all of them."""
    files = sorted((PACKAGE / "models" / "weights").glob("*.safetensors"))
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files))
    return f"{len(files)} weights {digest.hexdigest()[:SHORT]}"


def version(package: str) -> str | None:
    """The installed version of a distribution; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _checked_out(git: Path) -> str | None:
    """The commit of a checkout, by its files; a linked worktree names its folder in a file."""
    try:
        if git.is_file():
            git = Path(git.read_text(encoding="utf-8").partition(":")[2].strip())
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        name, common = head[5:], git
        if (git / "commondir").exists():
            common = git / (git / "commondir").read_text(encoding="utf-8").strip()
        if (common / name).exists():
            return (common / name).read_text(encoding="utf-8").strip()
        packed = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, IndexError):
        return None


def _installed() -> str | None:
    """The commit that pip installed, by its record of it (PEP 610)."""
    try:
        record = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return str(json.loads(record or "{}")["vcs_info"]["commit_id"])
    except (metadata.PackageNotFoundError, KeyError, ValueError):
        return None
