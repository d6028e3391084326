"""Files that are cut or damaged: what is lost is named, and nothing else is."""

from __future__ import annotations

import shutil
import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import Audio, cut_off, damage, make_clip, read_number
from tests.field.making import ffmpeg, source, tone
from tests.media.read.test_reader import read
from vidsr.errors import DamagedError
from vidsr.media.read.reader import Reader
from vidsr.media.read.truncation import hole_in_matroska, is_cut_avi, is_cut_matroska, missing_end

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def until_damage(path: Path, **options: Any) -> tuple[list[int], str]:
    numbers: list[int] = []
    with Reader(path, **options) as reader, pytest.raises(DamagedError) as caught:
        numbers.extend(read_number(frame.planes[0]) for frame in reader)  # keeps what came before the error
    return numbers, str(caught.value)


def test_a_cut_mp4_stops_with_where_and_what(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mp4", frames=60, container_options={"movflags": "+faststart"})
    cut = cut_off(whole, tmp_path / "cut.mp4", 0.8)
    numbers, message = until_damage(cut)
    assert 20 < len(numbers) < 60
    assert numbers == list(range(len(numbers)))
    assert message.startswith(f"{cut} is damaged at {len(numbers) / 24:.3f} s: the file breaks off")
    kept, _, reader = read(cut, keep_going=True)
    assert kept == numbers
    assert reader.report.num_errors == len(reader.report.errors) > 0


def test_a_cut_between_packets_is_noticed_too(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mp4", frames=30, container_options={"movflags": "+faststart"})
    with av.open(str(whole)) as container:
        position = [p.pos for p in container.demux(video=0) if p.size][20]
    assert position is not None
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:position])
    numbers, message = until_damage(tmp_path / "cut.mp4")
    assert numbers == list(range(20))
    assert "its index promises 30 pictures" in message
    assert len(until_damage(tmp_path / "cut.mp4", start=Fraction(1, 2))[0]) == 8


