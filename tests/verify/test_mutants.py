"""An output with one thing wrong: `compare` names exactly that. A real output: it finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.stream import Disposition

from tests.clips import Audio, Subtitles, make_clip
from tests.verify.mutants import (
    LIGHT,
    MASTERING,
    Change,
    Frames,
    at_time_of,
    black,
    copied,
    drawn,
    erring,
    moved,
    upscaled,
)
from vidsr.errors import VerifyError
from vidsr.frame import Canvas, Colour, Frame, Matrix, PixelFormat
from vidsr.jobs import plan as plans
from vidsr.media.mux import tracks
from vidsr.verify import VerifyReport, compare

TURNED = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
FLAGS = Disposition.default


def scene(number: int, fmt: PixelFormat, width: int, height: int) -> list[Any]:
    """A soft texture that moves by two pixels a frame, over colours that do not."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x -= 2 * number
    luma = 120 + 50 * np.sin(x / 3.1) * np.cos(y / 4.3) + 30 * np.sin((x + 2 * y) / 9)
    chroma = np.mgrid[: -(-height // 2), : -(-width // 2)].sum(0) % 64 + 96
    return [luma.astype(np.uint8), chroma.astype(np.uint8), (255 - chroma).astype(np.uint8)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with everything that a mutant may lose."""
    return make_clip(
        tmp_path_factory.mktemp("source") / "all.mkv",
        frames=12,
        draw=scene,
        width=96,
        height=64,
        bframes=2,
        sample_aspect=Fraction(4, 3),
        display_matrix=TURNED,
        colour=Colour(Matrix.BT709),
        audio=(
            Audio(seconds=0.5, language="eng", title="Original", dispositions=int(Disposition.default)),
            Audio("ac3", 0.5, language="fra", hertz=660),
        ),
        subtitles=(Subtitles(((0.1, 0.2, "One."),), language="eng", dispositions=int(Disposition.forced)),),
        chapters=((0.0, 0.2, "Start"), (0.2, 0.5, "End")),
        attachments=(("font.ttf", "font/ttf", b"not a font"),),
        metadata={"title": "A film", "MY_KEY": "kept"},
    )


@pytest.fixture(scope="module")
def output(source: Path) -> Path:
    return upscaled(source, source.with_name("out.mkv"))


def names(report: VerifyReport) -> list[str]:
    return [check.name for check in report.differences]


def swapped(frames: list[Frame]) -> list[Frame]:
    frames[5], frames[6] = at_time_of(frames[6], frames[5]), at_time_of(frames[5], frames[6])
    return frames


def one(change: Callable[[Frame], Frame]) -> Frames:
    return lambda frames: [change(f) if n == 5 else f for n, f in enumerate(frames)]


@pytest.mark.parametrize(
    ("err", "check", "words"),
    [
        (lambda frames: frames[:5] + frames[6:], "frames", "missing: frame 5"),
        (lambda frames: frames[1:], "frames", "missing: frame 0"),
        (lambda frames: frames[:-1], "frames", "missing: frame 11"),
        (lambda frames: [*frames[:-1], replace(frames[-1], duration=999)], "picture end", "it ends 958.00 ms late"),
        (lambda frames: [*frames[:6], replace(frames[5], pts=frames[5].pts + 20), *frames[6:]], "frames", "too many"),
        (lambda frames: [*frames[:5], at_time_of(frames[4], frames[5]), *frames[6:]], "frame order", "shows frame 4"),
        (swapped, "frame order", "frame 5 at 0.208 s shows frame 6 of the source; frame 6 at 0.250 s shows frame 5"),
        (one(black), "frame content", "frame 5 at 0.208 s is black"),
        (one(lambda f: moved(f, 2)), "frame position", "frame 5 at 0.208 s is off by +"),
        (one(lambda f: moved(f, 1)), "frame position", "frame 5 at 0.208 s is off by +"),
        (one(lambda f: moved(f, 1, axis=0)), "frame position", "frame 5"),
        (one(lambda f: replace(f, pts=f.pts + 3)), "frame times", "0.211000 s instead of 0.208000 s"),
    ],
    ids=[
        "dropped",
        "first",
        "last",
        "longer",
        "doubled",
        "repeated",
        "swapped",
        "black",
        "source pixel",
        "pixel",
        "down",
        "late",
    ],
)
def test_a_wrong_frame_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, err: Frames, check: str, words: str
) -> None:
    output = erring(source, tmp_path / "out.mkv", err, monkeypatch)
    report = compare(source, output)
    assert names(report) == [check], report.differences
    assert words in report.differences[0].detail


def corner(number: int, plane: Any) -> Any:
    plane = plane.copy()
    plane[: 32 >> (number > 0), : 32 >> (number > 0)] = 128 if number else 235
    return plane


def test_a_wrong_corner_and_wrong_colours_are_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, err in enumerate((corner, lambda k, plane: 255 - plane if k else plane)):
        output = erring(source, tmp_path / f"{number}.mkv", one(lambda f, e=err: drawn(f, e)), monkeypatch)  # type: ignore[misc]
        report = compare(source, output)
        assert names(report) == ["frame content"]
        assert "frame 5 at 0.208 s shows something else" in report.differences[0].detail


def of_luma(change: Callable[[Any], Any]) -> Frames:
    return one(
        lambda f: drawn(
            f, lambda k, plane: np.clip(change(plane.astype(float)), 0, 255).astype(np.uint8) if k == 0 else plane
        )
    )


@pytest.mark.parametrize(
    ("err", "words"),
    [
        (of_luma(lambda luma: (luma - 16) * 255 / 219), "its contrast is 1.1"),
        (of_luma(lambda luma: luma * 219 / 255 + 16), "its contrast is 0.86"),
        (of_luma(lambda luma: luma + 8), "is off by +7."),
        (
            one(lambda f: drawn(f, lambda k, p: (128 + (p - 128.0) * 0.8).astype(np.uint8) if k else p)),
            "contrast is 0.8",
        ),
    ],
    ids=["full for limited", "limited for full", "brighter", "pale"],
)
def test_other_brightness_contrast_or_colours_are_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, err: Frames, words: str
) -> None:
    report = compare(source, erring(source, tmp_path / "out.mkv", err, monkeypatch))
    assert names(report) == ["frame colour"], report.differences
    assert "frame 5 at 0.208 s" in report.differences[0].detail
    assert words in report.differences[0].detail


def late(number: int, packet: Any) -> Any:
    if number == 1:
        packet.pts, packet.dts = packet.pts + packet.duration, packet.dts + packet.duration
    return packet


def lossy() -> Callable[[int, Any], Any]:
    seen: list[int] = []

    def drop(number: int, packet: Any) -> Any:
        seen.append(number)
        return None if number == 2 and seen.count(2) == 4 else packet

    return drop


def renamed(chapters: list[Any]) -> list[Any]:
    return [{**c, "metadata": {"title": "Finish"}} if n else c for n, c in enumerate(chapters)]


def later(chapters: list[Any]) -> list[Any]:
    return [{**c, "start": c["start"] + (c["end"] - c["start"]) // 10} if n else c for n, c in enumerate(chapters)]


def flagged(index: int, flags: Disposition) -> Change:
    return Change(streams=lambda n, stream: setattr(stream, "disposition", flags) if n == index else None)


def tagged(index: int, **tags: str) -> Change:
    return Change(streams=lambda n, stream: stream.metadata.update(tags) if n == index else None)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (Change(packets=late), "audio 1: times", "packet 0 is 21.00 ms late"),
        (Change(packets=lossy()), "audio 2: packets", "1 packet missing, from packet 3 on"),
        (Change(metadata={"title": "A fi1m"}), "metadata", "title is 'A fi1m' instead of 'A film'"),
        (Change(metadata={"MY_KEY": ""}), "metadata", "my_key is '' instead of 'kept'"),
        (Change(metadata={"COMMENT": "new"}), "metadata", "comment is not in the source"),
        (Change(chapters=renamed), "chapters", "chapter 2: 'Finish' instead of 'End'"),
        (Change(chapters=later), "chapters", "chapter 2: 0.230 s to 0.500 s instead of 0.200 s to 0.500 s"),
        (Change(chapters=lambda chapters: chapters[:1]), "chapters", "1 chapter missing"),
        (flagged(1, Disposition(0)), "flags", "audio 1 has no flag instead of default"),
        (flagged(3, Disposition(0)), "flags", "subtitle 3 has no flag instead of forced"),
        (tagged(2, language="ger"), "languages", "audio 2: language is 'ger' instead of 'fra'"),
        (tagged(1, title="Dubbed"), "stream tags", "audio 1: title is 'Dubbed' instead of 'Original'"),
        (Change(left_out=(4,)), "attachments", "font.ttf is missing"),
        (Change(left_out=(2,)), "streams", "audio 2 (ac3) missing"),
        (Change(left_out=(3,)), "streams", "subtitle 3 (subrip) missing"),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" not in value else None,
)
def test_a_changed_copy_is_named(
    source: Path, output: Path, tmp_path: Path, change: Change, check: str, words: str
) -> None:
    report = compare(source, copied(output, tmp_path / "copy.mkv", change))
    assert names(report) == [check], report.differences
    assert words in report.differences[0].detail


def test_an_unchanged_copy_is_as_good_as_the_output(source: Path, output: Path, tmp_path: Path) -> None:
    for path in (output, copied(output, tmp_path / "copy.mkv", Change())):
        report = compare(source, path)
        assert report.ok, report.differences
        assert {check.verdict for check in report.checks} == {"ok"}


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"sample_aspect": Fraction(1)}, "aspect"),
        ({"sample_aspect": Fraction(7, 5)}, "aspect"),
        ({"display_matrix": None}, "rotation"),
        ({"colour": Colour(Matrix.BT709, full_range=True)}, "colour range"),
        ({"colour": Colour(Matrix.SMPTE170M)}, "colour matrix"),
        ({"colour": Colour(Matrix.BT709, primaries=5)}, "colour primaries"),
        ({"colour": Colour(Matrix.BT709, transfer=6)}, "colour transfer"),
        ({"colour": Colour(Matrix.BT709, siting="topleft")}, "chroma location"),
    ],
)
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_wrong_label_of_the_picture_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], check: str, container: str
) -> None:
    """The samples stay: only what the output says of them is wrong."""
    right, stream = plans._spec, __import__("vidsr.upscaling.upscaler", fromlist=["Upscaler"]).Upscaler.stream

    def mislabelled(self: Any, frames: Any, canvas: Canvas) -> Any:
        yield from stream(self, frames, replace(canvas, colour=Colour(Matrix.BT709)))

    monkeypatch.setattr(plans, "_spec", lambda *arguments: replace(right(*arguments), **wrong))
    monkeypatch.setattr("vidsr.upscaling.upscaler.Upscaler.stream", mislabelled)
    with pytest.raises(VerifyError, match=f"in the finished file {check} is "):
        upscaled(source, tmp_path / f"refused.{container}")
    assert not (tmp_path / f"refused.{container}").exists()
    monkeypatch.setattr("vidsr.verify.quick", lambda *_, **__: None)
    report = compare(source, upscaled(source, tmp_path / f"out.{container}"))
    assert names(report) == [check], report.differences


@pytest.fixture(scope="module")
def hdr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 10-bit HDR10 clip, made as the product makes its own."""
    from tests.media.making import spec_of
    from tests.media.making import upscaled as made_anew

    folder = tmp_path_factory.mktemp("hdr")
    spec = spec_of(
        "libx265",
        "yuv420p10le",
        colour=Colour(Matrix.BT2020_NCL, 9, 16),
        mastering_display=MASTERING,
        light_level=LIGHT,
    )
    plain = make_clip(folder / "plain.mp4")
    made_anew(plain, folder / "hdr.mp4", spec=spec, pts=range(4))
    return folder / "hdr.mp4"


@pytest.mark.parametrize(
    ("wrong", "checks"),
    [
        ({}, []),
        ({"mastering_display": None}, ["mastering display"]),
        ({"light_level": None}, ["light level"]),
        ({"light_level": bytes(8)}, ["light level"]),
    ],
)
def test_missing_hdr10_metadata_is_named(
    hdr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], checks: list[str]
) -> None:
    right = plans._spec
    monkeypatch.setattr(plans, "_spec", lambda *arguments: replace(right(*arguments), **wrong))
    monkeypatch.setattr("vidsr.verify.quick", lambda *_, **__: None)
    report = compare(hdr, upscaled(hdr, tmp_path / "out.mp4"))
    assert names(report) == checks, report.differences


def test_sound_late_by_a_packet_is_named_in_mp4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=6, audio=(Audio(seconds=0.5),))
    right: Any = tracks.CopiedTrack.take

    def late_by_one(self: Any, packet: Any) -> Any:
        for made in right(self, packet):
            made.pts, made.dts = made.pts + 1024, made.dts + 1024
            yield made

    monkeypatch.setattr(tracks.CopiedTrack, "take", late_by_one)
    report = compare(source, upscaled(source, tmp_path / "out.mp4"))
    assert names(report) == ["audio 1: times"]
    assert "packet 0 is 21.33 ms late" in report.differences[0].detail
