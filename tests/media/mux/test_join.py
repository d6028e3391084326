"""Joined outputs: exact times, untouched packets of every other stream, and names for what is left out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests import clips
from tests.clips import Audio, Subtitles, make_clip, seconds
from tests.media.making import HEIGHT, WIDTH, Facts, facts, frames_of, numbers, spec_of, times, upscaled, write_segment
from vidsr.errors import DamagedError, OutputError
from vidsr.frame import Colour, Matrix
from vidsr.media.containers import HOLDS_ALL
from vidsr.media.mux.decide import plan_streams
from vidsr.media.mux.fingerprint import read_fingerprint
from vidsr.media.mux.join import join
from vidsr.media.mux.others import Others
from vidsr.media.mux.tracks import AnyPacket, CopiedTrack
from vidsr.media.read.probe import probe
from vidsr.media.write.writer import Writer

VFR = [0, 1, 2, 5, 6, 13, 14, 15, 24, 25, 27, 28, 29, 59, 60, 61, 63, 64, 65, 70]
SOUND = (Audio(seconds=1.0, language="eng", title="Original", dispositions=int(Disposition.default)),)
CONTAINERS = ["mp4", "mov", "mkv"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with two sounds, two kinds of subtitles, chapters, an attachment and metadata."""
    french = Audio("ac3", 1.0, 0.25, 660, language="fra", dispositions=int(Disposition.comment))
    forced = Subtitles(((0.3, 0.4, "Zwei."),), language="ger", dispositions=int(Disposition.forced))
    return make_clip(
        tmp_path_factory.mktemp("everything") / "all.mkv",
        audio=(*SOUND, french),
        subtitles=(Subtitles(((0.1, 0.2, "One."), (0.5, 0.2, "Two.")), language="eng", title="Text"), forced),
        chapters=((0.0, 0.5, "Start"), (0.5, 1.0, "End")),
        attachments=(("font.ttf", "font/ttf", b"not a font"),),
        metadata={"title": "A film", "MY_KEY": "kept"},
        language="jpn",
    )


def of_kind(path: Path, kind: str) -> list[Facts]:
    return [f for f in facts(path) if f.kind == kind]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("base", [Fraction(1, 24), Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 10**9)])
def test_variable_rate_with_b_frames_keeps_its_times(tmp_path: Path, container: str, base: Fraction) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=SOUND)
    tick = max(1, round(Fraction(1, 24) / base))
    pts = [10 * tick + tick * n + (n % 3 if tick > 9 else 0) for n in VFR]
    output = tmp_path / f"out.{container}"
    upscaled(source, output, spec=spec_of(time_base=base, preset="medium"), pts=pts)
    tolerance = Fraction(1, 2000) if container == "mkv" else 0
    found = times(output)
    assert len(found) == len(pts)
    assert max(abs(got - p * base) for got, p in zip(found, pts, strict=True)) <= tolerance
    assert numbers(output) == list(range(len(pts)))


@pytest.mark.parametrize(("encoder", "suffix", "container"), [
    ("libx264", ".mp4", "mp4"), ("libx265", ".mp4", "mov"), ("libsvtav1", ".mp4", "mp4"),
    ("libvpx-vp9", ".mp4", "webm"), ("ffv1", ".mkv", "mkv"), ("prores_ks", ".mov", "mov"),
])  # fmt: skip
def test_many_segments_join_to_one_stream(tmp_path: Path, encoder: str, suffix: str, container: str) -> None:
    source = make_clip(tmp_path / "a.mkv")
    layout = "yuv422p10le" if encoder == "prores_ks" else "yuv420p"
    preset = "fast" if encoder == "libx264" else None
    spec = spec_of(encoder, layout, preset=preset)
    output = tmp_path / f"out.{container}"
    _, report = upscaled(source, output, spec=spec, pts=VFR, cuts=(5, 6, 13), suffix=suffix)
    tolerance = Fraction(1, 2000) if container in ("mkv", "webm") else 0
    assert numbers(output) == list(range(len(VFR)))
    assert all(abs(t - n * spec.time_base) <= tolerance for t, n in zip(times(output), VFR, strict=True))
    assert report.num_frames == len(VFR)
    assert report.num_bytes == output.stat().st_size
    with av.open(str(output)) as opened:
        dts = [p.dts for p in opened.demux(video=0) if p.size]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(dts))


