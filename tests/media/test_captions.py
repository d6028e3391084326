"""Captions inside pictures reach the new pictures, each its own, whichever way the job is run."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import captioned, make_clip
from tests.verify.mutants import erring, upscaled
from vidsr.frame import NOTHING_INSIDE, Frame
from vidsr.jobs.events import Advanced
from vidsr.media.inside import NAMES, inside_of
from vidsr.media.pyav import side_data_of
from vidsr.media.read.packets import can_cut, cut, unpack
from vidsr.media.read.pictures import pack_pictures
from vidsr.media.read.probe import probe
from vidsr.media.read.reader import Reader
from vidsr.media.write import choice
from vidsr.verify import compare


def words(number: int) -> bytes:
    """What picture `number` has: none in every fifth, and of different length."""
    return b"" if number % 5 == 4 else bytes([0xFC, 0x20 + number, 0x41] * (1 + number % 3)) + b"\xf8\x00\x00"


WORDS = [words(k) for k in range(24)]
CAPTIONED: dict[str, Any] = {"frames": 24, "bframes": 2, "captions": WORDS}
LATE = [b""] * 12 + WORDS[12:]


def inside(path: Path) -> list[tuple[Fraction, bytes]]:
    """(time, captions) of every picture, as PyAV itself tells them."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            items = side_data_of(frame)
            told = [bytes(item) for item in items if item.type.name == "A53_CC"]
            assert frame.pts is not None
            assert frame.time_base
            found.append((frame.pts * frame.time_base, b"".join(told)))
    gc.collect()
    return found


def expected(given: Sequence[bytes] = WORDS) -> list[tuple[Fraction, bytes]]:
    return [(Fraction(k, 24), each) for k, each in enumerate(given)]


def row(source: Path, output: Path, **options: Any) -> tuple[str, str]:
    """What `verify` says of them."""
    report = compare(source, output, **options)
    found = {check.name: check for check in report.checks}.get(NAMES["captions"])
    assert report.ok or [check.name for check in report.differences] == [NAMES["captions"]]
    return (found.verdict, found.detail) if found else ("", "")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", **CAPTIONED)
    assert inside(path) == expected()
    return path


@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", "mp4"), ("h264", "ts"), ("hevc", "mkv"), ("av1", "mp4"), ("mpeg2video", "mkv")]
)
def test_they_are_kept_in_order_and_at_their_times(clip: Path, tmp_path: Path, codec: str, suffix: str) -> None:
    preset = {"mpeg2video": None, "av1": "8"}.get(codec, "ultrafast")
    output = upscaled(clip, tmp_path / f"out.{suffix}", codec=codec, preset=preset)
    found = inside(output)
    first = found[0][0]
    assert [each for _, each in found] == WORDS
    assert all(abs(time - first - Fraction(k, 24)) <= Fraction(1, 1000) for k, (time, _) in enumerate(found))
    assert row(clip, output) == ("ok", "")


@pytest.mark.parametrize("source", [{"codec": "libx265", "options": {"a53cc": "1", "x265-params": "log-level=none"}},
                                    {"codec": "mpeg2video"}])  # fmt: skip
def test_they_are_read_from_other_codecs(tmp_path: Path, source: dict[str, Any]) -> None:
    clip = make_clip(tmp_path / "a.mkv", **{**CAPTIONED, **source})
    assert [each for _, each in inside(clip)] == WORDS
    assert [each for _, each in inside(upscaled(clip, tmp_path / "out.mkv", codec="h264"))] == WORDS


@pytest.mark.parametrize(
    ("codec", "suffix", "preset"), [("vp9", "webm", "8"), ("ffv1", "mkv", None), ("prores", "mov", None)]
)
def test_other_codecs_drop_them_and_say_so(clip: Path, tmp_path: Path, codec: str, suffix: str, preset: Any) -> None:
    output = upscaled(clip, tmp_path / f"out.{suffix}", codec=codec, preset=preset)
    assert {each for _, each in inside(output)} == {b""}
    assert row(clip, output) == ("dropped", f"{codec} does not carry them; h264, hevc, av1 or mpeg2video does")
    chosen = choice.choose(probe(clip), choice.Encoding(width=128, height=96, bits=8, codec=codec, container=suffix))
    assert any("CEA-608" in note for note in chosen.notes)


def test_they_change_no_picture(clip: Path, tmp_path: Path) -> None:
    """Nor where the keyframes are: everything but the captions is as without."""
    plain = make_clip(tmp_path / "plain.mp4", **{**CAPTIONED, "captions": ()})
    outputs = [upscaled(source, tmp_path / f"{k}.mp4") for k, source in enumerate((clip, plain))]
    seen = []
    for path in outputs:
        with av.open(str(path)) as container:
            seen.append(
                [(f.pts, f.key_frame, f.pict_type, f.to_ndarray().tobytes()) for f in container.decode(video=0)]
            )
    assert seen[0] == seen[1]
    assert sum(key for _, key, _, _ in seen[0]) == 1


