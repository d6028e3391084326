"""Evaluation: conventions, and the published figures of bicubic."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.train.conftest import photo, save
from train import videobench, videoscore
from train.__main__ import main
from train.evaluate import (
    PAN_DOWN,
    PAN_RIGHT,
    Figures,
    Pair,
    checkerboard,
    evaluate,
    flicker,
    mean,
    open_perceptual,
    pan,
    psnr_y,
    score,
)
from train.inference import film, upscale
from train.resample import downscale
from vidsr import perceptual
from vidsr.errors import BackendError, UsageError
from vidsr.models.srgan import GeneratorConfig, build
from vidsr.perceptual import Distance, Perceptual


class Nearest(nn.Module):
    """Repeats every pixel, with `offset` code values added."""

    def __init__(self, scale: int, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=self.scale) + self.offset / 255


def pair(channels: int = 3) -> Pair:
    lr = torch.randint(20, 200, (channels, 22, 23), generator=torch.Generator().manual_seed(0)).float()
    return Pair("one", lr, Nearest(2)(lr[None])[0])


def figures_of(module: nn.Module, one: Pair) -> Figures:
    ((name, figures),) = evaluate(module, [one], 2)
    assert name == "one"
    return figures


def test_an_offset_of_two_is_known_in_rgb_and_y() -> None:
    figures = figures_of(Nearest(2, 2.0), pair())
    assert figures["psnr_rgb"] == pytest.approx(20 * math.log10(255 / 2))
    assert figures["psnr_y"] == pytest.approx(20 * math.log10(255 / (2 * 219 / 255)), abs=1e-4)
    assert psnr_y(Nearest(2, 2.0), [pair()], 2) == pytest.approx(figures["psnr_y"])
    assert figures["colour_drift"] == pytest.approx(2)


def test_outputs_are_rounded_to_8_bit_and_clamped() -> None:
    assert figures_of(Nearest(2, 0.4), pair())["psnr_rgb"] == math.inf
    assert upscale(Nearest(2, 300), pair().lr).max() == 255
    assert upscale(Nearest(2, -300), pair().lr).min() == 0


def test_grey_values_are_compared_as_they_are() -> None:
    figures = figures_of(Nearest(2, 2.0), pair(1))
    assert figures["psnr_y"] == figures["psnr_rgb"] == pytest.approx(20 * math.log10(255 / 2))


def test_border_is_left_out() -> None:
    one = pair()
    spoilt = one.hr.clone()
    spoilt[:, :2] = 0
    spoilt[:, :, -2:] = 0
    assert score(one.hr, spoilt, 2)["psnr_rgb"] == math.inf
    assert score(one.hr, spoilt, 2)["colour_drift"] == 0
    assert score(one.hr, spoilt, 1)["psnr_rgb"] < 40


def test_mean_is_taken_figure_by_figure() -> None:
    assert mean([{"a": 30, "b": 0.5}, {"a": 32, "b": 1}]) == {"a": 31, "b": 0.75}


@pytest.mark.parametrize("scale", [2, 4])
def test_a_pan_moves_by_whole_pixels_and_never_by_whole_lr_pixels(scale: int) -> None:
    hr = torch.rand(3, 61, 70)
    frames = pan(hr, scale)
    assert all(side % scale == 0 for frame in frames for side in frame.shape[1:])
    assert PAN_DOWN % scale
    assert PAN_RIGHT % scale
    for first, second in pairwise(frames):
        assert torch.equal(first[:, PAN_DOWN:, PAN_RIGHT:], second[:, :-PAN_DOWN, :-PAN_RIGHT])


def test_flicker_is_zero_only_where_outputs_move_with_the_scene() -> None:
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 3, x.shape[2] * 4, x.shape[3] * 4), 0.5)

    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(100.0), indexing="ij")
    soft = (128 + 40 * torch.sin(x / 9) * torch.cos(y / 7)).round().expand(3, -1, -1)
    bicubic = build(GeneratorConfig("bicubic", 4))
    assert flicker(Flat(), soft, 4) == 0
    assert flicker(bicubic, soft, 4) < 1
    assert flicker(Nearest(4), soft, 4) > 3 * flicker(bicubic, soft, 4)


class Stairs(Nearest):
    """Repeats every pixel, the first of each cell being `extra` code values brighter."""

    def __init__(self, scale: int, extra: float) -> None:
        super().__init__(scale)
        self.extra = extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sr = super().forward(x)
        sr[..., :: self.scale, :: self.scale] += self.extra / 255
        return sr


def test_a_checkerboard_shows_before_it_is_rounded_away() -> None:
    assert checkerboard(Nearest(4), 4) == pytest.approx(0, abs=1e-4)
    expected = 0.4 * math.sqrt(1 / 16 - 1 / 256)  # one pixel in 16 is 0.4 brighter
    assert checkerboard(Stairs(4, 0.4), 4) == pytest.approx(expected, rel=1e-3)
    assert checkerboard(Stairs(2, 0.4), 2) == pytest.approx(0.4 * math.sqrt(1 / 4 - 1 / 16), rel=1e-3)


def benchmark(folder: Path, scale: int) -> None:
    for number in range(2):
        pixels = photo(number, 48, 48)
        if number:
            pixels = pixels[..., 0]
        planes = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1).float() / 255
        small = (downscale(planes, scale) * 255).round().byte().permute(1, 2, 0).numpy().squeeze()
        save(folder / f"00{number}_HR.png", pixels)
        save(folder / f"00{number}_LR.png", small)


def test_perceptual_distances_are_chosen_and_never_only_the_one_trained_on(
    untrained: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def names(chosen: list[str] | None, trained_on: str = "") -> list[str]:
        return [distance.name for distance in open_perceptual(chosen, trained_on)]

    assert names(None) == names(None, "stlpips-vgg16:relu3_3") == ["stlpips-alex", "squeezenet"]
    assert names([]) == []
    assert names(["squeezenet", "squeezenet"]) == ["squeezenet"]
    assert names(["stlpips-vgg", "squeezenet"], "stlpips-vgg16:relu3_3") == ["stlpips-vgg", "squeezenet"]
    with pytest.raises(UsageError, match="was trained on stlpips-vgg16:relu3_3; name another"):
        names(["stlpips-vgg"], "stlpips-vgg16:relu3_3")

    def missing(name: str) -> Distance:
        raise BackendError("Not there; pip install it.")

    monkeypatch.setattr(perceptual, "load", missing)
    assert names(None) == []
    assert "squeezenet is not measured. Not there; pip install it." in caplog.text
    with pytest.raises(BackendError, match="pip install"):
        names(["squeezenet"])


def test_the_table_names_what_it_shows(untrained: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark(tmp_path / "x4", 4)
    assert main(["evaluate", "--benchmark", str(tmp_path), "--perceptual", "stlpips-alex"]) == 0
    out = capsys.readouterr().out
    title, heading, first, *_, last, legend = out.splitlines()
    assert title.startswith("bicubic x4 on")
    assert "4 pixels cropped" in title
    for word in ("PSNR Y (dB)", "SSIM RGB", "ST-LPIPS AlexNet", "shift-flicker", "colour drift", "checkerboard"):
        assert word in heading
    assert "SqueezeNet" not in heading
    assert first.startswith("000 ")
    assert last.startswith("mean ")
    assert last.endswith(" 0.00")
    assert "code values" in legend
    assert main(["evaluate", "--benchmark", str(tmp_path), "--perceptual", "none"]) == 0
    assert "ST-LPIPS AlexNet" not in capsys.readouterr().out.splitlines()[1]


def test_evaluate_without_a_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--model", "fast"]) == 2
    assert "Say what to measure on" in capsys.readouterr().err


def test_the_video_benchmark_is_measured_beside(
    untrained: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "photos" / "1.png", photo(1, 320, 320))
    videos = tmp_path / "videos"
    videobench.make(videobench.BenchPlan(4, 256, 1, 3, (28,)), tmp_path / "photos", videos)
    command = ["evaluate", "--videobench", str(videos), "--perceptual", "squeezenet", "--model", "bicubic"]
    assert main([*command, "--frames", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    expected = videoscore.measure(
        film(build(GeneratorConfig("bicubic", 4))),
        videos,
        videoscore.Part(frames=2),
        distances={"squeezenet": Perceptual("squeezenet")},
    )
    assert report["video"]["rows"] == expected.to_dict()["rows"]
    assert report["video"]["frames"] == 2
    assert "psnr_y" in report["video"]["rows"]["crf28"]
    assert "benchmark" not in report
    benchmark(tmp_path / "x4", 4)
    assert main([*command, "--benchmark", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "4 pixels cropped" in out
    assert "crf28" in out
    assert main(["evaluate", "--videobench", str(videos), "--scale", "2"]) == 2
    assert "is for x4, not for x2" in capsys.readouterr().err
