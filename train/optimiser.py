"""Adam, or Muon for the convolutions in the middle with Adam for the rest."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

ORTHOGONALISE = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz iteration (Jordan et al. 2024, "Muon")
MATCH_ADAM = 0.2  # root mean square of an Adam update in practice (arXiv:2502.16982)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is made orthogonal, as one matrix per filter bank (out, in*kh*kw).

    Updates are scaled to the size of Adam's, so that both take the same learning rate.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Move every parameter that has a gradient; `closure` is not supported and ignored."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(average, group["momentum"]).flatten(1)
                scale = MATCH_ADAM * max(update.shape) ** 0.5
                parameter.sub_(orthogonalise(update).view_as(parameter), alpha=group["lr"] * scale)


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """(rows, columns), rows <= columns or not -> the same shape with all singular values near 1."""
    a, b, c = ORTHOGONALISE
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


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
