"""A folder of forty files as people have them: what is whole is made, what is not is said, on one screen."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.clips import Audio, cut_off, make_clip
from tests.conftest import Result

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--preset", "ultrafast")
COLUMNS, LINES = 80, 24
FILMS = (
    "a.mp4",
    "b.mkv",
    "c.mov",
    "d.ts",
    "e.m4v",
    "f.avi",
    "-dash.mp4",
    "\N{FILM FRAMES} film.mkv",
    "two  spaces .mp4",
)
PHOTOS = ("a.png", "b.png", "c.jpg", "d.JPG", "e.webp", "f.tif", "g.bmp", "umlaut \u00e4.jpeg")
NOTHING = (
    "a.srt",
    "b.ass",
    "c.vtt",
    "notes.txt",
    "cover.nfo",
    "half.mp4.part",
    ".hidden.mp4",
    "sound.mp3",
    "Thumbs.db",
)
BROKEN = (
    "empty.mp4",
    "empty.png",
    "noise.mkv",
    "noise.jpg",
    "text.mov",
    "text.webm",
    "cut.mp4",
    "cut.png",
    "sound only.mp4",
)


def make_folder(folder: Path) -> None:
    folder.mkdir()
    for name in FILMS:
        num_frames = 12 if name.endswith("ts") else 2  # FFmpeg finds no shorter stream
        make_clip(
            folder / name, frames=num_frames, width=32, height=24, codec="mpeg4" if name.endswith("avi") else "libx264"
        )
    for name in PHOTOS:
        Image.new("RGB", (16, 12), (200, 30, 30)).save(folder / name)
    for name in NOTHING:
        (folder / name).write_text("1\n00:00:01,000 --> 00:00:02,000\nA line.\n")
    for name in BROKEN:
        (folder / name).write_bytes(
            {"e": b"", "n": bytes(range(256)) * 40, "t": b"This is no film.\n"}.get(name[0], b"")
        )
    cut_off(folder / "a.mp4", folder / "cut.mp4", 0.4)
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:40])
    with_sound = make_clip(folder.parent / "sound.mkv", frames=2, audio=[Audio(seconds=0.2)])
    _keep_sound(with_sound, folder / "sound only.mp4")
    (folder / "film.mp4").mkdir()
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    for odd in (b"bad \xff\xfe.mp4", b"red \x1b[31m\n.mp4"):
        os.link(folder / "a.mp4", os.fsencode(folder) + b"/" + odd)
    make_clip(folder / f"{'long' * 60}.mp4", frames=2, width=32, height=24)


def _keep_sound(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as opened, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(opened.streams.audio[0])
        for packet in opened.demux(opened.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, and links")
def test_a_folder_of_forty_files(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "mixed", tmp_path / "out"
    make_folder(folder)
    before = {path.name: path.lstat().st_size for path in folder.iterdir()}
    assert len(before) == 40
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("LINES", str(LINES))
    num_good, num_bad = len(FILMS) + len(PHOTOS) + 3, len(BROKEN)
    first = vidsr("upscale", folder, "-o", f"{out}/", *QUICK)
    assert first.code == 1, first.err
    assert f"{num_good} done, {num_bad} failed" in first.err.splitlines()[-1]
    check(first.err, num_bad)
    assert f"1 of {num_good + num_bad}: " in first.err
    assert len(list(out.iterdir())) == num_good
    assert {path.name: path.lstat().st_size for path in folder.iterdir()} == before
    again = vidsr("upscale", folder, "-o", f"{out}/", *QUICK)
    assert again.err.splitlines()[-1] == f"{num_good} skipped, {num_bad} failed"
    check(again.err, num_bad)


def check(said: str, num_bad: int) -> None:
    """The end fits a screen, names what failed before it counts, and nothing of a name reaches the terminal raw."""
    lines = said.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("failed: "))
    end = lines[begin:]
    assert sum(-(-len(line) // COLUMNS) for line in end) < LINES, end
    named = [line for line in end if line.startswith("failed: ")]
    left = re.search(r"\.\.\. and (\d+) more failed", said)
    assert len(named) + (int(left[1]) if left else 0) == num_bad
    assert len(named) >= num_bad // 2
    assert "Traceback" not in said
    assert "Errno" not in said
    assert "\x1b[31m" not in said
    assert len(set(named)) == len(named)
