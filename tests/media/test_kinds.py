"""One small clip of every kind that users have: what comes out of it, all the way through."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import Audio, Picture, Subtitles, make_clip, read_number
from tests.numbered import Planes, draw_number
from vidsr import upscale_video
from vidsr.errors import MediaError
from vidsr.frame import Colour, Matrix, PixelFormat
from vidsr.jobs.events import Done
from vidsr.media.read.probe import probe
from vidsr.media.read.reader import Reader

QUICK: dict[str, Any] = {"model": "bicubic", "backend": "cpu", "scale": 2, "preset": None}
HDR10 = Colour(Matrix.BT2020_NCL, primaries=9, transfer=16)
HLG = Colour(Matrix.BT2020_NCL, primaries=9, transfer=18)
QUIET_X265 = {"x265-params": "log-level=none"}


PAL_DV = {"codec": "dvvideo", "width": 720, "height": 576, "rate": Fraction(25), "frames": 2}
VP9_ALPHA = {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "options": {"auto-alt-ref": "0", "deadline": "realtime"}}


@dataclass(frozen=True)
class Kind:
    """A source, and what its output must be. Every frame must come out once at its time, whatever the kind."""

    suffix: str
    picture: dict[str, Any]
    output: str  # container's suffix
    codec: str
    layout: str
    colour: dict[str, Any] = field(default_factory=dict)  # attributes of the output's `Colour`


KINDS = {
    "h264": Kind(".mp4", {"bframes": 2}, ".mp4", "h264", "yuv420p"),
    "late-start": Kind(".mp4", {"pts": [240, 241, 242], "time_base": Fraction(1, 24)}, ".mp4", "h264", "yuv420p"),
    "variable-rate": Kind(
        ".mkv", {"pts": [0, 40, 90, 300, 301], "time_base": Fraction(1, 1000)}, ".mkv", "h264", "yuv420p"
    ),
    "full-range": Kind(".mp4", {"colour": Colour(full_range=True)}, ".mp4", "h264", "yuv420p", {"full_range": True}),
    "grey": Kind(".mkv", {"codec": "ffv1", "pix_fmt": "gray"}, ".mkv", "h264", "yuv420p"),
    "grey-16": Kind(".mkv", {"codec": "ffv1", "pix_fmt": "gray16le"}, ".mkv", "hevc", "gray12le"),
    "rgb": Kind(".mkv", {"codec": "libx264rgb", "pix_fmt": "rgb24"}, ".mkv", "h264", "yuv444p"),
    "4:1:1": Kind(".mkv", {"codec": "ffv1", "pix_fmt": "yuv411p"}, ".mkv", "h264", "yuv422p"),
    "4:2:2": Kind(".mkv", {"pix_fmt": "yuv422p"}, ".mkv", "h264", "yuv422p"),
    "4:4:4": Kind(".mp4", {"pix_fmt": "yuv444p"}, ".mp4", "h264", "yuv444p"),
    "odd-size": Kind(".mkv", {"pix_fmt": "yuv444p", "width": 65, "height": 49}, ".mkv", "h264", "yuv444p"),
    "10-bit": Kind(".mkv", {"pix_fmt": "yuv420p10le"}, ".mkv", "hevc", "yuv420p10le"),
    "hdr10": Kind(
        ".mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le", "colour": HDR10, "options": QUIET_X265},
        ".mp4", "hevc", "yuv420p10le", {"transfer": 16, "primaries": 9, "matrix": Matrix.BT2020_NCL},
    ),
    "hlg": Kind(
        ".mkv", {"codec": "libx265", "pix_fmt": "yuv420p10le", "colour": HLG, "options": QUIET_X265},
        ".mkv", "hevc", "yuv420p10le", {"transfer": 18, "primaries": 9, "matrix": Matrix.BT2020_NCL},
    ),
    "mjpeg": Kind(".avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, ".mkv", "h264", "yuv420p", {"full_range": True}),
    "dv": Kind(".dv", PAL_DV,
               ".mkv", "h264", "yuv420p"),
    "mpeg-2": Kind(".mpg", {"codec": "mpeg2video", "bframes": 2}, ".mkv", "h264", "yuv420p"),
    "mpeg-4": Kind(".avi", {"codec": "mpeg4"}, ".mkv", "h264", "yuv420p"),
    "prores": Kind(".mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, ".mov", "hevc", "yuv422p10le"),
    "ffv1": Kind(".mkv", {"codec": "ffv1"}, ".mkv", "h264", "yuv420p"),
    "vp9": Kind(".webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}, ".webm", "vp9", "yuv420p"),
    "av1": Kind(".mp4", {"codec": "libsvtav1", "width": 64, "height": 64}, ".mp4", "h264", "yuv420p"),
    "ts": Kind(".ts", {"bframes": 2, "frames": 24}, ".ts", "h264", "yuv420p"),
    "flv": Kind(".flv", {"codec": "flv"}, ".mkv", "h264", "yuv420p"),
    "y4m": Kind(".y4m", {"codec": "wrapped_avframe"}, ".mkv", "h264", "yuv420p"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    options = {"frames": len(kind.picture["pts"]) if "pts" in kind.picture else 6, **kind.picture}
    source = make_clip(tmp_path / f"a{kind.suffix}", Picture(**options))
    done = upscale_video(source, **QUICK)
    assert isinstance(done, Done)
    assert done.output == tmp_path / f"a_x2{kind.output}"
    with Reader(source) as reader:
        before = [(read_number(f.planes[0], f.format.bits), f.pts * f.time_base) for f in reader]
    with Reader(done.output) as reader:
        video = reader.info.video
        after = [(read_number(f.planes[0], f.format.bits), f.pts * f.time_base) for f in reader]
    assert [number for number, _ in before] == list(range(options["frames"]))
    assert [number for number, _ in after] == [number for number, _ in before]
    tolerance = {".mkv": Fraction(1, 2000), ".webm": Fraction(1, 2000), ".ts": Fraction(1, 180000)}.get(kind.output, 0)
    moved = kind.output == ".ts" or kind.suffix == ".mpg"  # the whole stream, said in a note
    shift = after[0][1] - before[0][1] if moved else 0
    assert max(abs(b - a - shift) for (_, a), (_, b) in zip(before, after, strict=True)) <= tolerance
    assert (video.codec, video.format.name) == (kind.codec, kind.layout)
    assert {key: getattr(video.colour, key) for key in kind.colour} == kind.colour


def half_clear(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """The left part of the picture is transparent, more of it in every picture."""
    planes = draw_number(number, fmt, width, height)
    if fmt.alpha:
        planes[-1][:, : 8 + 4 * number] = 0
    return planes


@pytest.mark.parametrize(
    ("suffix", "picture", "output", "codec", "layout"),
    [
        (".webm", VP9_ALPHA,
         ".webm", "vp9", "yuva420p"),
        (".mkv", VP9_ALPHA,
         ".mkv", "vp9", "yuva420p"),
        (".mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}, ".mov", "prores", "yuva444p12le"),
        (".mkv", {"codec": "ffv1", "pix_fmt": "yuva420p"}, ".mkv", "ffv1", "yuva420p"),
    ],
    ids=["vp9-webm", "vp9-mkv", "prores-4444", "ffv1"],
)  # fmt: skip
def test_alpha_is_kept(
    tmp_path: Path, suffix: str, picture: dict[str, Any], output: str, codec: str, layout: str
) -> None:
    source = make_clip(tmp_path / f"a{suffix}", Picture(frames=6, draw=half_clear, **picture))
    done = upscale_video(source, **QUICK)
    assert isinstance(done, Done)
    assert done.output.suffix == output
    assert any("keeps the transparency" in note for note in done.notes)
    video, edges = alpha_edges(done.output)
    assert video.codec == codec
    assert video.format.alpha
    assert edges == pytest.approx([16 + 8 * k for k in range(6)], abs=2)
    dropped = upscale_video(source, tmp_path / "b.mp4", **QUICK)
    assert isinstance(dropped, Done)
    assert any("transparency is dropped" in note for note in dropped.notes)
    assert not probe(tmp_path / "b.mp4").video.format.alpha


def alpha_edges(path: Path) -> tuple[Any, list[int]]:
    """The picture stream, and where alpha becomes opaque in each frame."""
    with Reader(path) as reader:
        half = 1 << (reader.info.video.format.bits - 1)
        return reader.info.video, [int(np.argmax(frame.planes[-1][40] > half)) for frame in reader]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "ts"])
@pytest.mark.parametrize("square", [False, True])
def test_anamorphic_keeps_its_shape_in_every_container(tmp_path: Path, container: str, square: bool) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=4, width=72, height=56, sample_aspect=Fraction(16, 11))
    output = tmp_path / f"b.{container}"
    upscale_video(source, output, square_pixels=square, **QUICK)
    with av.open(str(output)) as opened:
        video = opened.streams.video[0]
        aspect = video.sample_aspect_ratio or Fraction(1)
        assert aspect == (1 if square else Fraction(16, 11))
        assert float(aspect * video.width / video.height) == pytest.approx(72 * 16 / 11 / 56, rel=0.01)


ROTATED = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
MIRRORED = (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize("matrix", [ROTATED, MIRRORED], ids=["rotated", "mirrored"])
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_phones_turned_or_mirrored(tmp_path: Path, container: str, matrix: tuple[int, ...]) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=3, display_matrix=matrix)
    upscale_video(source, tmp_path / f"b.{container}", **QUICK)
    found = probe(tmp_path / f"b.{container}").video.display_matrix
    assert found is not None
    assert [value for k, value in enumerate(found) if k not in (2, 5, 6, 7)] == [
        value for k, value in enumerate(matrix) if k not in (2, 5, 6, 7)
    ]


@pytest.mark.parametrize(
    ("source", "codec", "output", "made"),
    [("mkv", "subrip", "mp4", "mov_text"), ("mp4", "mov_text", "mkv", "subrip"), ("mkv", "ass", "mov", "mov_text"),
     ("mkv", "ass", "mkv", "ass"), ("mp4", "mov_text", "webm", "webvtt")],
)  # fmt: skip
def test_text_subtitles_are_converted_or_kept(tmp_path: Path, source: str, codec: str, output: str, made: str) -> None:
    line = "0,0,Default,,0,0,0,,One line." if codec == "ass" else "One line."
    clip = make_clip(tmp_path / f"a.{source}", frames=24, subtitles=[Subtitles([(0.1, 0.5, line)], codec)])
    upscale_video(clip, tmp_path / f"b.{output}", **QUICK)
    with av.open(str(tmp_path / f"b.{output}")) as opened:
        stream = opened.streams.subtitles[0]
        assert stream.codec_context.codec.canonical_name == made
        packet = next(p for p in opened.demux(stream) if p.size and b"One line" in bytes(p))
        assert packet.pts is not None
        assert packet.pts * packet.time_base == pytest.approx(0.1, abs=0.002)


def test_sound_and_pictures_stay_together_with_a_negative_start(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", pts=[-40, 0, 40, 80], time_base=Fraction(1, 1000), audio=[Audio(seconds=0.2)])
    done = upscale_video(clip, tmp_path / "b.mp4", **QUICK)
    assert isinstance(done, Done)
    with Reader(done.output) as reader:
        assert [read_number(f.planes[0]) for f in reader] == [0, 1, 2, 3]


def test_vvc_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A parameter set of VVC in a raw stream: it is recognised, and nothing here decodes it."""
    start = b"\0\0\0\1"
    data = start + bytes([0, 0x79, 0, 0xAD]) + bytes(40) + start + bytes([0, 0x81]) + bytes(60)
    (tmp_path / "a.vvc").write_bytes(data * 30)
    with pytest.raises(MediaError) as caught:
        upscale_video(tmp_path / "a.vvc", **QUICK)
    assert "\n" not in str(caught.value)
