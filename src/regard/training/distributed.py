"""Several processes that train one model together, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m regard fit pairs.tsv --out runs/pairs

Each takes some rows of every batch, PyTorch's DistributedDataParallel adds the gradients up, and all make
the same step: what comes out is defined by the batch, not by how many share it. The first process alone
validates, writes and reports; what it decides is told to the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(days=1)
"""How long the others wait while the first validates, before they believe it lost."""


class Team:
    """The processes that train together; one alone where nobody has started more.

    Attributes:
        rank: which one this is, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, writes and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Within, the first process works alone; then the others do, and find what it has left."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def told(self, *numbers: float) -> list[float]:
        """The numbers that the first process has."""
        if self.size == 1:
            return list(numbers)
        told = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(told, src=0)
        return told.tolist()

    def total(self, number: Tensor) -> Tensor:
        """The sum of what each process has."""
        if self.size == 1:
            return number
        number = number.detach().clone()
        dist.all_reduce(number)
        return number

    def rows(self, count: int) -> tuple[int, int]:
        """Where this process's part of so many rows begins and ends, as `Batch.part` divides them."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def shared(self, module: nn.Module, *, some_unused: bool) -> nn.Module:
        """The module, whose gradients after a backward pass are the mean of all processes'.

        Args:
            module: with the same weights in every process.
            some_unused: whether a pass may leave out some of its parameters.
        """
        if self.size == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=some_unused)


def started_together() -> bool:
    """Whether `torchrun`, or what sets its variables, has started this process and others with it."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_leader() -> bool:
    """Whether this process speaks for all."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def team() -> Iterator[Team]:
    """The processes that were started together; they part at the end."""
    if not started_together() or dist.is_initialized():
        yield Team()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield Team()
    finally:
        dist.destroy_process_group()


_LOST = ("connection", "peer", "gloo", "socket", "nccl")


def is_loss_of_another(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _LOST)


class Loss(nn.Module):
    """A network, with its loss for what is called, as parallel training wants it.

    Args:
        network: an encoder–decoder.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, texts: Sequence[Tensor], **options: object) -> Tensor:
        """`network.loss` of some texts; of none a zero that has all gradients."""
        if len(texts[0]):
            return self.network.loss(*texts, **options)  # pyright: ignore[reportCallIssue]
        return torch.stack([(parameter * 0.0).sum().float() for parameter in self.parameters()]).sum()
