"""Weights of which each process keeps a part, for models that one process alone cannot train.

Between two steps a process holds its share of every weight, of the gradient and of the optimizer's state.
While a layer is computed with, PyTorch's `fully_shard` (FSDP2) brings its weights together, in the precision
of products; afterwards they go again. What comes out is what whole weights give.

Source: Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel";
arXiv:2304.11277. Its second edition shares out each weight along its first axis.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from regard.training.distributed import Loss, Team
from regard.training.master import MasterWeights, laid_out


class ShardedWeights(MasterWeights):
    """A process's share of the weights of a network, of which a sharded copy is made and learns.

    The network itself stays whole, to be validated; its weights are those of the last `shown`. All processes
    call `clip`, `finite`, `shown` and `named` at the same time.

    Args:
        whole: the network, with the same weights in every process, none of them a single number.
        dtype: of products.
        team: the processes that share the weights.
        device: where the copy is.

    Attributes:
        network: the copy, which learns.
        flat, gradient: of this process's share, see `MasterWeights`.
    """

    def __init__(self, whole: nn.Module, dtype: torch.dtype, team: Team, device: torch.device) -> None:
        self.whole, self.team, self.device = whole, team, device
        self.network = copy.deepcopy(whole).to(device)
        self.loss = Loss(self.network)
        mesh = init_device_mesh(device.type, (team.size,))
        narrow = None if dtype == torch.float32 else dtype
        policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32)
        for part in (*layers_of(self.network), self.loss):
            fully_shard(part, mesh=mesh, mp_policy=policy)
        shards = {name: cast(DTensor, weight) for name, weight in self.network.named_parameters()}
        slices, size = laid_out([shard.to_local().numel() for shard in shards.values()])
        self.shards = dict(zip(shards, zip(shards.values(), slices, strict=True), strict=True))
        self.flat = torch.zeros(size, device=device)
        self.gradient = torch.zeros_like(self.flat)
        for shard, place in self.shards.values():
            self.flat[place] = cast(DTensor, shard.detach()).to_local().flatten()
        whole.to(dtype)

    def shared_loss(self, team: Team, *, some_unused: bool) -> nn.Module:
        """The loss of the copy, to be called by all processes at the same time."""
        return self.loss

    def gather(self) -> None:
        """Bring the gradients of this process's share together, and forget them there."""
        for shard, place in self.shards.values():
            if shard.grad is None:
                self.gradient[place] = 0.0
            else:
                self.gradient[place] = cast(DTensor, shard.grad).to_local().flatten()
                shard.grad = None

    def clip(self, most: float) -> float:
        """Make the norm of the gradient, over all shares, at most this; gives what it was."""
        self.flat.grad = self.gradient
        norm = math.sqrt(self.team.total(self.gradient.double().square().sum()).item())
        self.gradient *= min(1.0, most / (norm + 1e-6))
        return norm

    def finite(self) -> bool:
        """Whether all weights, in whatever process, are numbers, and none is infinite."""
        return self.team.total((~self.flat.isfinite()).sum()).item() == 0

    @torch.no_grad()
    def publish(self, weights: Tensor | None = None) -> None:
        """Let the network compute with these weights, or with the master's own."""
        flat = self.flat if weights is None else weights
        for shard, place in self.shards.values():
            local = shard.to_local()
            local.copy_(flat[place].view_as(local))

    @contextmanager
    def shown(self, weights: Tensor | None) -> Iterator[None]:
        """Within, the first process's whole network has these weights, as in `flat`; None for its own."""
        named = self.named(weights)
        with torch.no_grad():
            for name, weight in named.items():
                self.whole.get_parameter(name).copy_(weight)
        self.whole.to(self.device if self.team.leads else "cpu")
        yield
        self.whole.cpu()

    def named(self, flat: Tensor | None = None) -> dict[str, Tensor]:
        """Each whole weight under its name, in the first process; the others bring their share alone."""
        flat, named = self.flat if flat is None else flat, {}
        for name, (shard, place) in self.shards.items():
            local = flat[place].view_as(cast(DTensor, shard.detach()).to_local())
            whole = DTensor.from_local(
                local, shard.device_mesh, shard.placements, shape=shard.shape, stride=shard.stride()
            ).full_tensor()
            if self.team.leads:
                named[name] = whole.cpu()
        return named

    def fill(self, flat: Tensor, named: Mapping[str, Tensor]) -> None:
        """Write this process's share of whole named tensors to its place in one of the form of `flat`."""
        for name, (shard, place) in self.shards.items():
            whole = named[name].to(self.device, torch.float32)
            part = distribute_tensor(whole, shard.device_mesh, shard.placements, src_data_rank=None)
            flat[place] = part.to_local().flatten()


def layers_of(network: nn.Module) -> Iterable[nn.Module]:
    """What is brought together at a time: each layer of the encoder and the decoder."""
    for stack in ("encoder", "decoder"):
        yield from cast(nn.ModuleList, network.get_submodule(f"{stack}.layers"))
