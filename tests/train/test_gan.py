"""The adversarial stage: exact resume, killed while writing, what it changes, and weights that load."""

import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import warm
from tests.train.conftest import changed, newest
from train import checkpoint, export, losses
from train.data import Bank
from train.fit import Trainer
from train.gan import Adversarial
from train.recipe import Recipe
from train.run import Clock, Run, start
from train.sample import samples
from train.stage import Stage
from vidsr.errors import ModelError, UsageError
from vidsr.models import registry

CPU = torch.device("cpu")
LOSSES = {"pixel": 0.5, "perceptual": 0.1, "adversarial": 0.02, "artefact": 0.5, "trunk": "vgg19:relu1_2", "ramp": 8}


@pytest.fixture
def adversarial(recipe: Recipe, tmp_path: Path) -> Recipe:
    """A recipe with every loss but the shift, and a feature network of random weights."""
    random = torch.Generator().manual_seed(3)
    shapes = {"0.weight": (64, 3, 3, 3), "0.bias": (64,), "2.weight": (64, 64, 3, 3), "2.bias": (64,)}
    weights = {f"features.{key}": torch.randn(shape, generator=random) * 0.1 for key, shape in shapes.items()}
    torch.save(weights, tmp_path / "vgg19.pth")
    table = LOSSES | {"trunk_file": str(tmp_path / "vgg19.pth")}
    return changed(recipe, losses=table, discriminator={"channels": 4, "rate": 1e-3})


def test_resumed_equals_uninterrupted_to_the_bit(adversarial: Recipe, bank: Bank, tmp_path: Path) -> None:
    assert Trainer(start(adversarial, tmp_path / "whole", CPU), bank, tmp_path / "whole").train()
    out = tmp_path / "parts"
    Trainer(start(changed(adversarial, steps=5), out, CPU), bank, out).train()
    torch.manual_seed(99)
    Trainer(start(adversarial, out, CPU, resume=True), bank, out).train()
    whole, parts = newest(tmp_path / "whole" / "stable"), newest(out / "stable")
    assert whole.tensors.keys() == parts.tensors.keys()
    assert all(torch.equal(whole.tensors[name], parts.tensors[name]) for name in whole.tensors)
    moments = [name for name in whole.tensors if name.startswith("critic.") and "exp_avg" in name]
    assert len(moments) == 2 * 20  # eight convolutions and two dense layers, weights and biases
    assert {whole.tensors[name].dtype for name in moments} == {torch.bfloat16}
    assert all(whole.tensors[name].abs().max() > 0 for name in moments)


