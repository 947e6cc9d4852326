"""Positions for modules: what `regard.core.positions` computes, with the tables that are learned.

`LearnedPositions` is added to the inputs. The others are handed to attention, ``positions=Rotary()``, which
asks each what it does to the heads, to the scores and to the context; most do one of these.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.core import positions


class LearnedPositions(nn.Module):
    """A learned row for each position, added to the inputs.

    Args:
        count: P, how many positions there are rows for.
        width: E, features of the inputs.

    Source:
        Gehring et al. 2017, section 3.1; arXiv:1705.03122.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(count, width).normal_(std=0.02))

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """x (…, L, E) and the rows of its positions, the first of which is ``offset``.

        Raises:
            InputError: a position for which there is no row.
        """
        return x + positions.learned(self.table, x.shape[-2], offset=offset).to(x.dtype)


class Positions(nn.Module):
    """What positions may do to attention; here they do nothing. Made to be derived from.

    ``query_offset`` is where the first query stands among the keys that are there.
    """

    needs_weights = False
    """Whether `context` adds something, for which all weights must be held."""

    def turn(self, heads: Tensor, offset: int) -> Tensor:
        """Query or keys (…, H, L, D), the first of which is at this position; they keep their shape."""
        return heads

    def bias(self, query: Tensor, keys: int, query_offset: int) -> Tensor | None:
        """What is added to the scores of the query's heads (…, H, Q, D) and these keys; None for nothing."""
        return None

    def context(self, weights: Tensor, query_offset: int) -> Tensor:
        """What is added to the context (…, H, Q, V) that these weights (…, H, Q, K) gave."""
        raise NotImplementedError


class Rotary(Positions):
    """Query and keys turned by their positions, so that their product knows the distance.

    Args:
        base, features, interleaved: as for `regard.core.positions.rotary`.

    Source:
        Su et al. 2021, eq. 34; arXiv:2104.09864.
    """

    def __init__(
        self, *, base: float = 10_000.0, features: int | None = None, interleaved: bool = True
    ) -> None:
        super().__init__()
        self.base, self.features, self.interleaved = base, features, interleaved

    def turn(self, heads: Tensor, offset: int) -> Tensor:
        """The heads, turned."""
        return positions.rotary(
            heads, offset=offset, base=self.base, features=self.features, interleaved=self.interleaved
        )


class Alibi(Positions):
    """A bias that falls with the distance, at a slope of its own for each head.

    Args:
        heads: H, query heads.

    Source:
        Press, Smith and Lewis 2022, section 3; arXiv:2108.12409.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def bias(self, query: Tensor, keys: int, query_offset: int) -> Tensor:
        """−slope · distance, (H, Q, K)."""
        return positions.alibi(self.heads, query.shape[-2], keys, query_offset=query_offset, like=query)


class T5Bias(Positions):
    """A learned bias for each bucket of distances and each head.

    T5's scores have no scale: ``MultiheadAttention(…, score=scores.dot, positions=T5Bias(heads))``.

    Args:
        heads: H, query heads.
        buckets, bidirectional, max_distance: as for `regard.core.positions.t5_buckets`.

    Source:
        Raffel et al. 2020, section 2.1; arXiv:1910.10683.
    """

    def __init__(
        self, heads: int, *, buckets: int = 32, bidirectional: bool = True, max_distance: int = 128
    ) -> None:
        super().__init__()
        self.bidirectional, self.max_distance = bidirectional, max_distance
        self.table = nn.Parameter(torch.empty(buckets, heads).normal_(std=0.02))

    def bias(self, query: Tensor, keys: int, query_offset: int) -> Tensor:
        """The rows of the buckets, (H, Q, K)."""
        return positions.t5_bias(
            self.table,
            query.shape[-2],
            keys,
            bidirectional=self.bidirectional,
            max_distance=self.max_distance,
            query_offset=query_offset,
        )


class Shaw(Positions):
    """A learned key and a learned value for each distance, the same for all heads.

    Args:
        head_width: D, features of a head of the query.
        value_head_width: V, features of a head of the values; None for D.
        clip: C, from which distance on all are alike.

    Source:
        Shaw, Uszkoreit and Vaswani 2018, eq. 1 to 5; arXiv:1803.02155.
    """

    needs_weights = True

    def __init__(self, head_width: int, value_head_width: int | None = None, *, clip: int = 16) -> None:
        super().__init__()
        rows = 2 * clip + 1
        self.keys = nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, head_width)))
        self.values = nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, value_head_width or head_width)))

    def bias(self, query: Tensor, keys: int, query_offset: int) -> Tensor:
        """The scaled products with the keys of the distances, (…, H, Q, K)."""
        return positions.shaw_bias(query, keys, self.keys, query_offset=query_offset)

    def context(self, weights: Tensor, query_offset: int) -> Tensor:
        """The average of the values of the distances."""
        return positions.shaw_context(weights, self.values, query_offset=query_offset)
