"""The choice of container, codec and layout."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from vidsr.errors import OutputError, UsageError
from vidsr.frame import Colour, PixelFormat
from vidsr.media.read.probe import MediaInfo, Video
from vidsr.media.write import choice, encoder
from vidsr.media.write.choice import Encoding
from vidsr.media.write.encoder import VideoSpec


def source(name: str = "clip.mp4", demuxer: str = "mov,mp4,m4a,3gp,3g2,mj2", layout: str = "yuv420p") -> MediaInfo:
    """A probed file that was never written: only what `choose` looks at is told."""
    format = PixelFormat.parse(layout)
    video = Video(
        index=0, codec="h264", width=320, height=180, pix_fmt=layout, format=format, colour=Colour(),
        colour_tagged=True, time_base=Fraction(1, 24), rate=Fraction(24), start_pts=0,
    )  # fmt: skip
    return MediaInfo(Path(name), demuxer, 1, None, None, video, (), 0)


def chosen(info: MediaInfo, width: int = 640, height: int = 360, **options: Any) -> choice.OutputFormat:
    return choice.choose(info, Encoding(width=width, height=height, bits=info.video.format.bits, **options))


@pytest.mark.parametrize(
    ("name", "demuxer", "container", "codec"),
    [
        ("a.mp4", "mov,mp4,m4a,3gp,3g2,mj2", "mp4", "h264"),
        ("a.MOV", "mov,mp4,m4a,3gp,3g2,mj2", "mov", "h264"),
        ("a.m4v", "mov,mp4,m4a,3gp,3g2,mj2", "m4v", "h264"),
        ("a.mkv", "matroska,webm", "mkv", "h264"),
        ("a.webm", "matroska,webm", "webm", "vp9"),
        ("a.mts", "mpegts", "ts", "h264"),
        ("a.gif", "gif", "gif", "gif"),
        ("a.png", "apng", "apng", "apng"),
    ],
)
def test_source_container_is_kept(name: str, demuxer: str, container: str, codec: str) -> None:
    choice = chosen(source(name, demuxer))
    assert (choice.container, choice.codec, choice.notes) == (container, codec, ())


@pytest.mark.parametrize(
    ("name", "demuxer"),
    [("a.avi", "avi"), ("a.mpg", "mpeg"), ("a.wmv", "asf"), ("a.flv", "flv"), ("a.h264", "h264"),
     ("a.3gp", "mov,mp4,m4a,3gp,3g2,mj2")],
)  # fmt: skip
def test_containers_that_lose_times_become_mkv_and_say_so(name: str, demuxer: str) -> None:
    choice = chosen(source(name, demuxer))
    assert choice.container == "mkv"
    assert "cannot keep" in choice.notes[0]


@pytest.mark.parametrize(
    ("layout", "encoder", "stored"),
    [
        ("yuv420p", "libx264", "yuv420p"),
        ("yuv422p", "libx264", "yuv422p"),
        ("yuv444p", "libx264", "yuv444p"),
        ("gray", "libx264", "gray"),
        ("gbrp", "libx264", "yuv444p"),
        ("yuv411p", "libx264", "yuv422p"),
        ("yuv410p", "libx264", "yuv420p"),
        ("yuv440p", "libx264", "yuv444p"),
        ("yuv420p10le", "libx265", "yuv420p10le"),
        ("yuv422p9le", "libx265", "yuv422p10le"),
        ("yuv444p12le", "libx265", "yuv444p12le"),
        ("yuv420p16le", "libx265", "yuv420p12le"),
    ],
)
def test_layout_loses_nothing_that_the_encoder_can_keep(layout: str, encoder: str, stored: str) -> None:
    choice = chosen(source(layout=layout))
    assert (choice.encoder, choice.pix_fmt.name) == (encoder, stored)


def test_losses_are_said() -> None:
    assert any("16 bits" in note for note in chosen(source(layout="yuv420p16le")).notes)
    assert any("transparency" in note for note in chosen(source(layout="yuva420p")).notes)
    assert any("chroma" in note for note in chosen(source(layout="yuv444p"), codec="av1").notes)
    assert any("RGB" in note for note in chosen(source(layout="gbrp")).notes)
    dolby = source()
    dolby = replace(dolby, video=replace(dolby.video, extras=("DOVI_METADATA",)))
    assert any("Dolby Vision" in note for note in chosen(dolby).notes)


def test_prores_and_ffv1_keep_transparency() -> None:
    assert chosen(source("a.mov", layout="yuva444p10le"), codec="prores").pix_fmt.name == "yuva444p10le"
    assert chosen(source("a.mkv", "matroska,webm", "yuva420p"), codec="ffv1").pix_fmt.name == "yuva420p"


def test_wide_pictures_become_hevc() -> None:
    assert chosen(source(), width=4096, height=64).codec == "h264"
    assert chosen(source(), width=4098, height=64).codec == "hevc"
    assert chosen(source(), width=64, height=4098).codec == "hevc"


def test_ten_bits_in_webm_become_av1() -> None:
    choice = chosen(source("a.webm", "matroska,webm", "yuv420p10le"))
    assert (choice.container, choice.codec, choice.pix_fmt.bits) == ("webm", "av1", 10)


def test_default_container_gives_way_to_a_named_codec() -> None:
    choice = chosen(source("a.mov"), codec="vp9")
    assert choice.container == "mkv"
    assert choice.notes == ("mkv: mov cannot hold vp9",)


@pytest.mark.parametrize(
    ("container", "codec"), [("webm", "h264"), ("mp4", "prores"), ("mov", "av1"), ("ts", "vp9"), ("mp4", "ffv1")]
)
def test_codec_that_a_named_container_cannot_hold_is_refused(container: str, codec: str) -> None:
    with pytest.raises(OutputError, match=f"{container} cannot hold {codec}"):
        chosen(source(), container=container, codec=codec)
    with pytest.raises(OutputError, match=f"{container} cannot hold {codec}"):
        chosen(source(), out_suffix="." + container, codec=codec)


def test_named_outputs_that_lose_times_are_refused() -> None:
    with pytest.raises(OutputError, match="avi cannot keep"):
        chosen(source(), out_suffix=".avi")


@pytest.mark.parametrize(
    "options",
    [
        {"container": "xyz"},
        {"codec": "h267"},
        {"codec": "aac"},
        {"crf": 52},
        {"crf": -1},
        {"preset": "quick"},
        {"codec": "ffv1", "container": "mkv", "crf": 3},
        {"pix_fmt": "nv12"},
    ],
)
def test_impossible_options_are_usage_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        chosen(source(), **options)


def test_layout_that_the_encoder_does_not_take_is_refused() -> None:
    assert chosen(source(), pix_fmt="yuv444p").pix_fmt.name == "yuv444p"
    with pytest.raises(OutputError, match="libsvtav1 cannot encode yuv444p"):
        chosen(source(), codec="av1", pix_fmt="yuv444p")


def test_encoder_that_does_not_start_is_refused() -> None:
    with pytest.raises(OutputError, match=r"libx264 does not start for 641x360"):
        chosen(source(), width=641)


@pytest.fixture
def no_nvenc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose GPU has no encoder, wherever the test runs."""

    def refuse(spec: VideoSpec) -> None:
        if spec.encoder.endswith("_nvenc"):
            raise av.error.ExternalError(1, "no device")

    monkeypatch.setattr(encoder, "open_alone", refuse)


