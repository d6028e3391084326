"""`vidsr upscale` on clips that these tests make: what comes out, and what a user is told."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests import warm
from tests.clips import Audio, Subtitles, make_clip, shown
from tests.conftest import ROOT, Result
from vidsr.jobs import run
from vidsr.jobs.plan import plan

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2")
VFR = [0, 1, 2, 5, 6, 10, 11, 12, 20, 21, 22, 30]


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def packets(path: Path, kind: str, index: int = 0) -> list[tuple[bytes, Fraction | None]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[index]
        return [
            (bytes(p), p.pts * p.time_base if p.pts is not None else None) for p in container.demux(stream) if p.size
        ]


def test_a_real_clip_keeps_every_frame_every_time_and_its_sound(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "clip.mp4",
        pts=VFR,
        time_base=Fraction(1, 24),
        bframes=2,
        width=96,
        height=64,
        audio=[Audio(language="deu"), Audio(language="eng", start=0.25)],
    )
    result = vidsr("upscale", source, *QUICK)
    output = tmp_path / "clip_x2.mp4"
    assert result.code == 0, result.err
    assert result.out == ""
    assert listing(tmp_path) == ["clip.mp4", "clip_x2.mp4"]
    assert shown(output) == [(k, Fraction(p, 24)) for k, p in enumerate(VFR)]
    for track in (0, 1):
        assert packets(output, "audio", track) == packets(source, "audio", track)
    with av.open(str(output)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.codec_context.name) == (192, 128, "h264")
        assert [stream.metadata.get("language") for stream in container.streams.audio] == ["deu", "eng"]


def test_capitals_do_not_matter(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=2)
    capitals = ("--backend", "CPU", "--precision", "FP32", "--deinterlace", "Off", "--decoder", "Software")
    result = vidsr("upscale", source, "--model", "bicubic", "--scale", "2", *capitals)
    assert result.code == 0, result.err


def test_where_the_time_went(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", pts=VFR, time_base=Fraction(1, 24), width=96, height=64)
    result = vidsr("upscale", source, *QUICK, "-vv")
    (line,) = [line for line in result.err.splitlines() if line.startswith("timeline: ")]
    names = ["imports", "device", "weights", "network", "preparing", "first frame", "frames", "join", "check"]
    assert re.findall(r"([a-z ]+?) \d+\.\d\d s[,;]", line)[: len(names)] == [f" {name}" for name in names]


def test_an_untagged_source_of_480_lines_comes_out_tagged(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=2, width=480, height=270)
    assert vidsr("upscale", source, *QUICK).code == 0
    with av.open(str(tmp_path / "clip_x2.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (6, 1)  # BT.601, limited: what players took the source for


def test_the_output_of_an_interrupted_time_is_cut_and_starts_at_zero(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=24, audio=[Audio(seconds=1.0)], bframes=2, gop=12)
    assert vidsr("upscale", source, *QUICK, "--start", "0.25", "--end", "0.5", "-o", tmp_path / "part.mp4").code == 0
    found = shown(tmp_path / "part.mp4")
    assert [number for number, _ in found] == [6, 7, 8, 9, 10, 11]
    assert [when for _, when in found] == [Fraction(k, 24) for k in range(6)]


@pytest.mark.parametrize(("size", "expected"), [("256x192", (256, 192)), ("128x128", (128, 128))])
def test_sizes(vidsr: Cli, tmp_path: Path, size: str, expected: tuple[int, int]) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=2, width=64, height=48)
    result = vidsr("upscale", source, "--model", "bicubic", "--backend", "cpu", "--size", size)
    assert result.code == 0, result.err
    with av.open(str(tmp_path / f"clip_{size}.mp4")) as container:
        frame = next(container.decode(video=0))
        video = container.streams.video[0]
        shape = Fraction(video.width, video.height) * (video.sample_aspect_ratio or 1)
    assert (frame.width, frame.height) == expected
    assert shape == Fraction(64, 48)


@pytest.mark.parametrize(("scale", "expected"), [("1", (66, 50)), ("1.5", (98, 74)), ("3", (195, 147))])
def test_any_scale_and_odd_sizes(vidsr: Cli, tmp_path: Path, scale: str, expected: tuple[int, int]) -> None:
    source = make_clip(tmp_path / "clip.mkv", frames=2, width=65, height=49, pix_fmt="yuv444p")
    result = vidsr(
        "upscale", source, "--model", "bicubic", "--backend", "cpu", "--scale", scale, "--pix-fmt", "yuv420p"
    )
    even = (expected[0] // 2 * 2, expected[1] // 2 * 2)
    assert result.code == 0, result.err
    with av.open(str(tmp_path / f"clip_x{scale}.mkv")) as container:
        video = container.streams.video[0]
        assert abs(video.width - even[0]) <= 2
        assert abs(video.height - even[1]) <= 2
        assert video.width % 2 == video.height % 2 == 0


def test_images(vidsr: Cli, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    planned = json.loads(vidsr("upscale", tmp_path / "photo.png", *QUICK, "--dry-run", "--json").out.splitlines()[0])
    assert (planned["event"], planned["size"], listing(tmp_path)) == ("planned", [60, 40], ["photo.png"])
    assert vidsr("upscale", tmp_path / "photo.png", *QUICK).code == 0
    assert (tmp_path / "photo_x2.png").stat().st_size == planned["bytes"]
    with Image.open(tmp_path / "photo_x2.png") as image:
        assert image.size == (60, 40)
    again = vidsr("upscale", tmp_path / "photo.png", *QUICK)
    assert again.code == 0
    assert "done already" in again.err


def test_json_events(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=5)
    result = vidsr("upscale", source, *QUICK, "--json")
    events = [json.loads(line) for line in result.out.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "start",
        "segment",
        "done",
        "summary",
    ]
    done = next(event for event in events if event["event"] == "done")
    assert done["num_frames"] == 5
    assert done["output"] == str(tmp_path / "a_x2.mp4")
    assert set(done["busy"]) == {"decode", "upscale", "encode"}
    assert all(event["version"] == 1 for event in events)


def test_what_libraries_print_is_no_event(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray tells of lost nodes on stdout, whatever it is asked."""
    source, real = make_clip(tmp_path / "a.mp4", frames=3), plan

    def noisy(*arguments: Any, **options: Any) -> Any:
        print("(raylet) Raylet is terminated.")
        return real(*arguments, **options)

    monkeypatch.setattr(run, "plan", noisy)
    result = vidsr("upscale", source, *QUICK, "--json")
    assert [json.loads(line)["event"] for line in result.out.splitlines()][-2:] == ["done", "summary"]
    assert "(raylet)" in result.err