def test_a_part_begins_with_its_own(clip: Path, tmp_path: Path) -> None:
    output = upscaled(clip, tmp_path / "out.mp4", start=Fraction(1, 4), end=Fraction(3, 4))
    assert inside(output) == expected(WORDS[6:18])
    assert row(clip, output, start=Fraction(1, 4), end=Fraction(3, 4)) == ("ok", "")


def test_a_resumed_job_gives_the_same_bytes(clip: Path, tmp_path: Path) -> None:
    parts = {"segment_seconds": Fraction(1, 4)}
    whole = upscaled(clip, tmp_path / "whole.mp4", **parts)
    assert inside(whole) == expected()

    def stop(event: Any) -> None:
        if isinstance(event, Advanced) and event.progress.num_frames == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscaled(clip, tmp_path / "out.mp4", on_event=stop, **parts)
    assert upscaled(clip, tmp_path / "out.mp4", **parts).read_bytes() == whole.read_bytes()


def test_a_repeated_picture_has_its_own(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", **{**CAPTIONED, "bframes": 0}, numbers=[7] * 24)
    assert inside(upscaled(clip, tmp_path / "out.mp4")) == expected()


def test_they_pass_the_deinterlacer(clip: Path, tmp_path: Path) -> None:
    output = upscaled(clip, tmp_path / "out.mp4", deinterlace="bwdif")
    assert inside(output) == expected()
    assert row(clip, output, deinterlace="bwdif") == ("ok", "")


def test_of_two_pictures_of_one_the_first_has_them(tmp_path: Path) -> None:
    """Both with the same would show each letter twice."""
    clip = make_clip(tmp_path / "a.mp4", **CAPTIONED, options={"x264-params": "tff=1", "a53cc": "1"})
    output = upscaled(clip, tmp_path / "out.mp4", deinterlace="fields")
    assert [each for _, each in inside(output)] == [each for words in WORDS for each in (words, b"")]
    assert row(clip, output, deinterlace="fields") == ("ok", "")


def test_they_may_begin_late(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", **{**CAPTIONED, "captions": LATE})
    assert "A53_CC" not in probe(clip).video.extras
    with Reader(clip) as reader:
        assert [frame.inside.captions for frame in reader] == LATE
        assert any("begin at 0.500 s: H.264" in note for note in reader.report.notes)
    output = upscaled(clip, tmp_path / "out.mp4")
    assert inside(output) == expected(LATE)
    assert row(clip, output) == ("ok", "")


def test_verify_names_what_is_wrong(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def err(frames: list[Frame]) -> list[Frame]:
        lost, other = replace(frames[3], inside=NOTHING_INSIDE), replace(frames[5], inside=frames[6].inside)
        return [*frames[:3], lost, frames[4], other, *frames[6:]]

    verdict, detail = row(clip, erring(clip, tmp_path / "out.mp4", err, monkeypatch))
    assert verdict == "differs"
    name = NAMES["captions"]
    assert detail == f"frame 3 at 0.125000 s has no {name}; frame 5 at 0.208333 s has other {name}"
    without = upscaled(make_clip(tmp_path / "b.mp4", frames=24, bframes=2), tmp_path / "none.mp4")
    assert row(clip, without)[0] == "differs"


@pytest.mark.parametrize("given", [WORDS, LATE])
def test_shipments_carry_them(tmp_path: Path, given: list[bytes]) -> None:
    """As the source's packets, and with pictures that are packed anew."""
    info = probe(make_clip(tmp_path / "a.mp4", **{**CAPTIONED, "captions": given}))
    assert can_cut(info)
    with Reader(info) as reader:
        frames = list(reader)
        cuts = list(cut(info, lambda pts: int(pts * info.video.time_base * 4), ()))
        packed = list(pack_pictures(frames, info.video, lambda frame: frame.pts * 4 // frame.time_base.denominator, ()))
    assert len(cuts) == len(packed) == 4
    assert [frame.inside.captions for frame in frames] == given
    for shipments in (cuts, packed):
        assert [frame.inside.captions for item in shipments for frame in unpack(item, info.video)] == given


def test_a_source_without_any_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidsr.media.read.reader.inside_of", lambda _: pytest.fail("side data was read"))
    upscaled(make_clip(tmp_path / "a.mp4", frames=3), tmp_path / "out.mp4")


def test_reading_them_holds_no_pictures() -> None:
    """PyAV leaves a cycle for each; what it holds is small."""
    gc.collect()
    gc.disable()
    try:
        before = resident()
        for _ in range(100):
            picture = captioned(av.VideoFrame(1024, 1024, "yuv444p"), b"\xfc\x20\x41")
            np.frombuffer(memoryview(picture.planes[0]), np.uint8)[:] = 1
            assert inside_of(picture).captions == b"\xfc\x20\x41"
        assert resident() - before < 60  # of 300
    finally:
        gc.enable()


def resident() -> int:
    """Megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
