"""Training: resumed equals uninterrupted, annealed from any checkpoint, stopped by a signal."""

import csv
import os
import signal
from pathlib import Path

import pytest
import torch

from train import checkpoint, fit
from train.checkpoint import Checkpoint
from train.data import Bank, find_photos, open_bank
from train.evaluate import Pair
from train.fit import Anneal, Run, Trainer
from train.recipe import Recipe
from vidsr.errors import ModelError, OutputError

CPU = torch.device("cpu")


@pytest.fixture
def bank(photos: Path, tmp_path: Path) -> Bank:
    return open_bank(find_photos([photos]), tmp_path / "cache", 24)


def changed(recipe: Recipe, **values: object) -> Recipe:
    return Recipe.from_dict(recipe.to_dict() | values)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    assert a.tensors.keys() == b.tensors.keys()
    return all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def newest(folder: Path) -> Checkpoint:
    return checkpoint.load(checkpoint.list_checkpoints(folder)[-1])


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_resumed_equals_uninterrupted_to_the_bit(recipe: Recipe, bank: Bank, tmp_path: Path, optimiser: str) -> None:
    recipe = changed(recipe, optimiser=optimiser)
    assert Trainer(fit.start(recipe, tmp_path / "whole", CPU), bank, tmp_path / "whole").train()
    out = tmp_path / "parts"
    Trainer(fit.start(changed(recipe, steps=5), out, CPU), bank, out).train()
    torch.manual_seed(99)  # a later process has another global state
    resumed = fit.start(recipe, out, CPU, resume=True)
    assert resumed.step == 5
    Trainer(resumed, bank, out).train()
    whole, parts = newest(tmp_path / "whole" / "stable"), newest(out / "stable")
    assert whole.state["step"] == parts.state["step"] == 12
    assert same(whole, parts)
    assert not same(whole, newest_but_one(out / "stable"))


def newest_but_one(folder: Path) -> Checkpoint:
    return checkpoint.load(checkpoint.list_checkpoints(folder)[-2])


def test_an_anneal_resumes_to_the_bit_and_leaves_the_stable_run_alone(
    recipe: Recipe, bank: Bank, tmp_path: Path
) -> None:
    for out in (tmp_path / "whole", tmp_path / "parts"):
        Trainer(fit.start(recipe, out, CPU), bank, out).train()
        before = newest(out / "stable")
        Trainer(fit.start(recipe, out, CPU, anneal=6), bank, out, stop=out.name == "parts").train()
        assert same(before, newest(out / "stable"))
    resumed = fit.start(recipe, tmp_path / "parts", CPU, resume=True, anneal=6)
    assert resumed.anneal == Anneal(12, 6)
    Trainer(resumed, bank, tmp_path / "parts").train()
    assert same(newest(tmp_path / "whole" / "anneal"), newest(tmp_path / "parts" / "anneal"))
    longer = fit.start(changed(recipe, steps=14), tmp_path / "whole", CPU, resume=True)
    assert longer.step == 12
    assert longer.rate() == recipe.rate


def test_rate_warms_up_stays_and_falls_to_zero(recipe: Recipe) -> None:
    run = Run(recipe, CPU)
    rates = []
    for run.step in range(8):
        rates.append(run.rate() / recipe.rate)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    run.anneal = Anneal(8, 4)
    for run.step in range(8, 12):
        rates.append(run.rate() / recipe.rate)
    assert rates[8:] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert run.last_step == 12


def test_training_lowers_the_loss_and_writes_the_log(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    recipe = changed(recipe, steps=80, log_every=8, rate=4e-3)
    pair = Pair("one", torch.rand(3, 12, 12) * 255, torch.rand(3, 24, 24) * 255)
    Trainer(fit.start(recipe, tmp_path, CPU), bank, tmp_path, {"Set5": [pair]}).train()
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(8, 81, 8))
    losses = [float(row["loss"]) for row in rows]
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])
    assert all(0 < float(row["Set5"]) < 20 for row in rows)  # noise against noise
    assert all(float(row["steps_per_second"]) > 0 for row in rows)


def test_averaged_weights_follow_the_formula() -> None:
    model, ema = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    before, target = ema.weight.detach().clone(), model.weight.detach()
    fit.average(ema, model, 0.9)
    assert torch.allclose(ema.weight, 0.9 * before + 0.1 * target)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_step_with_a_checkpoint(
    recipe: Recipe, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    run, real = fit.start(recipe, tmp_path, CPU), fit.average

    def interrupted(ema: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
        real(ema, model, decay)
        if run.step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(fit, "average", interrupted)
    before = signal.getsignal(number)
    assert not Trainer(run, bank, tmp_path).train()
    assert newest(tmp_path / "stable").state["step"] == 3
    assert signal.getsignal(number) == before


def test_a_run_is_not_overwritten(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    Trainer(fit.start(recipe, tmp_path, CPU), bank, tmp_path).train()
    with pytest.raises(OutputError, match="holds a run already; go on with --resume"):
        fit.start(recipe, tmp_path, CPU)


def test_nothing_to_resume_or_anneal(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint to resume"):
        fit.start(recipe, tmp_path, CPU, resume=True)
    with pytest.raises(ModelError, match="no stable checkpoint to anneal"):
        fit.start(recipe, tmp_path, CPU, anneal=5)


def test_checkpoint_of_another_model(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    Trainer(fit.start(recipe, tmp_path, CPU), bank, tmp_path).train()
    other = changed(recipe, generator=recipe.generator.to_dict() | {"channels": 12})
    with pytest.raises(ModelError, match="another generator than the recipe tiny"):
        fit.start(other, tmp_path, CPU, resume=True)
    with pytest.raises(ModelError, match="another optimiser"):
        fit.start(changed(recipe, optimiser="adam"), tmp_path, CPU, resume=True)


def test_weights_of_another_run_are_taken_where_they_fit(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    Trainer(fit.start(recipe, tmp_path, CPU), bank, tmp_path).train()
    saved = newest(tmp_path / "stable")
    run = Run(changed(recipe, generator=recipe.generator.to_dict() | {"scale": 4}), CPU)
    tail = run.model.state_dict()["tail.weight"].clone()
    fit.initialise(run, saved)
    assert run.freeze().state["origin"] == "tiny x2 at step 12"
    for module in (run.model, run.ema):
        state = module.state_dict()
        assert torch.equal(state["body.1.weight"], saved.tensors["ema.body.1.weight"])
        assert torch.equal(state["tail.weight"], tail)
    misfit = Run(changed(recipe, generator={"graph": "srgan", "scale": 2, "channels": 4, "blocks": 1}), CPU)
    with pytest.raises(ModelError, match="No weight of tiny fits"):
        fit.initialise(misfit, saved)


def test_a_loss_that_is_no_number_ends_the_run(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    run = fit.start(recipe, tmp_path, CPU)
    with torch.no_grad():
        next(run.model.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="became NaN before step 4"):
        Trainer(run, bank, tmp_path).train()


def test_precision_is_measured_once_and_kept(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(changed(recipe, precision="auto"), CPU)
    monkeypatch.setattr(fit, "_seconds", lambda _run, amp: 1.0 if amp else 2.0)
    assert fit.choose_bf16(run)
    monkeypatch.setattr(fit, "_seconds", lambda _run, amp: 2.0 if amp else 1.0)
    assert not fit.choose_bf16(run)
    run.bf16 = True
    again = Run(run.recipe, CPU)
    again.thaw(run.freeze())
    assert fit.choose_bf16(again)
    assert not fit.choose_bf16(Run(recipe, CPU))
