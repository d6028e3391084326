"""What the table says of each encoder, tried on the encoder itself where it opens here."""

from __future__ import annotations

import gc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.media.making import write_segment
from vidsr.errors import OutputError, UsageError
from vidsr.frame import Colour, Frame, Inside, PixelFormat
from vidsr.media import encoders
from vidsr.media.containers import CONTAINERS
from vidsr.media.encoders import ENCODERS, FEW, MANY, OFFERED, Encoder
from vidsr.media.write.encoder import VideoSpec, check_encoder, check_starts, configure, open_politely, to_video_frame
from vidsr.media.write.layouts import encoder_layouts
from vidsr.media.write.messages import Messages
from vidsr.media.write.writer import Writer

SOFTWARE = [row for row in ENCODERS.values() if not row.hardware and not row.parts]
HARDWARE = [row for row in ENCODERS.values() if row.hardware]
WITH_ALPHA = {name for container in CONTAINERS.values() for name in container.alpha}
WORDS = bytes([0xFC, 0x41, 0x42] * 2)  # two caption triplets
SIDE = 128  # pixels


def named(rows: Any) -> Any:
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in rows])


def spec_of(row: Encoder, layout: PixelFormat | None = None, **changes: Any) -> VideoSpec:
    clock = Fraction(1, 25)
    colour = Colour(full_range=row.codec == "mjpeg")  # JPEG has no other
    made = VideoSpec(row.name, layout or encoder_layouts(row)[0], colour, SIDE, SIDE, clock, threads=1)
    return replace(made, **changes)


def fastest(row: Encoder) -> str | None:
    if row.presets is None or row.presets.option == "profile":
        return None
    return "ultrafast" if "ultrafast" in row.presets.names else row.presets.names[-1]


def noise(spec: VideoSpec, pts: int = 0, captions: bytes = b"") -> Frame:
    rng = np.random.default_rng(pts)
    shapes = spec.format.plane_shapes(spec.width, spec.height)
    planes = tuple(rng.integers(0, 1 << spec.format.bits, shape).astype(spec.format.dtype) for shape in shapes)
    return Frame(planes, spec.format, spec.colour, pts, spec.time_base, inside=Inside(captions=captions))


