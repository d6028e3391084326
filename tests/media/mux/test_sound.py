"""Arrangements of channels, and what Matroska's tracks say of a rate that varies."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import Audio, Picture, make_clip
from tests.media.making import times, upscaled
from vidsr.media import side_data
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.decide import refusal
from vidsr.media.mux.matroska import drop_rate
from vidsr.media.mux.sound import SoundTrack, change_of_layout, encoded_layout, is_named
from vidsr.media.mux.steady import Steady
from vidsr.media.read.open import demux, open_input
from vidsr.media.write.times import Times, constant_rate
from vidsr.verify.comparison import compare


@pytest.mark.parametrize(
    ("source", "opus"),
    [
        *(("stereo", "stereo"), ("2.1", "5.1"), ("quad(side)", "quad"), ("5.0(side)", "5.0"), ("5.1(side)", "5.1")),
        *(("6.0", "6.1"), ("7.0", "7.1"), ("hexadecagonal", "7.1")),
    ],
)
def test_opus_gets_the_nearest_arrangement(source: str, opus: str) -> None:
    assert encoded_layout(source, "libopus") == opus
    assert bool(change_of_layout(source, opus)) == (source != opus)


def test_names_that_are_none() -> None:
    assert is_named("7.1(wide)")
    assert not is_named("8 channels (FL+FR+FC+LFE+SL+SR+BL+BR)")
    assert change_of_layout("2 channels", "stereo") == ""
    assert "3 channels" in change_of_layout("3 channels", "3.0")


@pytest.mark.parametrize("container", ["mkv", "mov", "mp4"])
def test_sound_that_would_stand_under_another_codec_s_name_is_not_copied(tmp_path: Path, container: str) -> None:
    """FFmpeg writes AMR into Matroska as what other programs take for ADPCM."""
    (tmp_path / "a.amr").write_bytes(b"#!AMR\n" + (b"\x04" + bytes(12)) * 20)
    with av.open(str(tmp_path / "a.amr")) as source:
        assert refusal(source.streams[0], CONTAINERS[container]) == f"{container} cannot hold amr_nb audio"


def test_sound_under_a_tag_that_only_ffmpeg_knows_is_not_copied(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.flv", codec="flv1", frames=2, audio=[Audio("adpcm_swf", rate=44100)])
    with av.open(str(tmp_path / "a.flv")) as source:
        (sound,) = source.streams.audio
        assert sound.codec.canonical_name == "adpcm_swf"
        assert refusal(sound, CONTAINERS["mkv"]) == "mkv cannot hold adpcm_swf audio"


def test_packets_that_share_a_millisecond_do_not_delay_those_behind_them(tmp_path: Path) -> None:
    """As those of TrueHD, 1200 a second, do in Matroska."""
    source = _with_pcm(tmp_path / "a.mkv", 1200, 40)
    upscaled(source, tmp_path / "out.mkv")
    assert len(set(times(source, 1))) < 1200
    assert times(tmp_path / "out.mkv", 1) == times(source, 1)
    assert _rows(source, tmp_path / "out.mkv") == ["ok", "ok"]


def test_pcm_that_mov_cuts_into_other_packets_is_the_same(tmp_path: Path) -> None:
    """As that of mxf, a packet for each picture; of mov a reader takes 1024 samples at a time."""
    source, output = _with_pcm(tmp_path / "a.mkv", 24, 2000), tmp_path / "out.mov"
    upscaled(source, output)
    assert len(times(output, 1)) > 24
    assert _rows(source, output) == ["ok", "ok"]
    data = output.read_bytes()
    assert data.count(bytes([9]) * 4000) == 1
    output.write_bytes(data.replace(bytes([9]) * 4000, bytes([9]) * 3998 + bytes(2)))
    assert _rows(source, output)[0] == "differs"


def _rows(source: Path, output: Path) -> list[str]:
    rows = {check.name: check.verdict for check in compare(source, output).checks}
    return [rows[name] for name in ("audio 1: packets", "audio 1: times")]


def _with_pcm(path: Path, number: int, samples: int) -> Path:
    """A film of a second with so many packets of sound."""
    with av.open(str(make_clip(path.with_name("film.mkv")))) as film, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(film.streams.video[0])
        sound: Any = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        for packet in film.demux(video=0):
            packet.stream = picture
            out.mux([packet] if packet.size else [])
        for count in range(number):
            made: Any = av.Packet(bytes([count % 256]) * samples * 2)
            made.stream, made.time_base = sound, Fraction(1, 48000)
            made.pts = made.dts = samples * count
            made.duration = samples
            out.mux(made)
    return path


def _times(pts: list[int]) -> Times:
    values = np.array(pts, np.int64)
    return Times(values, values, np.ones_like(values), pts[-1] + 1)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(50)])
@pytest.mark.parametrize("clock", [1000, 90000, 1001])
def test_a_constant_rate_is_found_behind_rounded_times(rate: Fraction, clock: int) -> None:
    found = _times([round(n / rate * clock) for n in range(300) if n != 70])
    assert constant_rate(found, Fraction(1, clock), None) == rate


def test_a_rate_that_varies_is_none() -> None:
    shown = [n for n in range(90) if not (n % 5 and n % 7 and n % 3)]
    assert constant_rate(_times([n * 40 for n in shown]), Fraction(1, 1000), Fraction(25)) is None


def test_the_rate_of_a_track_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for number in range(4):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts = number
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    before = path.read_bytes()
    assert b"\x23\xe3\x83" in before[:2000]
    drop_rate(path, 0)
    assert b"\x23\xe3\x83" not in path.read_bytes()[:2000]
    assert len(before) == path.stat().st_size
    with av.open(str(path)) as opened:
        assert len(list(opened.decode(video=0))) == 4
    with pytest.raises(ValueError, match="no picture track 1"):
        drop_rate(path, 1)


@pytest.mark.parametrize(("kind", "inverted", "name"), [(1, 0, "left_right"), (2, 1, "bottom_top"), (4, 0, None)])
def test_stereo_modes_of_webm(kind: int, inverted: int, name: str | None) -> None:
    raw = kind.to_bytes(4, "little") + inverted.to_bytes(4, "little") + bytes(28)
    assert side_data.stereo_mode(raw, CONTAINERS["webm"]) == name
    assert side_data.stereo_mode(raw, CONTAINERS["mkv"]) is not None
    assert bool(side_data.container_boxes(None, raw)) == (kind in (1, 2) and not inverted)


def _sound(number: int, pts: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.full((1, 1000), number + 1, np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = 1000, Fraction(1, 1000), pts
    return frame


def test_holes_are_filled_but_not_up_to_a_damaged_time() -> None:
    steady = Steady()
    times = [0, 1000, 4000, 2**50, 6000]
    made = [out for n, pts in enumerate(times) for out in steady(_sound(n, pts), av.AudioLayout("mono"))]
    assert [(out.pts, out.samples) for out in made] == [
        *((0, 1000), (1000, 1000), (2000, 2000), (4000, 1000), (5000, 1000), (6000, 1000))
    ]
    assert [int(out.to_ndarray()[0, 0]) for out in made] == [1, 2, 0, 3, 4, 5]


@pytest.mark.parametrize("format", ["s16", "s16p", "fltp", "u8"])
def test_what_was_heard_already_is_cut_away(format: str) -> None:
    layout, steady, made = av.AudioLayout("stereo"), Steady(), []
    for begin in (0, 600, 1600, 1590):  # of 1000 samples each
        ramp = np.arange(begin, begin + 1000) % 100
        planar = av.AudioFormat(format).is_planar
        samples = np.stack([ramp, ramp]) if planar else np.repeat(ramp, 2)[None]
        dtype = {"s16": np.int16, "u8": np.uint8, "fltp": np.float32}[format if format != "s16p" else "s16"]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, dtype), format=format, layout="stereo")
        frame.sample_rate, frame.time_base, frame.pts = 1000, Fraction(1, 1000), begin
        made += list(steady(frame, layout))
    assert [(out.pts, out.samples) for out in made] == [(0, 1000), (1000, 600), (1600, 1000)]
    heard = np.concatenate([out.to_ndarray()[0, :: 1 if out.format.is_planar else 2] for out in made])
    assert (heard == np.arange(2600) % 100).all()


def test_an_empty_packet_ends_no_sound(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", Picture(frames=24), audio=[Audio("ac3")])
    with av.open(str(clip)) as source, av.open(str(tmp_path / "a.webm"), "w") as out:
        stream = source.streams.audio[0]
        track = SoundTrack(out, stream, "libopus", 64_000, "stereo", Fraction(0))
        packets: list[Any] = [packet for packet in source.demux(stream) if packet.size]
        packets.insert(2, av.Packet())
        made = [found for packet in packets for found in track.take(packet)] + list(track.flush())
        heard = sum((packet.duration or 0) * packet.time_base for packet in made)
        assert heard >= sum(packet.duration * packet.time_base for packet in packets if packet.size)


def test_an_ogg_may_end_before_its_last_packet(tmp_path: Path) -> None:
    """FFmpeg makes 27 hours of the length of one of Vorbis of which nothing is heard, which mp4 does not take."""
    path = tmp_path / "a.ogg"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("vorbis", rate=48000, layout="stereo", options={"strict": "experimental"})
        for number in range(48):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 1024 * number, Fraction(1, 48000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    end_earlier(path, 1024 * 2)
    with av.open(str(path)) as opened:
        lengths = [packet.duration or 0 for packet in opened.demux() if packet.size]
    assert lengths[-1] > 1 << 31
    with open_input(path) as opened:
        assert [packet.duration for packet in demux(opened, *opened.streams.audio) if packet.size] == lengths[:-1]


def end_earlier(path: Path, samples: int) -> None:
    """Let the last page of an Ogg file say that it ends so many samples before."""
    data = bytearray(path.read_bytes())
    begin = data.rindex(b"OggS")
    (end,) = struct.unpack_from("<q", data, begin + 6)
    struct.pack_into("<q", data, begin + 6, end - samples)
    struct.pack_into("<I", data, begin + 22, 0)
    struct.pack_into("<I", data, begin + 22, ogg_checksum(bytes(data[begin:])))
    path.write_bytes(data)


def ogg_checksum(page: bytes) -> int:
    """CRC-32 by 0x04C11DB7, from zero, bits in order (RFC 3533)."""
    number = int.from_bytes(page, "big") << 32
    for bit in range(8 * len(page) + 31, 31, -1):
        number ^= (0x104C11DB7 << bit - 32) if number >> bit & 1 else 0
    return number


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_the_last_packet_of_sound_is_heard_though_matroska_does_not_say_how_long_it_is(
    tmp_path: Path, suffix: str
) -> None:
    source, output = make_clip(tmp_path / "a.mkv", audio=[Audio("alac", seconds=0.9)]), tmp_path / f"out.{suffix}"
    upscaled(source, output)
    assert _rows(source, output) == ["ok", "ok"]
    with av.open(str(source)) as before, av.open(str(output)) as after:
        lengths = [sum(frame.samples for frame in film.decode(audio=0)) for film in (before, after)]
    assert lengths[0] == lengths[1] == 0.9 * 48000


def test_the_end_of_sound_that_does_not_say_it_is_where_its_last_packet_may_end(tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "a.mkv", audio=[Audio("wavpack", seconds=2.3)]), tmp_path / "out.mp4"
    upscaled(source, output)
    rows = {check.name: check for check in compare(source, output).checks}
    assert rows["audio 1: sound"].verdict == "ok", rows["audio 1: sound"].detail
    longer = make_clip(tmp_path / "b.mkv", audio=[Audio("wavpack", seconds=4.6)])
    late = {check.name: check for check in compare(longer, output).checks}
    assert late["audio 1: sound"].verdict == "differs"
