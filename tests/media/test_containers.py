"""What the rows of the table claim, tried with FFmpeg's own muxers and demuxers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import OutputContainer
from av.stream import Disposition

from tests.clips import Audio, Subtitles, jpeg, make_clip, seconds
from vidsr.errors import OutputError, UsageError
from vidsr.media import containers
from vidsr.media.containers import CONTAINERS, VIDEO_SUFFIXES, Container
from vidsr.media.mux import flags, languages
from vidsr.media.mux.decide import refusal
from vidsr.media.mux.finish import Written
from vidsr.media.pyav import side_data_of

ALL = list(CONTAINERS.values())
ROWS = [row for row in ALL if not row.animated]  # of those `test_animations` has the rest
PICTURES = [(row, codec) for row in ROWS for codec in row.pictures]
KEPT = [(row, codec) for row in ROWS for codec in sorted(row.keeps or ())]
ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9"}
MEANT = [flag for flag in Disposition if flag.name and flag in flags.MEANT]
TURNED = (0, 65536, 0, -65536, 0, 0, 3145728, 0, 1 << 30)  # a quarter, with the place of a picture 48 pixels high


def header(row: Container, codec: str) -> None:
    """Write the header of a `row` with one stream of `codec` into memory; raises what FFmpeg raises."""
    with av.open(io.BytesIO(), "w", format=row.muxer) as out:
        add(out, codec)
        out.start_encoding()


def add(out: OutputContainer, codec: str) -> None:
    """A stream of `codec`, by its encoder where the header needs what only that knows."""
    try:
        encoder = av.Codec(ENCODERS.get(codec, codec), "w")
    except ValueError:
        encoder = None
    if encoder is not None and (encoder.type == "audio" or codec in ENCODERS):
        stream: Any = out.add_stream(encoder.name, rate=48000 if encoder.type == "audio" else 25)
        if encoder.type == "audio":
            stream.codec_context.layout = "stereo"
            stream.codec_context.options = {"strict": "experimental"}  # vorbis
        else:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    else:
        out.add_mux_stream(codec, rate=25, width=64, height=48)


def clip(row: Container, folder: Path, **more: Any) -> Path:
    """A film in a `row` as its muxer writes it, with a picture that it holds."""
    codec = ENCODERS[next(codec for codec in row.pictures if codec in ENCODERS)]
    path = folder / f"clip.{row}"
    return make_clip(path, frames=4, codec=codec, container_format=row.muxer, container_options={**row.options}, **more)


def sound(row: Container, **more: Any) -> Audio:
    assert row.sound is not None
    return Audio(row.sound[0], seconds=0.1, **more)


@pytest.fixture(params=ROWS, ids=str)
def row(request: pytest.FixtureRequest) -> Container:
    found = request.param
    assert isinstance(found, Container)
    return found


@pytest.mark.parametrize("row", ALL, ids=str)
def test_names_and_suffixes_mean_one_row_each(row: Container) -> None:
    for suffix in (row.name, *row.suffixes):
        assert containers.container_of("." + suffix.upper()) == row.name
        assert containers.named(None, "." + suffix) is row
        assert "." + suffix in VIDEO_SUFFIXES
    assert sum(row.name in (other.name, *other.suffixes) for other in ALL) == 1
    assert row.encoders is None or all(av.Codec(name, "w").canonical_name in row.pictures for name in row.encoders)
    assert all(av.Codec(name, "w").canonical_name in row.pictures for name in row.alpha)
    assert set(row.codec_tags) <= set(row.pictures)


@pytest.mark.parametrize(("row", "codec"), PICTURES, ids=[f"{row}-{codec}" for row, codec in PICTURES])
def test_pictures_are_taken_by_the_muxer(row: Container, codec: str) -> None:
    header(row, codec)


@pytest.mark.parametrize(("row", "codec"), KEPT, ids=[f"{row}-{codec}" for row, codec in KEPT])
def test_what_is_kept_by_rule_is_taken_by_the_muxer(row: Container, codec: str) -> None:
    header(row, codec)


def test_a_codec_outside_the_row_is_refused() -> None:
    """Else the two tests above would see nothing."""
    with pytest.raises((av.FFmpegError, ValueError)):
        header(CONTAINERS["webm"], "h264")
    with pytest.raises((av.FFmpegError, ValueError)):
        header(CONTAINERS["mp4"], "prores")


def test_its_demuxer_reads_it_and_recognises_it(row: Container, tmp_path: Path) -> None:
    path = clip(row, tmp_path)
    with av.open(str(path)) as opened:
        names, metadata = opened.format.name, dict(opened.metadata)
        stream = opened.streams.video[0]
        assert row.clock in (None, stream.time_base)
    assert row.demuxer in names.split(",")
    assert containers.recognised(names, path, metadata) is row
    unnamed = containers.recognised(names, path.with_suffix(".tmp"), metadata)
    assert unnamed is next(r for r in ROWS if r.demuxer == row.demuxer and (not row.brand or r.brand == row.brand))


def test_text_and_sound_become_what_its_muxer_takes(row: Container, tmp_path: Path) -> None:
    assert row.sound is not None
    texts = [Subtitles(codec=av.Codec(row.text, "w").canonical_name)] if row.text else []
    with av.open(str(clip(row, tmp_path, audio=[sound(row)], subtitles=texts))) as opened:
        assert opened.streams.audio[0].codec_context.codec.canonical_name == av.Codec(row.sound[0], "w").canonical_name
        assert refusal(opened.streams.audio[0], row) is None
        assert [refusal(stream, row) for stream in opened.streams.subtitles] == [None] * len(texts)


def test_flags_come_back_as_the_row_says(row: Container, tmp_path: Path) -> None:
    """A first stream of each kind is the default, so that no muxer makes another one so."""
    marks = [Disposition.default, *(flag for flag in MEANT if flag is not Disposition.default)]
    sounds = [sound(row, dispositions=int(flag), language="eng") for flag in marks]
    text = av.Codec(row.text, "w").canonical_name if row.text else None
    texts = [Subtitles(codec=text, dispositions=int(flag), language="eng") for flag in marks if text]
    with av.open(str(clip(row, tmp_path, audio=sounds, subtitles=texts))) as opened:
        for streams, kind in ((opened.streams.audio, "audio"), (opened.streams.subtitles, "subtitle")):
            for flag, stream in zip(marks, streams, strict=False):
                found = [name for name in flags.names(both(stream.disposition)) if name not in row.implied_flags]
                assert found == flags.names(both(flags.held(flag, kind, row))), (kind, flag)


def both(found: Disposition) -> Disposition:
    """With what goes without saying: who cannot see is served by descriptions."""
    for one, other in flags._PAIRS:
        found |= other if one in found else Disposition(0)
    return found


@pytest.mark.parametrize("language", ["eng", "en", "eng,fra"])
def test_languages_come_back_as_the_row_says(row: Container, language: str, tmp_path: Path) -> None:
    spelt = languages.held(language, "audio", row)
    with av.open(str(clip(row, tmp_path, audio=[sound(row, language=spelt)]))) as opened:
        assert opened.streams.audio[0].metadata.get("language") == spelt


def test_metadata_and_chapters_have_a_place_or_none(row: Container, tmp_path: Path) -> None:
    tags = {"title": "A film", "com.example.place": "Here"}
    path = clip(row, tmp_path, metadata=tags, chapters=[(0.0, 0.1, "one")])
    row.finish(Written(path, tags, [None], None, (64, 48), Fraction(1), None, False, 0))
    with av.open(str(path)) as opened:
        found = {key.lower(): value for key, value in opened.metadata.items()}
        assert {key: value for key, value in tags.items() if found.get(key) == value} == (tags if row.metadata else {})
        assert len(opened.chapters()) == (1 if row.metadata else 0)


@pytest.mark.parametrize("name", [row.name for row in ROWS if not row.boxes])  # where a title is read as a name
def test_tags_of_streams_are_kept_or_not(name: str, tmp_path: Path) -> None:
    row = CONTAINERS[name]
    with av.open(str(clip(row, tmp_path, audio=[sound(row, title="Talk")]))) as opened:
        assert ("title" in opened.streams.audio[0].metadata) == (row.tags is None)


def test_rotation_is_kept_whole_by_its_turn_or_not_at_all(row: Container, tmp_path: Path) -> None:
    with av.open(str(clip(row, tmp_path, display_matrix=TURNED))) as opened:
        frame = next(opened.decode(video=0))
        found = next((bytes(data) for data in side_data_of(frame) if data.type.name == "DISPLAYMATRIX"), None)
    matrix = None if found is None else tuple(memoryview(found).cast("i"))
    if row.rotation is None:
        assert matrix is None
    else:
        assert matrix is not None
        assert matrix[:6] == TURNED[:6]
        assert (matrix == TURNED) == (row.rotation == "matrix")


def test_cover_art_goes_where_the_row_says(row: Container, tmp_path: Path) -> None:
    try:
        with av.open(str(clip(row, tmp_path, cover=jpeg()))) as opened:
            copied = any(stream.disposition & Disposition.attached_pic for stream in opened.streams)
    except (av.FFmpegError, ValueError):  # its muxer takes no such stream
        copied = False
    assert copied == (row.cover == "copied")
    if row.cover == "attached":
        with av.open(io.BytesIO(), "w", format=row.muxer) as out:
            add(out, "h264")
            out.add_attachment("cover.jpg", "image/jpeg", jpeg())
            out.start_encoding()


@pytest.mark.parametrize("name", [name for name in CONTAINERS if "h264" in CONTAINERS[name].pictures])
def test_h264_has_start_codes_or_lengths(name: str, tmp_path: Path) -> None:
    with av.open(str(clip(CONTAINERS[name], tmp_path))) as opened:
        packet = bytes(next(opened.demux(video=0)))
    assert packet.startswith((b"\0\0\0\1", b"\0\0\1")) == CONTAINERS[name].annex_b


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.before_zero])
def test_times_before_zero_are_kept(name: str) -> None:
    """With the row's own options, which make FFmpeg leave times as they are."""
    row = CONTAINERS[name]
    assert row.sound is not None
    data = io.BytesIO()
    with av.open(data, "w", format=row.muxer, container_options=dict(row.options)) as out:
        stream: Any = out.add_stream(row.sound[0], rate=48000)
        written = list(packets(stream))
        wanted = float(seconds(written[0]))
        for packet in written:
            out.mux(packet)
    data.seek(0)
    with av.open(data, "r") as opened:
        first = next(p for p in opened.demux(audio=0) if p.pts is not None)
        begin = float(seconds(first))
    assert wanted < 0
    assert begin == pytest.approx(wanted, abs=0.001)


