"""Dynamic HDR inside pictures reaches the new ones, each its own: HDR10+, Dolby Vision of profile 8, ambient light.

FFmpeg's decoders, which share nothing with what writes it here, say what stands in a file.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests.bits import Bits
from tests.clips import numbered_frame
from tests.verify.mutants import upscaled
from vidsr.frame import Colour, Frame, Inside, Matrix, PixelFormat
from vidsr.jobs.events import Event, Fitting
from vidsr.media import dolby_vision, hdr10_plus
from vidsr.media.inside import inside_of
from vidsr.media.nal import escaped
from vidsr.media.pyav import side_data_of
from vidsr.media.read.packets import cut, unpack
from vidsr.media.read.pictures import pack_pictures
from vidsr.media.read.pixels import planes_of
from vidsr.media.read.probe import probe
from vidsr.media.read.reader import Reader
from vidsr.media.write import choice
from vidsr.media.write.writer import VideoSpec, Writer
from vidsr.verify import compare

SIZE = (128, 96)
LAYOUT = PixelFormat("yuv", 10, (1, 1))
BARS = (0, 0, 12, 13)
NUM = 6


def light(number: int, peaks: Sequence[Sequence[int]] = ()) -> bytes:
    """A message with every field that its profiles have, other for each picture; `peaks`, by rows, none has."""
    bits = Bits().u(8, 0xB5).u(16, 0x3C, 1).u(8, 4, 1).u(2, 1).u(27, 400).u(1, bool(peaks))
    if peaks:
        bits.u(5, len(peaks), len(peaks[0])).u(4, *(value for row in peaks for value in row))
    bits.u(17, 12345 + number, 23456, 34567, 4321).u(4, 9)
    for percentage, percentile in zip((1, 5, 10, 25, 50, 75, 90, 95, 99), range(9), strict=True):
        bits.u(7, percentage).u(17, 1000 * percentile + number)
    return bits.u(10, 17).u(1, 0, 1).u(12, 100, 200).u(4, 9).u(10, *range(100, 1000, 100)).u(1, 1).u(6, 8).aligned()


def rpu(number: int, bars: Sequence[int] = BARS, *, profile: int = 1, full_range: int = 0, layers: int = 1) -> bytes:
    """An RPU that maps every code to itself, with the picture's light and bars, as a NAL unit has it."""
    bits = Bits().u(6, 2).u(11, 18).u(4, profile, 0).u(1, 1, 0).u(2, 0).ue(23).u(2, 1).u(1, full_range)
    bits.ue(2, 2, 4).u(1, 0).u(3, 0).u(1, layers - 1, 2 - layers)  # bits of the layers; whether there is no residual
    bits.u(1, 1, 0).ue(0, 0, 0)
    for _ in range(3):
        bits.ue(0).u(10, 0, 1023)
    bits.ue(0, 0)
    for _ in range(3):
        bits.ue(0, 0).u(1, 0).ue(0).u(23, 0).ue(1).u(23, 0)  # 0 and 1: the second number is signed
    bits.ue(0, 0, 1).u(16, 9574, 0, 13802, 9574, -1540, -5348, 9574, 17610, 0).u(32, 1 << 24, 1 << 27, 1 << 27)
    bits.u(16, 7222, 8771, 390, 2654, 12430, 1300, 0, 422, 15962).u(16, 65535, 0, 0).u(32, 0)
    bits.u(5, 12).u(2, 0, 0, 1).u(12, 62, 3696).u(10, 42).ue(2)
    bits.aligned()
    bits.ue(5).u(8, 1).u(12, 0, 2000 + number, 900).u(4, 0)
    bits.ue(7).u(8, 5).u(13, *bars).u(4, 0)
    body = bits.aligned()
    return escaped(b"\x19" + body + struct.pack(">I", crc(body)) + b"\x80")