def test_joined_segments_hold_the_packets_of_the_segments(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    upscaled(source, tmp_path / "out.mp4", cuts=(7, 16))
    with av.open(str(tmp_path / "out.mp4")) as joined:
        found = [bytes(p) for p in joined.demux(video=0) if p.size]
    written: list[bytes] = []
    for begin in (0, 7, 16):
        with av.open(str(tmp_path / f"out_{begin}.mp4")) as segment:
            written += [bytes(p) for p in segment.demux(video=0) if p.size]
    assert found == written


def test_every_stream_of_a_rich_mkv_is_untouched(tmp_path: Path, everything: Path) -> None:
    output = tmp_path / "out.mkv"
    _, report = upscaled(everything, output, metadata={"vidsr": "mark"})
    before, after = facts(everything), facts(output)
    assert [f.kind for f in after] == [f.kind for f in before]
    assert after[1:] == before[1:]
    assert (after[0].language, after[0].dispositions) == (before[0].language, before[0].dispositions)
    assert report.dropped == ()
    assert [str(k) for k in report.kept] == [
        "audio 1 (aac): copied",
        "audio 2 (ac3): copied",
        "subtitle 3 (subrip): copied",
        "subtitle 4 (subrip): copied",
        "attachment 5 (font/ttf): copied",
    ]
    with av.open(str(everything)) as old, av.open(str(output)) as new:
        assert new.chapters() == old.chapters()
        assert new.streams.attachments[0].data == b"not a font"
        assert new.metadata["title"] == "A film"
        assert new.metadata["MY_KEY"] == "kept"
    assert read_fingerprint(output) == "mark"


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_mp4_converts_text_and_names_what_it_cannot_hold(tmp_path: Path, everything: Path, container: str) -> None:
    output = tmp_path / f"out.{container}"
    info, report = upscaled(everything, output, metadata={"vidsr": "mark"})
    no_place = ": dropped, mov has no place for it; --container mkv keeps it"
    assert [str(d) for d in report.dropped] == [
        f"attachment 5 (font/ttf): dropped, {container} cannot hold font/ttf attachment; --container mkv keeps it",
        *(
            ["flag of audio 2 (comment)" + no_place, "flag of subtitle 4 (forced)" + no_place]
            if container == "mov"
            else []
        ),
    ]
    assert [f.payload for f in of_kind(output, "audio")] == [f.payload for f in of_kind(everything, "audio")]
    assert [f.language for f in of_kind(output, "audio")] == ["eng", "fra"]
    assert [(f.codec, f.language) for f in of_kind(output, "subtitle")] == [("mov_text", "eng"), ("mov_text", "ger")]
    assert read_fingerprint(output) == "mark"
    with av.open(str(output)) as opened:
        assert opened.metadata["title"] == "A film"
        assert opened.metadata["MY_KEY"] == "kept"
        assert [c["metadata"]["title"] for c in opened.chapters()] == ["Start", "End"]
        lines = [
            (p.pts * p.time_base, bytes(p)[2:]) for p in opened.demux(subtitles=0) if p.size > 2 and p.pts is not None
        ]
        assert lines == [(Fraction(1, 10), b"One."), (Fraction(1, 2), b"Two.")]
    assert plan_streams(info, container) == (list(report.kept), list(report.dropped))


def test_text_of_mp4_becomes_subrip_in_mkv(tmp_path: Path) -> None:
    text = Subtitles(((0.2, 0.3, "Eins."), (0.6, 0.2, "Zwei.")), "mov_text", language="ger")
    source = make_clip(tmp_path / "a.mp4", subtitles=(text,))
    upscaled(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as opened:
        stream = opened.streams.subtitles[0]
        assert (stream.codec_context.codec.canonical_name, stream.language) == ("subrip", "ger")
        packets = [p for p in opened.demux(stream) if p.size]
        assert [(p.pts, p.duration, bytes(p)) for p in packets] == [(200, 300, b"Eins."), (600, 200, b"Zwei.")]


def test_webm_encodes_sound_that_it_cannot_hold(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=(Audio(seconds=1.0, start=0.5, hertz=500),))
    _, report = upscaled(source, tmp_path / "out.webm", spec=spec_of("libvpx-vp9"), pts=range(24))
    assert [str(k) for k in report.kept] == ["audio 1 (aac): encoded as opus"]
    with av.open(str(tmp_path / "out.webm")) as opened:
        sound = list(opened.decode(audio=0))
        start = seconds(sound[0])
        wave = np.concatenate([f.to_ndarray()[0] for f in sound])
    assert abs(start - Fraction(1, 2)) < Fraction(3, 100)
    assert abs(len(wave) / 48000 - 1.0) < 0.06
    assert abs(np.abs(np.fft.rfft(wave[4800:43200])).argmax() * 48000 / 38400 - 500) < 3


@pytest.mark.parametrize(("suffix", "container"), [("mp4", "mp4"), ("mp4", "mkv"), ("mkv", "mkv"), ("mkv", "mov")])
@pytest.mark.parametrize("start", [0.7, 0.0])
def test_offsets_between_streams_are_kept(tmp_path: Path, suffix: str, container: str, start: float) -> None:
    late = [Audio(seconds=0.5, start=start)]
    pts = [6000 + 3750 * n for n in range(12)]
    source = make_clip(tmp_path / f"a.{suffix}", time_base=Fraction(1, 90000), pts=pts, frames=12, audio=late)
    output = tmp_path / f"out.{container}"
    _, report = upscaled(source, output)
    tolerance = Fraction(1, 900) if "mkv" in (suffix, container) else Fraction(1, 90000)
    for old, new in zip(facts(source), facts(output), strict=True):
        assert old.first is not None
        assert new.first is not None
        assert abs(new.first - old.first - report.shift) <= tolerance
    assert report.shift == 0


@pytest.mark.parametrize("container", [*CONTAINERS, "ts"])
def test_negative_start_moves_all_streams_alike(tmp_path: Path, container: str) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=SOUND)
    output = tmp_path / f"out.{container}"
    spec = spec_of(time_base=Fraction(1, 12800), preset="medium")
    pts = [-1600 + 533 * n for n in range(24)]
    _, report = upscaled(source, output, spec=spec, pts=pts)
    assert report.shift >= Fraction(1600, 12800)
    assert any("later" in note for note in report.notes)
    tolerance = {"mkv": Fraction(1, 2000), "ts": Fraction(1, 180000)}.get(container, Fraction(0))
    for got, tick in zip(times(output), pts, strict=True):
        assert abs(got - tick * spec.time_base - report.shift) <= tolerance
    sound = of_kind(output, "audio")[0].first
    before = of_kind(source, "audio")[0].first
    assert sound is not None
    assert before is not None
    assert abs(sound - before - report.shift) <= Fraction(1, 900)
    assert len(numbers(output)) == 24


def test_transport_stream_keeps_times_and_its_mark(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.ts", audio=SOUND, bframes=2, chapters=())
    _, report = upscaled(source, tmp_path / "out.ts", preset="medium", metadata={"vidsr": "mark"})
    for got, want in zip(times(tmp_path / "out.ts"), times(source), strict=True):
        assert abs(got - want - report.shift) <= Fraction(1, 180000)
    assert read_fingerprint(tmp_path / "out.ts") == "mark"
    assert read_fingerprint(source) is None
    assert numbers(tmp_path / "out.ts") == list(range(24))


def test_transport_stream_names_chapters_and_metadata_as_dropped(tmp_path: Path, everything: Path) -> None:
    _, dropped = plan_streams(probe(everything), "ts")
    kinds = {(d.kind, d.index) for d in dropped}
    assert {("metadata", None), ("chapters", None), ("attachment", 5), ("subtitle", 3)} <= kinds


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_cover_art_is_kept(tmp_path: Path, container: str) -> None:
    cover = clips.jpeg()
    source = make_clip(tmp_path / "a.mp4", cover=cover)
    upscaled(source, tmp_path / f"out.{container}")
    with av.open(str(tmp_path / f"out.{container}")) as opened:
        stream = next(s for s in opened.streams if s.disposition & Disposition.attached_pic)
        assert next(bytes(p) for p in opened.demux(stream) if p.size) == cover
    assert numbers(tmp_path / f"out.{container}") == list(range(24))


@pytest.mark.parametrize(("encoder", "layout", "suffix", "container"), [
    ("libx264", "yuv420p", ".mp4", "mkv"), ("libsvtav1", "yuv420p", ".mp4", "mkv"), ("ffv1", "yuv420p", ".mkv", "mkv"),
    ("prores_ks", "yuv422p10le", ".mov", "mkv"), ("libvpx-vp9", "yuv420p", ".mp4", "webm"),
    ("libx264", "yuv420p", ".mp4", "mp4"), ("libx264", "yuv420p", ".mp4", "ts"),
])  # fmt: skip
def test_sample_aspect_and_title_survive(
    tmp_path: Path, encoder: str, layout: str, suffix: str, container: str
) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=SOUND)
    spec = spec_of(encoder, layout, sample_aspect=Fraction(64, 45))
    output = tmp_path / f"out.{container}"
    upscaled(source, output, spec=spec, pts=range(6), suffix=suffix, container=container)
    assert probe(output).video.sample_aspect == Fraction(64, 45)
    assert len(numbers(output)) == 6
    with av.open(str(output)) as opened:
        assert "vidsr" not in opened.streams.video[0].metadata.get("title", "")


def test_rewritten_track_has_the_right_checksum(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=SOUND)
    output = tmp_path / "out.mkv"
    upscaled(source, output, spec=spec_of("ffv1", sample_aspect=Fraction(2, 1)), pts=range(3), suffix=".mkv")
    data = output.read_bytes()
    tracks = data.index(b"\x16\x54\xae\x6b", data.index(b"\x16\x54\xae\x6b") + 4)  # after the table of contents
    length = 9 - data[tracks + 4].bit_length()
    size = int.from_bytes(data[tracks + 4 : tracks + 4 + length], "big") & ((1 << 7 * length) - 1)
    body = data[tracks + 4 + length :][:size]
    assert body[:2] == b"\xbf\x84"
    assert int.from_bytes(body[2:6], "little") == zlib.crc32(body[6:])


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_last_frame_stays_for_its_duration(tmp_path: Path, preset: str) -> None:
    source = make_clip(tmp_path / "a.mp4")
    spec = spec_of(preset=preset)
    segment = tmp_path / "s.mp4"
    writer = Writer(segment, spec)
    for pts, frame in enumerate(frames_of(spec, range(10))):
        writer.write(replace(frame, duration=1 if pts < 9 else 15))
    writer.close()
    join([segment], probe(source), tmp_path / "out.mp4", container="mp4", spec=spec)
    with av.open(str(tmp_path / "out.mp4")) as opened:
        assert opened.duration == 1_000_000
    assert len(times(tmp_path / "out.mp4")) == len(times(segment)) == 10


def test_picture_stream_keeps_its_title_beside_the_aspect(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        source = make_clip(tmp_path / "b.mp4")
        with av.open(str(source)) as made:
            stream = out.add_stream_from_template(made.streams.video[0], opaque=True)
            stream.metadata["title"] = "Grüße " * 20
            for packet in made.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    spec = spec_of("ffv1", sample_aspect=Fraction(4, 3))
    upscaled(tmp_path / "a.mkv", tmp_path / "out.mkv", spec=spec, pts=range(3), suffix=".mkv")
    with av.open(str(tmp_path / "out.mkv")) as opened:
        title = opened.streams.video[0].metadata["title"]
    assert title
    assert ("Grüße " * 20).startswith(title)
    assert probe(tmp_path / "out.mkv").video.sample_aspect == Fraction(4, 3)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_rotation_and_mirror_survive(tmp_path: Path, container: str) -> None:
    matrix = (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
    source = make_clip(tmp_path / "a.mp4", display_matrix=matrix)
    upscaled(source, tmp_path / f"out.{container}")
    assert probe(tmp_path / f"out.{container}").video.display_matrix == matrix


def test_translation_of_the_matrix_grows(tmp_path: Path) -> None:
    matrix = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)  # a quarter turn of 64x48
    source = make_clip(tmp_path / "a.mp4", display_matrix=matrix)
    upscaled(source, tmp_path / "out.mp4")
    found = probe(tmp_path / "out.mp4").video.display_matrix
    assert found == (0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)


def test_untagged_source_becomes_a_tagged_output(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", width=480, height=270)
    info = probe(source)
    assert not info.video.colour_tagged
    spec = spec_of(colour=info.video.colour, width=480, height=270, time_base=info.video.time_base)
    upscaled(source, tmp_path / "out.mp4", spec=spec, pts=range(0, 3))
    made = probe(tmp_path / "out.mp4").video
    assert made.colour_tagged
    assert made.colour == info.video.colour
    assert made.colour.matrix in (Matrix.SMPTE170M, Matrix.BT470BG)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1"])
def test_hdr10_reaches_bitstream_and_container(tmp_path: Path, encoder: str, container: str) -> None:
    mastering = struct.pack("<22i", *(34000, 50000, 16000, 50000, 13250, 50000, 34500, 50000, 7500, 50000), *(
        3000, 50000, 15635, 50000, 16450, 50000, 50, 10000, 10000000, 10000, 1, 1))  # fmt: skip
    light = struct.pack("<2I", 1000, 400)
    spec = spec_of(
        encoder, "yuv420p10le", colour=Colour(Matrix.BT2020_NCL, 9, 16), mastering_display=mastering, light_level=light
    )
    source = make_clip(tmp_path / "a.mp4")
    output = tmp_path / f"out.{container}"
    upscaled(source, output, spec=spec, pts=range(3))
    made = probe(output).video
    assert made.light_level == light
    assert made.mastering_display is not None
    assert (made.colour.primaries, made.colour.transfer) == (9, 16)
    if container == "mp4":
        assert b"mdcv" in output.read_bytes()
        assert b"clli" in output.read_bytes()
    else:
        assert b"\x55\xd0" in output.read_bytes()[:4096]  # Matroska's MasteringMetadata


def test_hevc_in_mp4_has_the_tag_that_apple_wants(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    upscaled(source, tmp_path / "out.mp4", spec=spec_of("libx265"), pts=range(3))
    assert b"hvc1" in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_part_begins_at_zero_with_its_own_sound(tmp_path: Path, everything: Path, container: str) -> None:
    output = tmp_path / f"out.{container}"
    info = probe(everything)
    with av.open(str(everything)) as opened:
        pts = sorted(p.pts for p in opened.demux(video=0) if p.pts is not None)
    part = [p for p in pts if 400 <= p < 800]
    spec = spec_of(time_base=info.video.time_base)
    _, report = upscaled(everything, output, spec=spec, pts=part, start=Fraction(2, 5), end=Fraction(4, 5))
    assert report.shift == -part[0] * info.video.time_base
    assert times(output)[0] == 0
    with av.open(str(everything)) as old, av.open(str(output)) as new:
        first, last = part[0], part[-1] + 42
        kept = [p for p in old.demux(audio=0) if p.pts is not None and first <= p.pts < last]
        made = [p for p in new.demux(audio=0) if p.size]
        assert [bytes(p) for p in made] == [bytes(p) for p in kept]
        assert kept[0].pts is not None
        assert made[0].pts is not None
        assert abs(made[0].pts * made[0].time_base - Fraction(kept[0].pts - first, 1000)) <= Fraction(1, 1000)
    with av.open(str(output)) as new:
        assert [c["metadata"]["title"] for c in new.chapters()] == ["Start", "End"]
        assert new.chapters()[0]["start"] == 0
        lines = [p for p in new.demux(subtitles=1) if p.size > 2]
        length = (lines[0].duration or 0) * lines[0].time_base
        assert (lines[0].pts, length) == (0, Fraction(700 - part[0], 1000))


def test_damaged_sound_is_left_out_and_counted(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", audio=(Audio(seconds=2.0),), frames=48, options={"crf": "51"})
    bad = clips.damage(whole, tmp_path / "bad.mkv", 0.3, 0.7, every=50)
    info, spec = probe(whole), spec_of("libvpx-vp9", time_base=Fraction(1, 1000))
    segment = tmp_path / "s.mp4"
    write_segment(segment, spec, range(0, 2000, 42))
    report = join([segment], replace(info, path=bad), tmp_path / "out.webm", container="webm", spec=spec)
    assert any("damaged packets" in note for note in report.notes)
    assert numbers(tmp_path / "out.webm") == list(range(48))


def test_source_that_cannot_be_read_on_ends_the_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg ends most cut files in silence, so its error is raised by hand."""

    def broken(self: Others, packets: Iterator[AnyPacket]) -> Iterator[AnyPacket]:
        def failing() -> Iterator[AnyPacket]:
            yield next(packets)
            raise av.InvalidDataError(1094995529, "Invalid data")

        yield from whole(self, failing())

    whole = Others._readable
    monkeypatch.setattr(Others, "_readable", broken)
    source = make_clip(tmp_path / "a.mp4", audio=SOUND)
    with pytest.raises(DamagedError, match=r"--keep-going \(keep_going=True\) copies what comes before"):
        upscaled(source, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    _, report = upscaled(source, tmp_path / "out.mp4", keep_going=True)
    assert any("end there" in note for note in report.notes)
    assert numbers(tmp_path / "out.mp4") == list(range(24))


def test_sound_that_jumps_back_follows_on(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=(Audio(seconds=1.0),))
    with av.open(str(source)) as opened, av.open(str(tmp_path / "o.mkv"), "w") as out:
        stream: Any = opened.streams.audio[0]
        packets = [p for p in opened.demux(stream) if p.size]
        for packet in packets[len(packets) // 2 :]:
            packet.pts = packet.dts = (packet.pts or 0) - 48000 * 5
        track = CopiedTrack(out, stream, 0, HOLDS_ALL)
        made = [p.dts for packet in packets for p in track.take(packet)]
    assert made == [-1024 + 1024 * n for n in range(len(made))]


def test_segments_out_of_order_or_unfinished_are_refused(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    info, spec = probe(source), spec_of()
    first, second = tmp_path / "1.mp4", tmp_path / "2.mp4"
    write_segment(first, spec, range(5))
    write_segment(second, spec, range(4, 9))
    with pytest.raises(OutputError, match="begins before"):
        join([first, second], info, tmp_path / "o.mp4", container="mp4", spec=spec)
    other = replace(spec, width=WIDTH * 2)
    write_segment(second, other, range(5, 9))
    with pytest.raises(OutputError, match="another way"):
        join([first, second], info, tmp_path / "o.mp4", container="mp4", spec=spec)
    assert not (tmp_path / "o.mp4").exists()


def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    write_segment(tmp_path / "s.mp4", spec_of(), range(5))
    with pytest.raises(OutputError, match="is no folder"):
        join([tmp_path / "s.mp4"], probe(source), source / "o.mp4", container="mp4", spec=spec_of())
    if Path("/dev/full").exists():
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="no space is left"):
            join([tmp_path / "s.mp4"], probe(source), tmp_path / "full", container="mkv", spec=spec_of())


def test_fingerprint_of_other_files_is_none(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no video")
    assert read_fingerprint(tmp_path / "note.txt") is None
    assert read_fingerprint(tmp_path / "missing.mp4") is None
    assert read_fingerprint(make_clip(tmp_path / "a.mp4")) is None


@pytest.mark.parametrize("seconds", [0.63, 0.67])
def test_the_last_packets_of_sound_are_not_cut_away(tmp_path: Path, seconds: float) -> None:
    """As an edit list would that counts in pictures: the sound begins before 0, and no clock is finer."""
    source = make_clip(
        tmp_path / "a.ogv", frames=25, codec="libvpx", rate=Fraction(25), audio=[Audio("libopus", seconds)]
    )
    upscaled(source, tmp_path / "out.mp4", spec=spec_of(time_base=Fraction(1, 25)), pts=range(25))
    before, after = (of_kind(path, "audio")[0] for path in (source, tmp_path / "out.mp4"))
    assert after.payload == before.payload


@pytest.mark.parametrize("container", ["mov", "mp4", "mkv"])
def test_every_language_is_kept(tmp_path: Path, container: str) -> None:
    """Apple's old table, which FFmpeg writes mov with, has neither "swe" nor "fre"."""
    languages = ["swe", "fre", "eng", "deu", "zho"]
    source = make_clip(
        tmp_path / "a.mkv", frames=4, language="nld", audio=[Audio(seconds=0.2, language=k) for k in languages]
    )
    upscaled(source, tmp_path / f"out.{container}")
    assert [f.language for f in facts(tmp_path / f"out.{container}")] == ["nld", *languages]


def test_sound_at_times_that_no_clock_reaches_is_left_out(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mkv", audio=[Audio("ac3")])
    with av.open(str(whole)) as source, av.open(str(tmp_path / "late.mkv"), "w") as out:
        tracks: list[Any] = [out.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None and packet.pts is not None:
                packet.stream = tracks[packet.stream_index]
                packet.pts, packet.dts = packet.pts + 2**58, packet.dts + 2**58
                out.mux(packet)
    _, report = upscaled(tmp_path / "late.mkv", tmp_path / "out.webm", spec=spec_of("libvpx-vp9"), pts=range(24))
    assert any("damaged packets of sound or subtitles are left out" in note for note in report.notes)
