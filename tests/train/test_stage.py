"""How a step runs its networks: the last convolution, and what is compiled."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train.stage import PreciseTail, in_fp16, quicken, tame
from vidsr.models import srgan

HALF = 2e-3  # of the largest value: FP16 holds eleven bits, and sums hundreds of products


@pytest.mark.parametrize("graph", ["srgan", "fast"])
@pytest.mark.parametrize("scale", srgan.SCALES)
def test_the_precise_tail_is_the_generator_with_its_gradients(graph: str, scale: int) -> None:
    torch.manual_seed(scale)
    generator = srgan.build(srgan.GeneratorConfig(graph, scale, channels=4, blocks=2))
    x = torch.rand(2, 3, 7, 6)
    wanted = [generator(x), *_gradients(generator(x), generator)]
    found = [PreciseTail(generator)(x), *_gradients(PreciseTail(generator)(x), generator)]
    assert len(found) == len(wanted)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(found, wanted, strict=True))


def _gradients(sr: Tensor, generator: torch.nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sr.square().mean(), list(generator.parameters()))


def test_in_fp16_gradients_below_its_smallest_number_arrive() -> None:
    torch.manual_seed(0)
    inputs = [torch.rand(2, 8, 9, 9), torch.randn(12, 8, 5, 5) * 0.1, torch.randn(12)]
    found = _through(in_fp16, inputs)
    wanted = _through(lambda x, weight, bias: F.conv2d(x, weight, bias, padding=2), inputs)
    assert all(float((a - b).abs().max()) < HALF * float(b.abs().max()) for a, b in zip(found, wanted, strict=True))


def _through(convolution: object, inputs: list[Tensor]) -> list[Tensor]:
    assert callable(convolution)
    leaves = [part.clone().requires_grad_(True) for part in inputs]
    y = convolution(*leaves)
    (y.square().mean() * 1e-4).backward()  # some 1e-7 a pixel
    return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def test_what_was_compiled_under_autocast_is_not_compiled_again_for_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def compiled(x: Tensor) -> Tensor:
        calls.append("compiled")
        return x

    def plain(x: Tensor) -> Tensor:
        calls.append("plain")
        return x

    monkeypatch.setattr("torch.compile", lambda _function, **_options: compiled)
    monkeypatch.setattr("train.stage._compiles", lambda _device: True)
    quick = quicken(plain, torch.device("cuda"))
    for cast in (False, True, False):  # the first as in a run in FP32 throughout
        monkeypatch.setattr("torch.is_autocast_enabled", lambda _kind, cast=cast: cast)
        quick(torch.ones(1))
    assert calls == ["compiled", "compiled", "plain"]


def test_a_gradient_that_is_no_number_moves_nothing() -> None:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
    for weight, value in zip(weights[:2], (0.5, 2.0), strict=True):
        weight.grad = torch.full((3,), value)
    tame(weights)
    assert weights[0].grad is not None
    assert weights[0].grad.tolist() == [0.5] * 3
    weights[0].grad[1] = torch.inf
    tame(weights)
    assert [w.grad.tolist() for w in weights if w.grad is not None] == [[0.0] * 3] * 2
