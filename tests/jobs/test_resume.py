"""A job that is killed goes on after its finished segments, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.clips import Audio, make_clip, shown
from tests.conftest import ROOT, Result
from vidsr import files

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--segment-seconds", "0.5", "--preset", "ultrafast")

# Runs the command line and kills itself, without any clean-up, at the n-th call of a function that touches the disk.
KILLER = """
import os, pathlib, sys
at, name = int(sys.argv.pop(1)), sys.argv.pop(1)
owner = os if name == "fsync" else pathlib.Path
real, calls = getattr(owner, name), [0]
def counted(*arguments, **options):
    calls[0] += 1
    if calls[0] == at:
        os.kill(os.getpid(), 9)
    return real(*arguments, **options)
setattr(owner, name, counted)
from vidsr.cli import main
main()
"""


def run_and_kill(at: int, name: str, *arguments: object) -> int:
    command = [sys.executable, "-c", KILLER, str(at), name, *map(str, arguments)]
    return warm.run(command, cwd=ROOT, capture_output=True).returncode


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four segments of half a second, B-frames, one keyframe, and sound."""
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    return make_clip(path, frames=48, bframes=2, gop=250, audio=[Audio(seconds=2)])


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole") / "out.mp4"
    command = [sys.executable, "-m", "vidsr", "upscale", str(clip), "-o", str(output), *QUICK]
    warm.run(command, cwd=ROOT, check=True, capture_output=True)
    return output.read_bytes()


def test_segments_are_joined_without_a_trace(clip: Path, whole: bytes, tmp_path: Path) -> None:
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(whole)
    assert shown(joined) == [(k, Fraction(k, 24)) for k in range(48)]


@pytest.mark.parametrize(
    ("name", "at", "parts"), [("fsync", 2, 0), ("fsync", 6, 1), ("replace", 2, 0), ("replace", 5, 2), ("replace", 9, 4)]
)
def test_killed_at_a_write_the_second_run_ends_with_the_same_bytes(
    vidsr: Cli, clip: Path, whole: bytes, tmp_path: Path, name: str, at: int, parts: int
) -> None:
    output = tmp_path / "out.mp4"
    assert run_and_kill(at, name, "upscale", clip, "-o", output, *QUICK) == -signal.SIGKILL
    assert not output.exists()
    again = vidsr("upscale", clip, "-o", output, *QUICK)
    assert again.code == 0, again.err
    assert (f"goes on after {parts} finished" in again.err) == (parts > 0)
    assert output.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.soak
@pytest.mark.parametrize("name", ["fsync", "replace", "open", "unlink", "stat", "mkdir"])
def test_killed_at_every_write(vidsr: Cli, clip: Path, whole: bytes, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out.mp4"
    for at in range(1, 200):
        if run_and_kill(at, name, "upscale", clip, "-o", output, *QUICK) == 0:
            return
        if not output.exists():
            assert vidsr("upscale", clip, "-o", output, *QUICK).code == 0
        assert output.read_bytes() == whole
        output.unlink()
    pytest.fail("the run never came to its end")


def kill_late(clip: Path, output: Path) -> Path:
    """Kill a run with two segments finished; returns its work folder."""
    assert run_and_kill(5, "replace", "upscale", clip, "-o", output, *QUICK) == -signal.SIGKILL
    work = output.with_name("out.mp4.vidsr")
    assert len(json.loads((work / "manifest.json").read_text())["segments"]) == 2
    return work


def test_a_segment_cut_short_by_a_power_failure_is_made_again(
    vidsr: Cli, clip: Path, whole: bytes, tmp_path: Path
) -> None:
    work = kill_late(clip, tmp_path / "out.mp4")
    newest = work / json.loads((work / "manifest.json").read_text())["segments"][-1]["name"]
    newest.write_bytes(newest.read_bytes()[:-100])
    again = vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK)
    assert "goes on after 1 finished part (12 frames)" in again.err
    assert (tmp_path / "out.mp4").read_bytes() == whole


def test_a_part_that_is_missing_between_others_is_made_alone(
    vidsr: Cli, clip: Path, whole: bytes, tmp_path: Path
) -> None:
    """Parts that come from a cluster are finished in any order."""
    assert run_and_kill(9, "replace", "upscale", clip, "-o", tmp_path / "out.mp4", *QUICK) == -signal.SIGKILL
    work = tmp_path / "out.mp4.vidsr"
    (work / "000001.mp4").unlink()
    others = {path: path.stat().st_mtime_ns for path in work.glob("0*.mp4")}
    assert len(others) == 3
    again = vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK, "--json")
    events = [json.loads(line) for line in again.out.splitlines()]
    assert [event["num_segments"] for event in events if event["event"] == "resumed"] == [3]
    assert [event["num_frames"] for event in events if event["event"] == "segment"] == [12]
    assert (tmp_path / "out.mp4").read_bytes() == whole


def test_an_unreadable_manifest_starts_over(vidsr: Cli, clip: Path, whole: bytes, tmp_path: Path) -> None:
    work = kill_late(clip, tmp_path / "out.mp4")
    (work / "manifest.json").write_text('{"format": 1, "jo')
    again = vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK)
    assert "goes on" not in again.err
    assert (tmp_path / "out.mp4").read_bytes() == whole


