"""The doctor's arithmetic, and that it runs."""

import json
from pathlib import Path

import pytest
import torch

from train import doctor
from train.__main__ import main
from train.data import Bank
from train.doctor import Diagnosis, step_macs
from train.gan import Adversarial
from train.recipe import Recipe
from train.run import Run
from train.sample import samples
from train.stage import Stage
from vidsr.models.srgan import GeneratorConfig, build, macs_per_pixel
from vidsr.models.work import multiply_adds

CPU = torch.device("cpu")


@pytest.mark.parametrize("graph", ["fast", "srgan"])
def test_counted_work_is_the_formula(graph: str) -> None:
    config = GeneratorConfig(graph, 4, channels=8, blocks=2)
    assert multiply_adds(build(config), torch.rand(5, 3, 7, 6)).total() == 5 * 7 * 6 * macs_per_pixel(config)


def test_a_step_is_forward_and_twice_back(recipe: Recipe, bank: Bank) -> None:
    run = Run(recipe, CPU)
    sample = next(samples(bank, recipe, run.random, CPU))
    generator = 2 * 8 * 8 * macs_per_pixel(recipe.generator)
    assert step_macs(Stage(run), sample) == 3 * generator
    table = {"losses": {"adversarial": 0.1, "artefact": 1.0}, "discriminator": {"channels": 4}}
    judged = Adversarial(Run(Recipe.from_dict(recipe.to_dict() | table), CPU))
    assert step_macs(judged, sample) == 4 * generator + 8 * multiply_adds(judged.discriminator, sample.hr).total()


def test_floor_and_time_left() -> None:
    report = Diagnosis("a machine", False, 100.0, 4.0, 2_000_000_000, 20e9, 1 << 30, 7200)
    assert report.floor == pytest.approx(0.1)
    assert report.left == 1800
    text = "\n".join(report.lines())
    assert "0.25 s a step" in text
    assert "40%" in text
    assert "0.5 hours for 7,200 steps" in text


def test_the_command(photos: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text('name = "tiny"\nsteps = 50\nbatch = 2\npatch = 8\n[generator]\ngraph = "fast"\nscale = 2\n')
    command = ["doctor", str(path), "--data", str(photos), "--cache", str(tmp_path / "cache"), "--measure", "2"]
    assert main([*command, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["steps"] == 50
    assert values["left"] == pytest.approx(50 / values["steps_per_second"])
    assert values["floor"] > 0
    assert values["memory"] > 1 << 20
    assert main([*command[:-1], "0"]) == 2
    assert doctor.matmul_rate(CPU, torch.float32) > 1e6
    assert not list(tmp_path.glob("runs"))
