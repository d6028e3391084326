"""Muon: its update, and which weights it takes."""

import pytest
import torch

from train.optimiser import MATCH_ADAM, Muon, make_optimisers, orthogonalise
from vidsr.models.srgan import GeneratorConfig, build


@pytest.mark.parametrize("shape", [(16, 144), (48, 20), (8, 8)])
def test_orthogonalised_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    out = orthogonalise(matrix)
    ours = torch.linalg.svdvals(out)
    assert ours.max() < 1.3
    if min(shape) / max(shape) < 0.5:  # square matrices have singular values too near 0 for five iterations
        assert ours.min() > 0.6
        assert (out - u @ v).abs().max() < 0.2
    assert values.max() > 3


def test_update_has_the_size_of_adams() -> None:
    weight = torch.zeros(32, 32, 3, 3, requires_grad=True)
    weight.grad = torch.randn(32, 32, 3, 3) * 1e-4
    Muon([weight], lr=1e-2).step()
    assert weight.detach().square().mean().sqrt() == pytest.approx(1e-2 * MATCH_ADAM, rel=0.2)


@pytest.mark.parametrize("name", ["adam", "muon"])
@pytest.mark.parametrize("graph", ["fast", "srgan"])
def test_every_parameter_moves_exactly_once(name: str, graph: str) -> None:
    model = build(GeneratorConfig(graph, 2, channels=8, blocks=2))
    optimisers = make_optimisers(name, model, 1e-3, (0.9, 0.99))
    taken = [id(p) for optimiser in optimisers for group in optimiser.param_groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())
    assert len(optimisers) == (2 if name == "muon" else 1)


def test_muon_finds_a_least_squares_minimum() -> None:
    random = torch.Generator().manual_seed(0)
    goal = torch.randn(8, 8, 3, 3, generator=random) * 0.1
    weight = torch.zeros(8, 8, 3, 3, requires_grad=True)
    optimiser = Muon([weight], lr=0.02)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / 200)
        optimiser.zero_grad()
        (weight - goal).square().sum().backward()
        optimiser.step()
    assert (weight - goal).abs().max() < 0.01


def test_filter_banks_of_one_shape_move_as_each_alone() -> None:
    random = torch.Generator().manual_seed(0)
    shapes = [(16, 8, 3, 3), (32, 16, 3, 3), (16, 8, 3, 3), (16, 8, 3, 3)]
    together = [torch.randn(shape, generator=random) for shape in shapes]
    alone = [weight.clone().to(memory_format=torch.channels_last) for weight in together]
    muons = [Muon(together, lr=0.1), *(Muon([weight], lr=0.1) for weight in alone)]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.grad = torch.randn(one.shape, generator=random)
            other.grad = one.grad.clone()
        together[1].grad = alone[1].grad = None if _ == 1 else together[1].grad
        for muon in muons:
            muon.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
