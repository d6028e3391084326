"""Files put one behind the other: the second recording is read where FFmpeg reads it, and named where not."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.clips import Audio, make_clip, read_number
from vidsr.media.read import joints
from vidsr.media.read.heads import has_joint, left_out, second_head
from vidsr.media.read.joints import joints_of
from vidsr.media.read.probe import probe
from vidsr.media.read.reader import Reader

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
MPEG4 = {"codec": "mpeg4"}


def pair(folder: Path, name: str, first: float = 1.0, **more: object) -> tuple[Path, int]:
    """24 and 36 pictures with sound, that of the first ending after `first` seconds; where the second one begins."""
    suffix = Path(name).suffix
    sounds = [[Audio("libopus" if suffix == ".webm" else "aac", seconds=s)] for s in (first, 1.5)]
    if suffix in (".asf", ".ogv"):
        sounds = [[], []]
    made = [
        make_clip(folder / f"{n}{suffix}", frames=n, audio=sound, **more)  # type: ignore[arg-type]
        for n, sound in zip((24, 36), sounds, strict=True)
    ]
    (folder / name).write_bytes(b"".join(one.read_bytes() for one in made))
    return folder / name, made[0].stat().st_size


def numbers(path: Path) -> list[tuple[int, Fraction]]:
    with Reader(path) as reader:
        return [(read_number(frame.planes[0]), frame.pts * frame.time_base) for frame in reader]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("a.mp4", {}),
        ("fragments.mp4", {"container_options": FRAGMENTS}),
        ("a.mov", {}),
        ("a.flv", {}),
        ("a.asf", {"codec": "wmv2"}),
        ("a.nut", {}),
    ],
)
def test_a_second_recording_that_is_not_read_is_named(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    path, place = pair(tmp_path, name, **more)
    assert second_head(path) == place
    assert f"begins at byte {place} of {path.stat().st_size}, which is left out" in left_out(path)[0]
    assert [number for number, _ in numbers(path)] == [*range(24)]
    assert second_head(tmp_path / f"36{path.suffix}") is None
    assert left_out(tmp_path / f"36{path.suffix}") == []


def test_avi_is_read_on_and_named(tmp_path: Path) -> None:
    path, place = pair(tmp_path, "a.avi")
    assert second_head(path) == place
    assert "out of step" in left_out(path)[0]
    assert [number for number, _ in numbers(path)] == [*range(24), *range(36)]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
@pytest.mark.parametrize("live", [False, True])
def test_recordings_joined_in_matroska_move_on_together(tmp_path: Path, name: str, live: bool) -> None:
    codec = {"codec": "libvpx"} if name == "a.webm" else {}
    path, place = pair(tmp_path, name, 0.6, container_options={"live": "1"} if live else {}, **codec)
    assert second_head(path) == place
    assert has_joint(path)
    assert left_out(path) == []
    found = numbers(path)
    assert [number for number, _ in found] == [*range(24), *range(36)]
    info = probe(path)
    (joint,) = joints_of(path, info.container, info.video.index)
    assert abs(joint.shift - 1) < Fraction(1, 20), "sound, which ends before its pictures, would move by less"
    assert abs(found[24][1] - joint.shift - found[0][1]) < Fraction(1, 20)


def test_other_files_have_no_second_head(tmp_path: Path) -> None:
    for name, data in {"text": b"not a film", "empty": b"", "matroska": b"\x1a\x45\xdf\xa3", "flv": b"FLV\1"}.items():
        (tmp_path / name).write_bytes(data)
        assert second_head(tmp_path / name) is None
    assert second_head(tmp_path / "none") is None
    assert second_head(tmp_path) is None


def test_a_file_in_which_times_fall_all_the_time_has_no_joints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = pair(tmp_path, "a.ts")
    assert len(joints_of(path, "mpegts", 0)) == 1
    os.utime(path, ns=(0, 0))  # else it is known
    monkeypatch.setattr(joints, "MAX_CUTS", 0)
    assert joints_of(path, "mpegts", 0) == ()
