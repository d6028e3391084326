"""What `probe` says of clips whose properties are known, and of files that are none."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image, ImageCms

from tests.clips import Audio, Picture, Subtitles, add_cover, cut_off, jpeg, make_clip, mux_cover, numbered_frame
from vidsr.errors import MediaError
from vidsr.frame import Colour, Matrix, PixelFormat, Siting
from vidsr.media.read.crop import crop_of
from vidsr.media.read.probe import probe

ROTATED = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
MIRRORED = (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30)


def add_tracks(path: Path, tracks: list[tuple[int, int, int, Disposition]]) -> Path:
    """A file with several picture streams: (width, height, number of frames, disposition) each."""
    with av.open(str(path), "w") as out:
        streams: list[Any] = []
        for width, height, _, disposition in tracks:
            stream: Any = out.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
            stream.codec_context.width, stream.codec_context.height = width, height
            stream.codec_context.pix_fmt, stream.disposition = "yuv420p", disposition
            streams.append(stream)
        out.start_encoding()
        for stream, (width, height, frames, _) in zip(streams, tracks, strict=True):
            for number in range(frames):
                frame = numbered_frame(number, "yuv420p", width, height)
                frame.pts, frame.time_base = number, Fraction(1, 24)
                out.mux(stream.encode(frame))
            if frames:
                out.mux(stream.encode(None))
    return path


def test_everything_about_a_rich_file(tmp_path: Path) -> None:
    info = probe(
        make_clip(
            tmp_path / "a.mkv",
            Picture(frames=10, width=66, height=50, bframes=2, sample_aspect=Fraction(16, 15), language="ger"),
            audio=[
                Audio(language="eng", title="Main", dispositions=Disposition.default),
                Audio("ac3", start=0.5, language="fre"),
            ],
            subtitles=[Subtitles(language="eng", dispositions=Disposition.forced)],
            chapters=[(0, 0.2, "One"), (0.2, 0.4, "Two")],
            metadata={"title": "A film"},
            attachments=[("a.ttf", "font/ttf", b"abc")],
        )
    )
    video = info.video
    assert (video.codec, video.width, video.height, video.pix_fmt) == ("h264", 66, 50, "yuv420p")
    assert video.format == PixelFormat(chroma_shift=(1, 1))
    assert (video.time_base, video.rate, video.start_pts) == (Fraction(1, 1000), 24, 0)
    assert video.duration == pytest.approx(10 / 24, abs=0.002)
    assert video.sample_aspect == Fraction(16, 15)
    assert not video.interlaced
    assert [(s.kind, s.codec) for s in info.streams] == [
        ("video", "h264"),
        ("audio", "aac"),
        ("audio", "ac3"),
        ("subtitle", "subrip"),
        ("attachment", "none"),
    ]
    assert [s.language for s in info.streams[:4]] == ["ger", "eng", "fre", "eng"]
    assert info.streams[1].title == "Main"
    assert info.streams[1].dispositions == ("default",)
    assert info.streams[3].dispositions == ("forced",)
    assert info.streams[2].start == pytest.approx(0.5, abs=0.01)
    assert info.num_chapters == 2
    assert info.metadata["title"] == "A film"
    assert info.size == (tmp_path / "a.mkv").stat().st_size
    assert "matroska" in info.container


@pytest.mark.parametrize(
    ("width", "height", "colour", "expected", "tagged"),
    [
        (64, 48, None, Colour(Matrix.SMPTE170M, 6, 6), False),
        (64, 576, None, Colour(Matrix.BT470BG, 5, 6), False),
        (64, 718, None, Colour(Matrix.SMPTE170M, 6, 6), False),
        (64, 720, None, Colour(Matrix.BT709, 1, 1), False),
        (64, 48, Colour(Matrix.BT709, 1, 1), Colour(Matrix.BT709, 1, 1), True),
        (64, 48, Colour(full_range=True), Colour(full_range=True), True),
        (64, 48, Colour(Matrix.UNSPECIFIED, 9, 16), Colour(Matrix.BT2020_NCL, 9, 16), False),
        (64, 48, Colour(Matrix.BT2020_NCL, 9, 18), Colour(Matrix.BT2020_NCL, 9, 18), True),
    ],
)
def test_colour_is_resolved(
    tmp_path: Path, width: int, height: int, colour: Colour | None, expected: Colour, tagged: bool
) -> None:
    video = probe(make_clip(tmp_path / "a.mp4", frames=2, width=width, height=height, colour=colour)).video
    assert video.colour == expected
    assert video.colour_tagged is tagged


@pytest.mark.parametrize("siting", ["left", "center", "topleft", "top", "bottomleft", "bottom"])
def test_chroma_siting_is_read_from_h264(tmp_path: Path, siting: Siting) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=2, colour=Colour(siting=siting))
    assert probe(clip).video.colour.siting == siting
    assert av.logging.get_level() is None, "the log level is put back"


@pytest.mark.parametrize(
    ("codec", "suffix", "options", "siting"),
    [
        ("libx265", ".mp4", {"x265-params": "log-level=none:chromaloc=2"}, "topleft"),
        ("libsvtav1", ".mp4", {"svtav1-params": "chroma-sample-position=topleft"}, "topleft"),
        ("mpeg1video", ".mpg", {}, "center"),
        ("mpeg2video", ".mpg", {}, "left"),
    ],
)
def test_chroma_siting_of_other_codecs(
    tmp_path: Path, codec: str, suffix: str, options: dict[str, str], siting: Siting
) -> None:
    clip = make_clip(tmp_path / f"a{suffix}", frames=2, codec=codec, options=options, width=64, height=64)
    assert probe(clip).video.colour.siting == siting


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "yielded", "full_range"),
    [
        ("libx264", ".mp4", "yuv420p10le", "yuv420p10le", False),
        ("libx264", ".mp4", "yuv444p", "yuv444p", False),
        ("libx264", ".mp4", "nv12", "yuv420p", False),
        ("mjpeg", ".avi", "yuvj422p", "yuv422p", True),
        ("ffv1", ".mkv", "gray16le", "gray16le", True),
        ("ffv1", ".mkv", "yuva444p10le", "yuva444p10le", False),
        ("rawvideo", ".avi", "bgr24", "gbrp", True),
        ("rawvideo", ".avi", "yuyv422", "yuv422p", False),
        ("qtrle", ".mov", "argb", "gbrap", True),
        ("libx264rgb", ".mkv", "rgb24", "gbrp", True),
        ("ffv1", ".mkv", "bgr0", "gbrp", True),
    ],
)
def test_pixel_formats(tmp_path: Path, codec: str, suffix: str, pix_fmt: str, yielded: str, full_range: bool) -> None:
    video = probe(make_clip(tmp_path / f"a{suffix}", frames=2, codec=codec, pix_fmt=pix_fmt)).video
    assert video.format.name == yielded
    assert video.colour.full_range is full_range
    assert (video.colour.matrix is Matrix.RGB) == (video.format.model == "rgb")


@pytest.mark.parametrize("matrix", [ROTATED, MIRRORED])
def test_display_matrix_is_exact(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    assert probe(make_clip(tmp_path / "a.mp4", frames=2, display_matrix=matrix)).video.display_matrix == matrix
    assert probe(make_clip(tmp_path / "b.mp4", frames=2)).video.display_matrix is None


def test_hdr10_side_data(tmp_path: Path) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    params = f"log-level=none:hdr10=1:repeat-headers=1:master-display={display}:max-cll=1000,400"
    colour = Colour(Matrix.BT2020_NCL, 9, 16)
    clip = make_clip(
        tmp_path / "a.mp4",
        frames=2,
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": params},
        colour=colour,
    )
    video = probe(clip).video
    assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= set(video.extras)
    assert video.light_level is not None
    assert int.from_bytes(video.light_level[:4], sys.byteorder) == 1000
    assert video.mastering_display is not None
    assert int.from_bytes(video.mastering_display[:4], sys.byteorder) == 34000, "red x comes first"


def test_cover_art_is_never_the_picture(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", frames=2, width=16, height=16, cover=jpeg(320, 240)))
    assert (info.video.index, info.video.width) == (0, 16)
    assert any("attached_pic" in s.dispositions for s in info.streams)


@pytest.mark.parametrize(
    ("tracks", "index"),
    [
        ([(32, 32, 3, Disposition(0)), (64, 64, 3, Disposition(0))], 1),
        ([(32, 32, 3, Disposition.default), (64, 64, 3, Disposition(0))], 0),
        ([(64, 64, 0, Disposition.default), (32, 32, 3, Disposition(0))], 1),
    ],
)
def test_choice_of_the_picture_stream(
    tmp_path: Path, tracks: list[tuple[int, int, int, Disposition]], index: int
) -> None:
    """The default stream, else the largest; never one without packets."""
    assert probe(add_tracks(tmp_path / "a.mkv", tracks)).video.index == index


def test_a_time_of_ten_seconds_is_kept(tmp_path: Path) -> None:
    video = probe(make_clip(tmp_path / "a.mp4", pts=[6000, 6025, 6075], time_base=Fraction(1, 600))).video
    assert (video.start_pts, video.time_base) == (6000, Fraction(1, 600))
    assert video.num_frames == 3


def audio_only(folder: Path, cover: bytes | None) -> Path:
    path = folder / f"sound{bool(cover)}.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        art = add_cover(out, cover) if cover else None
        out.mux([*stream.encode(frame), *stream.encode(None)])
        if art is not None and cover is not None:
            mux_cover(out, art, cover)
    return path


def bad_files(folder: Path) -> list[tuple[Path, str]]:
    clip = make_clip(folder / "clip.mp4", audio=[Audio()])
    samples = {
        "empty.mp4": (b"", "is empty"),
        "text.mp4": (b"This is no film.\n" * 50, "is a text file"),
        "noise.mp4": (bytes(range(3, 250)) * 40, "is not a video"),
        "list.m3u8": (b"#EXTM3U\n#EXTINF:1,\nclip.mp4\n", "is a playlist"),
        "list.ffconcat": (b"ffconcat version 1.0\nfile clip.mp4\n", "is a playlist"),
    }
    for name, (data, _) in samples.items():
        (folder / name).write_bytes(data)
    cases = [(folder / name, sentence) for name, (_, sentence) in samples.items()]
    return [
        *cases,
        (folder / "missing.mp4", "does not exist"),
        (folder, "is a folder"),
        (cut_off(clip, folder / "cut.mp4", 0.6), "cut off"),
        (audio_only(folder, None), "no picture stream"),
        (audio_only(folder, jpeg()), "no picture stream"),
    ]


def test_bad_files_give_one_sentence(tmp_path: Path) -> None:
    for path, sentence in bad_files(tmp_path):
        with pytest.raises(MediaError, match=sentence) as caught:
            probe(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_picture_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.mov", frames=3, codec="png", pix_fmt="rgb24").read_bytes()
    at = data.index(b"IHDR")
    header = b"IHDR" + (16000).to_bytes(4, "big") * 2 + data[at + 12 : at + 17]
    header += zlib.crc32(header).to_bytes(4, "big")
    (tmp_path / "bomb.mov").write_bytes(data.replace(data[at : at + 21], header))
    with pytest.raises(MediaError, match="above 134217728 pixels"):
        probe(tmp_path / "bomb.mov")


def test_odd_bytes_in_metadata_are_no_error(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.mkv", frames=2, metadata={"title": "Caf_ in winter"}).read_bytes()
    (tmp_path / "b.mkv").write_bytes(data.replace(b"Caf_", b"Caf\xe9"))
    assert probe(tmp_path / "b.mkv").metadata["title"].endswith(" in winter")


def test_a_profile_inside_a_png_is_named_without_being_read(tmp_path: Path) -> None:
    """Reading it would crash the process."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pictures = [Image.new("RGB", (48, 32), (40 * k, 0, 0)) for k in range(3)]
    options: Any = {"save_all": True, "append_images": pictures[1:], "format": "PNG"}
    pictures[0].save(tmp_path / "a.apng", icc_profile=profile, **options)
    pictures[0].save(tmp_path / "b.apng", **options)
    assert probe(tmp_path / "a.apng").video.extras == ("ICC_PROFILE",)
    assert probe(tmp_path / "b.apng").video.extras == ()


