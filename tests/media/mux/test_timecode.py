"""Timecodes are counted as pictures are, and reach every container that has a place for them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import Audio, make_clip
from tests.verify.mutants import upscaled
from vidsr.media.mux.timecode import fitting_rate, later, timecode_of
from vidsr.verify import compare

NTSC = Fraction(30000, 1001)


def written(number: int, fps: int, left_out: int) -> str:
    """The timecode of picture `number` of a day, counted one by one."""
    minute = second = frame = 0
    for _ in range(number):
        frame += 1
        if frame == fps:
            second, frame = second + 1, 0
        if second == 60:
            minute, second = minute + 1, 0
            frame = left_out if minute % 10 else 0
    return f"{minute // 60:02}:{minute % 60:02}:{second:02}{';' if left_out else ':'}{frame:02}"


@pytest.mark.parametrize(("rate", "fps", "left_out"), [(NTSC, 30, 2), (2 * NTSC, 60, 4), (Fraction(25), 25, 0)])
def test_later_is_counted_picture_by_picture(rate: Fraction, fps: int, left_out: int) -> None:
    for first in (0, 1799, 17981):
        for step in (1, 1800, 1801, 17982, 40000):
            end = written(first + step, fps, left_out)
            assert later(written(first, fps, left_out), step / rate, rate) == end


def test_a_day_ends_at_midnight() -> None:
    assert later("23:59:59:24", Fraction(1, 25), Fraction(25)) == "00:00:00:00"
    assert later("23:59:59;29", 1 / NTSC, NTSC) == "00:00:00;00"


@pytest.mark.parametrize(
    ("timecode", "rate", "fitting"),
    [
        ("01:02:03:04", Fraction(24000, 1001), Fraction(24000, 1001)),
        ("01:02:03;04", Fraction(299, 10), NTSC),
        ("01:02:03:04", Fraction(12800), Fraction(240)),
        ("01:02:03:24", Fraction(24), None),
        ("hello", Fraction(24), None),
        ("01:62:03:04", Fraction(24), None),
    ],
)
def test_what_muxers_count_by(timecode: str, rate: Fraction, fitting: Fraction | None) -> None:
    assert fitting_rate(timecode, rate) == fitting


def shown(path: Path) -> list[str | None]:
    with av.open(str(path)) as container:
        return [timecode_of(stream.metadata) for stream in container.streams]


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(24000, 1001)])
@pytest.mark.parametrize("suffix", ["mov", "mp4", "mkv", "webm"])
def test_a_camera_s_timecode_is_kept(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    text = "01:02:03;04" if rate == NTSC else "01:02:03:04"
    source = make_clip(tmp_path / "a.mov", frames=6, rate=rate, audio=[Audio(seconds=0.2)], metadata={"timecode": text})
    assert shown(source) == [text, None, text]
    output = upscaled(source, tmp_path / f"out.{suffix}", preset=None)
    assert shown(output) == [text, None, text][: 3 if suffix in ("mov", "mp4") else 2]
    report = compare(source, output)
    assert report.ok, report.differences
    part = upscaled(source, tmp_path / f"part.{suffix}", preset=None, start=2 / rate)
    assert shown(part)[0] == text.replace("04", "06")
    report = compare(source, part, start=2 / rate)
    assert report.ok, report.differences


def test_a_second_picture_keeps_its_own(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", frames=6, metadata={"timecode": "01:02:03:04"})
    with av.open(str(clip)) as old, av.open(str(tmp_path / "a.mov"), "w") as new:
        one, two = (new.add_stream_from_template(old.streams.video[0], opaque=True) for _ in range(2))
        one.codec_context.framerate = two.codec_context.framerate = Fraction(24)
        one.metadata["timecode"], two.metadata["timecode"] = "01:02:03:04", "10:00:00:00"
        for packet in [packet for packet in old.demux(video=0) if packet.size]:
            for stream in (one, two):
                packet.stream = stream
                new.mux(packet)
    output = upscaled(tmp_path / "a.mov", tmp_path / "out.mov")
    assert shown(output)[:2] == ["01:02:03:04", "10:00:00:00"]


def test_another_timecode_is_named(tmp_path: Path) -> None:
    source, other = (
        make_clip(tmp_path / f"{k}.mov", frames=3, metadata={"timecode": f"01:02:03:0{k}"}) for k in (4, 5)
    )
    report = compare(source, upscaled(other, tmp_path / "out.mov"))
    assert [check.name for check in report.differences] == ["timecode"]
    assert "01:02:03:04" in report.differences[0].detail


def test_where_there_is_no_place_it_is_said(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mov", frames=12, metadata={"timecode": "01:02:03:04"})
    report = compare(source, upscaled(source, tmp_path / "out.ts"))
    assert report.ok, report.differences
    lost = next(check for check in report.checks if check.name.startswith("timecode"))
    assert (lost.verdict, lost.detail) == ("dropped", "ts has no place for it; the container mkv keeps it")
