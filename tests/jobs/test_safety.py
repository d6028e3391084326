"""Nothing that is not ours is ever overwritten or removed, whatever stands where."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import make_clip
from tests.conftest import Result
from vidsr import upscale_video
from vidsr.errors import OutputError
from vidsr.jobs.events import Advanced
from vidsr.media.stills import write_image

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("arguments", [["."], ["clip.mp4", "clip_x2.mp4"]], ids=["folder", "files"])
def test_overwrite_never_replaces_another_source(
    vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4", frames=2)
    foreign = digest(make_clip(tmp_path / "clip_x2.mp4", frames=3))
    result = vidsr("upscale", *arguments, *QUICK, "-y")
    assert result.code == 1
    assert "is itself a source" in result.err
    assert digest(tmp_path / "clip_x2.mp4") == foreign


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_another_name_of_the_source_is_not_replaced(vidsr: Cli, tmp_path: Path, name: str) -> None:
    """As on a disk where names of another case are the same."""
    source = tmp_path / name
    if name == "a.mp4":
        make_clip(source, frames=2)
    else:
        write_image(source, np.zeros((8, 8, 3), np.uint8))
    other = tmp_path / f"other{source.suffix}"
    other.hardlink_to(source)
    result = vidsr("upscale", source, "-o", other, *QUICK, "-y")
    assert result.code == 1
    assert "its own source" in result.err
    assert other.samefile(source)


def test_own_outputs_in_a_shells_glob_are_left_alone(vidsr: Cli, tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", frames=2)
    assert vidsr("upscale", *sorted(tmp_path.glob("*.mp4")), *QUICK).code == 0
    again = vidsr("upscale", *sorted(tmp_path.glob("*.mp4")), *QUICK)
    assert again.code == 0
    assert "1 skipped, 1 own output left alone" in again.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a_x2.mp4"]


def test_a_foreign_work_folder_is_refused_and_untouched(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    folder = tmp_path / "a_x2.mp4.vidsr"
    (folder / "mine").mkdir(parents=True)
    (folder / "important.txt").write_text("keep me")
    result = vidsr("upscale", source, *QUICK)
    assert result.code == 1
    assert "not vidsr's" in result.err
    assert sorted(path.name for path in folder.iterdir()) == ["important.txt", "mine"]


def test_a_foreign_file_in_a_work_folder_of_ours_stays(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    folder = tmp_path / "a_x2.mp4.vidsr"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "important.txt").write_text("keep me")
    assert vidsr("upscale", source, *QUICK).code == 0
    assert [path.name for path in folder.iterdir()] == ["important.txt"]


def test_a_file_that_appears_while_the_job_runs_stays(tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "a.mp4", frames=4), tmp_path / "out.mp4"

    def drop_in(event: object) -> None:
        if isinstance(event, Advanced):
            output.write_text("precious")

    with pytest.raises(OutputError, match="appeared while the job ran"):
        upscale_video(source, output, model="bicubic", backend="cpu", scale=2, on_event=drop_in)
    assert output.read_text() == "precious"
    upscale_video(source, output, model="bicubic", backend="cpu", scale=2, overwrite=True)
    assert not (tmp_path / "out.mp4.vidsr").exists()


def test_what_a_finished_output_left_beside_it_goes_with_the_next_run(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    assert vidsr("upscale", source, *QUICK).code == 0
    stale = tmp_path / "a_x2.mp4.vidsr"
    stale.mkdir()
    (stale / "manifest.json").write_text("{}")
    (stale / "000000.mp4").write_bytes(b"of an older run")
    assert "done already" in vidsr("upscale", source, *QUICK).err
    assert not stale.exists()


@pytest.mark.parametrize("name", ["Film: Part 2", "concat:a|b", "-dash", "[bold]x", "a\nb", "tcp:1", "%03d"])
def test_names_are_only_names(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "plain.mp4", frames=2)
    shutil.move(tmp_path / "plain.mp4", tmp_path / f"{name}.mp4")
    result = vidsr("upscale", *QUICK, "--", f"{name}.mp4")
    assert result.code == 0, result.err
    with av.open((tmp_path / f"{name}_x2.mp4").open("rb"), "r") as container:
        assert len(list(container.decode(video=0))) == 2


@pytest.mark.parametrize("name", ["x" * 300, "loop/a.mp4"])
def test_impossible_names_do_not_stop_the_others(vidsr: Cli, tmp_path: Path, name: str) -> None:
    good = make_clip(tmp_path / "a.mp4", frames=2)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    result = vidsr("upscale", tmp_path / name, good, *QUICK)
    assert result.code == 1
    assert "1 done, 1 failed" in result.err
    assert "Traceback" not in result.err


def test_a_name_that_contradicts_the_container_is_bad_usage(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    result = vidsr("upscale", source, *QUICK, "-o", tmp_path / "x.mkv", "--container", "mp4")
    assert result.code == 2
    assert "disagree" in result.err


def test_a_copied_picture_stream_of_the_outputs_size_does_not_confuse_the_check(vidsr: Cli, tmp_path: Path) -> None:
    """Two picture streams: the default one, upscaled, ends with the size of the other one, which is copied."""
    first = make_clip(tmp_path / "1.mkv", frames=10, width=64, height=48)
    second = make_clip(tmp_path / "2.mkv", frames=20, width=32, height=24)
    both = tmp_path / "both.mkv"
    with av.open(str(first)) as a, av.open(str(second)) as b, av.open(str(both), "w") as out:
        targets = [out.add_stream_from_template(c.streams.video[0], opaque=True) for c in (a, b)]
        targets[0].disposition = av.stream.Disposition(0)
        targets[1].disposition = av.stream.Disposition.default
        for container, target in zip((a, b), targets, strict=True):
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    result = vidsr("upscale", both, *QUICK, "-o", tmp_path / "out.mkv")
    assert result.code == 0, result.err
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [(s.width, s.height) for s in container.streams.video] == [(64, 48), (64, 48)]


def test_one_wrong_size_among_good_ones_is_a_failure_not_bad_usage(vidsr: Cli, tmp_path: Path) -> None:
    make_clip(tmp_path / "small.mp4", frames=2, width=64, height=48)
    make_clip(tmp_path / "large.mp4", frames=2, width=512, height=384)
    result = vidsr("upscale", tmp_path, "--model", "bicubic", "--backend", "cpu", "--size", "128x96")
    assert result.code == 1
    assert "1 done, 1 failed" in result.err
