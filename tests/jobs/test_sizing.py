"""`--target-size` is met within 3 %, sound and container counted, whatever interrupts the job."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.clips import Audio, Picture, make_clip
from tests.conftest import Result
from tests.numbered import Planes
from vidsr.errors import UsageError
from vidsr.frame import PixelFormat
from vidsr.jobs.options import Options, parse_bytes
from vidsr.media.write.writer import Writer

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--preset", "ultrafast", "--segment-seconds", "0.5")


def busy(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Grain over moving stripes, more of it in the middle of the film: what takes bytes, unevenly."""
    noise = np.random.default_rng(number)
    shapes = fmt.plane_shapes(width, height)
    stripes = 120 + 60 * np.sin((np.arange(width) + 3 * number) / 7.0)
    grain = noise.normal(0, 18 if 16 <= number < 32 else 6, shapes[0])
    luma = np.clip(stripes + grain, 16, 235).astype(fmt.dtype)
    return [luma, *(np.full(shape, 128, fmt.dtype) for shape in shapes[1:])]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    picture = Picture(frames=48, width=160, height=96, draw=busy, options={"crf": "10"})
    return make_clip(path, picture, audio=[Audio(seconds=2)])


@pytest.mark.parametrize(
    ("name", "size", "more"),
    [
        ("a.mp4", 400_000, ()),
        ("b.mkv", 120_000, ()),
        ("c.mp4", 150_000, ("--segment-seconds", "10")),  # one part
        ("d.mp4", 90_000, ("--codec", "hevc")),
        ("e.webm", 150_000, ("--codec", "vp9", "--preset", "8")),  # whole steps of quality
        ("f.mov", 200_000, ("--start", "0.3", "--end", "1.4")),
    ],
)
def test_the_size_is_met(vidsr: Cli, clip: Path, tmp_path: Path, name: str, size: int, more: tuple[str, ...]) -> None:
    output = tmp_path / name
    told = vidsr("upscale", clip, "-o", output, *QUICK, *more, "--target-size", f"{size / 1000:g}kB")
    assert told.code == 0, told.err
    assert 0.97 * size <= output.stat().st_size <= 1.03 * size, told.err
    assert "at crf" in told.err
    assert not output.with_name(output.name + ".vidsr").exists()
    if "--start" not in more:
        assert vidsr("verify", clip, output).code == 0


def test_an_interrupted_job_goes_on_and_ends_with_the_same_bytes(
    vidsr: Cli, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, again = tmp_path / "whole.mp4", tmp_path / "again.mp4"
    options = (*QUICK, "--target-size", "150kB")
    assert vidsr("upscale", clip, "-o", whole, *options).code == 0
    opened: list[Path] = []
    init = Writer.__init__

    def counted(self: Writer, path: Path, *rest: object, **named: object) -> None:
        opened.append(path)
        if len(opened) == 8:
            raise OSError(28, "no space left", str(path))
        init(self, path, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "__init__", counted)
    assert vidsr("upscale", clip, "-o", again, *options).code == 1
    kept = {path.name for path in (tmp_path / "again.mp4.vidsr").iterdir()}
    assert sum(".q" in name for name in kept) == 3, "four parts, and three of them encoded again"
    first, opened[:] = list(opened[4:7]), [Path("-")] * 9
    assert vidsr("upscale", clip, "-o", again, *options).code == 0
    assert not {path.name for path in first} & {Path(path).name for path in opened}, "none of them once more"
    assert again.read_bytes() == whole.read_bytes()


def test_what_cannot_be_is_said(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    told = vidsr("upscale", clip, "-o", output, *QUICK, "--target-size", "5kB")
    assert (told.code, "target size: 5 kB leave nothing for pictures" in told.err) == (2, True)
    told = vidsr("upscale", clip, "-o", output, *QUICK, "--target-size", "36kB")
    assert (told.code, "36 kB are too little" in told.err) == (1, True), told.err
    assert "another --target-size (target_size) goes on from there" in told.err
    told = vidsr("upscale", clip, "-o", tmp_path / "o.mkv", *QUICK[:6], "--codec", "ffv1", "--target-size", "1MB")
    assert (told.code, "scale of quality" in told.err) == (2, True)
    told = vidsr("upscale", clip, "-o", output, *QUICK, "--target-size", "1GB")
    assert (told.code, "goes on after" in told.err, "finer is of no use" in told.err) == (0, True, True), told.err
    assert not output.with_name("out.mp4.vidsr").exists()


@pytest.mark.parametrize("size", [1000, 1500])
def test_what_a_short_film_takes_at_least_was_tried(vidsr: Cli, tmp_path: Path, size: int) -> None:
    """The size that the sentence names is met, and a tenth less is not."""
    source, output = make_clip(tmp_path / "a.mp4", frames=5), tmp_path / "o.mp4"
    told = vidsr("upscale", source, "-o", output, *QUICK, "--target-size", f"{size}")
    assert told.code == 1
    least = round(float(re.findall(r"it takes ([\d.]+) kB", told.err)[0]) * 1000)
    told = vidsr("upscale", source, "-o", output, *QUICK, "--target-size", f"{round(least * 0.9)}")
    assert (told.code, f"it takes {least / 1000:g} kB" in told.err) == (1, True), told.err
    assert vidsr("upscale", source, "-o", output, *QUICK, "--target-size", f"{least + 5}").code == 0
    assert 0.97 * least <= output.stat().st_size <= 1.03 * least


def test_a_dry_run_says_it(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    told = vidsr("upscale", clip, "-o", tmp_path / "o.mp4", *QUICK, "--target-size", "150kB", "--dry-run")
    assert (told.code, "encoded again at the quality that gives this size" in told.err) == (0, True)
    assert "150.0 kB" in told.err


def test_sizes_as_people_write_them() -> None:
    assert [parse_bytes(text) for text in ("4GB", "1.5 k", "2MiB", "700")] == [4 * 10**9, 1500, 2 * 2**20, 700]
    for wrong in ("", "much", "4 XB", "-1MB"):
        with pytest.raises(UsageError, match="target size must look like"):
            parse_bytes(wrong)
    with pytest.raises(UsageError, match="leave one"):
        Options(target_size=10**6, crf=20)