def test_an_encoder_is_tried_with_the_clock_of_its_source() -> None:
    """MPEG-2's takes a few rates only, which is said before anything is made."""
    info = source()
    assert chosen(info, codec="mpeg2video", container="mkv").encoder == "mpeg2video"
    finer = replace(info, video=replace(info.video, time_base=Fraction(1, 12288)))
    with pytest.raises(OutputError, match="here: it takes films whose clock counts pictures"):
        chosen(finer, codec="mpeg2video", container="mkv")


@pytest.mark.usefixtures("no_nvenc")
def test_missing_nvenc_is_one_sentence() -> None:
    with pytest.raises(
        OutputError, match=r"^The encoder h264_nvenc does not start .*an H100 has none\) and its driver\.$"
    ):
        encoder.check_encoder("h264_nvenc")


@pytest.mark.parametrize(
    ("asked", "instead", "needs"),
    [
        ("h264_qsv", "libx264", "an Intel GPU"),
        ("hevc_amf", "libx265", "an AMD GPU"),
        ("av1_qsv", "libsvtav1", "an Intel GPU"),
        ("hevc_videotoolbox", "libx265", "a Mac"),
    ],
)
def test_software_takes_over_from_every_vendor(
    monkeypatch: pytest.MonkeyPatch, asked: str, instead: str, needs: str
) -> None:
    """A build of FFmpeg without the encoder, and a machine without the hardware, are the same to a user."""
    opens = encoder.open_alone

    def refuse(spec: VideoSpec) -> None:
        if spec.encoder == asked:
            raise av.error.ExternalError(1, "no device")
        opens(spec)

    monkeypatch.setattr(encoder, "open_alone", refuse)
    choice = chosen(source(), codec=asked, crf=23)
    assert (choice.encoder, choice.crf) == (instead, 23)
    assert choice.notes[0].startswith(f"{instead} encodes, since {asked} does not start here: it needs {needs}")


