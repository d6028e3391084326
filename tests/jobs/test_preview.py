"""`--preview` shows pictures of the job that runs, whole at any moment, and never stands in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.conftest import Result
from vidsr import files
from vidsr.errors import OutputError, UsageError
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.jobs.preview import GAP, Preview

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--preset", "ultrafast")


def _grey(value: int, pts: int, side: int = 16) -> Frame:
    return Frame((np.full((side, side), value, np.uint8),), PixelFormat("grey"), Colour(), pts, Fraction(1, 25))


def _sides(path: Path) -> tuple[float, float]:
    pixels = np.asarray(Image.open(path).convert("L")).astype(float)
    half = (pixels.shape[1] - GAP) // 2
    return float(pixels[:, :half].mean()), float(pixels[:, half + GAP :].mean())


def test_both_sides_are_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network here gives each picture 60 codes more, two pictures late."""
    monkeypatch.setattr("vidsr.jobs.preview.EVERY", 0.0)
    monkeypatch.setattr("vidsr.jobs.preview.SHARE", 1e9)
    path = tmp_path / "p.png"
    preview = Preview(path)
    frames = [_grey(40 + 10 * k, k) for k in range(8)]
    shown: list[tuple[float, float]] = []
    for frame in preview.made(_late(preview.sources(frames))):
        preview.close()
        if path.exists():
            shown.append(_sides(path))
        assert frame.pts < 8
    preview.close()
    assert len(set(shown)) > 1, "it is replaced"
    for source, made in shown:
        # 60 of 219 limited codes are 70 of 255
        assert made - source == pytest.approx(60 * 255 / 219, abs=2)


def _late(frames: Iterable[Frame]) -> Iterator[Frame]:
    held: list[Frame] = []
    for frame in chain(frames, (None, None)):
        held += [] if frame is None else [frame]
        if len(held) > 2 or (frame is None and held):
            made = held.pop(0)
            large = np.repeat(np.repeat(made.planes[0] + 60, 2, 0), 2, 1)
            yield Frame((large,), made.format, made.colour, made.pts, made.time_base)


def test_a_job_shows_itself_and_its_bytes_are_the_same(vidsr: Cli, tmp_path: Path) -> None:
    clip, shown = make_clip(tmp_path / "a.mp4", frames=12), tmp_path / "now.png"
    assert vidsr("upscale", clip, "-o", tmp_path / "plain.mp4", *QUICK).code == 0
    assert vidsr("upscale", clip, "-o", tmp_path / "b.mp4", *QUICK, "--preview", shown).code == 0
    assert (tmp_path / "plain.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with Image.open(shown) as image:
        assert image.size == (2 * 128 + GAP, 96)
        left, right = (image.convert("L").crop((x, 0, x + 128, 96)) for x in (0, 128 + GAP))
    assert np.abs(np.asarray(left).astype(int) - np.asarray(right)).mean() < 12, "the same picture"
    assert vidsr("upscale", clip, "-o", tmp_path / "b.mp4", *QUICK, "-y", "--preview", shown).code == 0, "ours"


def test_what_fails_there_stops_nothing(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, shown, write = make_clip(tmp_path / "a.mp4", frames=6), tmp_path / "now.png", files.write

    def full(path: Path, *rest: object, **named: object) -> None:
        if path == shown:
            raise OSError(28, "no space left on device")
        write(path, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "write", full)
    told = vidsr("upscale", clip, "-o", tmp_path / "b.mp4", *QUICK, "--preview", shown)
    assert told.code == 0
    assert "cannot be written (no space left on device)" in told.err
    assert not shown.exists()


def test_nothing_else_is_overwritten(vidsr: Cli, tmp_path: Path) -> None:
    clip, photo = make_clip(tmp_path / "a.mp4", frames=2), tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(photo)
    before = photo.read_bytes()
    with pytest.raises(OutputError, match="is no preview"):
        Preview(photo)
    with pytest.raises(UsageError, match=r"name of a \.png"):
        Preview(tmp_path / "p.gif")
    told = vidsr("upscale", clip, *QUICK, "--preview", photo)
    assert (told.code != 0, len(told.err.strip().splitlines())) == (True, 1)
    assert photo.read_bytes() == before
    assert not (tmp_path / "a_x2.mp4").exists()


def test_large_pictures_become_small_ones(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    preview = Preview(path)
    for _ in preview.made(preview.sources([_grey(90, 0, 4000)])):
        pass
    preview.close()
    assert Image.open(path).size == (2 * 800 + GAP, 800)


def test_it_is_no_source(vidsr: Cli, tmp_path: Path) -> None:
    """Not even where whatever exists may be replaced."""
    photo = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(photo)
    before = photo.read_bytes()
    told = vidsr("upscale", photo, make_clip(tmp_path / "b.mp4", frames=2), *QUICK, "--preview", photo, "-y")
    assert (told.code, "is itself a source" in told.err) == (1, True)
    assert photo.read_bytes() == before