def test_side_data_that_pyav_does_not_know_hides_no_other(tmp_path: Path) -> None:
    words = Image.Exif()
    words[0x010E] = "a description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (48, 32)).save(tmp_path / "a.jpg", icc_profile=profile, exif=words)
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_mux_stream("mjpeg", rate=25, width=48, height=32)
        packet = av.Packet((tmp_path / "a.jpg").read_bytes())
        packet.pts = packet.dts = 0
        packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
        out.mux(packet)
    assert {"ICC_PROFILE", "EXIF"} <= set(probe(tmp_path / "a.avi").video.extras)


def test_probe_does_not_load_torch(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=2)
    program = (
        "import sys, pathlib; from vidsr.media.read.probe import probe; probe(pathlib.Path(sys.argv[1]));"
        "assert not {'torch', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(clip)], check=True, cwd=Path(__file__).parents[3])


def test_what_lies_about_a_crop_costs_nothing(tmp_path: Path) -> None:
    def element(kind: str, body: bytes) -> bytes:
        return bytes.fromhex(kind) + bytes([0x80 | len(body)]) + body

    cut = element("e0", bytes.fromhex("54cc"))  # the size of this element is outside of its parent
    tracks = element("1654ae6b", element("ae", element("83", b"\1") + element("86", b"V") + cut))
    mkv, mp4 = tmp_path / "a.mkv", tmp_path / "a.mp4"
    with mkv.open("wb") as file:
        file.write(bytes.fromhex("1a45dfa3 80 18538067") + b"\xff" + tracks + b"\x80")
        file.truncate(1 << 26)
    tracemalloc.start()
    assert crop_of(mkv, "matroska,webm", 0, 1, (64, 48)) == (0, 0, 0, 0)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    mp4.write_bytes(struct.pack(">I4sI4sI4s", 24, b"moov", 16, b"trak", 8, b"tkhd"))
    assert crop_of(mp4, "mov,mp4", 0, 1, (64, 48)) == (0, 0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"a\.mp4 is a pipe or a device, not a file; y4m can be sent to"):
        probe(tmp_path / "a.mp4")
