"""What is kept of a file is not kept longer than the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidsr.media.unchanged import while_unchanged


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    asked: list[str] = []

    @while_unchanged
    def found(path: Path, word: str) -> str:
        asked.append(word)
        return path.read_text() + word

    path = tmp_path / "a"
    path.write_text("old")
    os.utime(path, ns=(1, 1))
    assert [found(path, "A"), found(path, "B"), found(path, "A")] == ["oldA", "oldB", "oldA"]
    path.write_text("new")
    assert found(path, "A") == "newA"  # of the same size
    os.utime(path, ns=(1, 1))
    path.write_text("longer")
    os.utime(path, ns=(1, 1))
    assert found(path, "A") == "longerA"  # of the same time
    path.unlink()
    with pytest.raises(FileNotFoundError):
        found(path, "A")
    assert asked == ["A", "B", "A", "A"]
