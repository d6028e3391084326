"""`--crop`: what is cut off, of any kind of source, and that nothing else changes by it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests import warm
from tests.clips import make_clip
from tests.conftest import Result
from tests.numbered import Planes
from vidsr.errors import OutputError
from vidsr.frame import PixelFormat
from vidsr.media.read.probe import probe

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--preset", "ultrafast")
QUARTER = (0, 65536, 0, -65536, 0, 0, 72 << 16, 0, 1 << 30)  # shown a quarter to the right


def barred(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Bars of 12 lines above and below; inside a gradient, and a square that tells the corner."""
    shapes = fmt.plane_shapes(width, height)
    luma = np.full(shapes[0], 16, fmt.dtype)
    luma[12:-12] = (np.arange(width) * 2 + 40 + number) % 200 + 30
    luma[12:20, :8] = 235
    return [luma, *(np.full(shape, 128, fmt.dtype) for shape in shapes[1:])]


def first_luma(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray").astype(int)


@pytest.mark.parametrize("crop", ["auto", "96x48+0+12"])
def test_bars_go_and_the_picture_stays(vidsr: Cli, tmp_path: Path, crop: str) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=12, width=96, height=72, draw=barred, options={"crf": "4"})
    output = tmp_path / "out.mp4"
    planned = vidsr("upscale", clip, "-o", output, *QUICK, "--crop", crop, "--dry-run")
    assert planned.code == 0
    assert "cropped from 96x72 to 96x48" in planned.err
    assert "12 top, 12 bottom" in planned.err
    assert vidsr("upscale", clip, "-o", output, *QUICK, "--crop", crop).code == 0
    assert (probe(output).video.width, probe(output).video.height) == (192, 96)
    luma = first_luma(output)
    assert luma[2:12, 2:12].mean() > 220, "the corner is that of the picture"
    assert luma[-4:].mean() > 40, "no bar is left"
    assert vidsr("verify", clip, output, "--crop", crop).code == 0
    assert vidsr("verify", clip, output).code == 1
    assert vidsr("upscale", clip, "-o", output, *QUICK).code != 0, "another crop is another job"


def test_a_turned_film_is_cropped_as_it_is_shown(vidsr: Cli, tmp_path: Path) -> None:
    """Shown upright it is 72 wide and 96 high, its bars left and right; the marked corner is then at the top right."""
    clip = make_clip(
        tmp_path / "a.mp4", frames=4, width=96, height=72, draw=barred, display_matrix=QUARTER, options={"crf": "4"}
    )
    output = tmp_path / "out.mp4"
    assert vidsr("upscale", clip, "-o", output, *QUICK, "--crop", "40x20+20+0").code == 0
    video = probe(output).video
    assert (video.width, video.height) == (40, 80), "as stored"
    assert video.display_matrix is not None
    assert video.display_matrix[:6] == QUARTER[:6]
    assert video.display_matrix[6] == 80 << 16, "the shown picture begins where it did"
    assert first_luma(output)[2:12, 2:12].mean() > 220
    assert vidsr("verify", clip, output, "--crop", "40x20+20+0").code == 0


def test_other_sources_are_cropped_too(vidsr: Cli, tmp_path: Path) -> None:
    """Images, and numbered images."""
    grey = np.where((luma := barred(0, PixelFormat("grey"), 96, 72)[0]) == 16, 0, luma)  # full range
    for number in (1, 2):
        Image.fromarray(grey).convert("RGB").save(tmp_path / f"s_{number}.png")
    large, film = tmp_path / "large.png", tmp_path / "film.mkv"
    assert vidsr("upscale", tmp_path / "s_1.png", "-o", large, *QUICK, "--crop", "auto").code == 0
    assert Image.open(large).size == (192, 96)
    assert vidsr("upscale", tmp_path / "s_%d.png", "-o", film, *QUICK, "--crop", "auto").code == 0
    assert (probe(film).video.width, probe(film).video.height) == (192, 96)
    told = vidsr("upscale", tmp_path / "s_1.png", "-o", tmp_path / "x.png", *QUICK, "--crop", "90x70+8+0")
    assert (told.code, "does not lie within the picture" in told.err) == (2, True)


@pytest.mark.parametrize("crop", ["0x10+0+0", "10x10", "all", "10x10+-1+0"])
def test_what_is_no_crop_is_bad_usage(vidsr: Cli, tmp_path: Path, crop: str) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=2)
    told = vidsr("upscale", clip, *QUICK, "--crop", crop)
    assert (told.code, "crop must be auto" in told.err) == (2, True)
    assert len(told.err.strip().splitlines()) == 1


def test_odd_places_keep_the_size_and_go_where_chroma_is_whole(vidsr: Cli, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=2, width=96, height=72, draw=barred, sample_aspect=Fraction(4, 3))
    output = tmp_path / "out.mp4"
    assert vidsr("upscale", clip, "-o", output, *QUICK, "--crop", "50x40+9+13").code == 0
    video = probe(output).video
    assert (video.width, video.height, video.sample_aspect) == (100, 80, Fraction(4, 3))
    assert first_luma(output)[2:10, :].mean() > 40, "line 12, where the picture begins"


def test_parts_of_a_cropped_film_join_to_the_same_bytes(
    vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=30, width=96, height=72, draw=barred)
    whole, again = tmp_path / "whole.mp4", tmp_path / "again.mp4"
    parts = (*QUICK, "--crop", "auto", "--segment-seconds", "0.5")
    assert vidsr("upscale", clip, "-o", whole, *parts).code == 0

    def stop(*_: object) -> None:
        raise OutputError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("vidsr.jobs.segments.SegmentDone", stop)
        assert vidsr("upscale", clip, "-o", again, *parts).code == 1
    resumed = vidsr("upscale", clip, "-o", again, *parts)
    assert resumed.code == 0
    assert "goes on after 1 finished part" in resumed.err
    assert again.read_bytes() == whole.read_bytes()


def test_a_pipe_is_cropped_as_it_comes_but_cannot_be_looked_over(tmp_path: Path) -> None:
    luma = barred(0, PixelFormat("grey"), 96, 72)[0]
    y4m = b"YUV4MPEG2 W96 H72 F25:1 Cmono\nFRAME\n" + luma.tobytes()
    command = [sys.executable, "-m", "vidsr", "upscale", "-", "-o", "-", *QUICK, "--crop"]
    told = warm.run([*command, "auto"], input=y4m, capture_output=True)
    assert (told.returncode, b"a pipe comes once" in told.stderr) == (2, True)
    made = warm.run([*command, "96x48+0+12"], input=y4m, capture_output=True, check=True)
    assert made.stdout.startswith(b"YUV4MPEG2 W192 H96 ")
