"""Too little memory, a full disk, a target that cannot be written or goes away: a clear end each, and a way on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import warm
from tests.clips import make_clip
from tests.conftest import ROOT
from vidsr import upscale_video
from vidsr.errors import OutputError, UsageError
from vidsr.jobs.events import Event, SegmentDone
from vidsr.jobs.options import OptionKeywords, Options
from vidsr.media.stills import write_image

QUICK = ["--model", "bicubic", "--backend", "cpu", "--scale", "4"]
ENOUGH_MB = 1200  # of address space: a small clip takes 800 on one core; README says 1 GB


def run(source: Path, output: Path, *options: str, limit: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, after the statements of `limit`."""
    script = f"import resource, signal\n{limit}\nfrom vidsr.cli import main\nmain()"
    command = [sys.executable, "-c", script, "upscale", str(source), "-o", str(output), *QUICK, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start = subprocess.run if "RLIMIT_AS" in limit else warm.run  # libraries that are loaded already have their memory
    return start(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300, env=environment)


def memory(megabytes: int) -> str:
    return f"resource.setrlimit(resource.RLIMIT_AS, ({megabytes << 20}, {megabytes << 20}))"


def sentences(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("vidsr: ")]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS counts elsewhere or not at all")
def test_a_stated_amount_of_memory_is_enough(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=12)
    result = run(source, tmp_path / "out.mp4", limit=memory(ENOUGH_MB))
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS counts elsewhere or not at all")
def test_too_little_memory_ends_with_one_sentence(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=3, width=1920, height=1080)
    result = run(source, tmp_path / "out.mp4", limit=memory(ENOUGH_MB))
    assert result.returncode == 1, result.stderr
    assert len(sentences(result)) == 1, result.stderr
    assert "memory" in sentences(result)[0]
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS counts elsewhere or not at all")
def test_too_little_memory_for_the_libraries_is_said_too(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=3)
    result = run(source, tmp_path / "out.mp4", limit=memory(500))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "1 GB" in result.stderr


def test_a_full_disk_names_the_output_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=72, width=160, height=120)
    output = tmp_path / "out" / "a.mp4"
    limit = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (90000, 90000))"
    parts = ("--segment-seconds", "0.5", "--codec", "ffv1", "-o", str(output.with_suffix(".mkv")))
    result = run(source, output, *parts, limit=limit)
    assert result.returncode == 1
    assert ".part" not in result.stderr
    (failure,) = [line for line in sentences(result) if "cannot be written" in line]
    assert str(output.with_suffix(".mkv")) in failure
    again = run(source, output, *parts)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in output.parent.iterdir()] == ["a.mkv"]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_target(tmp_path: Path) -> None:
    source, folder = make_clip(tmp_path / "a.mp4", frames=3), tmp_path / "out"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        upscale_video(source, folder / "b.mp4", model="bicubic", backend="cpu", scale=2)


def test_a_target_on_a_file_system_that_takes_nothing(tmp_path: Path) -> None:
    """As root, too: nobody writes below /proc."""
    source = make_clip(tmp_path / "a.mp4", frames=3)
    with pytest.raises(OutputError, match=r"/proc/b\.mp4: cannot be written"):
        upscale_video(source, "/proc/b.mp4", model="bicubic", backend="cpu", scale=2)


def test_an_output_folder_that_goes_away_ends_the_job(tmp_path: Path) -> None:
    source, folder = make_clip(tmp_path / "a.mp4", frames=48), tmp_path / "out"

    def vanish(event: Event) -> None:
        if isinstance(event, SegmentDone) and event.number == 2:
            shutil.rmtree(folder)

    options: OptionKeywords = {"model": "bicubic", "backend": "cpu", "scale": 2, "segment_seconds": 0.5}
    with pytest.raises(OutputError) as caught:
        upscale_video(source, folder / "b.mp4", on_event=vanish, **options)
    assert str(folder / "b.mp4") in str(caught.value)
    assert ".vidsr" not in str(caught.value)
    assert "\n" not in str(caught.value)
    done = upscale_video(source, folder / "b.mp4", **options)
    assert done.output.exists()


def test_two_writers_of_one_image_do_not_meet(tmp_path: Path) -> None:
    """The temporary file of another process, even one of our own names, is not touched."""
    other = tmp_path / ".a.png.part"
    other.write_bytes(b"of somebody else")
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert other.read_bytes() == b"of somebody else"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.png.part", "a.png"]


@pytest.mark.parametrize(
    ("size", "meant"),
    [("1080P", "1080p"), ("4k", "2160p"), ("UHD", "2160p"), (" 1920X800", "1920x800"), ("FullHD", "1080p")],
)
def test_sizes_by_their_common_names(size: str, meant: str) -> None:
    assert Options(size=size).size == meant


@pytest.mark.parametrize("codec", ["roqvideo", "rawvideo", "mpeg5"])
def test_a_codec_that_cannot_be_written_names_those_that_can(tmp_path: Path, codec: str) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    with pytest.raises((UsageError, OutputError)) as caught:
        upscale_video(source, model="bicubic", backend="cpu", scale=2, codec=codec)
    assert "h264, hevc, av1, vp9, ffv1, prores" in str(caught.value)


def test_a_codec_of_one_container_alone_names_it(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    with pytest.raises(OutputError, match=r"mkv cannot hold gif: choose another codec, or the container gif\."):
        upscale_video(source, model="bicubic", backend="cpu", scale=2, codec="gif")
