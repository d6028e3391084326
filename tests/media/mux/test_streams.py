"""The other streams of a joined output: their packets untouched or converted, and names for what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests import clips
from tests.clips import Audio, Subtitles, make_clip, seconds
from tests.media.making import facts, numbers, spec_of, times, upscaled, write_segment
from tests.media.mux.test_join import of_kind
from vidsr.errors import DamagedError
from vidsr.media.containers import HOLDS_ALL
from vidsr.media.mux.decide import plan_streams
from vidsr.media.mux.fingerprint import read_fingerprint
from vidsr.media.mux.hidden import unneeded
from vidsr.media.mux.join import join
from vidsr.media.mux.others import Others
from vidsr.media.mux.tracks import AnyPacket, CopiedTrack
from vidsr.media.read.probe import probe
from vidsr.verify.comparison import compare

SOUND = (Audio(seconds=1.0, language="eng", title="Original", dispositions=int(Disposition.default)),)


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
    no_place = ": dropped, mov has no place for it; the container mkv keeps it"
    assert [str(d) for d in report.dropped] == [
        f"attachment 5 (font/ttf): dropped, {container} cannot hold font/ttf attachment; the container mkv keeps it",
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


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_part_begins_at_zero_with_its_own_sound(tmp_path: Path, everything: Path, container: str) -> None:
    output = tmp_path / f"out.{container}"
    info = probe(everything)
    with av.open(str(everything)) as opened:
        pts = sorted(p.pts for p in opened.demux(video=0) if p.pts is not None)
    part = [p for p in pts if 400 <= p < 600]
    spec = spec_of(time_base=info.video.time_base)
    _, report = upscaled(everything, output, spec=spec, pts=part, start=Fraction(2, 5), end=Fraction(3, 5))
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
        assert lines[0].pts == 0
        assert abs(length - Fraction(last - first, 1000)) <= Fraction(1, 1000), "it was on show before and behind"


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
        track = CopiedTrack(out, stream, Fraction(0), HOLDS_ALL)
        made = [p.dts for packet in packets for p in track.take(packet)]
    assert made == [-1024 + 1024 * n for n in range(len(made))]


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


@pytest.mark.parametrize("container", ["ts", "gif"])
def test_chapters_are_not_said_to_be_kept_where_they_have_no_place(tmp_path: Path, container: str) -> None:
    clip = make_clip(tmp_path / "a.mov", frames=2, chapters=[(0, 0.04, "one"), (0.04, 0.08, "two")])
    kept, dropped = plan_streams(probe(clip), container)
    assert not kept
    assert "chapters" in {item.kind for item in dropped}


@pytest.mark.parametrize("container", ["mkv", "ts", "mp4"])
@pytest.mark.parametrize(("rate", "hertz"), [(24, 48000), (120, 44100), (120, 8000)])
def test_sound_that_an_edit_list_hides_is_not_heard(tmp_path: Path, container: str, rate: int, hertz: int) -> None:
    """As in clips that were cut without encoding; decoders get 0.05 s of it to begin."""
    sound_of = Audio(seconds=1.5, start=-0.5, rate=hertz)
    source = make_clip(tmp_path / "a.mp4", audio=(sound_of,), rate=Fraction(rate), frames=rate)
    frame = 1024 / hertz  # one packet
    output = tmp_path / f"out.{container}"
    upscaled(source, output, container=container)
    sound = of_kind(output, "audio")[0].first
    assert sound is not None
    if container == "mp4":
        assert sound < -0.4
        return
    begin = times(output)[0]
    assert -frame - 0.05 < sound - begin <= 0
    assert sound >= 0 or container == "mkv"
    assert 1 - 2 * frame < times(output, 1)[-1] - begin < 1 + frame
    rows = {check.name: check.verdict for check in compare(source, output).checks}
    assert [rows[name] for name in ("audio 1: packets", "audio 1: times", "frame times")] == ["ok", "ok", "ok"]


def test_of_hidden_sound_stays_what_the_first_that_is_heard_needs() -> None:
    told = [(-5, True), (-1, True), (0, False), (1, True), (2, False), (3, True)]
    assert unneeded(told, Fraction(2)) == {0, 3, 5}
    assert unneeded(told[:2], Fraction(2)) == {0, 1}


@pytest.mark.parametrize(("edits", "begin"), [("0", 0), ("1", Fraction(1, 24))])
def test_ts_begins_later_only_for_sound_before_the_film(tmp_path: Path, edits: str, begin: Fraction) -> None:
    """Such as what an encoder of AAC puts there, which an edit list hides."""
    source = make_clip(tmp_path / "a.mp4", audio=(Audio(),), container_options={"use_editlist": edits})
    upscaled(source, tmp_path / "out.ts", container="ts")
    assert times(tmp_path / "out.ts")[0] == begin
    assert times(tmp_path / "out.ts", 1)[0] >= 0


def test_second_pictures_whose_decode_times_do_not_rise_fit_into_clocks_of_their_own(tmp_path: Path) -> None:
    """By Matroska's clock two of HEVC's first packets are decoded at once, and mp4 wants times that rise."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream(encoder, rate=24) for encoder in ("libx264", "libx265")]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        streams[1].options = {"x265-params": "log-level=none:bframes=3:pools=1"}
        for number in range(13):
            for stream in streams:
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * number, np.uint8), format="rgb24")
                out.mux(stream.encode(picture))
        for stream in streams:
            out.mux(stream.encode(None))
    for container in ("mp4", "mov"):
        assert plan_streams(probe(path), container)[1] == []