KILLED_IN_A_CHECKPOINT = """
import os, signal, sys
from train import checkpoint
from train.__main__ import main

calls, real = 0, checkpoint.sync_file

def fatal(path):
    global calls
    real(path)
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.sync_file = fatal
main(sys.argv[2:])
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the program that is killed: sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_killed_in_a_checkpoint_it_goes_on_to_the_same_weights(
    adversarial: Recipe, photos: Path, tmp_path: Path, one_thread: None
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(changed(adversarial, checkpoint_minutes=1e-6)))  # a checkpoint after every step
    places = ["gan", str(recipe), "--data", str(photos), "--cache", str(tmp_path / "cache")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out = ["--out", str(tmp_path / "killed")]
    command = [sys.executable, "-c", KILLED_IN_A_CHECKPOINT, "8", *places, *out]
    done = warm.run(command, timeout=120, capture_output=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = checkpoint.list_checkpoints(tmp_path / "killed" / "stable")
    assert left
    assert list((tmp_path / "killed" / "stable").glob(".part-*"))
    run = start(adversarial, tmp_path / "killed", CPU, resume=True)
    assert 0 < run.step < 12
    bank = samples_of(photos, tmp_path)
    Trainer(run, bank, tmp_path / "killed").train()
    Trainer(start(adversarial, tmp_path / "whole", CPU), bank, tmp_path / "whole").train()
    whole, killed = newest(tmp_path / "whole" / "stable"), newest(tmp_path / "killed" / "stable")
    assert all(torch.equal(whole.tensors[name], killed.tensors[name]) for name in whole.tensors)


def samples_of(photos: Path, tmp_path: Path) -> Bank:
    from train.data import find_photos, open_bank

    return open_bank(find_photos([photos]), tmp_path / "cache", 24)


def to_toml(recipe: Recipe) -> str:
    values = recipe.to_dict()
    tables: dict[str, Any] = {name: values.pop(name) for name in ("generator", "losses", "discriminator")}
    lines = [f"{key} = {list(value) if isinstance(value, tuple) else value!r}" for key, value in values.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {value!r}" for key, value in table.items())]
    return "\n".join(lines).replace("True", "true").replace("False", "false")


def test_anneal_and_weights_that_vidsr_loads(adversarial: Recipe, bank: Bank, tmp_path: Path) -> None:
    Trainer(start(adversarial, tmp_path, CPU), bank, tmp_path).train()
    Trainer(start(adversarial, tmp_path, CPU, anneal=4), bank, tmp_path).train()
    trained = export.read_run(tmp_path)
    assert trained.saved.state["step"] == 16
    export.write_weights(trained, tmp_path / "tiny.safetensors")
    model = registry.load(str(tmp_path / "tiny.safetensors"), 2)
    assert model.module(torch.rand(1, 3, 9, 8)).shape == (1, 3, 18, 16)


def test_the_step_goes_down_the_weighted_sum(adversarial: Recipe, bank: Bank) -> None:
    """The gradient of a step equals that of the sum written out by hand, half of the ramp gone."""
    run = Run(changed(adversarial, precision="fp32"), CPU)
    run.bf16, run.step = False, 4
    with torch.no_grad():
        for parameter in run.ema.parameters():
            parameter.mul_(0.9)
    sample = next(samples(bank, run.recipe, run.random, CPU))
    stage = Adversarial(run)
    assert stage.trunk
    sr = run.model(sample.lr)
    hand = 0.5 * losses.pixel_loss(sr, sample.hr)
    hand = hand + 0.1 * losses.perceptual_loss(stage.trunk(sr), stage.trunk(sample.hr))
    hand = hand + 0.02 * 4 / 8 * losses.generator_loss(stage.discriminator(losses.coded(sr)))
    hand = hand + 0.5 * 4 / 8 * losses.artefact_loss(sr, run.ema(sample.lr), sample.hr)
    wanted = torch.autograd.grad(hand, list(run.model.parameters()))
    before = [parameter.clone() for parameter in stage.discriminator.parameters()]
    seen: list[torch.Tensor] = []
    run.optimisers[0].register_step_pre_hook(
        lambda *_: seen.extend(p.grad.clone() for p in run.model.parameters() if p.grad is not None)
    )
    terms = stage.step(sample)
    assert torch.allclose(terms["loss"], hand.detach(), rtol=1e-5)
    assert len(seen) == len(wanted)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-7) for a, b in zip(seen, wanted, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(before, stage.discriminator.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in stage.discriminator.parameters())


def test_a_relative_discriminator_and_its_generator_pull_against_each_other(adversarial: Recipe, bank: Bank) -> None:
    """With the adversarial loss alone the generator's step lowers what the discriminator's own would raise."""
    judge = {"channels": 4, "rate": 1e-3, "kind": "patch", "relative": True, "details": True}
    recipe = changed(adversarial, losses={"pixel": 1e-9, "adversarial": 1.0, "ramp": 0}, discriminator=judge)
    run = Run(recipe, CPU)
    run.bf16 = False
    stage, sample = Adversarial(run), next(samples(bank, recipe, run.random, CPU))
    logits = [stage.discriminator(picture) for picture in (sample.hr, losses.coded(run.model(sample.lr)))]
    terms = stage.step(sample)
    assert torch.allclose(terms["adversarial"], losses.relative_generator_loss(*logits), rtol=1e-4)
    assert terms["discriminator"] == pytest.approx(2 * math.log(2), rel=0.2)
    assert 0 <= terms["accuracy"] <= 1
    fooled = [float(stage.terms(sample, run.model(sample.lr))["adversarial"].detach()) for _ in range(2)]
    assert fooled[0] == pytest.approx(fooled[1])


def test_a_new_discriminator_guesses_and_then_learns(adversarial: Recipe, bank: Bank) -> None:
    """Against a new network of the paper's graph, whose outputs are nearly black."""
    generator = {"graph": "srgan", "scale": 2, "channels": 4, "blocks": 1}
    judge = {"channels": 4, "rate": 1e-2}
    recipe = changed(adversarial, generator=generator, losses={"adversarial": 1e-9}, rate=1e-9, discriminator=judge)
    run = Run(recipe, CPU)
    run.bf16 = False
    stage, stream = Adversarial(run), samples(bank, recipe, run.random, CPU)
    history = [float(stage.step(next(stream))["discriminator"]) for _ in range(40)]
    assert history[0] == pytest.approx(2 * math.log(2), rel=0.5)
    assert sum(history[-5:]) < 0.3 * sum(history[:5])


def test_every_file_of_a_full_size_checkpoint_stays_below_15_mib(adversarial: Recipe, tmp_path: Path) -> None:
    recipe = changed(adversarial, discriminator={"channels": 64})
    run = Run(recipe, CPU)
    assert run.critic
    assert run.discriminator
    for parameter in run.discriminator.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.critic.step()
    path = checkpoint.save(tmp_path, 1, run.freeze())
    assert max(file.stat().st_size for file in path.iterdir()) < 15 * 2**20


