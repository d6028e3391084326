"""Benchmarks as they are read, and bicubic's figures on them against published ones."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import Result
from tests.train.conftest import photo, save
from tests.train.test_evaluate import Nearest, benchmark
from train import evaluate as module_under_test
from train import metrics
from train.__main__ import main
from train.evaluate import (
    PAN_DOWN,
    PAN_RIGHT,
    Figures,
    evaluate,
    mean,
    open_perceptual,
    pan,
    psnr_y,
    read_benchmark,
    score,
)
from train.inference import upscale
from train.metrics import crop_border, shift_flicker
from train.resample import downscale
from vidsr.errors import MediaError
from vidsr.media.stills import read_image, write_image
from vidsr.models import registry
from vidsr.models.srgan import GeneratorConfig, build
from vidsr.perceptual import Perceptual

BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"


def test_a_benchmark_is_read_with_its_grey_pictures_grey(tmp_path: Path) -> None:
    benchmark(tmp_path / "x4", 4)
    pairs = read_benchmark(tmp_path, 4)
    assert [(one.name, tuple(one.lr.shape), tuple(one.hr.shape)) for one in pairs] == [
        ("000", (3, 12, 12), (3, 48, 48)),
        ("001", (1, 12, 12), (1, 48, 48)),
    ]
    assert read_benchmark(tmp_path / "x4", 4)[0].name == "000"
    better = mean([one for _, one in evaluate(build(GeneratorConfig("bicubic", 4)), pairs, 4)])
    assert better["psnr_y"] > mean([one for _, one in evaluate(Nearest(4), pairs, 4)])["psnr_y"]


def test_broken_benchmarks_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no benchmark for x4"):
        read_benchmark(tmp_path, 4)
    benchmark(tmp_path, 2)
    with pytest.raises(MediaError, match="is not x4 the size"):
        read_benchmark(tmp_path, 4)
    save(tmp_path / "small" / "1_HR.png", photo(1, 38, 48))
    save(tmp_path / "small" / "1_LR.png", photo(1, 19, 24))
    with pytest.raises(MediaError, match="smaller than 40 pixels"):
        read_benchmark(tmp_path / "small", 2)
    (tmp_path / "001_LR.png").unlink()
    with pytest.raises(MediaError, match=r"001_LR\.png cannot be read"):
        read_benchmark(tmp_path, 2)


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not part of the project")
@pytest.mark.parametrize(("name", "published"), [("Set5", 28.43), ("Set14", 25.99)])
def test_bicubic_has_its_published_figure(name: str, published: float) -> None:
    module = build(GeneratorConfig("bicubic", 4))
    assert psnr_y(module, read_benchmark(BENCHMARKS / name, 4), 4) == pytest.approx(published, abs=0.05)


def to_pixels(planes: torch.Tensor) -> np.ndarray:
    """(C, H, W) code values -> what Pillow saves."""
    return planes.round().byte().permute(1, 2, 0).numpy().squeeze()


def write_deep(path: Path, side: int, grey: int) -> None:
    """A grey square as an RGB PNG of 16 bits."""
    write_image(path, np.full((side, side, 3), grey * 257, np.uint16))


def read_deep(path: Path) -> torch.Tensor:
    """An RGB PNG of 16 bits -> (3, H, W) code values, 0 to 255."""
    values, _ = read_image(path)
    assert values.dtype == np.uint16
    return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1) / 257


def read_png(path: Path) -> torch.Tensor:
    values = np.asarray(Image.open(path)).astype(np.float32)
    return torch.from_numpy(values)[None] if values.ndim == 2 else torch.from_numpy(values).permute(2, 0, 1)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_figures_are_those_of_the_pngs_that_vidsr_writes(
    vidsr: Callable[..., Result],
    untrained: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    scale: int,
) -> None:
    """Pictures, the frames of a pan and flat greys go through the command line, and are measured as it wrote them."""
    monkeypatch.setattr(module_under_test, "GREYS", (80, 170))
    sources, outputs = tmp_path / "in", tmp_path / "out"
    benchmark(tmp_path / "bench", scale)
    pairs = read_benchmark(tmp_path / "bench", scale)
    for one in pairs:
        save(sources / f"{one.name}.png", to_pixels(one.lr))
        for number, frame in enumerate(pan(one.hr, scale)):
            save(sources / f"{one.name}-{number}.png", to_pixels(downscale(frame / 255, scale) * 255))
    model = registry.load("fast", scale)
    side = 8 + 2 * model.halo
    for grey in module_under_test.GREYS:  # 16 bits, so that what they hide of a pattern is 1/257 of a code value
        write_deep(sources / f"grey{grey}.png", side, grey)
    arguments = ("--model", "fast", "--backend", "cpu", "--precision", "fp32", "--scale", str(scale), "-o", outputs)
    result = vidsr("upscale", sources, *arguments)
    assert result.code == 0, result.err
    written = {path.name.split("_x")[0].removesuffix(".png"): path for path in outputs.rglob("*.png")}

    expected: dict[str, Figures] = {}
    distance = Perceptual("squeezenet")
    for one in pairs:
        sr = read_png(written[one.name])
        frames = [read_png(written[f"{one.name}-{number}"]) for number in range(4)]
        border = 3 * scale
        moves = [shift_flicker(a, b, -PAN_DOWN, -PAN_RIGHT, border) for a, b in pairwise(frames)]
        expected[one.name] = score(sr, one.hr, scale, [distance]) | {"shift_flicker": sum(moves) / 3}
    boards = [
        metrics.checkerboard(crop_border(read_deep(written[f"grey{grey}"]), model.halo * scale), scale)
        for grey in module_under_test.GREYS
    ]

    command = ["evaluate", "--benchmark", str(tmp_path / "bench"), "--model", "fast", "--scale", str(scale), "--json"]
    assert main([*command, "--perceptual", "squeezenet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["border"] == scale
    assert report["pictures"].keys() == expected.keys()
    for name, figures in expected.items():
        assert report["pictures"][name] == pytest.approx(figures, abs=2e-3), name
    total = mean(list(expected.values())) | {"checkerboard": sum(boards) / 2}
    flat = {"hatch_slopes", "hatch_dark", "drift_mean", "drift_worst"}
    assert report["mean"].keys() == total.keys() | flat
    assert {name: report["mean"][name] for name in total} == pytest.approx(total, abs=2e-3)
    assert all(report["mean"][name] > 0 for name in flat)
    assert total["checkerboard"] > 0


@pytest.mark.soak
@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not part of the project")
@pytest.mark.parametrize(("name", "published"), [("stlpips-alex", 0.403), ("stlpips-vgg", 0.494)])
def test_bicubic_has_its_known_perceptual_distance(name: str, published: float) -> None:
    (distance,) = open_perceptual([name])
    module = build(GeneratorConfig("bicubic", 4))
    values = [distance(upscale(module, one.lr), one.hr) for one in read_benchmark(BENCHMARKS / "Set14", 4)]
    assert sum(values) / len(values) == pytest.approx(published, abs=1e-3)
