"""Sigmoid: a normalizer in which keys don't compete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regard.core.arrays import Array, calm, namespace
from regard.core.dtypes import wide
from regard.core.parameters import match_rows, row_parameter


def sigmoid(scores: Array) -> Array:
    """Give each key a weight of its own, whatever the others get: 1 / (1 + exp(−s_k)).

    Args:
        scores: (…, Q, K), unbounded. −∞ hides a key, +∞ gives it 1. Half precision is widened to float32,
            integers to float64.

    Returns:
        (…, Q, K) weights from 0 to 1, whose sum is anything from 0 to K. A row of −∞ alone gets zeros with
        gradient zero. A NaN stays where it is.

    Source:
        Ramapuram et al. 2024, eq. 3, with b = 0; arXiv:2409.04431.
    """
    scores = wide("sigmoid", "scores", scores)
    xp = namespace(scores)
    with calm(xp):
        negative = scores < 0
        small = xp.exp(xp.where(negative, scores, -scores))
        return xp.where(negative, small, 1.0) / (1 + small)


@dataclass(frozen=True, eq=False)
class Sigmoid:
    """Sigmoid with a bias: a normalizer made by `sigmoid_with`."""

    bias: Any

    def __call__(self, scores: Array) -> Array:
        """Weights (…, Q, K) from scores (…, Q, K)."""
        scores = wide("sigmoid_with", "scores", scores)
        return sigmoid(scores + match_rows("sigmoid_with", "bias", self.bias, scores))


def sigmoid_with(bias: Any) -> Sigmoid:
    """Make a sigmoid that starts elsewhere: 1 / (1 + exp(−s_k − b)).

    Args:
        bias: b: a number, or an array that broadcasts with the scores, its last axis 1, such as one a head
            (H, 1, 1). With −log K the weights of K keys that score 0 have nearly the sum 1, as with softmax.
            A gradient reaches it.

    Returns:
        A normalizer: a function from scores (…, Q, K) to weights from 0 to 1; see `sigmoid`. Its field
        ``bias`` can be read.

    Raises:
        ShapeError: it differs between keys (what does goes to ``attend(bias=)``); from the normalizer, it
            does not fit the scores.
        DtypeError: it is no real number.

    Source:
        Ramapuram et al. 2024, eq. 3; arXiv:2409.04431.
    """
    return Sigmoid(row_parameter("sigmoid_with", "bias", bias))