def crc(data: bytes) -> int:
    """CRC-32 of MPEG-2, by division of polynomials."""
    number = int.from_bytes(data, "big") << 32 ^ 0xFFFFFFFF << 8 * len(data)
    for bit in range(8 * len(data) + 31, 31, -1):
        number ^= (0x104C11DB7 << bit - 32) if number >> bit & 1 else 0
    return number


AMBIENT = struct.pack(">I2H", 3_140_000, 15635, 16450)
ALL = [Inside(hdr10_plus=light(k), dolby_vision=rpu(k), active_area=BARS, ambient=AMBIENT) for k in range(NUM)]


def source(path: Path, insides: Sequence[Inside] = ALL, *, codec: str = "libx265", transfer: int = 16) -> Path:
    """Numbered pictures, each with its own."""
    colour = Colour(Matrix.BT2020_NCL, primaries=9, transfer=transfer)
    hevc = codec == "libx265"
    vision = dolby_vision.DolbyVision(1) if hevc and any(inside.dolby_vision for inside in insides) else None
    preset = "ultrafast" if hevc else "10"
    spec = VideoSpec(codec, LAYOUT, colour, *SIZE, Fraction(1, 24), Fraction(24), preset=preset, dolby_vision=vision)
    writer = Writer(path, spec, container=path.suffix[1:])
    for number, inside in enumerate(insides):
        picture = numbered_frame(number, LAYOUT.name, *SIZE, None)
        writer.write(Frame(planes_of(picture, LAYOUT), LAYOUT, colour, number, Fraction(1, 24), 1, inside))
    writer.close()
    return path


def told(path: Path) -> list[dict[str, bytes]]:
    """Side data of each picture, as PyAV itself tells it."""
    with av.open(str(path)) as container:
        found = [{i.type.name: bytes(i) for i in side_data_of(frame)} for frame in container.decode(video=0)]
    gc.collect()
    return found


def insides(path: Path) -> list[Inside]:
    with av.open(str(path)) as container:
        return [inside_of(frame) for frame in container.decode(video=0)]


def verdicts(source: Path, output: Path) -> dict[str, str]:
    report = compare(source, output)
    assert report.ok, report.differences
    return {check.name: check.verdict for check in report.checks}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = source(tmp_path_factory.mktemp("clip") / "a.mp4")
    assert insides(path) == ALL
    return path


def test_ffmpeg_reads_what_is_written(clip: Path) -> None:
    """It knows the fields, not only the bytes; and that the RPU's checksum holds."""
    for number, data in enumerate(told(clip)):
        raw = data["DYNAMIC_HDR_PLUS"]
        assert hdr10_plus.message(raw) == light(number)
        assert struct.pack("<2i", 12345 + number, 100_000) in raw
        assert struct.pack("<2i", 400, 1) in raw
        assert data["DOVI_RPU_BUFFER"] == rpu(number)
        assert dolby_vision.bars(data["DOVI_METADATA"]) == BARS
        assert struct.unpack("<6i", data["AMBIENT_VIEWING_ENVIRONMENT"])[::2] == (3_140_000, 15635, 16450)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_all_of_it_reaches_hevc(clip: Path, tmp_path: Path, suffix: str) -> None:
    output = upscaled(clip, tmp_path / f"out.{suffix}", codec="hevc", preset="ultrafast")
    left, right, top, bottom = BARS
    bars = (2 * left, 2 * right, 2 * top, 2 * bottom)
    wanted = [
        Inside(hdr10_plus=light(k), dolby_vision=rpu(k, bars), active_area=bars, ambient=AMBIENT) for k in range(NUM)
    ]
    assert insides(output) == wanted
    data = output.read_bytes()
    record = bytes([1, 0, 8 << 1, 1 << 3 | 0b101, 1 << 4])  # version, profile 8, level 1, HDR10 without
    assert record in data
    assert data.count(b"dvvC") == 1
    chosen = choice.choose(probe(clip), choice.Encoding(width=128, height=96, bits=10, container=suffix))
    assert "Dolby Vision is kept: profile 8.1" in chosen.notes
    found = verdicts(clip, output)
    assert [found[name] for name in ("HDR10+", "Dolby Vision", "the ambient viewing environment")] == ["ok"] * 3


