"""The check before the final name finds what it is there for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import make_clip
from tests.numbered import Planes
from tests.verify.mutants import black, erring, upscaled
from vidsr import verify
from vidsr.errors import VerifyError
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.media.read.open import demux, open_input
from vidsr.media.write.writer import VideoSpec
from vidsr.verify import Expected

PTS = [0, 2, 3, 7, 8, 9, 15]
BASE = Fraction(1, 30)
SPEC = VideoSpec("libx264", PixelFormat("yuv", 8, (1, 1)), Colour(), 64, 48, BASE)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", pts=PTS, time_base=BASE, bframes=2)


def test_a_whole_file_passes(clip: Path) -> None:
    verify.quick(clip, Expected(SPEC, PTS, "mp4"))


@pytest.mark.parametrize(
    ("pts", "sentence"),
    [
        ([*PTS, 16], "8 frames were written, 7 are in"),
        (PTS[:-1], "6 frames were written, 7 are in"),
        ([0, 2, 4, 7, 8, 9, 15], "frame 2 stands at 0.100000 s instead of 0.133333 s"),
    ],
)
def test_a_missing_doubled_or_moved_frame_is_named(clip: Path, pts: list[int], sentence: str) -> None:
    with pytest.raises(VerifyError, match=sentence):
        verify.quick(clip, Expected(SPEC, pts, "mp4"))


def test_a_shift_counts(clip: Path) -> None:
    verify.quick(clip, Expected(SPEC, [p - 30 for p in PTS], "mp4", Fraction(1)))
    with pytest.raises(VerifyError):
        verify.quick(clip, Expected(SPEC, PTS, "mp4", Fraction(1)))


def test_matroska_may_round_to_its_millisecond_and_mp4_may_not(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", pts=PTS, time_base=BASE)
    verify.quick(clip, Expected(SPEC, PTS, "mkv"))
    with pytest.raises(VerifyError):
        verify.quick(clip, Expected(SPEC, PTS, "mp4"))


def test_another_size_is_not_the_output(clip: Path) -> None:
    spec = VideoSpec("libx264", SPEC.format, Colour(), 128, 96, BASE)
    with pytest.raises(VerifyError, match="128x96"):
        verify.quick(clip, Expected(spec, PTS, "mp4"))


def test_a_picture_that_does_not_decode(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 400] = bytes(400)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(data))
    with pytest.raises(VerifyError, match="decode"):
        verify.quick(broken, Expected(SPEC, PTS, "mp4"))


@pytest.mark.parametrize("number", [0, 24, 47], ids=["first", "middle", "last"])
def test_a_black_picture_is_found_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """At the three keyframes that are looked at: here every frame is one."""
    monkeypatch.setattr("vidsr.jobs.video.SAMPLE_SHARE", 100)
    source = make_clip(tmp_path / "a.mp4", frames=48, numbers=range(1000, 1048))

    def one_black(frames: list[Frame]) -> list[Frame]:
        return [black(frame) if k == number else frame for k, frame in enumerate(frames)]

    with pytest.raises(VerifyError, match=rf"picture at {number / 24:.3f} s of the source looks different"):
        erring(source, tmp_path / "out.mp4", one_black, monkeypatch, segment_seconds=Fraction(1, 24))
    assert not (tmp_path / "out.mp4").exists()


def noise(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    return [
        np.random.default_rng(number).integers(16, 236, shape, np.uint8) for shape in fmt.plane_shapes(width, height)
    ]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_what_a_network_and_an_encoder_do_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Nothing but noise, most of which is gone afterwards; in part and in whole."""
    monkeypatch.setattr("vidsr.jobs.video.SAMPLE_SHARE", 100)
    source = make_clip(tmp_path / f"a.{suffix}", frames=24, draw=noise, codec="libx264", options={"qp": "0"})
    upscaled(source, tmp_path / f"out.{suffix}", crf=40)
    upscaled(source, tmp_path / f"part.{suffix}", crf=40, start=Fraction(1, 3), end=Fraction(2, 3))


def test_a_stream_that_did_not_arrive_is_missed(clip: Path) -> None:
    with pytest.raises(VerifyError, match="1 of 2 streams"):
        verify.quick(clip, Expected(SPEC, PTS, "mp4", num_streams=2))


def test_a_place_that_no_seek_finds_is_read_from_the_start(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a transport stream of three frames."""

    class Lost:
        def __init__(self, path: Path) -> None:
            self._real = open_input(path)

        def __enter__(self) -> Lost:
            return self

        def __exit__(self, *_: object) -> None:
            self._real.close()

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

        def seek(self, *_: object, **__: object) -> None:
            raise av.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("vidsr.verify.finished.open_input", Lost)
    monkeypatch.setattr("vidsr.verify.finished.demux", lambda lost, *streams: demux(lost._real, *streams))
    verify.quick(clip, Expected(SPEC, PTS, "mp4"))
