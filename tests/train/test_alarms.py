"""What a run shows: curves, pictures, alarms."""

import csv
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train.alarms import FALLING, SETTLED, Alarms, Watch, picture_grid
from train.data import Bank
from train.fit import Trainer
from train.recipe import Recipe
from train.run import start
from vidsr.models.srgan import GeneratorConfig, build

CPU = torch.device("cpu")


def test_a_grid_shows_lr_bicubic_sr_hr() -> None:
    lr = torch.rand(3, 3, 6, 5)
    hr = torch.full((3, 3, 12, 10), 0.5)
    bicubic = build(GeneratorConfig("bicubic", 2))
    grid = picture_grid(lambda x: bicubic(x) * 0 + 2.0, lr, hr, 2)  # type: ignore[arg-type]
    assert grid.shape == (3, 3 * 12, 4 * 10)
    second = grid[:, 12:24].float() / 255
    assert (second[:, ::2, :10:2] - lr[1]).abs().max() < 1 / 255
    assert (second[:, :, 10:20] - bicubic(lr[1:2])[0].clamp(0, 1)).abs().max() < 1 / 255
    assert (grid[:, :, 20:30] == 255).all()
    assert (grid[:, :, 30:] == 128).all()


def test_a_run_leaves_curves_and_pictures(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    Trainer(start(recipe, tmp_path, CPU), bank, tmp_path).train()
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == ["step-00000008.png", "step-00000012.png"]
    with Image.open(tmp_path / "grids" / "step-00000012.png") as image:
        assert np.asarray(image).shape == (2 * 16, 4 * 16, 3)
    curves = list((tmp_path / "tensorboard").glob("events*"))
    assert curves
    assert b"steps_per_second" in curves[0].read_bytes()


def test_an_older_logs_columns_are_kept(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss,Set5\n4,0.5,\n")
    watch = Watch(tmp_path, ["step", "loss", "drift"], 2)
    watch.report({"step": 8, "loss": 0.25, "drift": 0.0, "Set5": 30.0}, falling=True)
    watch.close()
    with (tmp_path / "log.csv").open() as file:
        assert [row["Set5"] for row in csv.DictReader(file)] == ["", "30"]


def rows(count: int, **values: float) -> list[dict[str, float]]:
    return [{"step": float(number), "loss": 1 - number / count, **values} for number in range(count)]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"accuracy": 0.97, "drift": 0.001}, "right on 97%"),
        ({"accuracy": 0.9, "drift": 0.006}, r"drifts by 1\.5/255"),
        ({"loss": 0.5}, f"not fallen over {FALLING} reports"),
        ({"accuracy": 0.54}, r"the discriminator guesses \(right on 54%\)"),
        ({"constants": 1.6}, r"a constant colour comes out 1\.6 codes off"),
        ({"accuracy": 0.95, "drift": 0.0039, "constants": 1.5}, None),
    ],
)
def test_each_alarm_is_given_once(values: dict[str, float], sentence: str | None) -> None:
    alarms = Alarms()
    said = [text for row in rows(3 * FALLING, **values) for text in alarms.check(row, falling=True)]
    assert len(said) == (sentence is not None)
    if sentence:
        assert re.search(sentence, said[0])


def test_alarms_wait_until_a_run_has_settled_and_spare_an_anneal() -> None:
    alarms = Alarms()
    assert not [text for row in rows(SETTLED, drift=1.0, accuracy=1.0) for text in alarms.check(row, falling=True)]
    alarms = Alarms()
    assert not [text for row in rows(3 * FALLING, loss=0.5) for text in alarms.check(row, falling=False)]


def test_an_alarm_is_a_warning_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(tmp_path, ["step", "loss", "drift"], 2)
    with caplog.at_level(logging.WARNING):
        for row in rows(SETTLED + 3, drift=0.02):
            watch.report({**row, "step": int(row["step"])}, falling=True)
    watch.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"step {SETTLED}: a colour drifts by 5.1/255; lower rate or losses.adversarial, or raise losses.pixel."
    ]
