"""Soft attention for a decoder: the keys are projected once a sentence, the queries come step by step.

Each class is a score function of `regard.core.scores` with its learned parts. ``project(keys)`` is done once
a sentence, and ``over(projected)`` gives a function from queries to scores. What `SentenceAttention` makes of
both is what `regard.core.attention` computes with the same score, and a test says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from regard.nn.shared import Shared

Score = Callable[[Tensor], Tensor]
"""queries (B, Q, D) to scores (B, Q, K)."""


class Dot(nn.Module):
    """query · key, of one width or projected to it. Luong, Pham and Manning 2015, eq. 8; arXiv:1508.04025."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        same = query_width == key_width
        self.project = nn.Identity() if same else nn.Linear(key_width, query_width, bias=False)

    def over(self, projected: Tensor) -> Score:
        """The score function of one batch of sentences; projected (B, K, D_q)."""
        return Shared(projected)


class General(nn.Module):
    """query · W key. Luong et al. 2015, eq. 8, second line."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.project = nn.Linear(key_width, query_width, bias=False)

    def over(self, projected: Tensor) -> Score:
        """The score function of one batch of sentences; projected (B, K, D_q)."""
        return Shared(projected)


class _OneHiddenLayer(nn.Module):
    """v · tanh(W_q query + W_k key), wherever the two matrices are kept."""

    direction: nn.Parameter

    def matrices(self) -> tuple[Tensor, Tensor]:
        """W_q (A, D_q) and W_k (A, D_k)."""
        raise NotImplementedError

    def project(self, keys: Tensor) -> Tensor:
        """What keys (B, K, D_k) give to the hidden layer, (B, K, A)."""
        return nn.functional.linear(keys, self.matrices()[1])

    def over(self, projected: Tensor) -> Score:
        """The score function of one batch of sentences; projected (B, K, A)."""
        query_matrix, direction = Shared(self.matrices()[0]), self.direction.to(projected.dtype)

        def score(query: Tensor) -> Tensor:
            hidden = query_matrix(query.flatten(0, 1)).unflatten(0, query.shape[:2])
            return torch.tanh(hidden[:, :, None] + projected[:, None]) @ direction

        return score


class Additive(_OneHiddenLayer):
    """v · tanh(W_q query + W_k key). Bahdanau, Cho and Bengio 2015, appendix A.1.2; arXiv:1409.0473."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, query_width, bias=False)
        self.keys = nn.Linear(key_width, query_width, bias=False)
        self.direction = _direction(query_width)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """W_q (A, D_q) and W_k (A, D_k)."""
        return self.query.weight, self.keys.weight


class Concat(_OneHiddenLayer):
    """v · tanh(W [query; key]). Luong et al. 2015, eq. 8, third line: additive with both matrices in one."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.query_width = query_width
        self.joint = nn.Linear(query_width + key_width, query_width, bias=False)
        self.direction = _direction(query_width)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The columns of W that meet the query (A, D_q), and those that meet the key (A, D_k)."""
        return self.joint.weight[:, : self.query_width], self.joint.weight[:, self.query_width :]


def _direction(width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(width).uniform_(-1, 1) / width**0.5)


ATTENTIONS: dict[str, type[Dot] | type[General] | type[Additive] | type[Concat]] = {
    "dot": Dot,
    "general": General,
    "concat": Concat,
    "additive": Additive,
}
AttentionName = Literal["dot", "general", "concat", "additive"]


class SentenceAttention:
    """Attention over one batch of sentences, ready to be asked at each step.

    Args:
        score: one of `ATTENTIONS`.
        keys: (B, K, D), also the values.
        key_mask: (B, K), True where there is a word. Where a sentence has none, weights and context are zero.
        projected: what the score's ``project`` gave for these keys, where it is known already.
    """

    def __init__(
        self,
        score: Dot | General | Additive | Concat,
        keys: Tensor,
        key_mask: Tensor,
        projected: Tensor | None = None,
    ) -> None:
        self.score, self.key_mask = score, key_mask
        self.keys = keys.masked_fill(~key_mask[..., None], 0.0)  # lest a NaN behind a sentence's end reach it
        self.projected = score.project(self.keys) if projected is None else projected
        self.scores, self.values = score.over(self.projected), Shared(self.keys.transpose(1, 2))
        empty = ~key_mask.any(dim=1, keepdim=True)
        # in float32, which widens the narrower scores that it is added to
        self.bias = torch.zeros(key_mask.shape).masked_fill_(~key_mask & ~empty, float("-inf"))
        self.empty = empty if empty.any() else None

    def __call__(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Look once.

        Args:
            query: (R, D), as many rows for each sentence, one sentence after the other: R = B · Q.

        Returns:
            the context (R, D), and the weights (R, K) in float32 or wider.
        """
        query = query.unflatten(0, (len(self.bias), -1))
        weights = torch.softmax(self.scores(query) + self.bias[:, None], dim=-1)
        if self.empty is not None:
            weights = weights.masked_fill(self.empty[:, None], 0.0)
        return self.values(weights).flatten(0, 1), weights.flatten(0, 1)

    def select(self, rows: Tensor) -> SentenceAttention:
        """Attention over the sentences of the given rows, in their order; nothing is projected again."""
        return SentenceAttention(self.score, self.keys[rows], self.key_mask[rows], self.projected[rows])
