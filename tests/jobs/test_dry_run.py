"""What a dry run makes of the few frames that it tried."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.clips import Audio, make_clip
from vidsr.jobs import dry_run, run
from vidsr.jobs import plan as planning
from vidsr.jobs.batch import Batch
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.media.write.writer import SegmentInfo, Writer
from vidsr.pipeline import Progress


def after(seconds: float, encode: float) -> Progress:
    return Progress(24, seconds, 24 / seconds, {"decode": 0.0, "upscale": 1.0, "encode": encode})


@pytest.mark.parametrize(
    ("shared", "encode", "flush", "expected"),
    [
        (True, 0.1, 0.5, 2.5),  # both on the same cores: the work adds up
        (False, 0.1, 0.5, 2.0),  # the network is the slower one, and hides what was still to be encoded
        (False, 1.0, 3.0, 5.0),  # the encoder is
        (False, 0.25, 2.0, 2.5),  # and so it is where it had hardly begun
    ],
)
def test_what_the_encoder_kept_back_counts(shared: bool, encode: float, flush: float, expected: float) -> None:
    assert dry_run.steady_seconds(after(2.0, encode), flush, shared=shared) == pytest.approx(expected)


def test_the_end_of_the_encoder_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, close = [0.0], Writer.close

    def slow(self: Writer) -> SegmentInfo:
        late[0] += 1000
        return close(self)

    monkeypatch.setattr(Writer, "close", slow)
    monkeypatch.setattr(dry_run, "time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + late[0]))
    source = make_clip(tmp_path / "a.mp4", frames=48)
    options = Options(model="bicubic", backend="cpu", scale=2)
    (planned,) = dry_run.run_batch(Batch([Input(source, tmp_path, named=True)], Target(), options)).planned
    assert planned.seconds >= 1000 * 48 / planned.num_tried


def guessed_and_made(source: Path, options: Options) -> tuple[int, int]:
    """The bytes that a dry run says, and those that become of it."""
    batch = Batch([Input(source, source.parent, named=True)], Target(), options)
    (planned,), (done,) = dry_run.run_batch(batch).planned, run.run_batch(batch).done
    return planned.bytes, done.bytes


def test_the_keyframes_of_short_parts_are_in_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PART_WORK", 1.0)  # each picture is a part
    source = make_clip(tmp_path / "a.mp4", frames=48)
    guessed, made = guessed_and_made(source, Options(model="bicubic", backend="cpu", scale=2))
    assert guessed == pytest.approx(made, rel=0.5)


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])  # sound that is copied, and sound that is encoded
def test_the_other_streams_are_in_the_bytes(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "SOUND_SECONDS", 2)
    source = make_clip(
        tmp_path / "a.mkv",
        frames=100,
        audio=[Audio("pcm_s16le", seconds=4.0)],
        attachments=[("font.ttf", "application/x-truetype-font", bytes(300_000))],
    )
    options = Options(
        model="bicubic", backend="cpu", scale=1, container=suffix[1:], codec="vp9", crf=60, end=Fraction(3)
    )
    guessed, made = guessed_and_made(source, options)
    assert guessed == pytest.approx(made, rel=0.25)


def test_each_picture_counts_where_all_are_keyframes(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=48)
    options = Options(model="bicubic", backend="cpu", scale=2, codec="ffv1")
    guessed, made = guessed_and_made(source, options)
    assert guessed == pytest.approx(made, rel=0.25)
