"""A film on standard output plays while it is written, with everything that a file would have."""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from tests.clips import Audio, Subtitles, make_clip
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Event, Failed
from vidsr.jobs.inputs import Target, expand
from vidsr.jobs.options import Options
from vidsr.jobs.run import run_batch

FRAMES, RATE = 72, 24
QUICK: dict[str, Any] = {"model": "bicubic", "backend": "cpu", "scale": 2, "preset": "ultrafast"}


class Growing(io.BytesIO):
    """Keeps what it held after each write."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: Any) -> int:
        self.sizes.append(self.tell() + len(data))
        return super().write(data)

    def seek(self, *_: int) -> int:
        raise OSError("a pipe")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mkv"
    sound = Audio("aac", seconds=3.0, language="deu")
    return make_clip(path, frames=FRAMES, audio=[sound], subtitles=[Subtitles(language="fra")], metadata={"title": "A"})


def written(source: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Growing, list[Event]]:
    out, told = Growing(), list[Event]()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out, isatty=lambda: False))
    inputs, _ = expand([str(source)])
    run_batch(Batch(inputs, Target(pipe=True), Options(**(QUICK | options)), on_event=told.append))
    monkeypatch.undo()
    return out, told


def packets(data: bytes) -> dict[str, list[float]]:
    """The times of each kind of stream."""
    found: dict[str, list[float]] = {}
    with av.open(io.BytesIO(data), "r") as opened:
        for packet in opened.demux():
            if packet.pts is not None and packet.size:
                found.setdefault(packet.stream.type, []).append(float(packet.pts * packet.time_base))
    return {kind: sorted(times) for kind, times in found.items()}


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_it_holds_what_a_file_would(clip: Path, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, told = written(clip, monkeypatch, container=container)
    found, own = packets(out.getvalue()), packets(clip.read_bytes())
    assert not any(isinstance(event, Failed) for event in told), told
    begin = found["video"][0]
    wanted = [number / RATE for number in range(FRAMES)]
    assert [time - begin for time in found["video"]] == pytest.approx(wanted, abs=0.001)
    assert [time - begin for time in found["audio"]] == pytest.approx(own["audio"], abs=0.002)
    with av.open(io.BytesIO(out.getvalue()), "r") as opened:
        assert opened.streams.audio[0].metadata["language"] == "deu"
        assert len(list(opened.decode(video=0))) == FRAMES
        if container != "ts":
            assert len(opened.streams.subtitles) == 1
            assert opened.metadata["title"] == "A"


def test_what_is_there_plays_before_the_rest(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = written(clip, monkeypatch, container="mp4")
    half = next(size for size in out.sizes if size > out.sizes[-1] // 2)
    found = packets(out.getvalue()[:half])
    assert RATE <= len(found["video"]) < FRAMES
    assert abs(found["audio"][-1] - found["video"][-1]) < 1


def test_a_part_begins_at_nothing(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = written(clip, monkeypatch, container="mp4", start=Fraction(1), end=Fraction(2))
    found = packets(out.getvalue())
    assert (found["video"][0], len(found["video"])) == (0, RATE)
    assert found["audio"][0] < 0.05
    assert 0.9 < found["audio"][-1] < 1.1


def test_what_needs_all_pictures_first_is_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, told = written(clip, monkeypatch, container="gif", preset=None)
    (failure,) = (event for event in told if isinstance(event, Failed))
    assert "gif cannot be written as it is made; name a file, or the container mp4, mov, mkv" in failure.error
    assert not out.getvalue()
