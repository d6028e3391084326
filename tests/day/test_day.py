"""A day with vidsr: the commands of README's "Use", one after the other, and what people get wrong in between."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clips import cut_off, make_clip
from tests.conftest import ROOT, Result
from tests.documents import blocks, make_workspace

Cli = Callable[..., Result]
QUICK = "--model bicubic --backend cpu --preset ultrafast"
DAY: list[tuple[str, int, tuple[str, ...]]] = [  # a line, its exit code, and what it says, in this order
    ("compare clip.mp4 --html --model bicubic --backend cpu", 0, ("compare.html", "open file://")),
    ("compare clip.mp4 --model fast-video@0,fast-video@grain=1 --scale 2 --backend cpu --at 0", 0, ("clip_compare",)),
    (f"upscale clip.mp4 --dry-run {QUICK}", 0, ("64x48 -> 256x192, h264, mp4", "6 frames: about", "(measured on")),
    (f"upscale clip.mp4 {QUICK}", 0, ("clip.mp4 -> clip_x4.mp4", "64x48 -> 256x192, 6 frames, h264; ", "6 frames in")),
    (f"upscale clip.mp4 {QUICK}", 0, ("clip_x4.mp4: done already, with the same options\n",)),
    (f"upscale clip.mp4 --keep-going {QUICK}", 0, ("done already, with the same options but for --keep-going\n",)),
    (f"upscale clip.mp4 --crf 30 {QUICK}", 1, ("clip_x4.mp4: exists, and is not what these options make; ",)),
    (f"upscale clip.mp4 --crf 30 --dry-run {QUICK}", 0, ("6 frames: about", "note: clip_x4.mp4: exists, and is not")),
    (f"upscale clip.mp4 -o big.mkv --scale 2.5 {QUICK}", 0, ("64x48 -> 160x120", "big.mkv: 6 frames")),
    (f"upscale uhd.mp4 {QUICK}", 2, ("the film is 3840x2160 already; more than 3840x2160 needs a --scale or --size",)),
    (f"upscale film.mkv --size 120x90 {QUICK}", 0, ("64x48 -> 120x90, 12 frames", "film_120x90.mkv: 12 frames")),
    (f"upscale film.mkv --start 1:30 --end 1:40 -o part.mkv {QUICK}", 0, (", 1 frame, h264", "part.mkv: 1 frame in")),
    (f"upscale holiday/ -o large/ --recursive --dry-run {QUICK}", 0,
     ("1 of 2: ", "2 of 2: ", "32x24 -> 128x96, jpg\n", "2 planned\n", "all of them: about")),
    (f"upscale holiday/ -o large/ --recursive {QUICK}", 0, ("1 of 2: ", "2 of 2: ", "photo_x4.jpg: ", "2 done\n")),
    (f"upscale holiday/ -o large/ --recursive {QUICK}", 0, ("1 of 2: ", "2 of 2: ", "2 skipped\n")),
    (f"upscale damaged.mp4 --keep-going {QUICK}", 0, (": 12 frames in",)),
    (f"upscale broken.mkv {QUICK}", 1,
     ("nothing is kept", "the same command with --keep-going (keep_going=True) begins again", "broken.mkv is damaged")),
    (f"upscale broken.mkv --keep-going {QUICK}", 0, ("broken_x4.mkv: ", "note: at ", "the file breaks off")),
    (f"upscale clip.mp4 missing.mp4 gone.mp4 -o three/ {QUICK}", 1,
     ("1 of 3: ", "failed: missing.mp4 does not exist; check the name", "failed: gone.mp4", "1 done, 2 failed\n")),
    (f"upscale clip.mp4 --scale 2 --json {QUICK}", 0, ()),
    ("upscale clip.mp4 -o soft.mp4 --denoise 0.5 --grain 1 --scale 2 --backend cpu", 0,
     ("fast-video@0.5@grain=1 x2: as asked", "soft.mp4: 6 frames")),
    ("upscale clip.mp4 --denoise 0.5 --model srgan", 2, ("--denoise goes with fast-video and srgan-video,",)),
    (f"upscale tape.mkv -o half.mkv --scale 1 {QUICK}", 0,
     ("one picture for each frame, 25 a second, which is half of the motion; --deinterlace fields", "6 frames in")),
    (f"upscale tape.mkv -o whole.mkv --scale 1 --deinterlace fields {QUICK}", 0,
     ("two pictures of each frame, 50 a second, all of the motion", "whole.mkv: 12 frames in")),
    (f"upscale clip.mp4 -o small.mp4 --crop 32x24+8+8 --preview now.png {QUICK}", 0,
     ("32x24 -> 128x96", "cropped from 64x48 to 32x24")),
    (f"upscale clip.mp4 -o tiny.mp4 --target-size 3.2kB {QUICK}", 1,
     ("another --target-size (target_size) goes on from there", "3.2 kB are too little")),
    (f"upscale clip.mp4 -o tiny.mp4 --target-size 60kB {QUICK}", 0,
     ("goes on after 1 finished part", "tiny.mp4: 6 frames")),
    ("upscale clip.mp4 -o loop.gif --scale 2 --model bicubic --backend cpu", 0,
     ("6 frames, gif", "gif cannot hold aac audio", "loop.gif: 6 frames in")),
    ("upscale loop.gif --scale 2 --model bicubic --backend cpu", 0, ("loop.gif -> loop_x2.gif", "128x96 -> 256x192")),
    (f"upscale clip.mp4 -o - --container gif {QUICK}", 2, ("ultrafast is unknown to gif",)),
    ("export fast --scale 2 -o photo.jpg/a.onnx", 1, ("photo.jpg/a.onnx: cannot be written",)),
    ("verify clip.mp4 clip_x4.mp4", 0, ("ok: nothing is lost",)),
    ("models", 0, ("fast-video", "the default: ")),
    ("bench clip.mp4 --model bicubic --backends cpu --sizes 32x24 --seconds 0.02", 0,
     ("the network alone, cpu fp32 32x24: ", "a whole job, cpu fp32 32x24: ", "the film, cpu fp32")),
    ("probe clip.mp4", 0, ("picture  h264 64x48 yuv420p, 24.000 fps, about 6 frames",)),
    ("probe photo.jpg", 0, ("photo.jpg: an image", "RGB, 8 bits a sample")),
    ("engine list", 0, ()),
    ("upscale clip.mp4 --scale 8", 2, ("scale must be from 1 to 4, not 8; in two steps: scale 4",)),
    ("upscale clip.mp4 x4", 2, ("say --scale 4",)),
    ("upscale https://example.org/a.mp4", 2, ("vidsr reads files, not addresses",)),
    ("upscale clip.mp4 --model nonesuch", 2, ("Unknown model 'nonesuch'; choose one of",)),
    ("upscale clip.mp4 -o out.avi", 2, ("avi cannot keep the times of all frames: name the output .mp4",)),
    ("upscale clip.mp4 --container webm --codec h264", 2, ("webm cannot hold h264: choose another codec",)),
    ("export nonesuch", 2, ("Unknown model 'nonesuch'",)),
    ("clip.mp4", 2, ("try: vidsr upscale clip.mp4",)),
    ("upscale -dash.mp4", 2, ("a file whose name begins with a dash is written ./-dash.mp4",)),
    ("upscale clip.mp4 --scale x4", 2, ("try: --scale 4",)),
]  # fmt: skip
STAND_INS = {"2160p": "120x90"}  # for what tiny files cannot become


def test_a_day(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "day").mkdir()
    folder = make_workspace(tmp_path / "day")
    cut_off(make_clip(tmp_path / "whole.mkv", frames=48, width=128, height=96), folder / "broken.mkv", 0.8)
    make_clip(folder / "uhd.mp4", frames=1, width=3840, height=2160)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for line, code, words in DAY:
        result = vidsr(*shlex.split(line))
        said = result.out + result.err
        assert result.code == code, (line, said)
        place = 0
        for word in words:
            assert word in said[place:], (line, word, said)
            place = said.index(word, place)
        assert "Traceback" not in said, (line, said)
        assert not re.search(r"\b1 (frames|parts|files)\b|\[Errno", said), (line, said)


def test_the_network_is_named_once_a_batch(vidsr: Cli, tmp_path: Path) -> None:
    for name in "abc":
        make_clip(tmp_path / f"{name}.mp4", frames=2)
    result = vidsr("upscale", tmp_path, "-o", tmp_path / "out", *shlex.split(QUICK))
    assert result.err.count("bicubic x4: ") == 1, result.err


def test_the_day_holds_every_command_of_the_readme() -> None:
    used = [words for block in blocks(ROOT / "README.md") for words in block.commands if words[0] == "vidsr"]
    lines = [set(shlex.split(line)) for line, _, _ in DAY]
    for words in used:
        wanted = {STAND_INS.get(word, word) for word in words[1:]}
        if not block_is_install(words):
            assert any(wanted <= line for line in lines), words


def block_is_install(words: list[str]) -> bool:
    """Of the blocks that are not run."""
    return "doctor" in words or "--ray" in words or words == ["vidsr", "upscale", "clip.mp4", "--scale", "4"]


@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here")
@pytest.mark.parametrize("columns", [50, 80])
def test_the_bar_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    make_clip(tmp_path / "clip.mp4", frames=120)
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\nfrom vidsr.media.write.writer import Writer\nreal = Writer.write\n"
        "def write(*given):\n    time.sleep(0.1)\n    real(*given)\n"
        "Writer.write = write\nfrom vidsr.cli import main\nmain()\n"
    )
    line = shlex.join([sys.executable, str(slow), "upscale", "clip.mp4", *QUICK.split()])
    tmux = ["tmux", "-S", str(tmp_path / "tmux")]
    size = ["-x", str(columns), "-y", "24"]
    path = f"PYTHONPATH={ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [*tmux, "new-session", "-d", *size, "-c", str(tmp_path), f"env -u COLUMNS {path} {line}; sleep 60"]
    subprocess.run(command, check=True)
    try:
        screen = screen_with(tmux, "/120 frames")
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)
    (bar,) = (row for row in screen.splitlines() if "/120 frames" in row)
    assert " fps" in bar
    assert re.search(r" left(,|$)", bar.rstrip()), bar
    assert ("limited by" in bar) == (columns == 80)
    assert bar.count("━") + bar.count("╸") + bar.count("╺") >= columns // 10


def screen_with(tmux: list[str], words: str) -> str:
    """What the terminal shows as soon as it shows `words` and a rate."""
    for _ in range(600):
        shown = subprocess.run([*tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True).stdout
        if re.search(rf"\d\d{words}.* left", shown):
            return shown
        time.sleep(0.1)
    pytest.fail(f"{words!r} never came:\n{shown}")
