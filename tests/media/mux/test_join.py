"""Segments joined: every picture once, at its exact time, in step with the other streams."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from tests.clips import Audio, make_clip
from tests.media.making import WIDTH, Facts, facts, frames_of, numbers, spec_of, times, upscaled, write_segment
from vidsr.errors import OutputError
from vidsr.media.mux.fingerprint import read_fingerprint
from vidsr.media.mux.join import join
from vidsr.media.read.probe import probe
from vidsr.media.write.writer import Writer

VFR = [0, 1, 2, 5, 6, 13, 14, 15, 24, 25, 27, 28, 29, 59, 60, 61, 63, 64, 65, 70]
SOUND = (Audio(seconds=1.0, language="eng", title="Original", dispositions=int(Disposition.default)),)
CONTAINERS = ["mp4", "mov", "mkv"]


def of_kind(path: Path, kind: str) -> list[Facts]:
    return [f for f in facts(path) if f.kind == kind]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("base", [Fraction(1, 24), Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 10**9)])
def test_variable_rate_with_b_frames_keeps_its_times(tmp_path: Path, container: str, base: Fraction) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=SOUND)
    tick = max(1, round(Fraction(1, 24) / base))
    pts = [10 * tick + tick * n + (n % 3 if tick > 9 else 0) for n in VFR]
    output = tmp_path / f"out.{container}"
    upscaled(source, output, spec=spec_of(time_base=base, preset="medium"), pts=pts)
    tolerance = Fraction(1, 2000) if container == "mkv" else 0
    found = times(output)
    assert len(found) == len(pts)
    assert max(abs(got - p * base) for got, p in zip(found, pts, strict=True)) <= tolerance
    assert numbers(output) == list(range(len(pts)))


@pytest.mark.parametrize(("encoder", "suffix", "container"), [
    ("libx264", ".mp4", "mp4"), ("libx265", ".mp4", "mov"), ("libsvtav1", ".mp4", "mp4"),
    ("libvpx-vp9", ".mp4", "webm"), ("ffv1", ".mkv", "mkv"), ("prores_ks", ".mov", "mov"),
])  # fmt: skip
def test_many_segments_join_to_one_stream(tmp_path: Path, encoder: str, suffix: str, container: str) -> None:
    source = make_clip(tmp_path / "a.mkv")
    layout = "yuv422p10le" if encoder == "prores_ks" else "yuv420p"
    preset = "fast" if encoder == "libx264" else None
    spec = spec_of(encoder, layout, preset=preset)
    output = tmp_path / f"out.{container}"
    _, report = upscaled(source, output, spec=spec, pts=VFR, cuts=(5, 6, 13), suffix=suffix)
    tolerance = Fraction(1, 2000) if container in ("mkv", "webm") else 0
    assert numbers(output) == list(range(len(VFR)))
    assert all(abs(t - n * spec.time_base) <= tolerance for t, n in zip(times(output), VFR, strict=True))
    assert report.num_frames == len(VFR)
    assert report.num_bytes == output.stat().st_size
    with av.open(str(output)) as opened:
        dts = [p.dts for p in opened.demux(video=0) if p.size]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(dts))


def test_joined_segments_hold_the_packets_of_the_segments(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    upscaled(source, tmp_path / "out.mp4", cuts=(7, 16))
    with av.open(str(tmp_path / "out.mp4")) as joined:
        found = [bytes(p) for p in joined.demux(video=0) if p.size]
    written: list[bytes] = []
    for begin in (0, 7, 16):
        with av.open(str(tmp_path / f"out_{begin}.mp4")) as segment:
            written += [bytes(p) for p in segment.demux(video=0) if p.size]
    assert found == written


@pytest.mark.parametrize(("suffix", "container"), [("mp4", "mp4"), ("mp4", "mkv"), ("mkv", "mkv"), ("mkv", "mov")])
@pytest.mark.parametrize("start", [0.7, 0.0])
def test_offsets_between_streams_are_kept(tmp_path: Path, suffix: str, container: str, start: float) -> None:
    late = [Audio(seconds=0.5, start=start)]
    pts = [6000 + 3750 * n for n in range(12)]
    source = make_clip(tmp_path / f"a.{suffix}", time_base=Fraction(1, 90000), pts=pts, frames=12, audio=late)
    output = tmp_path / f"out.{container}"
    _, report = upscaled(source, output)
    tolerance = Fraction(1, 900) if "mkv" in (suffix, container) else Fraction(1, 90000)
    for old, new in zip(facts(source), facts(output), strict=True):
        assert old.first is not None
        assert new.first is not None
        assert abs(new.first - old.first - report.shift) <= tolerance
    assert report.shift == 0


@pytest.mark.parametrize("container", [*CONTAINERS, "ts"])
def test_negative_start_moves_all_streams_alike(tmp_path: Path, container: str) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=SOUND)
    output = tmp_path / f"out.{container}"
    spec = spec_of(time_base=Fraction(1, 12800), preset="medium")
    pts = [-1600 + 533 * n for n in range(24)]
    _, report = upscaled(source, output, spec=spec, pts=pts)
    assert report.shift >= Fraction(1600, 12800)
    assert any("later" in note for note in report.notes)
    tolerance = {"mkv": Fraction(1, 2000), "ts": Fraction(1, 180000)}.get(container, Fraction(0))
    for got, tick in zip(times(output), pts, strict=True):
        assert abs(got - tick * spec.time_base - report.shift) <= tolerance
    sound = of_kind(output, "audio")[0].first
    before = of_kind(source, "audio")[0].first
    assert sound is not None
    assert before is not None
    assert abs(sound - before - report.shift) <= Fraction(1, 900)
    assert len(numbers(output)) == 24


def test_transport_stream_keeps_times_and_its_mark(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.ts", audio=SOUND, bframes=2, chapters=())
    _, report = upscaled(source, tmp_path / "out.ts", preset="medium", metadata={"vidsr": "mark"})
    for got, want in zip(times(tmp_path / "out.ts"), times(source), strict=True):
        assert abs(got - want - report.shift) <= Fraction(1, 180000)
    assert read_fingerprint(tmp_path / "out.ts") == "mark"
    assert read_fingerprint(source) is None
    assert numbers(tmp_path / "out.ts") == list(range(24))


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_last_frame_stays_for_its_duration(tmp_path: Path, preset: str) -> None:
    source = make_clip(tmp_path / "a.mp4")
    spec = spec_of(preset=preset)
    segment = tmp_path / "s.mp4"
    writer = Writer(segment, spec)
    for pts, frame in enumerate(frames_of(spec, range(10))):
        writer.write(replace(frame, duration=1 if pts < 9 else 15))
    writer.close()
    join([segment], probe(source), tmp_path / "out.mp4", container="mp4", spec=spec)
    with av.open(str(tmp_path / "out.mp4")) as opened:
        assert opened.duration == 1_000_000
    assert len(times(tmp_path / "out.mp4")) == len(times(segment)) == 10


def test_segments_out_of_order_or_unfinished_are_refused(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    info, spec = probe(source), spec_of()
    first, second = tmp_path / "1.mp4", tmp_path / "2.mp4"
    write_segment(first, spec, range(5))
    write_segment(second, spec, range(4, 9))
    with pytest.raises(OutputError, match="begins before"):
        join([first, second], info, tmp_path / "o.mp4", container="mp4", spec=spec)
    other = replace(spec, width=WIDTH * 2)
    write_segment(second, other, range(5, 9))
    with pytest.raises(OutputError, match="another way"):
        join([first, second], info, tmp_path / "o.mp4", container="mp4", spec=spec)
    assert not (tmp_path / "o.mp4").exists()


def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    write_segment(tmp_path / "s.mp4", spec_of(), range(5))
    with pytest.raises(OutputError, match="is no folder"):
        join([tmp_path / "s.mp4"], probe(source), source / "o.mp4", container="mp4", spec=spec_of())
    if Path("/dev/full").exists():
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="no space is left"):
            join([tmp_path / "s.mp4"], probe(source), tmp_path / "full", container="mkv", spec=spec_of())


def test_fingerprint_of_other_files_is_none(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no video")
    assert read_fingerprint(tmp_path / "note.txt") is None
    assert read_fingerprint(tmp_path / "missing.mp4") is None
    assert read_fingerprint(make_clip(tmp_path / "a.mp4")) is None
