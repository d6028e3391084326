"""A film on standard output plays while it is written, with everything that a file would have."""

from __future__ import annotations

import errno
import io
import os
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from av.stream import Disposition
from PIL import Image

from tests.clips import Audio, Subtitles, jpeg, make_clip
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Done, Event, Failed, Started
from vidsr.jobs.inputs import Target, expand
from vidsr.jobs.options import Options
from vidsr.jobs.preview import Preview
from vidsr.jobs.run import run_batch
from vidsr.media.inside import inside_of
from vidsr.media.read.probe import probe
from vidsr.media.write.choice import Encoding, choose

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
    return make_clip(
        path,
        frames=FRAMES,
        audio=[sound],
        subtitles=[Subtitles(language="fra")],
        metadata={"title": "A", "timecode": "01:00:00:00"},
        chapters=[(0, 1.5, "one"), (1.5, 3, "two")],
        sample_aspect=Fraction(16, 11),
    )


def written(
    source: Path, monkeypatch: pytest.MonkeyPatch, preview: Preview | None = None, **options: Any
) -> tuple[Growing, list[Event]]:
    out, told = Growing(), list[Event]()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out, isatty=lambda: False))
    inputs, _ = expand([str(source)])
    wanted = Options(**(QUICK | options))
    run_batch(Batch(inputs, Target(pipe=True), wanted, on_event=told.append, preview=preview))
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


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_sound_of_a_transport_stream(tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packets have AAC's header each; other containers have it once, where they begin."""
    source = make_clip(tmp_path / "a.ts", frames=FRAMES, audio=[Audio(seconds=2.0)])
    out, told = written(source, monkeypatch, container=container)
    assert not any(isinstance(event, Failed) for event in told), told
    heard = []
    for data in (source.read_bytes(), out.getvalue()):
        with av.open(io.BytesIO(data), "r") as opened:
            heard.append(b"".join(frame.to_ndarray().tobytes() for frame in opened.decode(audio=0)))
    assert heard[0] == heard[1] != b""


def test_captions_inside_pictures_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [bytes([0xFC, 0x20 + k, 0x41]) for k in range(12)]
    source = make_clip(tmp_path / "a.mp4", frames=12, captions=words)
    out, _ = written(source, monkeypatch, container="ts", preset="medium")
    with av.open(io.BytesIO(out.getvalue()), "r") as opened:
        assert [inside_of(picture).captions for picture in opened.decode(video=0)] == words


@pytest.mark.parametrize(
    "options", [{"preset": "medium"}, {"codec": "hevc"}, {"preset": "medium", "start": Fraction(1)}]
)
def test_ts_has_no_time_before_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Which would be one at the end of its clock, 26 hours later: of sound, and of pictures that others need."""
    source = make_clip(tmp_path / "a.mp4", frames=FRAMES, audio=[Audio(seconds=3.5, start=-0.5)])
    out, told = written(source, monkeypatch, container="ts", **options)
    with av.open(io.BytesIO(out.getvalue()), "r") as opened:
        found = [(p.stream.type, p.dts, p.pts) for p in opened.demux() if p.dts is not None and p.pts is not None]
    assert min(dts for _, dts, _ in found) >= 0
    begins = {kind: min(pts for which, _, pts in found if which == kind) / 90_000 for kind in ("video", "audio")}
    assert -0.08 < begins["audio"] - begins["video"] < 0.03
    done = next(event for event in told if isinstance(event, Done))
    assert any("later: ts has no time before 0" in note for note in done.notes)


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
    out, told = written(clip, monkeypatch, container="gif", preset=None, square_pixels=True)
    (failure,) = (event for event in told if isinstance(event, Failed))
    assert "gif cannot be written as it is made; name a file, or the container mp4, mov, mkv" in failure.error
    assert not out.getvalue()


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm"])
def test_it_is_shown_as_a_file_would_be(clip: Path, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chapters, the shape of pixels, the timecode of a part."""
    out, told = written(clip, monkeypatch, container=container, preset=None, start=Fraction(1), end=Fraction(5, 4))
    assert not any(isinstance(event, Failed) for event in told), told
    with av.open(io.BytesIO(out.getvalue()), "r") as opened:
        (video,) = opened.streams.video
        assert video.sample_aspect_ratio == Fraction(16, 11)
        assert "vidsr" not in video.metadata.get("title", "")
        assert [chapter["metadata"]["title"] for chapter in opened.chapters()] == ["one"]
        timecodes = {**video.metadata, **opened.metadata}
        assert next(v for k, v in timecodes.items() if k.lower() == "timecode") == "01:00:01:00"


@pytest.mark.parametrize("varies", [False, True])
def test_matroska_states_a_rate_where_there_is_one(
    varies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [number for number in range(48) if number < 12 or number % 3 == 0 or not varies]
    rate, wide = Fraction(24), Fraction(4, 3)
    source = make_clip(
        tmp_path / "a.mp4",
        frames=len(shown),
        pts=shown,
        rate=rate,
        time_base=1 / rate,
        sample_aspect=wide,
        cover=jpeg(),
    )
    out, told = written(source, monkeypatch, container="mkv")
    assert not any(isinstance(event, Failed) for event in told), told
    assert (b"\x23\xe3\x83" in out.getvalue()[:4096]) is not varies, "DefaultDuration"
    with av.open(io.BytesIO(out.getvalue()), "r") as opened:
        assert opened.streams.video[0].sample_aspect_ratio == wide
        assert [round(frame.pts * frame.time_base * rate) for frame in opened.decode(video=0)] == shown  # type: ignore[operator]


def test_cover_art_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=4, cover=jpeg())
    out, told = written(source, monkeypatch, container="mkv")
    assert not any(isinstance(event, Failed) for event in told), told
    with av.open(io.BytesIO(out.getvalue()), "r") as opened:
        assert [stream.disposition & Disposition.attached_pic for stream in opened.streams.video] == [
            0,
            Disposition.attached_pic,
        ]


def test_what_only_a_file_has_a_place_for_is_said(clip: Path) -> None:
    info = probe(clip)
    light = replace(info, video=replace(info.video, light_level=bytes(8), spherical=bytes(36), extras=("SPHERICAL",)))
    asked: dict[str, Any] = {"width": 128, "height": 96, "bits": 8, "codec": "vp9"}
    file, live = (choose(light, Encoding(**asked, container="webm", live=live)).notes for live in (False, True))
    assert [note for note in file if "dropped" in note] == []
    assert any("HDR10 mastering metadata is dropped" in note for note in live)
    assert any("360 degrees) is dropped: a film that is written as it is made" in note for note in live)


def test_raw_video_says_what_it_is_and_what_it_has_no_use_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=2, codec="ffv1", pix_fmt="bgr0")
    _, told = written(source, monkeypatch, crf=10)
    (done,) = (event for event in told if isinstance(event, Done))
    assert "y4m does not name its colours: bt709, tell the next program" in done.notes
    assert "--crf (crf), --preset (preset): of no effect, since no film is encoded" in done.notes


