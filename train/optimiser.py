"""Adam, or Muon for the convolutions in the middle with Adam for the rest."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

ORTHOGONALISE = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz iteration (Jordan et al. 2024, "Muon")
MATCH_ADAM = 0.2  # root mean square of an Adam update in practice (arXiv:2502.16982)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is made orthogonal, as one matrix per filter bank (out, in*kh*kw).

    Updates are scaled to the size of Adam's, so that both take the same learning rate. Filter banks of one shape move
    together.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Move every parameter that has a gradient; `closure` is not supported and ignored."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for parameters in alike.values():
                self._move(parameters, group["lr"], group["momentum"])

    def _move(self, parameters: list[Tensor], lr: float, momentum: float) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        averages = [self.state[parameter]["momentum"] for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        updates = torch.stack([each.flatten(1) for each in torch._foreach_lerp(gradients, averages, momentum)])
        scale = MATCH_ADAM * max(updates.shape[1:]) ** 0.5
        moves = orthogonalise(updates).mul_(-lr * scale)
        torch._foreach_add_(parameters, [move.view_as(one) for move, one in zip(moves, parameters, strict=True)])


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """(..., rows, columns), rows <= columns or not -> the same shape, each with all singular values near 1.

    On a GPU the products are in bf16, as their authors' are.
    """
    a, b, c = ORTHOGONALISE
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def make_optimisers(
    name: str, model: nn.Module, rate: float, betas: tuple[float, float]
) -> list[torch.optim.Optimizer]:
    """The optimisers that together move every parameter of `model` once."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in parameters if name == "muon" and p.dim() == 4 and min(p.shape[:2]) > 3]
    chosen = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in parameters if id(parameter) not in chosen]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr=rate, betas=betas, fused=True)]
    return [*optimisers, Muon(matrices, rate)] if matrices else optimisers
