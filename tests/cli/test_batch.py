"""`vidsr upscale` of many files, and of what cannot be upscaled."""

from __future__ import annotations

import errno
import os
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_upscale import listing
from tests.clips import cut_off, make_clip, shown
from tests.conftest import Result

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2")


def test_a_folder_keeps_its_structure_and_goes_on_after_a_failure(vidsr: Cli, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    (clips / "deep").mkdir(parents=True)
    make_clip(clips / "a.mp4", frames=3)
    make_clip(clips / "deep" / "b.mkv", frames=3)
    (clips / "broken.mp4").write_text("this is no video")
    (clips / "notes.txt").write_text("not media")
    result = vidsr("upscale", clips, "-o", f"{out}/", "--recursive", *QUICK)
    assert result.code == 1
    assert listing(out) == ["a_x2.mp4", "deep", "deep/b_x2.mkv"]
    assert "2 done, 1 failed" in result.err
    assert result.err.count("broken.mp4") >= 2  # when it happened, and in the list at the end

    (clips / "broken.mp4").unlink()
    before = (out / "a_x2.mp4").stat().st_mtime_ns
    again = vidsr("upscale", clips, "-o", f"{out}/", "--recursive", *QUICK)
    assert again.code == 0
    assert "2 skipped" in again.err
    assert (out / "a_x2.mp4").stat().st_mtime_ns == before


def test_a_folder_that_cannot_be_read_is_named(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    make_clip(tmp_path / "open" / "a.mp4", frames=2)
    scan = os.scandir

    def scandir(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    result = vidsr("upscale", tmp_path, "--recursive", *QUICK)
    assert result.code == 1
    assert f"{tmp_path / 'closed'}: cannot be read (Permission denied)\n" in result.err
    assert "1 done, 1 failed" in result.err


def test_a_link_to_a_file_of_the_same_folder_does_not_take_its_place(vidsr: Cli, tmp_path: Path) -> None:
    make_clip(tmp_path / "b.mp4", frames=2)
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "c.mp4").symlink_to("b.mp4")
    assert vidsr("upscale", tmp_path, *QUICK).code == 0
    assert listing(tmp_path) == ["a.mp4", "b.mp4", "b_x2.mp4", "c.mp4"]


def test_a_batch_does_not_pick_up_its_own_outputs(vidsr: Cli, tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", frames=2)
    assert vidsr("upscale", tmp_path, *QUICK).code == 0
    assert vidsr("upscale", tmp_path, *QUICK).code == 0
    assert listing(tmp_path) == ["a.mp4", "a_x2.mp4"]


def test_other_options_do_not_pass_for_the_same_job(vidsr: Cli, tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "a.mp4", frames=2), tmp_path / "out.mp4"
    assert vidsr("upscale", source, "-o", output, *QUICK).code == 0
    refused = vidsr("upscale", source, "-o", output, *QUICK, "--crf", "30")
    assert refused.code == 1
    assert "--overwrite" in refused.err
    assert vidsr("upscale", source, "-o", output, *QUICK, "--crf", "30", "-y").code == 0


def test_two_sources_that_would_write_the_same_output(vidsr: Cli, tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", frames=2)
    make_clip(tmp_path / "a.avi", frames=2, codec="mpeg4")
    result = vidsr("upscale", tmp_path, *QUICK)
    assert result.code == 1
    assert "is that of" in result.err
    assert listing(tmp_path) == ["a.avi", "a.mkv", "a_x2.mkv"]


BAD_FILES = {
    "missing.mp4": (None, "not exist|no such file|missing"),
    "empty.mp4": (b"", "empty"),
    "text.mp4": (b"Dear diary, this is text.\n" * 50, "not|no"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(vidsr: Cli, tmp_path: Path, name: str) -> None:
    content, expected = BAD_FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert_refused(vidsr, tmp_path, [tmp_path / name], expected, about=name)


def test_a_file_with_sound_only(vidsr: Cli, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8000, "NONE", ""))
        sound.writeframes(bytes(16000))
    assert_refused(vidsr, tmp_path, [tmp_path / "sound.wav"], "no picture", about="sound.wav")


def test_a_cut_off_file_fails_and_keep_going_saves_what_decodes(vidsr: Cli, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", frames=48, width=128, height=96)
    cut = cut_off(whole, tmp_path / "cut.ts.mkv", 0.6)
    whole.unlink()
    result = vidsr("upscale", cut, *QUICK)
    if result.code == 0:
        pytest.fail("a file that breaks off must not pass for a whole one")
    assert listing(tmp_path) == [cut.name]
    saved = vidsr("upscale", cut, *QUICK, "--keep-going")
    assert saved.code == 0, saved.err
    found = [number for number, _ in shown(tmp_path / "cut.ts_x2.mkv")]
    assert found == list(range(len(found)))
    assert 10 < len(found) < 48


def test_bad_targets(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    (tmp_path / "other.mp4").write_bytes(b"precious")
    (tmp_path / "file").write_bytes(b"a file, not a folder")
    for target, expected in {
        source: "its own source",
        tmp_path / "other.mp4": "--overwrite",
        tmp_path / "file" / "out.mp4": "cannot be written",
        tmp_path / "out.webm": None,
    }.items():
        arguments = [source, "-o", target] + (["--codec", "h264"] if target.suffix == ".webm" else [])
        assert_refused(vidsr, tmp_path, arguments, expected or "webm", about="", code=1 if expected else 2)
    assert (tmp_path / "other.mp4").read_bytes() == b"precious"


def test_an_unknown_model(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    assert_refused(vidsr, tmp_path, [source, "--model", "dream"], "Unknown model 'dream'", about="dream", code=2)


def assert_refused(vidsr: Cli, folder: Path, arguments: list[object], expected: str, about: str, code: int = 1) -> None:
    """One sentence that names the file, nothing written."""
    before = listing(folder)
    quick = [] if "--model" in arguments else list(QUICK)
    result = vidsr("upscale", *quick, *arguments)
    assert result.code == code, result.err
    lines = [line for line in result.err.splitlines() if line.startswith("vidsr: ")]
    assert len(lines) == 1, result.err
    assert about in lines[0]
    import re

    assert re.search(expected, lines[0], re.IGNORECASE), lines[0]
    assert "Traceback" not in result.err
    assert listing(folder) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scale", "0"],
        ["--scale", "9"],
        ["--scale", "much"],
        ["--start", "-1"],
        ["--end", "never"],
        ["--no-such-flag"],
        ["--crf", "-5"],
        ["--tile", "tiny"],
        ["--size", "huge"],
        ["--deinterlace", "magic"],
        ["--container", "docx"],
        ["--codec", "h265000"],
        ["--backend", "abacus"],
        ["--precision", "fp3"],
    ],
)
def test_impossible_options_are_bad_usage(vidsr: Cli, tmp_path: Path, arguments: list[str]) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    result = vidsr("upscale", source, "--model", "bicubic", *arguments)
    assert result.code == 2, result.err
    assert "Traceback" not in result.err
    assert listing(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_a_folder_of_the_output_s_name_is_no_output(vidsr: Cli, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    Image.new("RGB", (16, 16)).save(source) if source.suffix == ".png" else make_clip(source, frames=2)
    (tmp_path / f"a_x2{source.suffix}").mkdir()
    told = vidsr("upscale", source, *QUICK, "-y")
    assert (told.code, "this is a folder; choose another name for the output" in told.err) == (1, True)
