"""Numbered images: read as a clip, written from one, and kept as images, numbers and 16 bits included."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.clips import draw_number, make_clip, read_number, shown
from tests.conftest import Result
from vidsr.errors import DamagedError, MediaError, OutputError
from vidsr.frame import SRGB, Frame, PixelFormat
from vidsr.media.sequence import SequenceReader, SequenceWriter, find, is_pattern, numbered, planes_of
from vidsr.media.stills import read_image, write_image

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2")


def shots(folder: Path, numbers: list[int], *, suffix: str = ".png", bits: int = 8) -> Path:
    """Images that show their number; returns the pattern."""
    folder.mkdir(exist_ok=True)
    pattern = folder / f"shot_%04d{suffix}"
    for number in numbers:
        green, blue, red = draw_number(number, PixelFormat("rgb", bits), 32, 16)
        write_image(numbered(pattern, number), np.stack((red, green, blue), axis=-1))
    return pattern


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a_%04d.png", True), ("%d.tif", True), ("a.png", False), ("a_%04d.mp4", False), ("%d_%d.png", False),
     ("%s.png", False), ("100%.jpg", False), ("%1000d.png", False)],
)  # fmt: skip
def test_what_counts_as_a_pattern(name: str, expected: bool) -> None:
    assert is_pattern(name) == expected


def test_only_the_placeholder_is_filled_in(tmp_path: Path) -> None:
    assert numbered(tmp_path / "{0}%%s_%03d.png", 7) == tmp_path / "{0}%%s_007.png"
    for name in ("shot_1.png", "shot_0002.png", "shot_0003.png.bak", "shot_00004.png", "other.png", "shot_10000.png"):
        (tmp_path / name).touch()
    assert list(find(tmp_path / "shot_%04d.png")) == [2, 10000]


def test_images_become_frames(tmp_path: Path) -> None:
    reader = SequenceReader(shots(tmp_path, [7, 8, 9]), Fraction(25))
    frames = list(reader)
    assert [read_number(f.planes[0]) for f in frames] == [7, 8, 9]
    assert [f.pts * f.time_base for f in frames] == [0, Fraction(1, 25), Fraction(2, 25)]


def test_gaps_and_odd_images_stop_or_are_listed(tmp_path: Path) -> None:
    pattern = shots(tmp_path, [1, 2, 5])
    write_image(numbered(pattern, 6), np.zeros((8, 8, 3), np.uint8))
    numbered(pattern, 7).write_bytes(b"no image")
    with pytest.raises(DamagedError, match="numbers 3 to 4 are missing"):
        list(SequenceReader(pattern))
    reader = SequenceReader(pattern, keep_going=True)
    assert [(read_number(f.planes[0]), f.pts) for f in reader] == [(1, 0), (2, 1), (5, 4)]
    assert [("after a gap" in e, "8x8" in e, "not an image" in e) for e in reader.report.errors] == [
        (True, False, False), (False, True, False), (False, False, True)
    ]  # fmt: skip
    with pytest.raises(MediaError, match="no file matches"):
        SequenceReader(tmp_path / "none_%d.png")


def test_a_sequence_stays_one_with_its_numbers_and_16_bits(vidsr: Cli, tmp_path: Path) -> None:
    pattern = shots(tmp_path / "in", [3, 4, 9], bits=16)
    result = vidsr("upscale", pattern, "-o", tmp_path / "out" / "big_%02d.tif", *QUICK)
    assert result.code == 0, result.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["big_03.tif", "big_04.tif", "big_09.tif"]
    pixels, _ = read_image(tmp_path / "out" / "big_09.tif")
    assert (pixels.dtype, pixels.shape) == (np.uint16, (32, 64, 3))
    assert read_number(pixels[..., 1], 16) == 9
    again = vidsr("upscale", pattern, "-o", tmp_path / "out" / "big_%02d.png", *QUICK)
    assert again.code == 0
    assert vidsr("upscale", pattern, *QUICK).code == 0
    assert (tmp_path / "in" / "shot_0003_x2.png").exists()


def test_a_sequence_becomes_a_video_and_goes_on_after_an_interruption(vidsr: Cli, tmp_path: Path) -> None:
    pattern = shots(tmp_path / "in", list(range(1, 31)))
    output = tmp_path / "out.mp4"
    numbered(pattern, 25).rename(tmp_path / "away.png")
    options = (*QUICK, "--fps", "29.97", "--segment-seconds", "0.5", "-o", output)
    broken = vidsr("upscale", pattern, *options)
    assert broken.code == 1
    assert "number 25 is missing" in broken.err
    result = vidsr("upscale", pattern, *options, "--keep-going", "--no-resume")
    assert result.code == 0, result.err
    assert shown(output) == [(k, Fraction(1001 * (k - 1), 30000)) for k in range(1, 31) if k != 25]


def test_a_video_becomes_images(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=5, pix_fmt="yuv420p10le")
    assert vidsr("upscale", source, "-o", tmp_path / "f" / "%03d.png", *QUICK).code == 0
    assert len(list((tmp_path / "f").iterdir())) == 5
    pixels, _ = read_image(tmp_path / "f" / "005.png")
    assert (pixels.dtype, pixels.shape) == (np.uint16, (96, 128, 3))
    assert read_number(pixels[..., 1], 16) == 4
    refused = vidsr("upscale", source, "-o", tmp_path / "f" / "%03d.png", *QUICK)
    assert refused.code == 1
    assert "--overwrite" in refused.err


def test_a_later_image_is_not_replaced_either(tmp_path: Path) -> None:
    """Numbered images of another clip need not begin at 1."""
    pattern = tmp_path / "shot_%04d.png"
    foreign = tmp_path / "shot_0002.png"
    foreign.write_bytes(b"precious")
    planes = planes_of(np.zeros((4, 6, 3), np.uint8))
    frame = Frame(planes, PixelFormat("rgb", 8), SRGB, 0, Fraction(1, 24), 1)
    writer = SequenceWriter(pattern)
    writer.write(frame)
    with pytest.raises(OutputError, match="shot_0002"):
        writer.write(frame)
    assert foreign.read_bytes() == b"precious"
    writer = SequenceWriter(pattern, overwrite=True)
    writer.write(frame)
    writer.write(frame)
    assert foreign.read_bytes() != b"precious"
