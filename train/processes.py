"""The processes of one run, as ``torchrun`` starts them: who is who, and what they average."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vidsr.errors import UsageError


@dataclass(frozen=True)
class World:
    """This process among `size`. Number 0 logs, measures and writes; alone, nothing needs to be agreed."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that logs and writes."""
        return self.rank == 0

    def check(self, batch: int) -> None:
        """Raise `UsageError` unless every process gets the same share of a batch."""
        if batch % self.size:
            raise UsageError(f"A batch of {batch} cannot be divided among {self.size} processes; change the recipe's.")

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over all processes, in one exchange."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat.div_(self.size)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all processes."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.size
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether one process at least says yes; all of them must ask at the same step."""
        return bool(self.mean(torch.tensor(float(flag), device=device)) > 0) if self.size > 1 else flag

    def same(self, flag: bool, device: torch.device) -> bool:
        """What the first process says, told to all."""
        return self.any(flag and self.first, device)


@contextmanager
def join(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """Join the processes that ``torchrun`` started, if it did, each on a GPU of its own where `device` is one."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield World(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size()), device
        dist.barrier()  # a process that ends while a thread of gloo still holds a tensor is aborted by its interpreter
    finally:
        dist.destroy_process_group()