@pytest.mark.parametrize("container", [None, "mkv"])
def test_a_terminal_gets_no_film_and_no_network_is_opened_for_it(
    clip: Path, container: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    options = Options(model="bicubic", container=container)
    run_batch(Batch(expand([str(clip)])[0], Target(pipe=True), options, on_event=told.append))
    monkeypatch.undo()
    (failure,) = told
    assert isinstance(failure, Failed)
    assert (failure.exit_code, "a terminal cannot show" in failure.error) == (2, True)


@pytest.mark.parametrize("container", [None, "mkv"])
def test_parts_are_not_those_of_a_stream(clip: Path, container: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    _, told = written(clip, monkeypatch, container=container, segment_seconds=Fraction(1), end=Fraction(1, 10))
    (begun,) = (event for event in told if isinstance(event, Started))
    assert any("--segment-seconds (segment_seconds)" in note for note in begun.notes)
    assert bool(begun.dropped) == (container is None), "what is left out is said at once"


@pytest.mark.parametrize("container", [None, "mkv"])
def test_a_full_disk_is_no_fault_of_the_source(
    tmp_path: Path, container: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Growing, "write", full)
    _, told = written(make_clip(tmp_path / "a.mkv", frames=2), monkeypatch, container=container)
    (failure,) = (event for event in told if isinstance(event, Failed))
    assert failure.error == "stdout: cannot be written (No space left on device)"


def test_its_preview_is_whole_and_stands_as_the_film_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    source = make_clip(tmp_path / "a.mp4", frames=2, display_matrix=matrix)
    _, told = written(source, monkeypatch, Preview(tmp_path / "p.png"), container="mkv")
    assert not any(isinstance(event, Failed) for event in told), told
    with Image.open(tmp_path / "p.png") as shown:
        assert shown.height == 128 > shown.width // 2
