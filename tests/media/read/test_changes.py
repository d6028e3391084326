"""Pictures whose samples the layout of the first one does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clips import make_clip
from vidsr.media.read.reader import Reader


@pytest.mark.parametrize(
    ("before", "behind", "said"),
    [
        ("yuv420p", "yuv444p", "yuv444p at 0.208 s: reduced to yuv420p"),
        ("yuv420p", "yuv420p10le", "yuv420p10le at 0.208 s: reduced to yuv420p"),
        ("yuv444p", "yuv420p", ""),
        ("yuv420p", "yuvj420p", ""),
        ("yuv420p", "gray", ""),
    ],
)
def test_a_layout_that_holds_less_is_said(tmp_path: Path, before: str, behind: str, said: str) -> None:
    parts = [make_clip(tmp_path / f"{n}.h264", frames=5, pix_fmt=name) for n, name in enumerate((before, behind))]
    (tmp_path / "both.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    with Reader(tmp_path / "both.h264") as reader:
        assert len(list(reader)) == 10
    notes = [note for note in reader.report.notes if "pictures become" in note]
    assert notes == ([f"the pictures become {said}, as at the beginning"] if said else [])
