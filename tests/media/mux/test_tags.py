"""What a film says of itself, and what its streams say: kept, or named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import Audio, Subtitles, make_clip
from tests.media.making import picture_pts, upscaled
from vidsr.verify.comparison import compare


def said(path: Path) -> tuple[dict[str, str], list[str | None]]:
    with av.open(str(path)) as opened:
        film = {key.lower(): value for key, value in opened.metadata.items()}
        return film, [stream.metadata.get("title", stream.metadata.get("name")) for stream in opened.streams]


@pytest.mark.parametrize("container", ["mp4", "ts", "mkv"])
def test_tags_of_streams_without_a_place_are_named(tmp_path: Path, container: str) -> None:
    plain = make_clip(tmp_path / "plain.mkv", audio=(Audio(title="Commentary"),))
    source = tmp_path / "a.mkv"
    with av.open(str(plain)) as opened, av.open(str(source), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in opened.streams}
        for stream in opened.streams:
            streams[stream.index].metadata.update(stream.metadata)
        streams[1].metadata["REPLAYGAIN_TRACK_GAIN"] = "-3.2 dB"
        for packet in opened.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    _, report = upscaled(source, tmp_path / f"out.{container}")
    lost = [(item.index, item.codec) for item in report.dropped if item.kind == "tags of audio"]
    gain, title = "REPLAYGAIN_TRACK_GAIN", "title"
    assert lost == {"mp4": [(1, gain)], "ts": [(1, f"{title}, {gain}")], "mkv": []}[container]
    assert said(tmp_path / f"out.{container}")[1][1] == (None if container == "ts" else "Commentary")


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_comments_of_ogg_are_the_films(tmp_path: Path, container: str) -> None:
    """FFmpeg reads them as those of its streams: a sound was called as the film, which had no title itself."""
    told = {"title": "A film", "artist": "Somebody"}
    source = make_clip(tmp_path / "a.ogv", codec="libvpx", audio=(Audio("libopus"),), metadata=told)
    with av.open(str(source)) as opened:
        assert not opened.metadata
        assert {stream.metadata["title"] for stream in opened.streams} == {"A film"}
    upscaled(source, tmp_path / f"out.{container}", container=container)
    film, titles = said(tmp_path / f"out.{container}")
    assert (film["title"], film["artist"]) == ("A film", "Somebody")
    assert titles == [None, None]
    rows = {check.name: check.verdict for check in compare(source, tmp_path / f"out.{container}").checks}
    assert rows["metadata"] == "ok"


@pytest.mark.parametrize("start", [None, Fraction(1, 2)])
def test_text_without_a_line_leaves_others_their_languages(tmp_path: Path, start: Fraction | None) -> None:
    """Its muxer writes the track all the same: all behind it were called as the one before."""
    text = Subtitles(lines=((0.1, 0.2, "Gone."),) if start else (), language="swe")
    plain = make_clip(
        tmp_path / "plain.mkv", subtitles=(text,), audio=[Audio(language=name) for name in ("eng", "ger")]
    )
    source = tmp_path / "a.mkv"
    with av.open(str(plain)) as opened, av.open(str(source), "w") as out:
        order = [opened.streams[n] for n in (0, 3, 1, 2)]
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in order}
        for stream in order:
            streams[stream.index].metadata.update(stream.metadata)
        for packet in opened.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    pts = picture_pts(source, 0)[12 if start else 0 :]
    _, report = upscaled(source, tmp_path / "out.mp4", pts=pts, start=start)
    assert not report.dropped
    with av.open(str(tmp_path / "out.mp4")) as opened:
        assert [(s.type, s.metadata["language"]) for s in opened.streams][1:] == [
            ("subtitle", "swe"),
            ("audio", "eng"),
            ("audio", "ger"),
        ]