def test_a_scale_that_goes_up_is_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "open_alone", lambda _: None)
    spec = replace(spec_of_videotoolbox(), crf=51)
    assert encoder._options(spec)["global_quality"] == "0"
    assert encoder._options(replace(spec, crf=0)) == {"flags": "+qscale", "global_quality": "11800"}
    assert encoder._options(replace(spec, encoder="hevc_qsv", crf=20))["global_quality"] == "20"


def spec_of_videotoolbox() -> VideoSpec:
    return VideoSpec("hevc_videotoolbox", PixelFormat.parse("yuv420p"), Colour(), 64, 64, Fraction(1, 25))


@pytest.mark.usefixtures("no_nvenc")
@pytest.mark.parametrize(
    ("asked", "instead", "preset"),
    [("h264_nvenc", "libx264", "medium"), ("hevc_nvenc", "libx265", "medium"), ("av1_nvenc", "libsvtav1", "6")],
)
def test_software_takes_over_where_nvenc_does_not_start(asked: str, instead: str, preset: str) -> None:
    choice = chosen(source(), codec=asked, crf=23, preset="p7")
    assert (choice.encoder, choice.crf, choice.preset) == (instead, 23, preset)
    assert choice.notes[0].startswith(f"{instead} encodes, since {asked} does not start here: it needs a GPU")


def test_nvenc_starts_on_the_gpu_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[VideoSpec] = []
    monkeypatch.setattr(encoder, "open_alone", opened.append)
    chosen(source(), codec="h264_nvenc", gpu=1)
    chosen(source(), codec="h264_nvenc")
    assert [encoder._options(spec).get("gpu") for spec in opened] == ["1", None]


@pytest.mark.usefixtures("no_nvenc")
def test_h264_that_is_too_wide_for_nvenc_is_no_missing_gpu() -> None:
    choice = chosen(source(), width=7680, height=4320, codec="h264_nvenc")
    assert choice.encoder == "libx264"
    assert "its H.264 ends at 4096 pixels; hevc_nvenc takes more" in choice.notes[0]


def test_quality_and_preset_are_the_codecs_own() -> None:
    assert (chosen(source()).crf, chosen(source()).preset) == (17, "medium")
    choice = chosen(source(), codec="av1", crf=30, preset="10")
    assert (choice.encoder, choice.crf, choice.preset) == ("libsvtav1", 30, "10")