def test_checkpoints_and_recipes_of_another_stage(
    recipe: Recipe, adversarial: Recipe, bank: Bank, tmp_path: Path
) -> None:
    Trainer(start(recipe, tmp_path, CPU), bank, tmp_path).train()
    with pytest.raises(ModelError, match="holds no discriminator"):
        start(adversarial, tmp_path, CPU, resume=True)
    with pytest.raises(UsageError, match=r"no losses\.adversarial above 0; train it with fit"):
        Adversarial(Run(recipe, CPU))


@pytest.mark.parametrize("graph", ["fast", "srgan"])
def test_one_patch_is_overfitted_above_40_db(recipe: Recipe, bank: Bank, graph: str) -> None:
    generator = {"graph": graph, "scale": 2, "channels": 24, "blocks": 2}
    run = Run(changed(recipe, generator=generator, rate=3e-3, steps=500, warmup=10, optimiser="adam"), CPU)
    run.bf16 = False
    sample = next(samples(bank, run.recipe, run.random, CPU))
    stage, best = Stage(run), 0.0
    for run.step in range(500):
        stage.step(sample)
        if run.step % 25 == 24:
            error = (run.model(sample.lr) - sample.hr).detach().square().mean()
            best = max(best, -10 * math.log10(float(error)))
            if best > 40:
                return
    pytest.fail(f"only {best:.1f} dB")


def test_the_discriminator_learns_alone_first(adversarial: Recipe, bank: Bank) -> None:
    judge = {"channels": 8, "rate": 1e-3, "kind": "patch", "alone": 3, "jitter": 2}
    run = Run(changed(adversarial, discriminator=judge), CPU)
    run.bf16 = False
    stage, stream = Adversarial(run), samples(bank, run.recipe, run.random, CPU)
    start_weights = [parameter.clone() for parameter in run.model.parameters()]
    names = []
    for run.step in range(4):
        before = [parameter.clone() for parameter in stage.discriminator.parameters()]
        names.append(stage.step(next(stream)).keys())
        assert any(not torch.equal(a, b) for a, b in zip(before, stage.discriminator.parameters(), strict=True))
        still = all(torch.equal(a, b) for a, b in zip(start_weights, run.model.parameters(), strict=True))
        assert still == (run.step < 3)
    assert names[0] == names[3]
    assert [stage.weight("adversarial") for run.step in (3, 7, 11, 20)] == [0.0, 0.01, 0.02, 0.02]


def test_a_clock_ends_what_counts_steps(adversarial: Recipe) -> None:
    """On a slow machine a lease's seconds would be over before its discriminator had learned alone."""
    judge = {"channels": 4, "alone": 1000}
    stage = Adversarial(Run(changed(adversarial, discriminator=judge), CPU))
    run = stage.run
    run.clock = Clock(1000.0, 0.5)
    assert (stage.alone, stage.weight("adversarial")) == (True, 0.0)
    run.clock.began -= 200  # compiling
    assert (stage.alone, stage.weight("adversarial")) == (True, 0.0)
    stage.begun = 0.0
    assert not stage.alone
    assert stage.weight("adversarial") == pytest.approx(0.01, rel=0.01)
    run.clock.began -= 300
    assert stage.weight("adversarial") == 0.02
    run.step, run.clock = 1004, None
    assert stage.weight("adversarial") == 0.01


def test_originals_and_outputs_are_shifted_together(adversarial: Recipe) -> None:
    stage = Adversarial(Run(changed(adversarial, discriminator={"channels": 4, "jitter": 3}), CPU))
    picture = torch.arange(20 * 24).view(1, 1, 20, 24).float()
    seen = set()
    for _ in range(200):
        one, other = stage.shown(picture, picture + 1000)
        assert one.shape == (1, 1, 17, 21)
        assert torch.equal(one + 1000, other)
        down, right = divmod(int(one[0, 0, 0, 0]), 24)
        assert torch.equal(one, picture[..., down : down + 17, right : right + 21])
        seen.add((down, right))
    assert len(seen) == 16


def test_another_kind_of_discriminator_is_another_run(adversarial: Recipe, bank: Bank, tmp_path: Path) -> None:
    Trainer(start(changed(adversarial, steps=1), tmp_path, CPU), bank, tmp_path).train()
    other = changed(adversarial, discriminator={"channels": 4, "kind": "patch"})
    with pytest.raises(ModelError, match="or another one than the recipe's"):
        start(other, tmp_path, CPU, resume=True)
    with pytest.raises(UsageError, match=r"discriminator\.kind must be one of paper, patch, blurred"):
        changed(adversarial, discriminator={"kind": "unet"})