def test_another_job_is_refused_and_named_and_no_resume_starts_over(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    work = kill_late(clip, tmp_path / "out.mp4")
    other = ("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK, "--crf", "30")
    refused = vidsr(*other)
    assert refused.code == 1
    assert "another crf (17, not 30);" in refused.err
    assert len(list(work.glob("*.mp4"))) == 2
    assert vidsr(*other, "--no-resume").code == 0


def test_a_skipped_job_keeps_the_parts_of_another_one_that_was_to_replace_it(
    vidsr: Cli, clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    work, other = kill_late(clip, output), (*QUICK, "--crf", "30")
    finished = tmp_path / "finished.mp4"
    assert vidsr("upscale", clip, "-o", finished, *other).code == 0
    finished.rename(output)
    skipped = vidsr("upscale", clip, "-o", output, *other)
    assert (skipped.code, "1 skipped" in skipped.err or "done already" in skipped.err) == (0, True)
    assert len(list(work.glob("0*.mp4"))) == 2
    again = vidsr("upscale", clip, "-o", output, *QUICK, "-y")
    assert "goes on after 2 finished" in again.err


def test_a_pipe_does_not_remove_the_parts_of_another_job(clip: Path, tmp_path: Path) -> None:
    work = kill_late(clip, tmp_path / "out.mp4")
    command = [sys.executable, "-m", "vidsr", "upscale", "-", "-o", str(tmp_path / "out.mp4"), *QUICK]
    stream = b"YUV4MPEG2 W64 H48 F24:1\nFRAME\n" + bytes(64 * 48 * 3 // 2)
    result = warm.run(command, input=stream, cwd=ROOT, capture_output=True)
    assert result.returncode == 1
    assert b"source" in result.stderr
    assert len(list(work.glob("0*.mp4"))) == 2


def test_what_a_killed_job_made_of_a_pipe_is_in_nobodys_way(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    work = kill_late(clip, tmp_path / "out.mp4")
    manifest = json.loads((work / "manifest.json").read_text())
    manifest["job"]["source"] = "pipe 0123"
    (work / "manifest.json").write_text(json.dumps(manifest))
    assert vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK).code == 0


def test_a_manifest_that_cannot_be_read_now_costs_no_part(
    vidsr: Cli, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk or a share that fails for a moment, or a file of somebody else."""
    work, real = kill_late(clip, tmp_path / "out.mp4"), Path.read_text

    def failing(path: Path, *arguments: Any, **options: Any) -> str:
        if path.name == "manifest.json":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", failing)
    refused = vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK)
    assert refused.code == 1
    assert "Permission denied" in refused.err
    assert len(list(work.glob("0*.mp4"))) == 2


def test_a_part_that_the_manifest_could_not_take_is_not_said_to_be_kept(
    vidsr: Cli, clip: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full between a part and the manifest that names it."""
    real, written = files.write, []

    def full(path: Path, content: str) -> None:
        written.append(content)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("vidsr.jobs.manifest.files.write", full)
        failed = vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK)
    assert failed.code == 1
    assert f"no space is left in {tmp_path}; free some" in failed.err
    assert "2 finished parts are kept" in failed.err
    again = vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK)
    assert "goes on after 2 finished parts" in again.err
    assert (tmp_path / "out.mp4").read_bytes() == whole


def test_a_failing_job_keeps_its_segments_and_says_so(vidsr: Cli, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", frames=48, width=128, height=96)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 8 // 10])
    result = vidsr("upscale", broken, "-o", tmp_path / "out.mkv", *QUICK)
    assert result.code == 1
    assert "kept in" in result.err
    assert not (tmp_path / "out.mkv").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.mkv.vidsr").glob("0*")}
    assert kept
    rest = vidsr("upscale", broken, "-o", tmp_path / "out.mkv", *QUICK, "--keep-going")
    assert rest.code == 0, rest.err
    assert f"goes on after {len(kept)} finished" in rest.err
    found = [number for number, _ in shown(tmp_path / "out.mkv")]
    assert found == list(range(len(found)))
    assert len(found) > 30


def test_a_second_process_on_the_same_output_is_refused(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out.mp4.vidsr").mkdir()
    with FileLock(tmp_path / "out.mp4.vidsr" / "lock"):
        result = vidsr("upscale", clip, "-o", tmp_path / "out.mp4", *QUICK)
    assert result.code == 1
    assert "another vidsr is writing it" in result.err


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "libx265", "pix_fmt": "yuv420p10le"},
        {"suffix": ".ts", "bframes": 2},
        {"suffix": ".mkv", "pts": [0, 1, 2, 9, 10, 14, 30, 31, 32, 33, 50, 51], "time_base": Fraction(1, 24)},
        {"bframes": 2, "gop": 12, "options": {"x264-params": "open-gop=1"}},
        {"options": {"x264-params": "intra-refresh=1:keyint=12"}, "frames": 80},
    ],
    ids=["hevc-10-bit", "ts", "vfr-with-gaps", "open-gop", "intra-refresh"],
)
def test_every_kind_of_source_resumes_frame_for_frame(vidsr: Cli, tmp_path: Path, options: dict[str, Any]) -> None:
    suffix = options.pop("suffix", ".mp4")
    source = make_clip(tmp_path / f"a{suffix}", **{"frames": 36, **options})
    plain, resumed = tmp_path / f"plain{suffix}", tmp_path / f"out{suffix}"
    assert vidsr("upscale", source, "-o", plain, *QUICK).code == 0
    assert run_and_kill(5, "replace", "upscale", source, "-o", resumed, *QUICK) == -signal.SIGKILL
    again = vidsr("upscale", source, "-o", resumed, *QUICK)
    assert again.code == 0, again.err
    assert "goes on after" in again.err
    assert resumed.read_bytes() == plain.read_bytes()
    assert [number for number, _ in shown(resumed)] == list(range(len(shown(source))))