def test_a_dry_run_writes_nothing(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=48, audio=[Audio(seconds=2)])
    result = vidsr("upscale", source, *QUICK, "--dry-run", "--json")
    assert result.code == 0, result.err
    planned = json.loads(result.out.splitlines()[0])
    assert listing(tmp_path) == ["a.mp4"]
    assert (planned["event"], planned["size"], planned["num_frames"]) == ("planned", [128, 96], 48)
    assert planned["seconds"] > 0
    vidsr("upscale", source, *QUICK)
    assert "done already" in vidsr("upscale", tmp_path, *QUICK, "--dry-run").err
    assert "--overwrite" in vidsr("upscale", source, *QUICK, "--crf", "30", "--dry-run").err
    real = (tmp_path / "a_x2.mp4").stat().st_size
    assert real / 3 < planned["bytes"] < real * 3
    assert isinstance(planned["bytes"], int)


def test_what_the_container_cannot_hold_is_named(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "a.mkv", frames=3, subtitles=[Subtitles()], attachments=[("font.ttf", "font/ttf", b"x" * 99)]
    )
    result = vidsr("upscale", source, *QUICK, "-o", tmp_path / "a.mp4")
    assert result.code == 0, result.err
    assert "left out" in result.err
    assert "attachment" in result.err


def test_what_turns_up_while_a_job_runs_is_said_at_its_end(vidsr: Cli, tmp_path: Path) -> None:
    """A sound that begins after the part that was asked for: mp4 cannot hold it, for it is empty."""
    source = make_clip(tmp_path / "a.mkv", frames=24, audio=[Audio(start=0.7, seconds=0.2)])
    result = vidsr("upscale", source, *QUICK, "-o", tmp_path / "part.mp4", "--end", "0.25")
    assert result.code == 0, result.err
    assert result.err.count("left out: audio 1 (aac): dropped, nothing of it falls into this part") == 1
    whole = vidsr("upscale", source, *QUICK, "-o", tmp_path / "whole.mp4")
    assert "left out" not in whole.err


def run_for_real(*arguments: object, prefix: str = "") -> subprocess.Popen[str]:
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in a shell's background
    script = f"{heed}\n{prefix}\nfrom vidsr.cli import main\nmain()"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return warm.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=500, width=320, height=240, gop=50)
    process = run_for_real("upscale", source, "--json", "--backend", "cpu")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            break
    asked = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=60)
    took = time.monotonic() - asked
    assert process.returncode == 128 + number
    assert took < 20  # a hang would take for ever; README has the measured time
    assert listing(tmp_path) == ["a.mp4"]


def test_a_full_disk_ends_with_one_sentence(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=60, width=320, height=240)
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))"
    process = run_for_real("upscale", source, "-o", tmp_path / "out.mp4", *QUICK, "--crf", "1", prefix=limit)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert len([line for line in err.splitlines() if line.startswith("vidsr: ")]) == 1, err
    assert listing(tmp_path) == ["a.mp4"]


def test_ctrl_c_after_the_end_of_the_work_is_too_late(tmp_path: Path) -> None:
    """Python and its libraries take a while to end."""
    script = (
        "import atexit, os, signal\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"  # after what was registered later
        "from vidsr.cli import main\nmain()"
    )
    source = make_clip(tmp_path / "a.mp4", frames=2)
    command = [sys.executable, "-c", script, "upscale", str(source), *QUICK, "-q"]
    result = warm.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "a_x2.mp4").exists()
