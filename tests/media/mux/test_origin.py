"""Where an output's clock begins: at 0 or above, at whole ticks of the pictures, and said once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import Audio, make_clip
from tests.media.making import picture_pts, times, upscaled
from vidsr.verify.comparison import compare


def all_ok(source: Path, output: Path) -> bool:
    rows = {check.name: check.verdict for check in compare(source, output).checks}
    return all(rows[name] == "ok" for name in ("frames", "frame times"))


@pytest.mark.parametrize(("codec", "rate"), [("libopus", 48000), ("flac", 48000), ("flac", 8000)])
def test_no_sound_of_a_transport_stream_is_before_zero(tmp_path: Path, codec: str, rate: int) -> None:
    """Neither what a decoder of Opus skips nor what the encoder of AAC puts before the sound."""
    source = make_clip(tmp_path / "a.mkv", audio=(Audio(codec, rate=rate),))
    output = tmp_path / "out.ts"
    _, report = upscaled(source, output)
    assert times(output, 1)[0] >= 0
    assert 0 < report.shift < Fraction(1, 5)
    assert all_ok(source, output)


@pytest.mark.parametrize(("suffix", "codec", "sound"), [("mpg", "mpeg2video", "mp2"), ("wtv", "mpeg2video", "mp2")])
def test_a_clock_that_begins_late_is_moved_once(tmp_path: Path, suffix: str, codec: str, sound: str) -> None:
    source = make_clip(tmp_path / f"a.{suffix}", codec=codec, rate=Fraction(25), audio=(Audio(sound),), bframes=2)
    output = tmp_path / "out.ts"
    _, report = upscaled(source, output)
    assert report.shift < 0
    assert not [note for note in report.notes if "later" in note]
    assert min(times(output)[0], times(output, 1)[0]) < Fraction(1, 25)
    assert all_ok(source, output)


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_sound_between_two_ticks_of_the_pictures_moves_them_by_whole_ticks(tmp_path: Path, container: str) -> None:
    source = make_clip(tmp_path / "a.nut", codec="mpeg4", pts=range(6, 30), audio=(Audio("pcm_s16le", start=0.21),))
    output = tmp_path / f"out.{container}"
    info, report = upscaled(source, output)
    tick = info.video.time_base
    with av.open(str(source)) as opened:
        sound = opened.streams.audio[0]
        assert (sound.start_time or 0) * (sound.time_base or tick) % tick != 0
    assert report.shift % tick == 0 or container == "ts"
    moved = [new - old for new, old in zip(times(output), times(source), strict=True)]
    assert max(abs(by - report.shift) for by in moved) <= Fraction(1, 180_000)
    assert all_ok(source, output)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_part_as_ts_has_no_time_before_zero(tmp_path: Path, codec: str) -> None:
    """Neither decode times of pictures that others need, nor what an encoder puts before the sound."""
    source = make_clip(tmp_path / "a.mkv", frames=48, audio=(Audio(codec, seconds=2),))
    output = tmp_path / "out.ts"
    pts = picture_pts(source, 0)[24:]
    _, report = upscaled(source, output, preset="medium", pts=pts, start=Fraction(1))
    with av.open(str(output)) as opened:
        low = min(packet.dts for packet in opened.demux() if packet.size and packet.dts is not None)
    assert 0 <= low < 9000
    assert report.notes[0].startswith("the part begins at 1.000 s of the source, and at 0.")
    rows = {check.name: check.verdict for check in compare(source, output, start=Fraction(1)).checks}
    assert [rows[name] for name in ("frames", "frame times", "frame order")] == ["ok"] * 3
    assert {rows.get(f"audio 1: {name}", "ok") for name in ("times", "packets", "sound")} == {"ok"}


@pytest.mark.parametrize(("container", "priming"), [("mkv", 0), ("mp4", Fraction(1024, 22050))])
def test_sound_whose_tick_is_a_whole_block_stays_beside_its_pictures(
    tmp_path: Path, container: str, priming: Fraction
) -> None:
    """ADPCM in avi counts blocks of 0.05 s: a part had its sound by up to half of one off."""
    source = make_clip(tmp_path / "a.avi", codec="mpeg4", frames=48, audio=(Audio("adpcm_ima_wav", 2, rate=22050),))
    start = Fraction(11, 24)
    pts = picture_pts(source, 0)[11:]
    upscaled(source, tmp_path / f"out.{container}", pts=pts, start=start)
    with av.open(str(source)) as opened:
        block = opened.streams.audio[0].time_base
    assert block is not None
    assert block > Fraction(1, 25)
    first = next(n * block for n in range(99) if n * block >= start) - start
    assert abs(times(tmp_path / f"out.{container}", 1)[0] + priming - first) < Fraction(1, 900)
