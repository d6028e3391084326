"""`vidsr compare`, as people and scripts run it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.conftest import Result

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("compare") / "clip.mp4", frames=12)


def test_a_preview_shows_each_model_beside_bicubic(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    result = vidsr("compare", clip, "--model", "fast", "--backend", "cpu", "--scale", "2", "--at", "0.25",
                   "--html", "--json", "-o", tmp_path)  # fmt: skip
    assert result.code == 0
    made = json.loads(result.out)
    (moment,) = made["moments"]
    figures = moment.pop("figures")
    assert moment == {"title": "0:00:00.2 (as asked)", "seconds": 0.25, "pictures": ["bicubic x2", "fast x2", "source"]}
    assert {label: values["unsteadiness"] for label, values in figures.items()} == made["unsteadiness"]
    assert abs(made["unsteadiness"]["bicubic x2"]) < 0.5
    sheet, page = map(Path, made["files"])
    assert Image.open(sheet).width > 440
    html = page.read_text()
    assert html.count("data:image/webp;base64,") == 6, "both, and the source, and of each the frame beside"
    assert "fast x2" in html


def test_moments_are_chosen_without_at(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    result = vidsr("compare", clip, "--model", "bicubic", "--scale", "2", "-o", tmp_path)
    assert result.code == 0
    figure, *names = (Path(line).name for line in result.out.splitlines())
    assert re.fullmatch(r"bicubic x2: unsteadiness -?\d\.\d\d of 255", figure)
    assert len(names) == 3
    assert [name.rsplit("-", 1)[1] for name in names] == ["sharpest.png", "busiest.png", "darkest.png"]


def test_an_image_is_previewed(vidsr: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(picture)
    result = vidsr("compare", picture, "--model", "bicubic", "--json")
    assert result.code == 0
    assert json.loads(result.out)["files"] == [str(tmp_path / "photo_compare" / "01-photo.png")]


def test_two_films_are_measured(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    worse = make_clip(tmp_path / "worse.mp4", frames=12, options={"crf": "51"})
    result = vidsr("compare", clip, worse, "--reference", clip, "--html", "--json", "-o", tmp_path / "out")
    assert result.code == 0
    made = json.loads(result.out)
    assert made["mean"]["worse.mp4"]["psnr"] < 60
    assert made["unsteadiness"].keys() == {str(clip), "worse.mp4"}
    assert made["unsteadiness"][str(clip)] == 0, "it is its own reference"
    assert len(made["frames"]) == 12
    assert made["reference"] == str(clip)
    assert {Path(name).suffix for name in made["files"]} == {".png", ".html"}
    assert (tmp_path / "out" / "plot.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a", "b", "c"), "compare takes one or two files, not 3"),
        (("{clip}", "--reference", "{clip}"), "--reference needs two films"),
        (("{clip}", "--every", "2"), "--every needs two films"),
        (("{clip}", "--perceptual", "squeezenet"), "--perceptual needs two films"),
        (("{clip}", "{clip}", "--at", "0"), "--at is of a preview"),
        (("{clip}", "{clip}", "--model", "fast"), "--model is of a preview"),
        (("{clip}", "{clip}", "--scale", "4"), "--scale is of a preview"),
        (("{clip}", "{clip}", "--steady", "1"), "--steady is of a preview"),
        (("{clip}", "--steady", "2"), "--steady must be from 0 to 1, not 2"),
        (("{clip}", "--model", ","), "--model must name one model or more"),
        (("{photo}", "--at", "1"), "is an image, which has no moments"),
        (("{photo}", "{clip}"), "Images compare with images"),
        ((".",), "is a folder"),
        (("/",), "is a folder"),
        (("{clip}", "--at", "99"), "has no picture at 99 s"),
        (("{clip}", "--model", "nonsense"), "nonsense"),
        (("missing.mp4",), "missing.mp4"),
        (("m" * 250 + ".mp4",), "does not exist"),
    ],
)
def test_what_cannot_be_is_one_sentence(vidsr: Cli, clip: Path, arguments: tuple[str, ...], sentence: str) -> None:
    photo = clip.with_name("photo.png")
    Image.new("RGB", (8, 8)).save(photo)
    result = vidsr("compare", *(argument.format(clip=clip, photo=photo) for argument in arguments))
    assert result.code in (1, 2)
    assert sentence in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_figures_are_said_with_their_units(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    worse = make_clip(tmp_path / "worse\x1b[31m.mp4", frames=12, options={"crf": "51"})
    result = vidsr("compare", clip, worse, "--reference", clip, "--every", "6", "-o", tmp_path / "out")
    same, other = result.out.splitlines()[:2]
    assert same.startswith(f"{clip}: PSNR equal, SSIM 1.0000, XPSNR equal")
    figures = r"PSNR \d\d\.\d\d dB, SSIM 0\.\d{4}, XPSNR \d\d\.\d\d dB, unsteadiness -?\d\.\d\d of 255"
    assert re.fullmatch(r"worse\?\[31m.mp4: " + figures, other)


def test_an_output_folder_that_cannot_be_is_one_sentence(vidsr: Cli, clip: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    result = vidsr("compare", clip, "--model", "nonsense", "-o", taken)  # said before anything is made
    assert result.code == 1
    assert "taken: cannot be written (taken is a file, not a folder)" in result.err
    result = vidsr("compare", clip, "--model", "nonsense", "-o", taken / "inside")
    assert "inside: cannot be written (taken is a file, not a folder)" in result.err