def test_a_cut_matroska_is_noticed(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mkv", frames=60)
    assert not is_cut_matroska(whole)
    numbers, message = until_damage(cut_off(whole, tmp_path / "cut.mkv", 0.7))
    assert numbers == list(range(len(numbers)))
    assert "shorter than its header says" in message


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("wmv", "wmv2")])
def test_a_cut_file_that_says_how_long_it_is_is_noticed(tmp_path: Path, suffix: str, codec: str) -> None:
    """FFmpeg takes the cut for the end: a third of such a film was missing, and nobody said so."""
    whole = make_clip(tmp_path / f"a.{suffix}", frames=60, codec=codec, audio=(Audio("libmp3lame", seconds=2.5),))
    assert missing(whole) is None
    data = whole.read_bytes()
    with av.open(str(whole)) as container:
        places = [p.pos for p in container.demux(audio=0) if p.size and p.pos]
    (tmp_path / f"cut.{suffix}").write_bytes(data[: places[len(places) * 2 // 3]])
    numbers, message = until_damage(tmp_path / f"cut.{suffix}")
    assert numbers == list(range(len(numbers)))
    assert 30 < len(numbers) < 50
    assert "shorter than its header says" in message
    kept, _, _ = read(tmp_path / f"cut.{suffix}", keep_going=True)
    assert kept == numbers


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.flv", "flv"),
        ("a.ivf", "libvpx"),
        ("a.mpg", "mpeg2video"),
        ("a.vob", "mpeg2video"),
        ("a.mxf", "mpeg2video"),
        ("a.ogv", "libtheora"),
        ("a.y4m", "wrapped_avframe"),
        ("a.rm", "rv20"),
        ("a.dv", "dvvideo"),
    ],
)
def test_a_file_whose_last_packet_is_cut_is_noticed(tmp_path: Path, name: str, codec: str) -> None:
    """Wherever it is cut, but for a place between packets. FFmpeg takes most of these places for the end."""
    size = {"rv20": "176x144", "dvvideo": "720x576"}.get(codec, "96x64")
    sound = [] if name.endswith(("ivf", "y4m", "rm", "dv")) else source(tone(1, "stereo", 48000))
    ffmpeg(*source(f"testsrc2=s={size}:r=25:d=1,format=yuv420p"), *sound, "-c:v", codec, str(tmp_path / name))
    whole = tmp_path / name
    assert missing(whole) is None
    data, cut = whole.read_bytes(), tmp_path / f"cut_{name}"
    for share in (0.4, 0.55, 0.7, 0.85):
        num = int(len(data) * share)
        cut.write_bytes(data[: num + 1 - num % 2])  # no packets of one size end there
        found = missing(cut)
        assert found == "the file breaks off, it ends before its last packet does"
    with Reader(cut) as reader, pytest.raises(DamagedError):
        list(reader)


@needs_ffmpeg
def test_what_stands_behind_the_last_packet_claims_nothing(tmp_path: Path) -> None:
    """Zeros, as where a recorder had reserved more than it filled."""
    codecs = {"flv": "flv", "ts": "libx264", "mpg": "mpeg2video", "ogv": "libtheora", "ivf": "libvpx", "dv": "dvvideo"}
    for suffix, codec in codecs.items():
        size, name = "720x576" if suffix == "dv" else "96x64", tmp_path / f"a.{suffix}"
        ffmpeg(*source(f"testsrc2=s={size}:r=25:d=1,format=yuv420p"), "-c:v", codec, str(name))
        name.write_bytes(name.read_bytes() + bytes(1001))
        assert missing(name) is None, suffix


@needs_ffmpeg
def test_a_cut_recording_that_is_not_read_is_no_damage_of_the_first(tmp_path: Path) -> None:
    name = tmp_path / "a.ogv"
    ffmpeg(*source("testsrc2=s=96x64:r=25:d=1,format=yuv420p"), "-c:v", "libtheora", str(name))
    whole = name.read_bytes()
    name.write_bytes(whole + whole[: len(whole) // 2])
    assert missing(name) is None


@needs_ffmpeg
def test_a_recorder_leaves_a_transport_stream_anywhere(tmp_path: Path) -> None:
    ffmpeg(*source("testsrc2=s=96x64:r=25:d=1,format=yuv420p"), *source(tone(1)), str(tmp_path / "a.ts"))
    data = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "left.ts").write_bytes(data[: -188 * 3 + 50])
    assert missing(tmp_path / "left.ts") is None


@needs_ffmpeg
def test_an_mxf_that_ends_between_packets_is_cut_since_it_names_its_end(tmp_path: Path) -> None:
    ffmpeg(*source("testsrc2=s=96x64:r=25:d=1,format=yuv420p"), "-c:v", "mpeg2video", str(tmp_path / "a.mxf"))
    data = (tmp_path / "a.mxf").read_bytes()
    footer = data.rindex(bytes.fromhex("060e2b34020501010d0102010104"))
    (tmp_path / "cut.mxf").write_bytes(data[:footer])
    assert missing(tmp_path / "cut.mxf") is not None


def test_a_cut_fragment_is_noticed(tmp_path: Path) -> None:
    """As a recorder leaves it that lost its power; of a recording that ends with a fragment nobody knows."""
    fragments = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
    whole = make_clip(tmp_path / "a.mp4", frames=60, options={"g": "12"}, container_options=fragments)
    assert missing(whole) is None
    data = whole.read_bytes()
    last = data.rindex(b"moof") - 4
    (tmp_path / "ends.mp4").write_bytes(data[:last])
    assert missing(tmp_path / "ends.mp4") is None
    with av.open(str(whole)) as container:
        places = [p.pos for p in container.demux(video=0) if p.size and p.pos]
    (tmp_path / "cut.mp4").write_bytes(data[: places[-4]])
    numbers, message = until_damage(tmp_path / "cut.mp4")
    assert numbers == list(range(56))
    assert "shorter than its header says" in message


def chunk(kind: bytes, body: bytes, claimed: int | None = None) -> bytes:
    """Of RIFF, with the length that is `claimed`."""
    return struct.pack("<4sI", kind, len(body) if claimed is None else claimed) + body + bytes(len(body) % 2)


@pytest.mark.parametrize(("claimed", "cut"), [(None, False), (0xFFFFFFFF, False), (0, False), (100, True)])
def test_lists_of_an_avi_are_found_and_those_of_streams_claim_nothing(
    tmp_path: Path, claimed: int | None, cut: bool
) -> None:
    """Behind a chunk of odd length, and in a second part of the file as in the first."""
    movi, odd = chunk(b"LIST", b"movi" + bytes(20), claimed), chunk(b"JUNK", b"odd")
    first = chunk(b"RIFF", b"AVI " + odd + movi)
    second = chunk(b"RIFF", b"AVI " + odd + chunk(b"LIST", b"movi" + bytes(20))) + chunk(b"RIFF", b"AVIX" + movi)
    for number, data in enumerate((first, second)):
        path = tmp_path / f"{number}.avi"
        path.write_bytes(data)
        assert is_cut_avi(path) == cut


def missing(path: Path) -> str | None:
    with av.open(str(path)) as container:
        return missing_end(path, container.format.name, container.streams.video[0], None)


def test_damage_stops_or_is_listed(tmp_path: Path) -> None:
    whole = make_clip(
        tmp_path / "a.mp4", frames=60, width=320, height=240, container_options={"movflags": "+faststart"}
    )
    bad = damage(whole, tmp_path / "bad.mp4", 0.6, 0.65)
    before, message = until_damage(bad)
    assert before == list(range(len(before)))
    assert 10 < len(before) < 59
    assert "--keep-going" in message
    with Reader(bad, keep_going=True) as reader:
        frames = list(reader)
    assert len(before) < len(frames) <= 60
    assert all(a.pts < b.pts for a, b in pairwise(frames))
    assert reader.report.errors
    outside, _, _ = read(bad, end=Fraction(len(before) - 5, 24))
    assert outside == before[:-5], "damage outside the wanted part is not reported"


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libx264"])
def test_a_recording_that_starts_in_the_middle_is_sound(tmp_path: Path, codec: str) -> None:
    make_clip(tmp_path / "a.mkv", frames=60, gop=20, codec=codec)
    with av.open(str(tmp_path / "a.mkv")) as source, av.open(str(tmp_path / "b.mkv"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in list(source.demux(video=0))[10:-1]:
            packet.stream = stream
            out.mux(packet)
    numbers, _, reader = read(tmp_path / "b.mkv")
    assert numbers == list(range(20, 60))
    assert not reader.report.errors
    notes = ["10 packets before the first keyframe cannot be decoded"] if codec == "libvpx-vp9" else []
    assert reader.report.notes == notes


def test_a_hole_in_a_matroska_file_is_never_passed_over(tmp_path: Path) -> None:
    """FFmpeg goes on at the next cluster, or takes the hole for the end, and reports neither."""
    whole = make_clip(tmp_path / "a.mkv", frames=60, gop=6, container_options={"cluster_time_limit": "500"})
    assert hole_in_matroska(whole) is None
    data = bytearray(whole.read_bytes())
    at = data.index(b"\xa3", len(data) // 2)  # of a SimpleBlock, or of a picture
    data[at : at + 40] = bytes(40)
    (tmp_path / "b.mkv").write_bytes(bytes(data))
    before, message = until_damage(tmp_path / "b.mkv")
    assert len(before) < 60
    assert "structure is broken at byte" in message
    with Reader(tmp_path / "b.mkv", keep_going=True) as reader:
        assert len(list(reader)) == len(before)
    assert reader.report.num_errors == 1


def test_pictures_out_of_order_after_a_loss_move_no_others(tmp_path: Path) -> None:
    """Packets that a transport stream lost make the decoder mix two groups; the sound must stay in step."""
    whole, lossy = tmp_path / "whole.ts", tmp_path / "lossy.ts"
    noise = np.random.default_rng(0).integers(0, 255, (144, 160), np.uint8)
    with av.open(str(whole), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(48):
            picture = av.VideoFrame.from_ndarray(np.roll(noise, 3 * number, 1), format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    data = whole.read_bytes()
    num = len(data) // 188
    with Reader(whole) as reader:
        last = max(frame.pts for frame in reader)
    moved = []
    for first in range(num // 4, num // 2, num // 24):
        lossy.write_bytes(data[: first * 188] + data[(first + num // 8) * 188 :])
        with Reader(lossy, keep_going=True) as reader:
            times = [frame.pts for frame in reader]
        assert times == sorted(set(times))
        moved.append(times[-1] - last)
    assert moved == [0] * len(moved)