SPU = bytes.fromhex("002a001203c00000000c4100") + bytes(30)  # 42 bytes, as long as it says


def with_dvd_subtitle(folder: Path) -> Path:
    """A program stream with one: a palette and the size that it is drawn for stand in no file of it."""
    clip, film = make_clip(folder / "clip.ts", frames=24, codec="mpeg2video"), folder / "a.vob"
    with av.open(str(clip)) as opened, av.open(str(film), "w", format="vob") as out:
        picture, text = opened.streams.video[0], out.add_mux_stream("dvd_subtitle")
        target = out.add_stream_from_template(picture, opaque=True)
        text.time_base = picture.time_base or Fraction(1, 90000)
        for number, packet in enumerate(p for p in opened.demux(picture) if p.size):
            if number == 5:
                line: av.Packet[Any] = av.Packet(SPU)
                line.time_base, line.pts, line.dts, line.stream = packet.time_base, packet.dts, packet.dts, text
                out.mux(line)
            packet.stream = target
            out.mux(packet)
    return film


def test_subtitles_of_a_vob_are_drawn_for_its_pictures(tmp_path: Path) -> None:
    """Without their size players take that of the larger pictures, and draw them small and at the top."""
    film = with_dvd_subtitle(tmp_path)
    spec = spec_of(width=192, height=128, time_base=probe(film).video.time_base)
    _, report = upscaled(film, tmp_path / "b.mkv", spec=spec)
    assert [item.codec for item in report.kept] == ["dvd_subtitle"]
    with av.open(str(tmp_path / "b.mkv")) as opened:
        assert opened.streams.subtitles[0].codec_context.extradata == b"size: 64x48\n"
        assert [bytes(p) for p in opened.demux(opened.streams.subtitles[0]) if p.size] == [SPU]


def test_pictures_of_no_known_size_are_named_as_that(tmp_path: Path) -> None:
    """As those of a recording whose streams get other numbers half-way."""
    (first, second) = (
        make_clip(tmp_path / f"{n}.ts", container_options={"mpegts_start_pid": n}) for n in ("256", "512")
    )
    source = tmp_path / "a.ts"
    source.write_bytes(first.read_bytes() + second.read_bytes())
    (lost,) = plan_streams(probe(source), "mp4")[1]
    assert str(lost).startswith("video 1 (h264): dropped, nothing says how large its pictures are")
