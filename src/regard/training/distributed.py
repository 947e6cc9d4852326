"""Several processes that train one model together, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m regard fit pairs.tsv --out runs/pairs

Each takes some rows of every batch, PyTorch's DistributedDataParallel adds the gradients up, and all make
the same step: what comes out is defined by the batch, not by how many share it. The first process alone
validates, writes and reports; what it decides is told to the others. Machines that train together share the
folder of the run and the files of pairs.

A process that ends by an error of its own says so before it goes, and the others end with what it said. One
that is gone without a word is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from regard.data.batches import Batch
from regard.data.tokenization import PAD
from regard.errors import ProcessLost, RegardError, TrainingError
from regard.training.launch import started_together

PATIENCE = timedelta(days=1)
"""How long the others wait while the first validates, before they believe it lost."""


class Team:
    """The processes that train together; one alone where nobody has started more.

    Args:
        store: what all of them can write to and read; None for one alone.

    Attributes:
        rank: which one this is, from 0.
        size: how many there are.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = store
        self.rank, self.size = (0, 1) if store is None else (dist.get_rank(), dist.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, writes and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all have come here."""
        self.total(torch.zeros(()))

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
        """The sum of what each process has, wherever it is computed; it comes to the processor."""
        if self.size == 1:
            return number
        number = number.detach().to("cpu", copy=True)
        dist.all_reduce(number)
        return number

    def rows(self, count: int) -> tuple[int, int]:
        """Where this process's part of so many rows begins and ends, as `Batch.part` divides them."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def part(self, batch: Batch) -> Batch:
        """This process's part of a batch; where it has none, one row in which nothing is wanted.

        All processes compute something, as all have to where weights or chance are shared.
        """
        first, last = self.rows(len(batch.rows))
        if first < last:
            return batch.part(self.rank, self.size)
        row = slice(first, first + 1)
        return Batch(
            batch.rows[row],
            batch.source[row],
            batch.source_lengths[row],
            batch.given[row],
            np.full_like(batch.wanted[row], PAD),
            None if batch.wished is None else np.zeros_like(batch.wished[row]),
        )

    def shared(self, module: nn.Module, *, some_unused: bool) -> nn.Module:
        """The module, whose gradients after a backward pass are the mean of all processes'.

        Args:
            module: with the same weights in every process.
            some_unused: whether a pass may leave out some of its parameters.
        """
        if self.size == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=some_unused)

    def ended(self, error: BaseException) -> str | None:
        """What the others should hear, or were told, of an error that ends the work of all.

        An error of this process's own is told to the others, unless one of them was faster. Where the error
        is that another is gone, it gives what that one has said; None where it was lost without a word.
        """
        if self.store is None:
            return str(error)
        if not is_loss_of_another(error):
            said = str(error) if isinstance(error, RegardError) else f"{type(error).__name__}: {error}"
            return self.store.compare_set(_LAST_WORDS, "", said or type(error).__name__).decode()
        try:
            return self.store.get(_LAST_WORDS).decode() if self.store.check([_LAST_WORDS]) else None
        except RuntimeError:  # the store is gone too
            return None


@contextmanager
def team() -> Iterator[Team]:
    """The processes that were started together; they part at the end.

    Raises:
        TrainingError: another process has ended by an error, which is repeated.
        ProcessLost: another one is gone.
    """
    if not started_together() or dist.is_initialized():
        yield Team()
        return
    # numbers that are decided by go over gloo, which notices at once that another process is gone
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    store = PrefixStore("regard", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    together = Team(store)
    try:
        yield together
    except Exception as error:
        said = together.ended(error)
        if not is_loss_of_another(error):
            raise
        if said is not None:
            raise TrainingError(said) from None
        raise ProcessLost(
            "another process was lost. Start again, or, where the run had begun, go on with: "
            "regard fit --resume RUN"
        ) from None
    finally:
        dist.destroy_process_group()


_LAST_WORDS = "last words"
_LOST = ("connection", "peer", "gloo", "socket", "nccl")


def is_loss_of_another(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    if isinstance(error, RegardError):
        return False
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
        """`network.loss` of some texts."""
        return self.network.loss(*texts, **options)  # pyright: ignore[reportCallIssue]
