"""Soft attention for a decoder that looks once a step: the keys are projected once a sentence, the query at each step.

Each class is a score function of `regard.core.scores` with its learned parts. ``over(keys, mask)`` prepares a sentence and
gives a function from a query to weights; what it computes is what `regard.core.attention` computes from the same score,
one query at a time, and a test says so.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from regard.nn.shared import Shared

Score = Callable[[Tensor], Tensor]
"""query (B, D) to scores (B, K)."""


def _one_query(matrix: Shared) -> Score:
    """Scores of one query for each sentence, from the keys (B, K, D) as a matrix of the sentence."""
    return lambda query: matrix(query[:, None])[:, 0]



class Dot(nn.Module):
    """query · key. Luong, Pham and Manning 2015, eq. 8, first line; arXiv:1508.04025."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.project = nn.Identity() if query_width == key_width else nn.Linear(key_width, query_width, bias=False)

    def scores(self, keys: Tensor) -> Score:
        """The score function of one batch of sentences; keys (B, K, D)."""
        return _one_query(Shared(self.project(keys)))


class General(nn.Module):
    """query · W key. Luong et al. 2015, eq. 8, second line."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.project = nn.Linear(key_width, query_width, bias=False)

    def scores(self, keys: Tensor) -> Score:
        """The score function of one batch of sentences; keys (B, K, D)."""
        return _one_query(Shared(self.project(keys)))


class Additive(nn.Module):
    """v · tanh(W_q query + W_k key). Bahdanau, Cho and Bengio 2015, appendix A.1.2; arXiv:1409.0473."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, query_width, bias=False)
        self.keys = nn.Linear(key_width, query_width, bias=False)
        self.direction = nn.Parameter(torch.empty(query_width).uniform_(-1, 1) / query_width**0.5)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """W_q (A, D_q) and W_k (A, D_k)."""
        return self.query.weight, self.keys.weight

    def scores(self, keys: Tensor) -> Score:
        """The score function of one batch of sentences; keys (B, K, D)."""
        w_query, w_keys = self.matrices()
        projected = nn.functional.linear(keys, w_keys)
        query_matrix, direction = Shared(w_query), self.direction.to(projected.dtype)

        def score(query: Tensor) -> Tensor:
            return torch.tanh(query_matrix(query)[:, None] + projected) @ direction

        return score


class Concat(Additive):
    """v · tanh(W [query; key]). Luong et al. 2015, eq. 8, third line: additive, with both projections in one matrix."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__(query_width, key_width)
        del self.query, self.keys
        self.joint = nn.Linear(query_width + key_width, query_width, bias=False)
        self.query_width = query_width

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The columns of W that meet the query (A, D_q), and those that meet the key (A, D_k)."""
        return self.joint.weight[:, : self.query_width], self.joint.weight[:, self.query_width :]


ATTENTIONS: dict[str, type[Dot] | type[General] | type[Additive]] = {
    "dot": Dot,
    "general": General,
    "concat": Concat,
    "additive": Additive,
}
AttentionName = Literal["dot", "general", "concat", "additive"]


class SentenceAttention:
    """Attention over one batch of sentences, ready to be asked at each step.

    Args:
        score: from `ATTENTIONS`.
        keys: (B, K, D), also the values.
        key_mask: (B, K), True where there is a word; at least one in each sentence.
    """

    def __init__(self, score: Dot | General | Additive, keys: Tensor, key_mask: Tensor) -> None:
        self.score = score.scores(keys)
        self.values = Shared(keys.transpose(1, 2))
        self.bias = torch.zeros(key_mask.shape).masked_fill_(~key_mask, float("-inf"))

    def __call__(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """The context (B, D) and the weights (B, K), in float32, of a query (B, D)."""
        weights = torch.softmax(self.score(query).float() + self.bias, dim=-1)
        return self.values(weights[:, None])[:, 0], weights
