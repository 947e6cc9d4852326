"""Several networks as one: the mean of their probabilities, and of where they look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import InputError


@dataclass(frozen=True)
class Members:
    """What each network of an ensemble keeps."""

    parts: tuple[Any, ...]

    def select(self, rows: Tensor) -> Members:
        """The part of the given rows, in their order; a row may be repeated."""
        return Members(tuple(part.select(rows) for part in self.parts))


class Ensemble(nn.Module):
    """An encoder–decoder that says what its members say on average.

    Args:
        networks: with one vocabulary.

    Raises:
        InputError: none are given.
    """

    def __init__(self, networks: Sequence[Any]) -> None:
        super().__init__()
        if not networks:
            raise InputError("Ensemble(): at least one network is needed.")
        self.networks = nn.ModuleList(networks)

    def encode(self, source: Tensor, lengths: Tensor) -> Members:
        """Read source tokens (B, S) of the given lengths (B,), padded behind."""
        return Members(tuple(network.encode(source, lengths) for network in self._members()))

    def start(self, encoded: Members) -> tuple[Members, Members]:
        """What stays the same at each step, and the state before the first word."""
        begun = [network.start(part) for network, part in zip(self._members(), encoded.parts, strict=True)]
        return Members(tuple(steps for steps, _ in begun)), Members(tuple(state for _, state in begun))

    def step(self, steps: Members, state: Members, words: Tensor) -> tuple[Tensor, Tensor, Members]:
        """From the last words (R,) to log-probabilities (R, V), weights (R, S) and the next state."""
        parts = zip(self._members(), steps.parts, state.parts, strict=True)
        said = [network.step(mine, before, words) for network, mine, before in parts]
        return (
            mean_of_probabilities([log_probabilities for log_probabilities, _, _ in said]),
            torch.stack([weights.float() for _, weights, _ in said]).mean(0),
            Members(tuple(after for _, _, after in said)),
        )

    def forward(
        self, source: Tensor, lengths: Tensor, given: Tensor
    ) -> tuple[tuple[tuple[Tensor, Tensor], ...], Tensor]:
        """Features and weights of each network along known words, and the mean of the weights (B, T, S)."""
        found = tuple(network(source, lengths, given) for network in self._members())
        return found, torch.stack([weights.float() for _, weights in found]).mean(0)

    def log_probabilities(
        self, features: tuple[tuple[Tensor, Tensor], ...], weights: Tensor, source: Tensor | None = None
    ) -> Tensor:
        """log p of each word (B, T, V), from what `forward` gives, and, if they copy, what they read."""
        parts = zip(self._members(), features, strict=True)
        read = () if source is None else (source,)
        return mean_of_probabilities([network.log_probabilities(*found, *read) for network, found in parts])

    @property
    def copies(self) -> bool:
        """Whether all of them may copy words from the source."""
        return all(getattr(network, "copies", False) for network in self._members())

    def copy_shares(self, source: Tensor, lengths: Tensor, given: Tensor, wanted: Tensor) -> Tensor:
        """The mean share of copying in the probability of each wanted word, from 0 to 1, (B, T)."""
        shares = [network.copy_shares(source, lengths, given, wanted) for network in self._members()]
        return torch.stack(shares).mean(0)

    def _members(self) -> list[Any]:
        return list(self.networks)


def mean_of_probabilities(log_probabilities: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of probabilities, given their logarithms, of any one shape."""
    return torch.stack(tuple(log_probabilities)).logsumexp(dim=0) - math.log(len(log_probabilities))