def encoded(spec: VideoSpec, num: int = 3, captions: bytes = b"") -> tuple[list[bytes], bytes | None]:
    """The packets of so many pictures of noise, and the codec's extra data; no container."""
    context = av.CodecContext.create(spec.encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    configure(context, spec)
    open_politely(context)
    messages, packets = Messages(spec), []
    for pts in range(num):
        frame = noise(spec, pts, captions)
        picture = to_video_frame(frame, spec)
        picture.pts, picture.time_base = pts, spec.time_base
        messages.keep(pts, frame.inside)
        packets += context.encode(picture)
    packets += context.encode(None)
    return [bytes(messages.put(packet)) for packet in packets], context.extradata


def decoded(row: Encoder, packets: list[bytes], extradata: bytes | None) -> list[av.VideoFrame]:
    context = av.CodecContext.create("libdav1d" if row.codec == "av1" else row.codec, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = SIDE, SIDE
    if extradata:
        context.extradata = extradata
    pictures = [picture for data in packets for picture in context.decode(av.Packet(data))]
    return pictures + context.decode(None)


def side_data(picture: av.VideoFrame) -> dict[str, bytes]:
    items: Any = picture.side_data
    return {item.type.name: bytes(item) for item in items}


@named(SOFTWARE)
def test_the_encoder_is_there_and_makes_that_codec(row: Encoder) -> None:
    assert av.Codec(row.name, "w").canonical_name == row.codec
    if row.spoken:
        check_encoder(row.name)


@named(SOFTWARE)
def test_every_layout_is_accepted(row: Encoder) -> None:
    layouts = [layout for layout in encoder_layouts(row) if row.name in WITH_ALPHA or not layout.alpha]
    assert layouts
    for layout in layouts:
        check_starts(spec_of(row, layout, preset=fastest(row)))


@named(row for row in SOFTWARE if row.presets)
def test_every_preset_is_accepted_and_no_other(row: Encoder) -> None:
    assert row.presets is not None
    assert row.presets.default in row.presets.names
    layout = next(layout for layout in encoder_layouts(row) if not layout.alpha)
    for preset in row.presets.names:
        check_starts(spec_of(row, layout, preset=preset))
    with pytest.raises(OutputError, match=f"{row.name} does not start"):
        check_starts(spec_of(row, layout, preset="x"))


@named(row for row in SOFTWARE if row.quality)
def test_quality_is_heeded_from_best_to_worst(row: Encoder) -> None:
    assert row.quality is not None
    assert 0 < row.quality.default < row.quality.worst
    sizes = []
    for crf in (1, row.quality.default, row.quality.worst):  # 0 is another profile to some
        packets, _ = encoded(spec_of(row, crf=crf, preset=fastest(row)))
        sizes.append(sum(map(len, packets)))
    assert sizes[0] > sizes[1] > sizes[2]


@named(SOFTWARE)
def test_captions_are_carried_by_those_that_say_so_alone(row: Encoder) -> None:
    packets, extradata = encoded(spec_of(row, preset=fastest(row)), captions=WORDS)
    found = [side_data(picture).get("A53_CC") for picture in decoded(row, packets, extradata)]
    gc.collect()
    assert found == [WORDS if "captions" in row.inside else None] * 3


def test_hardware_carries_what_software_does() -> None:
    """What is kept is told by the codec, whoever encodes it."""
    for name, codec in (("hevc_qsv", "libx265"), ("av1_amf", "libsvtav1"), ("h264_v4l2m2m", "libx264")):
        assert encoders.encoder(name).inside == encoders.encoder(codec).inside != frozenset()


@named(row for row in SOFTWARE if row.hdr)
def test_hdr10_stands_in_the_bitstream(row: Encoder) -> None:
    from tests.media.write.test_writer import LIGHT, MASTERING

    layout = next(layout for layout in encoder_layouts(row) if layout.bits == 10)
    spec = spec_of(row, layout, mastering_display=MASTERING, light_level=LIGHT, preset=fastest(row))
    packets, extradata = encoded(spec)
    found = side_data(decoded(row, packets, extradata)[0])
    gc.collect()
    assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= found.keys()


def test_x265_is_told_its_threads_by_its_own_keys() -> None:
    """It writes what it was told into its first packet."""
    for told, frames, pools in ((3, 3, 3), (8, 4, 8), (None, 4, 16)):
        packets, _ = encoded(spec_of(ENCODERS["libx265"], preset="ultrafast", threads=told))
        assert f"frame-threads={frames} ".encode() in packets[0]
        assert f"numa-pools={pools} ".encode() in packets[0]


@pytest.mark.parametrize(("height", "threads"), [(64, 4), (544, 4), (1080, 8), (2160, 16), (4320, 16)])
def test_x264_codes_whole_pictures_by_as_many_threads_as_they_bear(height: int, threads: int) -> None:
    """It writes how it was told into its first packet; slices are a few per cent larger."""
    row = ENCODERS["libx264"]
    assert row.num_threads(height) == threads
    packets, _ = encoded(spec_of(row, preset="ultrafast", threads=None, height=height, width=64))
    assert b"sliced_threads=0" in packets[0]
    assert f" threads={threads} ".encode() in packets[0]


@named([row for row in SOFTWARE if row.threads > FEW and row.rows_a_thread is None])
def test_more_threads_change_nothing_where_nobody_asks_for_them(row: Encoder) -> None:
    few, many = (
        [frame.to_ndarray() for frame in decoded(row, *encoded(spec_of(row, preset=fastest(row), threads=num), 8))]
        for num in (FEW, MANY)
    )
    assert len(few) == len(many) == 8
    assert all((a == b).all() for a, b in zip(few, many, strict=True))


@pytest.mark.parametrize(
    ("row", "suffix"),
    [
        pytest.param(ENCODERS[name], container.name, id=f"{name}-{container}")
        for container in CONTAINERS.values()
        for name in container.alpha
        if container.segments
    ],
)
def test_alpha_is_kept(row: Encoder, suffix: str, tmp_path: Path) -> None:
    layout = next(layout for layout in encoder_layouts(row) if layout.alpha)
    preset = "4444" if row.name == "prores_ks" else fastest(row)
    spec = spec_of(row, layout, preset=preset, crf=4 if row.quality else None)
    path = tmp_path / f"a.{suffix}"
    writer = Writer(path, spec, container=suffix)
    frame = noise(spec)
    alpha = np.zeros_like(frame.planes[3])
    alpha[:, SIDE // 2 :] = (1 << layout.bits) - 1
    writer.write(replace(frame, planes=(*frame.planes[:3], alpha)))
    writer.close()
    decoder = "libvpx-vp9" if row.alpha_beside else row.codec
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        context: Any = av.CodecContext.create(decoder, "r")
        context.width, context.height = SIDE, SIDE
        context.extradata = container.streams.video[0].codec_context.extradata
        (picture,) = list(context.decode(packets[0])) + list(context.decode(None))
    read = PixelFormat.parse(picture.format.name)
    assert read.alpha
    rows = np.frombuffer(picture.planes[3], read.dtype).reshape(SIDE, -1)[:, :SIDE]
    assert rows[:, : SIDE // 2 - 8].max() < 1 << (read.bits - 4)
    assert rows[:, SIDE // 2 + 8 :].min() > ((1 << read.bits) - 1) * 15 // 16


@named(row for row in SOFTWARE if row.narrowest > 1)
def test_the_narrowest_picture_is_encoded_and_none_below(row: Encoder) -> None:
    packets, _ = encoded(spec_of(row, width=row.narrowest, preset=fastest(row)))
    assert packets
    with pytest.raises(OutputError, match="cannot encode pictures"):
        check_starts(spec_of(row, width=row.narrowest - 2))


@named(HARDWARE)
def test_ffmpeg_knows_what_hardware_is_fed(row: Encoder) -> None:
    if row.name not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no {row.name}")
    known = {format.name for format in av.Codec(row.name, "w").video_formats or ()}
    assert row.layouts
    assert {row.packed.get(name, name) for name in row.layouts} <= known


@named(HARDWARE)
def test_hardware_has_a_substitute_that_makes_the_same(row: Encoder) -> None:
    assert row.software is not None
    other = ENCODERS[row.software]
    assert (other.codec, other.hardware, other.title) == (row.codec, False, row.title)
    assert row.quality is not None
    assert other.quality is not None
    assert row.quality.worst == other.quality.worst
    if row.wider:
        assert ENCODERS[row.wider].hardware
        assert ENCODERS[row.wider].widest is None


def test_names_mean_one_encoder_each() -> None:
    spoken = [name for row in OFFERED for name in row.spoken]
    assert len(spoken) == len(set(spoken))
    assert encoders.spoken("AVC") is ENCODERS["libx264"]
    assert encoders.spoken("libx265") is ENCODERS["libx265"]
    assert [encoders.software_encoder(row.codec).codec for row in ENCODERS.values()] == [
        row.codec for row in ENCODERS.values()
    ]


def test_an_encoder_without_a_row_is_known_by_ffmpegs_word() -> None:
    row = encoders.encoder("huffyuv")
    assert (row.codec, row.quality, row.presets, row.hardware) == ("huffyuv", None, None, False)
    with pytest.raises(UsageError, match=r"aac encodes audio, not video\."):
        encoders.encoder("aac")
    with pytest.raises(UsageError, match="There is no codec 'h267': use h264, hevc, av1, vp9, ffv1, prores"):
        encoders.spoken("h267")


def test_rows_without_a_name_are_written_all_the_same(tmp_path: Path) -> None:
    for name in ("mpeg4", "mpeg2video"):
        info = write_segment(tmp_path / f"{name}.mkv", spec_of(ENCODERS[name]), range(3))
        assert info.num_frames == 3
