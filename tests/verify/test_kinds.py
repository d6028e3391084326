"""Real outputs of sources of many kinds pass, each; and what `vidsr verify` says and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.stream import Disposition

from tests import clips, numbered
from tests.clips import Audio, Subtitles, damage, make_clip
from tests.conftest import Result
from tests.numbered import Planes
from tests.verify.mutants import upscaled
from vidsr.errors import MediaError, UsageError
from vidsr.frame import Colour, Matrix, PixelFormat
from vidsr.media.read.probe import probe
from vidsr.verify import VerifyReport, compare, properties

Cli = Callable[..., Result]
SOUND = Audio(seconds=0.5, language="eng")
TEXT = (Subtitles(((0.1, 0.1, "One."), (0.3, 0.1, "{\\i1}Two.{\\i0}")), language="eng"),)
VFR = [0, 1, 2, 5, 6, 10, 11, 12]
TURNED = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
CHAPTERS = ((0.0, 0.1, "Start"), (0.1, 0.3, "End"))
PQ = Colour(Matrix.BT2020_NCL, 9, 16)
HDR = {"codec": "libx265", "pix_fmt": "yuv420p10le", "colour": PQ, "options": {"x265-params": "log-level=error"}}
BASE = Fraction(1, 90000)
FFV1 = {"codec": "ffv1", "preset": None}


def checks(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Patches of strong colours."""
    planes = numbered.draw_number(number, fmt, width, height)
    for k, plane in enumerate(planes[1:]):
        rows, columns = np.mgrid[: plane.shape[0], : plane.shape[1]]
        plane[...] = np.where((rows // 4 + (columns + k) // 3) % 2, 60, 200)
    return planes


def vivid(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """White of strong colours, which RGB has no place for."""
    luma, *chroma = numbered.draw_number(number, fmt, width, height)
    luma[...] = 235
    for plane, shades in zip(chroma, (np.linspace(40, 230, chroma[0].shape[1]), 200), strict=True):
        plane[...] = shades
    return [luma, *chroma]


def dither(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Black and white points, as pictures of one bit have them."""
    grey = np.mgrid[:height, :width].sum(0) / (width + height)
    return [(np.random.default_rng(number).random((height, width)) < grey).astype(np.uint8) * 255]


KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # name: suffix, of the clip, of the job
    "mp4": (".mp4", {"bframes": 2, "audio": [SOUND]}, {}),
    "mov": (".mov", {"audio": [SOUND], "metadata": {"title": "A film"}}, {}),
    "mkv": (".mkv", {"audio": [SOUND, Audio("ac3", 0.4, 0.1)]}, {}),
    "ts": (".ts", {"audio": [Audio("mp2", 0.5)], "bframes": 2}, {}),
    "webm": (".webm", {"codec": "libvpx-vp9", "frames": 4, "audio": [Audio("libopus", 0.3)]}, {"preset": "8"}),
    "variable rate": (".mp4", {"pts": VFR, "time_base": Fraction(1, 24), "bframes": 2}, {}),
    "late sound": (".mp4", {"audio": [Audio(seconds=0.3, start=0.25)]}, {}),
    "late picture": (".mp4", {"pts": [6000 + 3750 * n for n in range(8)], "time_base": BASE, "audio": [SOUND]}, {}),
    "turned": (".mov", {"display_matrix": TURNED}, {}),
    "turned mkv": (".mp4", {"display_matrix": TURNED}, {"container": "mkv"}),
    "anamorphic": (".mp4", {"sample_aspect": Fraction(64, 45)}, {}),
    "anamorphic mkv": (".mkv", {"sample_aspect": Fraction(4, 3)}, FFV1),
    "HDR": (".mp4", {"frames": 4, **HDR}, {}),
    "full range": (".mp4", {"colour": Colour(Matrix.BT709, full_range=True)}, {}),
    "4:1:0": (".mkv", {"pix_fmt": "yuv410p", "codec": "ffv1", "draw": checks}, {}),
    "4:1:1": (".mkv", {"pix_fmt": "yuv411p", "codec": "ffv1", "draw": checks}, {}),
    "colours beyond RGB": (".mkv", {"codec": "ffv1", "draw": vivid}, {"model": "fast"}),
    "colours beyond RGB, kept": (".mkv", {"codec": "ffv1", "draw": vivid}, {"model": "bicubic"}),
    "dither": (".mkv", {"pix_fmt": "gray", "codec": "ffv1", "draw": dither}, {}),
    "sound before 0": (".ogv", {"codec": "libvpx", "audio": [Audio("libopus", 0.3)]}, {}),
    "4:4:4": (".mkv", {"pix_fmt": "yuv444p", "width": 65, "height": 49}, {}),
    "RGB": (".mkv", {"pix_fmt": "rgb24", "codec": "libx264rgb"}, {}),
    "RGB as it is": (".mkv", {"pix_fmt": "bgr0", "codec": "ffv1"}, {**FFV1, "pix_fmt": "gbrp10le"}),
    "grey": (".mkv", {"pix_fmt": "gray", "codec": "ffv1"}, {}),
    "ProRes": (".mov", {"pix_fmt": "yuv422p10le", "codec": "prores_ks"}, {"codec": "prores", "preset": None}),
    "text": (".mkv", {"audio": [SOUND], "subtitles": TEXT, "chapters": CHAPTERS}, {"container": "mp4"}),
    "text in mp4": (".mp4", {"subtitles": [Subtitles(codec="mov_text")], "chapters": CHAPTERS}, {"container": "mkv"}),
    "a font": (".mkv", {"attachments": [("font.ttf", "font/ttf", b"no font")]}, {"container": "mp4"}),
    "a cover": (".mp4", {"cover": clips.jpeg()}, {}),
    "a cover in mkv": (".mp4", {"cover": clips.jpeg()}, {"container": "mkv"}),
    "sound for webm": (".mp4", {"frames": 4, "audio": [SOUND]}, {"container": "webm", "codec": "vp9", "preset": "8"}),
    "to ts": (".mp4", {"audio": [SOUND], "bframes": 2, "metadata": {"title": "x"}}, {"container": "ts"}),
    "from ts": (".ts", {"audio": [SOUND], "bframes": 2}, {"container": "mp4"}),
    "a size": (".mp4", {"sample_aspect": Fraction(4, 3)}, {"size": "150x100"}),
    "square pixels": (".mp4", {"sample_aspect": Fraction(4, 3)}, {"square_pixels": True}),
    "x3": (".mkv", {"width": 66, "height": 50}, {"scale": 3}),
    "x1.5": (".mkv", {"width": 66, "height": 50}, {"scale": 1.5}),
    "GIF": (".gif", {"codec": "gif", "pix_fmt": "rgb8"}, {}),
    "MPEG-2": (".mkv", {"codec": "mpeg2video", "bframes": 2, "rate": Fraction(25), "options": {"b": "2M"}}, {}),
    "AVI": (".avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, {}),
}  # fmt: skip


def source_of(kind: str, folder: Path) -> tuple[Path, dict[str, Any], str]:
    """The clip, the job's options, and the suffix of the output."""
    suffix, clip, job = KINDS[kind]
    source = make_clip(folder / f"clip{suffix}", **{"frames": 8, **clip})
    kept = suffix if suffix in (".mp4", ".mov", ".mkv", ".ts", ".webm") else ".mkv"
    return source, job, "." + job["container"] if "container" in job else kept


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_passes(kind: str, tmp_path: Path) -> None:
    source, job, suffix = source_of(kind, tmp_path)
    report = compare(source, upscaled(source, tmp_path / f"out{suffix}", **job))
    assert report.ok, report.differences
    assert all(check.detail for check in report.checks if check.verdict == "dropped")
    frames = next(check for check in report.checks if check.name == "frames")
    assert frames.source == frames.output == str(len(KINDS[kind][1].get("pts", range(KINDS[kind][1].get("frames", 8)))))


def row(report: VerifyReport, name: str) -> tuple[str, str, str]:
    found = next(check for check in report.checks if check.name == name)
    return found.verdict, found.output, found.detail


def test_what_a_container_cannot_hold_is_named_with_the_reason(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "a.mkv",
        frames=6,
        attachments=[("font.ttf", "font/ttf", b"no font")],
        metadata={"title": "A film"},
        subtitles=TEXT,
        audio=[SOUND],
    )
    mp4 = compare(source, upscaled(source, tmp_path / "out.mp4"))
    assert row(mp4, "attachment 3: stream")[0::2] == (
        "dropped",
        "mp4 cannot hold font/ttf attachment; the container mkv keeps it",
    )
    assert row(mp4, "subtitle 2: text")[:2] == ("ok", "2 lines of mov_text")
    ts = compare(source, upscaled(source, tmp_path / "out.ts"))
    assert row(ts, "metadata")[0] == "dropped"
    assert row(ts, "audio 1: packets")[0] == "ok"


def test_sound_that_is_encoded_again_is_said_to_be(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=6, audio=[SOUND])
    report = compare(source, upscaled(source, tmp_path / "out.webm", codec="vp9", preset="8"))
    assert "opus" in row(report, "audio 1: sound")[1]
    assert "encoded again" in row(report, "audio 1: sound")[1]


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_a_part_is_compared_with_its_own_part(tmp_path: Path, kind: str) -> None:
    text = TEXT if kind == "mkv" else [Subtitles(codec="mov_text")]
    source = make_clip(tmp_path / f"a.{kind}", frames=24, bframes=2, audio=[Audio(seconds=1.0, rate=44100)],
                       subtitles=text, chapters=CHAPTERS)  # fmt: skip
    start, end = Fraction(1, 5), Fraction(1, 2)
    for name, job in (("both", {"start": start, "end": end}), ("start", {"start": start}), ("end", {"end": end})):
        output = upscaled(source, tmp_path / f"{name}.{kind}", **job)
        report = compare(source, output, **job)  # type: ignore[arg-type]
        assert report.ok, report.differences
    report = compare(source, output)
    assert not report.ok
    assert "give the start and end" in row(report, "frames")[2]


def test_an_offset_is_stated_and_the_same_for_all_streams(tmp_path: Path) -> None:
    """With B-frames pictures are decoded before 0, and a transport stream has no time before 0."""
    source = make_clip(tmp_path / "a.mp4", frames=24, audio=[SOUND])
    report = compare(source, upscaled(source, tmp_path / "out.ts", preset="medium"))
    assert report.ok, report.differences
    assert row(report, "frame times")[1].startswith("all 0.0")
    assert "later" in row(report, "frame times")[1]
    plain = compare(source, upscaled(source, tmp_path / "out.mp4"))
    assert row(plain, "frame times")[1] == "as in the source"


def test_a_deinterlaced_output_passes(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", codec="mpeg2video", frames=8, rate=Fraction(25),
                       options={"b": "4M", "flags": "+ilme+ildct", "top": "1"})  # fmt: skip
    report = compare(source, upscaled(source, tmp_path / "bwdif.mkv", deinterlace="bwdif"), deinterlace="bwdif")
    assert report.ok, report.differences
    report = compare(source, upscaled(source, tmp_path / "off.mkv", deinterlace="off"), deinterlace="off")
    assert report.ok, report.differences


def test_a_damaged_source_is_compared_as_its_decoder_conceals_it(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.ts", frames=48, gop=12, audio=[Audio("mp2", 2.0)])
    source = damage(whole, tmp_path / "bad.ts", 0.3, 0.6, every=11)
    report = compare(source, upscaled(source, tmp_path / "out.ts", keep_going=True))
    assert report.ok, report.differences
    assert row(report, "source")[0] == "dropped"


def test_the_command(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=6, audio=[SOUND])
    output = upscaled(source, tmp_path / "out.mp4")
    good = vidsr("verify", source, output)
    assert (good.code, good.err) == (0, "")
    assert "frames" in good.out
    assert good.out.rstrip().endswith("ok: nothing is lost")
    assert vidsr("verify", source, output, "-q").out == ""
    shorter = make_clip(tmp_path / "b.mp4", frames=5, audio=[SOUND])
    bad = vidsr("verify", shorter, output)
    assert bad.code == 1
    assert "too many: frame 5 at 0.208333 s" in " ".join(bad.out.split())
    data = json.loads(vidsr("verify", shorter, output, "--json").out)
    assert data["ok"] is False
    assert [check["name"] for check in data["checks"] if check["verdict"] == "differs"] == ["frames"]
    assert set(data["checks"][0]) == {"name", "source", "output", "verdict", "detail"}


@pytest.mark.parametrize(
    "arguments",
    [("a.mp4",), ("a.mp4", "a.mp4"), ("a.mp4", "b.mp4", "--deinterlace", "yes"), ("a.mp4", "b.mp4", "--start", "x"),
     ("a.mp4", "b.mp4", "--start", "2", "--end", "1")],
)  # fmt: skip
def test_bad_usage_is_exit_code_2(
    vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4", frames=2)
    make_clip(tmp_path / "b.mp4", frames=2)
    assert vidsr("verify", *arguments).code == 2


def test_a_file_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    with pytest.raises(MediaError, match="does not exist"):
        compare(source, tmp_path / "missing.mp4")
    with pytest.raises(UsageError, match="same file"):
        compare(source, source)
    with pytest.raises(UsageError, match="is no output of vidsr upscale"):
        compare(source, make_clip(tmp_path / "b.avi", frames=2, codec="mpeg4"))
    (tmp_path / "a.png").write_bytes(clips.jpeg())
    for pair in ((source, tmp_path / "a.png"), (tmp_path / "a.png", source)):
        with pytest.raises(UsageError, match=r"a\.png is an image"):
            compare(*pair)


def test_a_default_flag_that_mp4_sets_by_itself_is_no_difference(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=4, audio=[Audio(seconds=0.3, dispositions=int(Disposition.comment))])
    report = compare(source, upscaled(source, tmp_path / "out.mp4"))
    assert report.ok, report.differences


@pytest.mark.parametrize(
    ("container", "sound", "text"),
    [("mp4", None, None), ("mov", "comment", "forced"), ("mkv", None, None), ("ts", "comment", None)],
)
def test_flags_without_a_place_are_named(tmp_path: Path, container: str, sound: str | None, text: str | None) -> None:
    audio = [SOUND, Audio(seconds=0.5, dispositions=int(Disposition.comment | Disposition.hearing_impaired))]
    texts = [] if container == "ts" else [Subtitles(dispositions=int(Disposition.forced | Disposition.default))]
    source = make_clip(tmp_path / "a.mkv", frames=6, audio=audio, subtitles=texts)
    report = compare(source, upscaled(source, tmp_path / f"out.{container}"))
    assert report.ok, report.differences
    flags = {check.name: check.source for check in report.checks if check.name.startswith("flag of")}
    lost = f"{sound}, hearing_impaired" if container == "mov" else sound
    assert flags == {**({"flag of audio 2": lost} if sound else {}), **({"flag of subtitle 3": text} if text else {})}


@pytest.mark.parametrize(("container", "verdict"), [("mkv", "differs"), ("mp4", "differs"), ("ts", "dropped")])
def test_spherical_mapping_that_is_missing_where_it_would_be_kept(tmp_path: Path, container: str, verdict: str) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", frames=2))
    around = replace(info.video, extras=("SPHERICAL",), spherical=bytes(40))
    (found,) = properties._check_side_data(around, info.video, container)
    assert found.verdict == verdict
