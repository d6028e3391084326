"""Recordings joined end to end: one shift for all streams, in whole films, parts, resumed jobs and shipments alike."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.clips import Audio, make_clip, seconds, shown
from tests.conftest import Result
from tests.jobs.test_resume import QUICK, run_and_kill
from vidsr.jobs import sources
from vidsr.jobs.inputs import Input
from vidsr.jobs.options import Options
from vidsr.media.mux import others
from vidsr.media.read.joints import joints_of
from vidsr.media.read.packets import Irregular, cut
from vidsr.media.read.probe import probe
from vidsr.media.read.reader import Reader
from vidsr.verify import compare

Cli = Callable[..., Result]
FRAMES = (36, 30)  # 1.5 s, a whole number of parts, and 1.25 s


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two transport streams; the sound of the first ends 0.5 s early."""
    folder = tmp_path_factory.mktemp("joined")
    parts = [
        make_clip(folder / f"{n}.ts", frames=n, bframes=2, gop=12, audio=[Audio(seconds=seconds)])
        for n, seconds in zip(FRAMES, (1.0, 1.25), strict=True)
    ]
    (folder / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    return folder / "a.ts"


@pytest.fixture(scope="module")
def whole(joined: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "out.mkv"
    assert run_and_kill(10**6, "fsync", "upscale", joined, "-o", output, *QUICK) == 0
    return output


def begins(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Of sound, where it begins and where it goes on after a hole."""
    with av.open(str(path)) as opened:
        packets = [p for p in opened.demux(audio=0) if p.size and p.pts is not None]
    spans = [(seconds(p), seconds(p) + (p.duration or 0) * p.time_base) for p in packets]
    return [(a[1], b[0]) for a, b in pairwise(spans) if b[0] - a[1] > Fraction(1, 10)]


def test_sound_goes_on_with_its_pictures(joined: Path, whole: Path) -> None:
    found = shown(whole)
    assert [number for number, _ in found] == [*range(36), *range(30)]
    offsets = [float(time) - k / 24 for k, (_, time) in enumerate(found)]
    assert max(offsets) - min(offsets) < 0.002
    ((_, begin),) = begins(whole)
    assert abs(begin - found[36][1]) < Fraction(1, 20)
    assert abs(begin - Fraction(3, 2)) < Fraction(1, 10)
    info = probe(joined)
    (joint,) = joints_of(joined, info.container, info.video.index)
    assert joint.shift == Fraction(3, 2)


@pytest.mark.parametrize("at", [3, 5, 7, 9, 11])
def test_a_killed_job_ends_with_the_same_bytes(joined: Path, whole: Path, tmp_path: Path, at: int, vidsr: Cli) -> None:
    output = tmp_path / "out.mkv"
    run_and_kill(at, "fsync", "upscale", joined, "-o", output, *QUICK)
    assert vidsr("upscale", joined, "-o", output, *QUICK).code == 0
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("start", [Fraction(1), Fraction(3, 2), Fraction(2)])
def test_a_part_has_the_same_pictures(joined: Path, start: Fraction) -> None:
    with Reader(joined) as reader:
        all_of_them = [frame.pts for frame in reader]
    assert len(all_of_them) == sum(FRAMES)
    with Reader(joined, start=start, end=start + Fraction(1, 2)) as reader:
        assert [frame.pts for frame in reader] == all_of_them[int(start * 24) : int(start * 24) + 12]


def test_what_travels_as_packets_and_the_rest_as_pictures_are_the_whole(joined: Path) -> None:
    """FFmpeg calls the first packet behind a joint of transport streams damaged: from there on pictures travel."""
    info = probe(joined)
    with Reader(info) as reader:
        wanted = [frame.pts for frame in reader]
    half = round(Fraction(1, 2) / info.video.time_base)
    sent: list[int] = []
    shipments = cut(info, lambda pts: (pts - wanted[0]) // half, frozenset())
    with pytest.raises(Irregular) as caught:
        sent.extend(pts for shipment in shipments for pts in shipment.expected)
    with Reader(info, start=Fraction(caught.value.interval, 2)) as reader:
        assert sent + [frame.pts for frame in reader] == wanted


def test_a_dry_run_knows(joined: Path, tmp_path: Path, vidsr: Cli) -> None:
    done = vidsr("upscale", joined, "-o", tmp_path / "out.mkv", *QUICK, "--dry-run")
    assert "ran backwards at 1.458 s" in done.err
    assert "all streams begin" in done.err, "a transport stream does not begin at 0"


def test_verify_measures_sync_by_itself(
    joined: Path, whole: Path, tmp_path: Path, vidsr: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = [check for check in compare(joined, whole).checks if check.name == "sync"]
    assert row.verdict == "ok"
    monkeypatch.setattr(others, "joints_of", lambda *_: ())
    output = tmp_path / "wrong.mkv"
    assert vidsr("upscale", joined, "-o", output, *QUICK).code == 0
    (row,) = [check for check in compare(joined, output).checks if check.name == "sync"]
    assert row.verdict == "differs"


def test_pictures_of_joined_recordings_are_counted_and_a_large_file_is_read_with_a_word(
    joined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    source = Input(joined, joined.parent, named=True)
    assert sources.examine(source, Options(), on_scan=lambda: said.append("")).video.num_frames == sum(FRAMES)
    assert said == []
    monkeypatch.setattr(sources, "COUNTED_BYTES", 1000)
    sources.examine(source, Options(), on_scan=lambda: said.append("read"))
    assert said == ["read"]


def test_what_fails_at_the_end_of_a_sound_is_counted_and_ends_nothing(joined: Path) -> None:
    class Failing:
        def take(self, packet: object) -> list[object]:
            return []

        def flush(self) -> list[object]:
            raise av.InvalidDataError(1094995529, "a damaged end")

    read = others.Others(probe(joined), None, False)
    with av.open(str(joined)) as opened:
        assert list(read.packets(opened, {1: Failing()})) == []  # type: ignore[dict-item]
    assert read.num_left_out == 1


def test_pictures_in_another_order_are_no_other_recording(vidsr: Cli, tmp_path: Path) -> None:
    """Times of pictures fall by a third of a second here, and by as much where x264's veryslow has 24 a second."""
    source = make_clip(tmp_path / "a.mp4", frames=12, rate=Fraction(6), bframes=2, audio=[Audio(seconds=2)])
    output = tmp_path / "b.mp4"
    assert vidsr("upscale", source, "-o", output, *QUICK).code == 0
    report = compare(source, output)
    assert report.ok, report.differences
    assert "sync" not in [check.name for check in report.checks]
