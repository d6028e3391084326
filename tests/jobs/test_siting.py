"""Chroma stands where the output says that it does, and light is what it says, whatever its codec can say."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import make_clip
from tests.numbered import Planes
from vidsr.api import upscale_video
from vidsr.frame import Colour, Matrix, PixelFormat, Siting
from vidsr.jobs.events import Done
from vidsr.media.read.colour_tags import stated_siting
from vidsr.media.read.pixels import planes_of
from vidsr.media.read.probe import probe
from vidsr.upscaling.host import to_rgb
from vidsr.verify import compare

SIDE, RISE = 64, 5  # of the source: pixels, and how much its Cb rises from one sample to the next
YUV420 = PixelFormat("yuv", 8, (1, 1))


@pytest.fixture(scope="module")
def centred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures whose chroma stands between four pixels, and whose Cb rises to the right."""
    chroma = np.tile((40 + RISE * np.arange(SIDE // 2)).astype(np.uint8), (SIDE // 2, 1))
    picture = b"FRAME\n" + bytes([128]) * SIDE**2 + chroma.tobytes() + bytes([128]) * chroma.size
    path = tmp_path_factory.mktemp("siting") / "a.y4m"
    path.write_bytes(f"YUV4MPEG2 W{SIDE} H{SIDE} F25:1 C420jpeg\n".encode() + 2 * picture)
    return path


@pytest.mark.parametrize(("codec", "siting"), [("h264", "center"), ("av1", "left"), ("ffv1", "left")])
def test_a_codec_that_cannot_say_it_has_it_where_players_take_it_to_be(
    centred: Path, codec: str, siting: Siting, tmp_path: Path
) -> None:
    done = upscale_video(centred, tmp_path / "a.mkv", scale=2, model="bicubic", codec=codec, backend="cpu")
    assert probe(done.output).video.colour.siting == siting
    with av.open(str(done.output)) as opened:
        blue = planes_of(next(opened.decode(video=0)), YUV420)[1]
    place = 2 * np.arange(SIDE) + (0.5 if siting == "center" else 0)  # in pixels; the source's first is at 1.5
    wanted = 40 + RISE / 4 * (place - 1.5)
    assert abs((np.asarray(blue, float) - wanted)[:, 8:-8].mean()) < 0.25, "half a pixel is 0.6"


def test_what_codecs_can_say() -> None:
    for siting in ("left", "center", "topleft", "bottom"):
        assert stated_siting(siting, "hevc", YUV420) == siting
        assert stated_siting(siting, "mjpeg", YUV420) == "center"
        assert stated_siting(siting, "h264", PixelFormat("yuv", 8, (1, 0))) == "left"
        assert stated_siting(siting, "av1", YUV420) == ("topleft" if siting == "topleft" else "left")


@pytest.mark.parametrize(("name", "codec", "bits"), [("a.mov", "prores", 10), ("a.mkv", "mpeg2video", 8)])
def test_full_range_becomes_limited_where_the_codec_has_no_other(
    tmp_path: Path, name: str, codec: str, bits: int
) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=3, colour=Colour(full_range=True))
    done = upscale_video(source, tmp_path / name, scale=2, model="bicubic", codec=codec, backend="cpu")
    assert isinstance(done, Done)
    assert [note for note in done.notes if note.startswith("full range becomes limited")]
    assert not probe(done.output).video.colour.full_range
    light = []
    for path, depth in ((source, 8), (done.output, bits)):
        with av.open(str(path)) as opened:
            luma = planes_of(next(opened.decode(video=0)), PixelFormat("yuv", depth, (1, 1)))[0]
        light.append(np.asarray(luma, float).mean() / 2 ** (depth - 8))
    assert light[1] == pytest.approx(16 + light[0] * 219 / 255, abs=0.5)
    assert abs(light[0] - light[1]) > 2, "the other range would be seen"
    assert compare(source, done.output).differences == ()


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "mjpeg"), ("a.mov", "mjpeg"), ("a.webm", "libvpx")])
def test_colours_are_shown_as_they_were_by_a_codec_that_has_bt601_only(tmp_path: Path, name: str, codec: str) -> None:
    def red(_number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        levels = zip(fmt.plane_shapes(width, height), (80, 110, 190), strict=True)
        return [np.full(shape, level, np.uint8) for shape, level in levels]

    source = make_clip(tmp_path / "a.mp4", frames=3, draw=red, colour=Colour(Matrix.BT709))
    done = upscale_video(source, tmp_path / name, scale=2, model="bicubic", codec=codec, backend="cpu")
    assert isinstance(done, Done)
    assert "colours are written by BT.601, shown as they were" in " ".join(done.notes)
    colours = []
    for path in (source, done.output):
        video = probe(path).video
        with av.open(str(path)) as opened:
            planes = planes_of(next(opened.decode(video=0)), YUV420)
        colours.append(to_rgb([plane[:1, :1] for plane in planes], video.format, video.colour).ravel())
    assert video.colour.matrix is Matrix.BT470BG
    assert video.colour.full_range is (codec == "mjpeg")
    assert np.abs(colours[0] - colours[1]).max() < 3 / 255
    assert compare(source, done.output).differences == ()
