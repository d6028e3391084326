"""Damaged files: by default the job stops and says where and what; with `keep_going` all that decodes comes out.

Each case runs in a process of its own under a limit of time, so that a hang or a crash is a failure and not the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests import warm
from tests.clips import Audio, cut_off, damage, make_clip, read_number, seconds
from tests.conftest import ROOT

SECONDS = 120  # far more than any of them takes
FRAMES = 40
QUICK = ["--model", "bicubic", "--backend", "cpu", "--scale", "2", "--codec", "ffv1", "--json"]


def cut_mp4(folder: Path) -> Path:
    """The index in front, the end missing."""
    front = {"movflags": "faststart"}
    whole = make_clip(folder / "whole.mp4", frames=FRAMES, width=160, height=120, bframes=2, container_options=front)
    return cut_off(whole, folder / "a.mp4", 0.7)


def cut_mkv(folder: Path) -> Path:
    return cut_off(make_clip(folder / "whole.mkv", frames=FRAMES, width=160, height=120), folder / "a.mkv", 0.7)


def corrupt_ts(folder: Path) -> Path:
    return damage(make_clip(folder / "whole.ts", frames=FRAMES, width=160, height=120), folder / "a.ts", 0.5, 0.6)


def corrupt_mkv(folder: Path) -> Path:
    return damage(make_clip(folder / "whole.mkv", frames=FRAMES, width=160, height=120), folder / "a.mkv", 0.5, 0.55)


def failing_half_way(folder: Path) -> Path:
    """Every byte of the second half of the packets is noise."""
    data = bytearray(make_clip(folder / "whole.avi", frames=FRAMES, codec="mjpeg", pix_fmt="yuvj420p").read_bytes())
    begin, end = len(data) // 2, len(data) * 9 // 10
    data[begin:end] = bytes((37 * k + 11) % 256 for k in range(end - begin))
    (folder / "a.avi").write_bytes(bytes(data))
    return folder / "a.avi"


STOPPED = {
    "cut mp4": (cut_mp4, "breaks off|cannot be decoded|cannot be read on"),
    "cut mkv": (cut_mkv, "breaks off"),
    "corrupt mkv": (corrupt_mkv, "damaged"),
    "failing half way": (failing_half_way, "damaged"),
}


@pytest.mark.parametrize("name", STOPPED)
def test_damage_stops_with_where_and_what_or_is_counted(tmp_path: Path, name: str) -> None:
    import re

    make, what = STOPPED[name]
    source, output = make(tmp_path), tmp_path / "out.mkv"
    code, events, err = run(source, output)
    assert code == 1, err
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert re.search(what, str(failed["error"])), failed
    assert re.search(r"at \d+\.\d+ s", str(failed["error"])), failed
    assert "--keep-going" in str(failed["error"])
    assert not output.exists()

    code, events, err = run(source, output, "--keep-going", "--no-resume")
    assert code == 0, err
    (done,) = [event for event in events if event["event"] == "done"]
    assert re.search(r"damage|breaks off|cannot be|broken", " ".join(done["notes"])), done  # type: ignore[arg-type]
    frames = found(output)
    assert done["num_frames"] == len(frames)
    assert FRAMES // 4 < len(frames) <= FRAMES
    sound = frames[: FRAMES // 4] if make is failing_half_way else frames  # noise decodes to pictures, too
    for number, time in sound:  # a frame stands where the source has it
        assert number is None or abs(time - Fraction(number, 24) - frames[0][1]) < Fraction(1, 500)


def run(source: Path, output: Path, *options: str) -> tuple[int, list[dict[str, object]], str]:
    command = [sys.executable, "-m", "vidsr", "upscale", str(source), "-o", str(output), *QUICK, *options]
    ended = warm.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr


def found(path: Path) -> list[tuple[int | None, Fraction]]:
    """Number (None where it cannot be read) and time of each frame."""

    def number(frame: av.VideoFrame) -> int | None:
        try:
            value = read_number(frame.to_ndarray(format="gray"))
        except ValueError:
            return None
        return value if value < FRAMES else None

    with av.open(str(path)) as container:
        return [(number(f), seconds(f)) for f in container.decode(video=0)]


def test_what_a_transport_stream_lost_is_said(tmp_path: Path) -> None:
    """Whole packets are missing: what is left decodes, and nobody but the clock knows."""
    code, events, err = run(corrupt_ts(tmp_path), tmp_path / "out.mkv")
    assert code == 0, err
    (done,) = [event for event in events if event["event"] == "done"]
    assert any("pictures are missing" in note for note in done["notes"])  # type: ignore[attr-defined]
    frames = found(tmp_path / "out.mkv")
    assert len(frames) < FRAMES
    assert all(
        number is not None and abs(t - frames[0][1] - Fraction(number, 24)) < Fraction(1, 500) for number, t in frames
    )


def no_index(folder: Path) -> Path:
    return cut_off(make_clip(folder / "whole.mp4", frames=FRAMES, audio=[Audio()]), folder / "a.mp4", 0.9)


def wrong_header(folder: Path) -> Path:
    data = bytearray(make_clip(folder / "whole.mkv", frames=FRAMES).read_bytes())
    data[:64] = bytes(64)
    (folder / "a.mkv").write_bytes(bytes(data))
    return folder / "a.mkv"


def only_noise(folder: Path) -> Path:
    clip = make_clip(folder / "whole.mp4", frames=FRAMES, container_options={"movflags": "faststart"})
    return damage(clip, folder / "a.mp4", 0.3, 1.0, every=1)


@pytest.mark.parametrize("make", [no_index, wrong_header, only_noise])
def test_what_cannot_be_read_at_all_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    code, events, err = run(make(tmp_path), tmp_path / "out.mkv", "--keep-going")
    assert code == 1, err
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert "\n" not in str(failed["error"])
    assert not (tmp_path / "out.mkv").exists()


def test_times_that_are_missing_or_run_backwards(tmp_path: Path) -> None:
    """Raw H.264 has no times; two transport streams end to end begin again at their start."""
    raw = make_clip(tmp_path / "a.h264", frames=FRAMES, bframes=2)
    code, _, err = run(raw, tmp_path / "raw.mkv")
    assert code == 0, err
    assert [number for number, _ in found(tmp_path / "raw.mkv")] == list(range(FRAMES))
    clip = make_clip(tmp_path / "b.ts", frames=FRAMES)
    (tmp_path / "twice.ts").write_bytes(clip.read_bytes() * 2)
    code, events, err = run(tmp_path / "twice.ts", tmp_path / "twice.mkv", "--keep-going")
    assert code == 0, err
    assert any("ran backwards" in str(event.get("notes")) for event in events)
    frames = found(tmp_path / "twice.mkv")
    assert [number for number, _ in frames] == [*range(FRAMES), *range(FRAMES)]
    times = [time for _, time in frames]
    assert times == sorted(set(times))


def test_a_size_that_changes_is_made_one_and_said(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{w}.h264", frames=12, width=w, height=h) for w, h in ((64, 48), (96, 72))]
    (tmp_path / "a.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    code, events, err = run(tmp_path / "a.h264", tmp_path / "out.mkv")
    assert code == 0, err
    assert any("becomes 96x72" in str(event.get("notes")) for event in events)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert {(f.width, f.height) for f in container.decode(video=0)} == {(128, 96)}
