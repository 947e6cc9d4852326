"""Scores that remember where the steps before looked, and the loss that keeps them from looking there again.

What is remembered is a row of numbers, one a key: the weights of the step before for `LocationAware`, the sum
of all weights so far for `Coverage`. It is an argument and a return value, see `regard.nn.soft`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.nn.precision import wide
from regard.nn.scores import Additive


class LocationAware(Additive):
    """v · tanh(W_q query + W_k key + U (F ∗ α)), with α where the step before looked.

    Args:
        query_width, key_width: D_q and D_k.
        filters: C, how many filters F look at the weights around a key.
        reach: how many keys a filter sees on each side.

    Source: Chorowski et al. 2015, eqs. 8 and 9; arXiv:1506.07503.
    """

    remembers = True

    def __init__(self, query_width: int, key_width: int, filters: int = 8, reach: int = 3) -> None:
        super().__init__(query_width, key_width)
        self.filters = nn.Conv1d(1, filters, 2 * reach + 1, padding=reach, bias=False)
        self.location = nn.Linear(filters, query_width, bias=False)

    def start(self, key_mask: Tensor) -> Tensor:
        """Nothing was looked at yet: zeros (B, K)."""
        return _nothing(key_mask, self.direction)

    def remember(self, before: Tensor | None, weights: Tensor) -> Tensor:
        """The weights (R, K) themselves."""
        return weights

    def recalled(self, before: Tensor) -> Tensor:
        """What the filters find around each key of before (B, Q, K), as hidden features (B, Q, K, A)."""
        found = self.filters(before.flatten(0, 1)[:, None].to(self.direction.dtype))
        return self.location(found.transpose(1, 2)).unflatten(0, before.shape[:2])


class Coverage(Additive):
    """v · tanh(W_q query + W_k key + w_c c), with c the sum of all weights so far.

    Source: See, Liu and Manning 2017, eqs. 10 and 11, arXiv:1704.04368; Tu et al. 2016, arXiv:1601.04811.
    """

    remembers = True

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__(query_width, key_width)
        self.coverage = nn.Parameter(torch.empty(query_width).uniform_(-1, 1) / query_width**0.5)

    def start(self, key_mask: Tensor) -> Tensor:
        """Nothing was looked at yet: zeros (B, K)."""
        return _nothing(key_mask, self.direction)

    def remember(self, before: Tensor | None, weights: Tensor) -> Tensor:
        """The sum (R, K) of all weights so far."""
        return weights if before is None else before + weights

    def recalled(self, before: Tensor) -> Tensor:
        """How much each key of before (B, Q, K) was looked at, as hidden features (B, Q, K, A)."""
        return before[..., None] * self.coverage


def coverage_loss(weights: Tensor) -> Tensor:
    """How much each step looks where was looked before: Σ_k min(α_tk, c_tk), c_t = Σ_{t' < t} α_t'.

    Args:
        weights: (…, T, K), of all steps.

    Returns:
        (…, T), from 0 to 1 where the weights of a step sum to 1.

    Source:
        See, Liu and Manning 2017, eq. 12.
    """
    weights = wide(weights)
    before = F.pad(weights.cumsum(-2)[..., :-1, :], (0, 0, 1, 0))
    return torch.minimum(weights, before).sum(-1)


def _nothing(key_mask: Tensor, like: Tensor) -> Tensor:
    return torch.zeros(key_mask.shape, dtype=wide(like).dtype, device=key_mask.device)