def packets(stream: Any) -> Iterator[av.Packet[Any]]:
    """A few of silence, from 20 ms before 0 on."""
    context = stream.codec_context
    context.layout = "stereo"
    context.open()
    size = context.frame_size
    for number in range(4):
        frame = av.AudioFrame(format=context.format.name, layout="stereo", samples=size)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * size, Fraction(1, 48000)
        for packet in stream.encode(frame):
            packet.pts = packet.dts = packet.pts - 960
            yield packet


def test_segments_are_written_where_their_codec_goes() -> None:
    def of(codec: str, encoder: str, alpha: bool = False) -> str:
        return containers.segment_container(codec, encoder, alpha=alpha)

    assert [of("h264", "libx264"), of("prores", "prores_ks"), of("ffv1", "ffv1")] == ["mp4", "mov", "mkv"]
    assert [of("vp9", "libvpx-vp9"), of("vp9", "libvpx-vp9", True)] == ["mp4", "mkv"]
    assert of("prores", "prores_ks", True) == "mov"


def test_names_that_are_none_say_so() -> None:
    with pytest.raises(UsageError, match="There is no output container 'xyz': use mp4, "):
        containers.named("xyz", None)
    with pytest.raises(OutputError, match=r"avi cannot keep the times of all frames: name the output \.mp4, "):
        containers.named(None, ".avi")
    with pytest.raises(UsageError, match="no output container 'avi'"):
        containers.named("avi", None)
    assert containers.named(None, None) is None


