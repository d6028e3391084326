"""Training: resumed equals uninterrupted, annealed from any checkpoint, stopped by a signal."""

import csv
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from tests import warm
from tests.train.conftest import changed, newest
from train import checkpoint, fit
from train.__main__ import main
from train.checkpoint import Checkpoint
from train.data import Bank
from train.evaluate import Pair
from train.fit import Trainer
from train.recipe import Recipe
from train.run import Anneal, Run, start
from vidsr.errors import ModelError, OutputError

CPU = torch.device("cpu")


def same(a: Checkpoint, b: Checkpoint) -> bool:
    assert a.tensors.keys() == b.tensors.keys()
    return all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_resumed_equals_uninterrupted_to_the_bit(recipe: Recipe, bank: Bank, tmp_path: Path, optimiser: str) -> None:
    recipe = changed(recipe, optimiser=optimiser)
    assert Trainer(start(recipe, tmp_path / "whole", CPU), bank, tmp_path / "whole").train()
    out = tmp_path / "parts"
    Trainer(start(changed(recipe, steps=5), out, CPU), bank, out).train()
    torch.manual_seed(99)  # a later process has another global state
    resumed = start(recipe, out, CPU, resume=True)
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
        Trainer(start(recipe, out, CPU), bank, out).train()
        before = newest(out / "stable")
        Trainer(start(recipe, out, CPU, anneal=6), bank, out, stop=out.name == "parts").train()
        assert same(before, newest(out / "stable"))
    resumed = start(recipe, tmp_path / "parts", CPU, resume=True, anneal=6)
    assert resumed.anneal == Anneal(12, 6)
    Trainer(resumed, bank, tmp_path / "parts").train()
    assert same(newest(tmp_path / "whole" / "anneal"), newest(tmp_path / "parts" / "anneal"))
    longer = start(changed(recipe, steps=14), tmp_path / "whole", CPU, resume=True)
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
    Trainer(start(recipe, tmp_path, CPU), bank, tmp_path, {"Set5": [pair]}).train()
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
    run, real = start(recipe, tmp_path, CPU), fit.average

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
    Trainer(start(recipe, tmp_path, CPU), bank, tmp_path).train()
    with pytest.raises(OutputError, match="holds a run already; go on with --resume"):
        start(recipe, tmp_path, CPU)


def test_nothing_to_resume_or_anneal(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint to resume"):
        start(recipe, tmp_path, CPU, resume=True)
    with pytest.raises(ModelError, match="no stable checkpoint to anneal"):
        start(recipe, tmp_path, CPU, anneal=5)


def test_checkpoint_of_another_model(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    Trainer(start(recipe, tmp_path, CPU), bank, tmp_path).train()
    other = changed(recipe, generator=recipe.generator.to_dict() | {"channels": 12})
    with pytest.raises(ModelError, match="another generator than the recipe tiny"):
        start(other, tmp_path, CPU, resume=True)
    with pytest.raises(ModelError, match="another optimiser"):
        start(changed(recipe, optimiser="adam"), tmp_path, CPU, resume=True)


def test_a_loss_that_is_no_number_ends_the_run(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    run = start(recipe, tmp_path, CPU)
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


def test_minutes_end_the_run_with_a_checkpoint(recipe: Recipe, bank: Bank, tmp_path: Path) -> None:
    run = start(changed(recipe, steps=10**6), tmp_path, CPU)
    assert Trainer(run, bank, tmp_path, minutes=0.02).train()  # what was asked for: no interruption
    assert 0 < run.step < 10**6
    assert newest(tmp_path / "stable").state["step"] == run.step


FULL_DISK = """
import resource, sys
from train import fit, checkpoint
from train.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def test_a_full_disk_is_one_sentence_and_loses_no_checkpoint(
    recipe: Recipe, photos: Path, bank: Bank, tmp_path: Path
) -> None:
    """No file may grow beyond 4 kB: the next checkpoint does not fit."""
    text = 'name = "tiny"\nsteps = 20\nbatch = 2\npatch = 8\noptimiser = "muon"\nprecision = "fp32"\n'
    (tmp_path / "tiny.toml").write_text(
        text + '[generator]\ngraph = "fast"\nscale = 2\nchannels = 8\nblocks = 2\nskip = 0\n'
    )
    out = tmp_path / "run"
    Trainer(start(recipe, out, CPU), bank, out).train()
    places = ["--data", str(photos), "--cache", str(tmp_path / "cache"), "--out", str(out)]
    command = [sys.executable, "-c", FULL_DISK, "4096", "fit", str(tmp_path / "tiny.toml"), *places, "--resume"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = warm.run(command, timeout=120, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: Cannot write the checkpoint" in done.stderr
    assert "free some space" in done.stderr
    assert [path.name for path in checkpoint.list_checkpoints(out / "stable")] == ["step-00000012"]
    assert newest(out / "stable").state["step"] == 12
    assert not list((out / "stable").glob(".part-*"))


def test_a_run_notes_what_it_began_with(recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    text = 'name = "mine"\nsteps = 2\nbatch = 1\npatch = 8\nprecision = "fp32"\n'
    (tmp_path / "mine.toml").write_text(text + '[generator]\ngraph = "fast"\nscale = 4\nblocks = 8\nskip = 2\n')
    places = ["--data", str(photos), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(["fit", str(tmp_path / "mine.toml"), *places, "--init", "fast"]) == 0
    notes = json.loads((tmp_path / "run" / "run.json").read_text())
    assert notes["origin"].startswith("shipped fast x4 (")
    assert notes["losses"] == "L1"
    assert newest(tmp_path / "run" / "stable").state["origin"] == notes["origin"]


@pytest.mark.parametrize(
    ("command", "more", "sentence"),
    [
        ("gan", [], "is one for `python -m train fit`"),
        ("fit", ["--minutes", "0"], "--minutes must be above 0"),
        ("fit", ["--init", "nobody"], "Unknown model 'nobody'"),
    ],
)
def test_wrong_arguments(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, more: list[str], sentence: str
) -> None:
    (tmp_path / "mine.toml").write_text('name = "m"\nsteps = 2\npatch = 8\n[generator]\ngraph = "fast"\nscale = 2\n')
    places = ["--data", str(photos), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main([command, str(tmp_path / "mine.toml"), *places, *more]) in (1, 2)
    assert sentence in capsys.readouterr().err
