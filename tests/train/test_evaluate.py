"""Evaluation: conventions, and the published figures of bicubic."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.train.conftest import photo, save
from train.evaluate import Pair, Score, evaluate, mean, psnr_y, read_benchmark, score, upscale
from train.resample import downscale
from vidsr.errors import MediaError
from vidsr.models.srgan import GeneratorConfig, build

BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"


class Nearest(nn.Module):
    """Repeats every pixel, with `offset` code values added."""

    def __init__(self, scale: int, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=self.scale) + self.offset / 255


def pair(channels: int = 3) -> Pair:
    lr = torch.randint(20, 200, (channels, 12, 13), generator=torch.Generator().manual_seed(0)).float()
    return Pair("one", lr, Nearest(2)(lr[None])[0])


def test_an_offset_of_two_is_known_in_rgb_and_y() -> None:
    ((name, one),) = evaluate(Nearest(2, 2.0), [pair()], 2)
    assert name == "one"
    assert one.psnr_rgb == pytest.approx(20 * math.log10(255 / 2))
    assert one.psnr_y == pytest.approx(20 * math.log10(255 / (2 * 219 / 255)), abs=1e-4)
    assert psnr_y(Nearest(2, 2.0), [pair()], 2) == pytest.approx(one.psnr_y)


def test_outputs_are_rounded_to_8_bit_and_clamped() -> None:
    assert next(evaluate(Nearest(2, 0.4), [pair()], 2))[1].psnr_rgb == math.inf
    assert upscale(Nearest(2, 300), pair().lr).max() == 255
    assert upscale(Nearest(2, -300), pair().lr).min() == 0


def test_grey_values_are_compared_as_they_are() -> None:
    one = next(evaluate(Nearest(2, 2.0), [pair(1)], 2))[1]
    assert one.psnr_y == one.psnr_rgb == pytest.approx(20 * math.log10(255 / 2))


def test_border_is_left_out() -> None:
    one = pair()
    spoilt = one.hr.clone()
    spoilt[:, :2] = 0
    spoilt[:, :, -2:] = 0
    assert score(one.hr, spoilt, 2).psnr_rgb == math.inf
    assert score(one.hr, spoilt, 1).psnr_rgb < 40


def test_mean_is_taken_value_by_value() -> None:
    assert mean([Score(30, 0.5, 28, 0.75), Score(32, 1, 29, 0.25)]) == Score(31, 0.75, 28.5, 0.5)


def benchmark(folder: Path, scale: int) -> None:
    for number in range(2):
        pixels = photo(number, 48, 48)
        if number:
            pixels = pixels[..., 0]
        planes = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1).float() / 255
        small = (downscale(planes, scale) * 255).round().byte().permute(1, 2, 0).numpy().squeeze()
        save(folder / f"00{number}_HR.png", pixels)
        save(folder / f"00{number}_LR.png", small)


def test_a_benchmark_is_read_with_its_grey_pictures_grey(tmp_path: Path) -> None:
    benchmark(tmp_path / "x4", 4)
    pairs = read_benchmark(tmp_path, 4)
    assert [(one.name, tuple(one.lr.shape), tuple(one.hr.shape)) for one in pairs] == [
        ("000", (3, 12, 12), (3, 48, 48)),
        ("001", (1, 12, 12), (1, 48, 48)),
    ]
    assert read_benchmark(tmp_path / "x4", 4)[0].name == "000"
    better = mean([one for _, one in evaluate(build(GeneratorConfig("bicubic", 4)), pairs, 4)])
    assert better.psnr_y > mean([one for _, one in evaluate(Nearest(4), pairs, 4)]).psnr_y


def test_broken_benchmarks_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no benchmark for x4"):
        read_benchmark(tmp_path, 4)
    benchmark(tmp_path, 2)
    with pytest.raises(MediaError, match="is not x4 the size"):
        read_benchmark(tmp_path, 4)
    (tmp_path / "001_LR.png").unlink()
    with pytest.raises(MediaError, match=r"001_LR\.png cannot be read"):
        read_benchmark(tmp_path, 2)


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not part of the project")
@pytest.mark.parametrize(("name", "published"), [("Set5", 28.43), ("Set14", 25.99)])
def test_bicubic_has_its_published_figure(name: str, published: float) -> None:
    module = build(GeneratorConfig("bicubic", 4))
    assert psnr_y(module, read_benchmark(BENCHMARKS / name, 4), 4) == pytest.approx(published, abs=0.05)
