"""All weights of a network as one flat float32 tensor, beside the narrower copy that it computes with.

A network that computes in bfloat16 holds bfloat16 weights, so that nothing is converted on the way; what
training changes is a float32 master copy, since most updates are too small for bfloat16 to see. As one flat
tensor it takes one call to update, to measure or to average, instead of one for each weight.

Source: Micikevicius et al. 2018, section 3.1; arXiv:1710.03740.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate

import torch
from torch import Tensor, nn

from regard.training.distributed import Loss, Team

ALIGNED = 32
"""Each weight begins at a multiple of so many numbers, as kernels like it."""


def laid_out(counts: Sequence[int]) -> tuple[list[slice], int]:
    """Where weights of so many numbers each are in one tensor, and how long that is."""
    begins = [0, *accumulate(-(-count // ALIGNED) * ALIGNED for count in counts)]
    return [slice(begin, begin + count) for begin, count in zip(begins, counts, strict=False)], begins[-1]


class MasterWeights:
    """The weights of a network, in float32; its parameters become views of a copy, or of these themselves.

    Args:
        network: whose parameters with a gradient are taken over.
        dtype: of the copy that the network computes with.

    Attributes:
        network: what learns.
        flat: all weights, one after the other.
        gradient: of the same form, filled by `gather`.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self.network = network
        learning = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        slices, size = laid_out([weight.numel() for weight in learning.values()])
        self.places = dict(zip(learning, zip(learning.values(), slices, strict=True), strict=True))
        device = next(network.parameters()).device
        self.flat = torch.zeros(size, device=device)
        self.gradient = torch.zeros_like(self.flat)
        self.copy = self.flat if dtype == torch.float32 else torch.zeros_like(self.flat, dtype=dtype)
        for parameter, place in self.places.values():
            self.flat[place] = parameter.detach().flatten().float()
        if dtype != torch.float32:
            network.to(dtype)
        for parameter, place in self.places.values():
            parameter.data = self.copy[place].view_as(parameter)
        self.publish()

    def shared_loss(self, team: Team, *, some_unused: bool) -> nn.Module:
        """The network's loss, whose gradients after a way back are the mean of all processes'.

        Args:
            team: the processes.
            some_unused: whether a pass may leave out some of the weights.
        """
        return team.shared(Loss(self.network), some_unused=some_unused)

    def gather(self) -> None:
        """Bring the gradients of the network's parameters together, and forget them there."""
        for parameter, place in self.places.values():
            if parameter.grad is None:
                self.gradient[place] = 0.0
            else:
                self.gradient[place] = parameter.grad.flatten()
                parameter.grad = None

    def clip(self, most: float) -> float:
        """Make the gradient's norm at most this; gives what it was."""
        self.flat.grad = self.gradient
        return nn.utils.clip_grad_norm_(self.flat, most).item()

    def finite(self) -> bool:
        """Whether all weights are numbers, and none is infinite."""
        return bool(self.flat.isfinite().all())

    def publish(self, weights: Tensor | None = None) -> None:
        """Let the network compute with these weights, or with the master's own."""
        weights = self.flat if weights is None else weights
        if weights is not self.copy:
            self.copy.copy_(weights)

    @contextmanager
    def shown(self, weights: Tensor | None) -> Iterator[None]:
        """Within, the network computes with other weights, of the form of `flat`; None for its own."""
        if weights is None:
            yield
            return
        own = self.flat.clone() if self.copy is self.flat else self.flat
        self.publish(weights)
        try:
            yield
        finally:
            self.publish(own)

    def named(self, flat: Tensor | None = None) -> dict[str, Tensor]:
        """Each weight under its name, or what stands in its place in another tensor of the form of `flat`."""
        flat = self.flat if flat is None else flat
        return {name: flat[place].view(parameter.shape) for name, (parameter, place) in self.places.items()}

    def fill(self, flat: Tensor, named: Mapping[str, Tensor]) -> None:
        """Write named tensors to their places in a tensor of the form of `flat`."""
        for name, (_, place) in self.places.items():
            flat[place] = named[name].flatten().to(flat.dtype)
