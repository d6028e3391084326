"""WebVTT as mkvmerge writes it into Matroska: FFmpeg reads it as text of no codec."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import av
import pytest

from tests.clips import make_clip
from tests.media.making import spec_of, upscaled
from vidsr.media.mux.streams import codec_name
from vidsr.media.read.probe import probe
from vidsr.verify.comparison import compare

pytestmark = pytest.mark.skipif(shutil.which("mkvmerge") is None, reason="needs mkvmerge")

_TEXT = """WEBVTT
{}
one
00:00:00.100 --> 00:00:00.400 line:10% align:left
Hello <i>there</i>

00:00:00.500 --> 00:00:00.900
Second, last
"""


def merged(folder: Path, style: str = "") -> Path:
    """A film with two lines, of which the first has a name and a place."""
    (folder / "a.vtt").write_text(_TEXT.format(style))
    clip, film = make_clip(folder / "clip.mkv", frames=24), folder / "a.mkv"
    subprocess.run(["mkvmerge", "-q", "-o", film, clip, "--language", "0:de", folder / "a.vtt"], check=True)
    return film


def lines(path: Path) -> list[tuple[float, float, str, dict[str, str]]]:
    """Begin and length in seconds, words, and what stands beside them."""
    found = []
    with av.open(str(path)) as opened:
        for packet in opened.demux(opened.streams.subtitles[0]):
            if packet.size and packet.pts is not None:
                beside = {item.data_type: bytes(item).decode() for item in packet.iter_sidedata()}
                length = float((packet.duration or 0) * packet.time_base)
                found.append(
                    (float(packet.pts * packet.time_base), length, bytes(packet).decode("latin-1"), dict(beside))
                )
    return found


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_it_is_kept_with_names_and_places_of_lines(tmp_path: Path, suffix: str) -> None:
    film = merged(tmp_path)
    assert probe(film).streams[1].codec == "webvtt"
    spec = spec_of("libvpx-vp9", time_base=probe(film).video.time_base)
    _, report = upscaled(film, tmp_path / f"b.{suffix}", spec=spec, suffix=".mkv")
    assert not report.dropped
    assert [item.how for item in report.kept] == ["copied"]
    place = {"webvtt_settings": "line:10% align:left", "webvtt_identifier": "one"}
    assert lines(tmp_path / f"b.{suffix}") == [(0.1, 0.3, "Hello <i>there</i>", place), (0.5, 0.4, "Second, last", {})]
    with av.open(str(tmp_path / f"b.{suffix}")) as opened:
        assert codec_name(opened.streams.subtitles[0]) == "webvtt"
        assert opened.streams.subtitles[0].metadata["language"] == "ger"
    checks = {check.name: check.verdict for check in compare(film, tmp_path / f"b.{suffix}").checks}
    assert checks["subtitle 1: packets"] == checks["subtitle 1: times"] == "ok"


def test_it_is_converted_for_mp4(tmp_path: Path) -> None:
    _, report = upscaled(merged(tmp_path), tmp_path / "b.mp4")
    assert [(item.how, item.encoder) for item in report.kept] == [("converted", "mov_text")]
    shown = [(begin, words[2:]) for begin, _, words, _ in lines(tmp_path / "b.mp4") if words.strip("\0")]
    assert [begin for begin, _ in shown] == [0.1, 0.5]
    assert shown[0][1].startswith("Hello there")
    checks = {check.name: check.verdict for check in compare(tmp_path / "a.mkv", tmp_path / "b.mp4").checks}
    assert checks["subtitle 1: text"] == "ok"


def test_styles_that_are_not_written_are_named(tmp_path: Path) -> None:
    _, report = upscaled(merged(tmp_path, "\nSTYLE\n::cue { color: yellow }\n"), tmp_path / "b.mkv")
    assert [item.kind for item in report.dropped] == ["styles of subtitle"]
