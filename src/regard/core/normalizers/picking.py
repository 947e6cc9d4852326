"""Normalizers that pick keys: the k highest, or the highest one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regard.core.arrays import Array, Namespace, constant
from regard.core.normalizers.rows import normalize
from regard.errors import InputError


@dataclass(frozen=True)
class TopK:
    """Softmax over the k highest scores: a normalizer made by `top_k`."""

    k: int

    def __call__(self, scores: Array) -> Array:
        """Weights (…, Q, K) from scores (…, Q, K)."""
        return normalize("top_k", scores, self._shares)

    def _shares(self, xp: Namespace, below: Array) -> Array:
        shares = xp.where(_highest(xp, constant(below), self.k), xp.exp(below), 0.0)
        return shares / xp.sum(shares, axis=-1, keepdims=True)


def top_k(k: int) -> TopK:
    """Make a normalizer that is softmax over the k highest scores of each query, and gives the others 0.

    Args:
        k: how many, 1 or more. Of several alike the first ones are taken, so that it is never more. Where
            fewer keys may be seen, all of them are taken.

    Returns:
        A normalizer: a function from scores (…, Q, K) to weights from 0 to 1, each row with sum 1. A row of
        −∞ alone gets zeros with gradient zero. A row with a NaN is NaN. Its field ``k`` can be read.

    Raises:
        InputError: k is no whole number from 1 up.

    Source:
        Gupta et al. 2021, section 2; arXiv:2106.06899.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"top_k: k must be a whole number from 1 up. Got {k!r}.")
    return TopK(k)


def hardmax(scores: Array) -> Array:
    """Give the key with the highest score the whole weight; of several alike, the first.

    Args:
        scores: (…, Q, K), unbounded. −∞ hides a key. Half precision is widened to float32, integers to
            float64.

    Returns:
        (…, Q, K) weights 0 and 1, one 1 in each row, through which the gradient is zero. A row of −∞ alone
        gets zeros. A row with a NaN is NaN.

    Source:
        ONNX, operator Hardmax, version 13.
    """
    return normalize("hardmax", scores, _first_highest)


def _first_highest(xp: Namespace, below: Array) -> Array:
    # 0 times the scores keeps the weights in the graph, so that a loss of them alone has a gradient.
    return xp.where(_first(xp, below == 0, 1, below.dtype), 1.0, 0.0 * xp.abs(below))


def _highest(xp: Namespace, numbers: Array, k: int) -> Array:
    """Whether a number is among the k highest of its row, of several alike the first ones."""
    k = min(k, numbers.shape[-1])
    least = xp.sort(numbers, axis=-1, descending=True)[..., k - 1 : k]
    above = numbers > least
    room = k - xp.sum(xp.astype(above, numbers.dtype), axis=-1, keepdims=True)
    return above | _first(xp, numbers == least, room, numbers.dtype)


def _first(xp: Namespace, which: Array, count: Any, dtype: Any) -> Array:
    """The first ``count`` of each row for which it holds."""
    return which & (xp.cumulative_sum(xp.astype(which, dtype), axis=-1) <= count)