def test_the_viewers_light_stands_where_a_player_may_begin(clip: Path, tmp_path: Path) -> None:
    """H.265, D.3.39: it holds until the next picture at which decoding may begin."""
    output = upscaled(clip, tmp_path / "out.mp4", codec="hevc", preset="ultrafast", segment_seconds=Fraction(1, 8))
    with av.open(str(output)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    message = b"\x4e\x01\x94\x08" + AMBIENT[:2]
    told = [message in bytes(packet).replace(b"\0\0\3", b"\0\0") for packet in packets]
    assert told == [packet.is_keyframe for packet in packets]
    assert sum(told) == 2


def test_hdr10_plus_reaches_av1(clip: Path, tmp_path: Path) -> None:
    """The order in which AV1's pictures are coded is another, and some are hidden."""
    output = upscaled(clip, tmp_path / "out.mkv", codec="av1", preset="8")
    assert [each.hdr10_plus for each in insides(output)] == [light(k) for k in range(NUM)]
    found = verdicts(clip, output)
    assert (found["HDR10+"], found["Dolby Vision"]) == ("ok", "dropped")


def test_av1_has_it_directly_before_the_picture_that_is_shown(tmp_path: Path) -> None:
    """Not before hidden ones of the same packet; FFmpeg's decoder would not care, others may."""
    clip = source(tmp_path / "a.mkv", [Inside(hdr10_plus=light(k)) for k in range(20)], codec="libsvtav1")
    with av.open(str(clip)) as container:
        packets = [obus(bytes(packet)) for packet in container.demux(video=0) if packet.size]
    for kinds in packets:
        shown = max(place for place, kind in enumerate(kinds) if kind in (FRAME_HEADER, FRAME))
        assert [place for place, kind in enumerate(kinds) if kind == METADATA] == [shown - 1]
    assert max(kinds.count(FRAME) for kinds in packets) > 2
    assert any(FRAME_HEADER in kinds for kinds in packets)  # shows one that was hidden


FRAME_HEADER, METADATA, FRAME = 3, 5, 6


def obus(data: bytes) -> list[int]:
    """Their types; each has a header of one byte, and its size in groups of 7 bits."""
    found, place = list[int](), 0
    while place < len(data):
        found.append(data[place] >> 3 & 15)
        size = next(k for k in range(1, 9) if data[place + k] < 128)
        place += 1 + size + sum((data[place + 1 + k] & 127) << 7 * k for k in range(size))
    return found


def test_a_dark_picture_has_its_own(tmp_path: Path) -> None:
    """Its message looks like a start code, and so would end its unit."""
    bits = Bits().u(8, 0xB5).u(16, 0x3C, 1).u(8, 4, 1).u(2, 1).u(27, 0).u(1, 0).u(17, 0, 1, 0, 0).u(4, 0)
    given = [Inside(hdr10_plus=bits.u(10, 0).u(1, 0, 0, 0).aligned())] * 2
    assert b"\0\0\1" in given[0].hdr10_plus
    assert insides(source(tmp_path / "a.mp4", given)) == given


def test_av1_is_read(tmp_path: Path) -> None:
    given = [Inside(hdr10_plus=light(k)) for k in range(20)]
    clip = source(tmp_path / "a.mkv", given, codec="libsvtav1")
    assert insides(upscaled(clip, tmp_path / "out.mp4", codec="hevc", preset="ultrafast")) == given


@pytest.mark.parametrize(("codec", "suffix", "kept"), [("h264", "mp4", ()), ("hevc", "ts", ("hdr10_plus", "ambient")),
                                                       ("vp9", "webm", ())])  # fmt: skip
def test_what_is_lost_is_said(clip: Path, tmp_path: Path, codec: str, suffix: str, kept: Sequence[str]) -> None:
    bits = 8 if codec == "h264" else 10
    chosen = choice.choose(probe(clip), choice.Encoding(width=128, height=96, bits=bits, codec=codec, container=suffix))
    names = {"hdr10_plus": "HDR10+", "dolby_vision": "Dolby Vision", "ambient": "the ambient viewing environment"}
    for kind, name in names.items():
        assert any(note.startswith(f"{name} is dropped: ") for note in chosen.notes) == (kind not in kept)
    preset = {"vp9": "8"}.get(codec, "ultrafast")
    output = upscaled(clip, tmp_path / f"out.{suffix}", codec=codec, preset=preset)
    assert not insides(output)[0].dolby_vision
    found = verdicts(clip, output)
    assert {kind: found[name] for kind, name in names.items()} == {
        kind: "ok" if kind in kept else "dropped" for kind in names
    }


@pytest.mark.parametrize(("profile", "full_range", "transfer", "compatibility"),
                         [(1, 0, 16, 1), (1, 0, 18, 4), (1, 0, 1, 2), (0, 1, 16, None), (0, 0, 16, None)])  # fmt: skip
def test_profiles_that_are_kept(profile: int, full_range: int, transfer: int, compatibility: int | None) -> None:
    """8.1, 8.4, 8.2; not 5."""
    data = rpu(0, profile=profile, full_range=full_range)
    assert dolby_vision.compatibility(data, transfer) == compatibility


def test_a_second_layer_is_not_kept() -> None:
    """As on discs (profile 7)."""
    assert dolby_vision.compatibility(rpu(0, layers=2), 16) is None


def test_profile_5_is_said(tmp_path: Path) -> None:
    clip = source(tmp_path / "a.mp4", [Inside(dolby_vision=rpu(k, profile=0, full_range=1)) for k in range(2)])
    chosen = choice.choose(probe(clip), choice.Encoding(width=128, height=96, bits=10, codec="hevc"))
    assert not chosen.dolby_vision
    assert any(note.startswith("Dolby Vision is dropped: only profile 8") for note in chosen.notes)


@pytest.mark.parametrize("bars", [(0, 0, 0, 0), BARS, (1, 2, 3, 4)])
def test_bars_grow_with_the_picture(bars: tuple[int, int, int, int]) -> None:
    vision = dolby_vision.DolbyVision(1, (Fraction(4), Fraction(3, 2)))
    left, right, top, bottom = bars
    wanted = rpu(3, (4 * left, 4 * right, round(top * 1.5), round(bottom * 1.5)))
    assert vision.rpu(Inside(dolby_vision=rpu(3, bars), active_area=bars)) == wanted


def test_a_bar_that_is_cut_away_is_none() -> None:
    """Also where more is cut away."""
    vision = dolby_vision.DolbyVision(1, (Fraction(2), Fraction(2)), crop=(9, 20, 0, 12))  # left, top, right, bottom
    given = Inside(dolby_vision=rpu(3, (8, 4, 16, 16)), active_area=(8, 4, 16, 16))
    assert vision.rpu(given) == rpu(3, (0, 8, 0, 8))


@pytest.mark.parametrize(("options", "why"), [({"pix_fmt": "yuv422p10le"}, "it needs pictures of 10 bits, 4:2:0"),
                         ({"live": True}, "a film that is written as it is made has no place for it")])  # fmt: skip
def test_dolby_vision_that_has_no_place(clip: Path, options: dict[str, Any], why: str) -> None:
    asked = choice.Encoding(width=128, height=96, bits=10, codec="hevc", container="mkv", **options)
    chosen = choice.choose(probe(clip), asked)
    assert not chosen.dolby_vision
    assert f"Dolby Vision is dropped: {why}" in chosen.notes


def test_bars_that_are_cut_away_are_none(clip: Path, tmp_path: Path) -> None:
    output = upscaled(clip, tmp_path / "out.mp4", codec="hevc", preset="ultrafast", crop="128x72+0+12")
    assert [each.dolby_vision for each in insides(output)] == [rpu(k, (0, 0, 0, 2)) for k in range(NUM)]
    report = compare(clip, output, crop=(0, 12, 128, 84))
    assert {check.name: check.verdict for check in report.checks}["Dolby Vision"] == "ok"


def test_parts_that_are_encoded_again_keep_it(tmp_path: Path) -> None:
    """As for a size that is asked for; their bars have grown already."""
    clip, times = source(tmp_path / "a.mp4", ALL * 8), list[Fitting]()

    def note(event: Event) -> None:
        times.extend([event] if isinstance(event, Fitting) else [])

    options: dict[str, Any] = {"codec": "hevc", "preset": "ultrafast", "segment_seconds": Fraction(1, 2)}
    fine = upscaled(clip, tmp_path / "fine.mp4", target_size=1_000_000, **options)
    size = fine.stat().st_size * 9 // 10
    output = upscaled(clip, tmp_path / "out.mp4", target_size=size, on_event=note, **options)
    assert times
    assert insides(output) == insides(fine)
    assert verdicts(clip, output)["Dolby Vision"] == "ok"


def test_a_resumed_part_has_its_own(clip: Path, tmp_path: Path) -> None:
    output = upscaled(clip, tmp_path / "out.mp4", codec="hevc", preset="ultrafast", start=Fraction(1, 8))
    assert [each.hdr10_plus for each in insides(output)] == [light(k) for k in range(3, NUM)]
    assert all(each.ambient == AMBIENT for each in insides(output))


def test_hdr10_plus_may_begin_late(tmp_path: Path) -> None:
    """FFmpeg gives pictures that have none the last that it has decoded."""
    given = [Inside(hdr10_plus=light(k) if k > 2 else b"") for k in range(NUM)]
    clip = source(tmp_path / "a.mp4", given)
    found = insides(upscaled(clip, tmp_path / "out.mkv", codec="hevc", preset="ultrafast"))
    assert (found[0], found[3:]) == (given[0], given[3:])
    with Reader(clip) as reader:
        list(reader)
    assert [note for note in reader.report.notes if note.startswith("HDR10+ begins at 0.")]


def test_peaks_of_a_display_stay_in_their_places(tmp_path: Path) -> None:
    given = [Inside(hdr10_plus=light(0, [(1, 2, 3), (4, 5, 6)]))]
    assert insides(source(tmp_path / "a.mp4", given)) == given


def test_shipments_carry_it(clip: Path) -> None:
    """As the source's packets, and with pictures that are packed anew."""
    info = probe(clip)
    with Reader(info) as reader:
        frames = list(reader)
        packed = list(pack_pictures(frames, info.video, lambda frame: frame.pts * 8 // frame.time_base.denominator, ()))
    cuts = list(cut(info, lambda pts: int(pts * info.video.time_base * 8), ()))
    assert [frame.inside for frame in frames] == ALL
    for shipments in (cuts, packed):
        assert len(shipments) > 1
        assert [frame.inside for item in shipments for frame in unpack(item, info.video)] == ALL


@pytest.mark.parametrize(("size", "rate", "level"), [((1280, 720), 30, 2), ((1920, 1080), 24, 3), ((1920, 1080), 60, 5),
                         ((2560, 1440), 30, 5), ((3840, 2160), 24, 6), ((3840, 2160), 60, 9), ((7680, 4320), 30, 11),
                         ((7680, 4320), 60, 12), ((9999, 9999), 240, 13)])  # fmt: skip
def test_levels(size: tuple[int, int], rate: int, level: int) -> None:
    """As Dolby's table has them; 1280x720 at 30 is what a phone wrote."""
    box = dolby_vision.DolbyVision(4).box(*size, Fraction(rate))
    assert (len(box), box[8:12]) == (32, bytes([1, 0, 8 << 1 | level >> 5, (level & 31) << 3 | 0b101]))
    assert box[12] == 4 << 4
