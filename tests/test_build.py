"""Which vidsr this is: the commit by git's files or by pip's record, and the weights."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from vidsr import build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_commit_is_the_one_that_git_says(tmp_path: Path) -> None:
    line = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*line[:3], "init", "-q"], check=True)
    subprocess.run([*line, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*line, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert build._checked_out(tmp_path / ".git") == head
    subprocess.run([*line, "pack-refs", "--all"], check=True)
    assert build._checked_out(tmp_path / ".git") == head
    subprocess.run([*line, "worktree", "add", "-q", str(tmp_path / "tree")], check=True, capture_output=True)
    assert build._checked_out(tmp_path / "tree" / ".git") == head
    subprocess.run([*line, "checkout", "-q", "--detach"], check=True)
    assert build._checked_out(tmp_path / ".git") == head


def test_what_was_installed_from_git_has_its_commit_and_a_wheel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_checked_out", lambda _: None)
    record = json.dumps({"url": "https://example.org", "vcs_info": {"vcs": "git", "commit_id": COMMIT}})
    for text, said in ((record, f"commit {COMMIT[:10]}"), ('{"url": "file:///a.whl"}', "wheel"), (None, "wheel")):
        monkeypatch.setattr(
            build.metadata, "distribution", lambda _, text=text: SimpleNamespace(read_text=lambda _: text)
        )
        assert build.build() == said


def test_other_weights_are_other_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PACKAGE", tmp_path)
    folder = tmp_path / "models" / "weights"
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(b"one")
    first = build.weights()
    (folder / "a.safetensors").write_bytes(b"two")
    assert first.startswith("1 weights ")
    assert build.weights() != first
