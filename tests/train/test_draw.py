"""What a large model draws ahead: the very pictures that it would draw in training, and what is learned from them."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.conftest import photo, save
from train.__main__ import main
from train.bake import BakePlan, Limits, bake
from train.cache import open_cache
from train.draw import Drawn
from train.recipe import Recipe
from train.run import Run
from train.sample import samples
from train.stage import Stage
from vidsr.errors import MediaError
from vidsr.models import registry

CPU = torch.device("cpu")
KEPT = {"data": "baked", "losses": {"pixel": 0.0, "kept": 1.0, "keeps": "bicubic"}, "patch": 16}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of two scenes, three LR pictures of 16 pixels each."""
    out = tmp_path_factory.mktemp("pairs")
    for number in range(2):
        save(out / "photos" / f"{number}.png", photo(number, 64, 72))
    bake(BakePlan(2, 16, variants=3, frames=2, per_shard=2), [out / "photos"], out, out / "cache", Limits(12))
    return out


@pytest.fixture
def drawn(pairs: Path) -> Drawn:
    for path in pairs.glob("drawn-*"):
        path.unlink()
    return Drawn(pairs, registry.load("bicubic", 2), variants=2)


def test_what_is_drawn_is_what_the_model_draws(drawn: Drawn) -> None:
    """In place and orientation: of every crop but its border, where the crop's own edge is seen."""
    assert drawn.draw() == 2
    taught = drawn.put_into(open_cache(drawn.folder))
    assert len(taught) == 8
    lr, hr, kept = next(taught.taught_batches(24, 12, torch.Generator().manual_seed(3), CPU))
    own = drawn.model.module(lr).clamp(0, 1)
    assert kept.shape == hr.shape
    assert (kept - own)[..., 6:-6, 6:-6].abs().max() <= 0.51 / 255
    assert (kept - hr).abs().mean() > 2 / 255, "another picture than the original"


def test_it_goes_on_where_it_was_stopped(drawn: Drawn) -> None:
    """As a killed run leaves it; more variants are drawn over fewer, and what is there is kept."""
    drawn.draw()
    whole = [drawn.path(number).read_bytes() for number in range(2)]
    drawn.path(1).unlink()
    before = drawn.path(0).stat().st_mtime_ns
    assert len(drawn.put_into(open_cache(drawn.folder))) == 4
    assert drawn.draw(seconds=-1.0) == 1
    assert drawn.draw() == 2
    assert [drawn.path(number).read_bytes() for number in range(2)] == whole
    assert drawn.path(0).stat().st_mtime_ns == before
    assert replace(drawn, variants=3).draw() == 2
    assert len(drawn.put_into(open_cache(drawn.folder))) == 12


def test_a_step_learns_from_it_without_the_model(drawn: Drawn, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of whole pictures is the one that the model itself would give, but for rounding to codes."""
    drawn.draw()
    one = Recipe.from_dict(recipe.to_dict() | KEPT)
    taught = drawn.put_into(open_cache(drawn.folder))
    sample = next(samples(taught, one, torch.Generator().manual_seed(1), CPU))
    run = Run(one, CPU)
    run.bf16 = False
    stage = Stage(run)
    sr = run.model(sample.lr).detach()
    live = float(stage.terms(replace(sample, drawn=None), sr)["kept"])
    monkeypatch.setattr(stage, "keeper", None)
    assert float(stage.terms(sample, sr)["kept"]) == pytest.approx(live, abs=0.3 / 255)
    assert float(stage.step(sample)["kept"]) > 0


def test_the_command_and_a_training_on_it(
    drawn: Drawn, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["draw", "bicubic", "--data", str(drawn.folder), "--variants", "2"]) == 0
    text = 'name = "tiny"\nsteps = 2\nbatch = 2\npatch = 16\ndata = "baked"\nprecision = "fp32"\n'
    text += '[generator]\ngraph = "fast"\nscale = 2\nchannels = 4\nblocks = 1\n'
    (tmp_path / "r.toml").write_text(text + '[losses]\npixel = 0.0\nkept = 1.0\nkeeps = "bicubic"\n')
    with caplog.at_level(logging.INFO):
        assert main(["fit", "r.toml", "--data", str(drawn.folder)]) == 0
    assert "8 of 12 pairs, those that bicubic drew ahead" in caplog.text


def test_errors_are_sentences(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "bicubic", "--data", str(drawn.folder), "--variants", "4"]) == 2
    assert "--variants must be from 1 to the cache's 3, not 4" in capsys.readouterr().err
    cache = open_cache(drawn.folder)
    drawn.path(0).write_bytes(b"no archive")
    with pytest.raises(MediaError, match="is damaged; delete it and draw again"):
        drawn.put_into(cache)
    np.savez(drawn.path(0), drawn=np.zeros((2, 2, 8, 8, 3), np.uint8))
    with pytest.raises(MediaError, match="does not belong to the pairs beside it"):
        drawn.put_into(cache)