@pytest.mark.parametrize(
    ("demuxers", "name", "brand", "found", "reason"),
    [
        ("mov,mp4,m4a,3gp,3g2,mj2", "a.mp4", "isom", "mp4", None),
        ("mov,mp4,m4a,3gp,3g2,mj2", "a.QT", "qt  ", "mov", None),
        ("mov,mp4,m4a,3gp,3g2,mj2", "download", "qt  ", "mov", None),
        ("mov,mp4,m4a,3gp,3g2,mj2", "download", "isom", "mp4", None),
        ("mov,mp4,m4a,3gp,3g2,mj2", "a.3gp", "3gp5", None, "3gp cannot keep the times of all frames or all streams"),
        ("matroska,webm", "a.webm", "", "webm", None),
        ("matroska,webm", "a.avi", "", "mkv", None),
        ("mpegts", "a.m2ts", "", "ts", None),
        ("avi", "a.avi", "", None, "avi cannot keep the times of all frames or all streams"),
        ("flv", "download", "", None, "flv cannot keep the times of all frames or all streams"),
    ],
)
def test_the_container_of_a_source(demuxers: str, name: str, brand: str, found: str | None, reason: str | None) -> None:
    row, why = containers.own(demuxers, Path(name), {"major_brand": brand})
    assert (row and row.name, why) == (found, reason)
