"""Normalizers: from scores to weights, over the keys of each query.

A normalizer is a function from scores (…, Q, K) to weights of the same shape, row by row over the last axis.
A score of −∞ means "not here": its weight is 0. Any function of this form will do; it is never handed a row
that the masks hide altogether, nor one without keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from array_api_compat import is_torch_namespace

from regard.core.arrays import Array, Namespace, calm, namespace, surely
from regard.core.dtypes import wide

Normalizer = Callable[[Any], Any]


def softmax(scores: Array) -> Array:
    """Give each key a share that grows exponentially with its score: exp(s_k) / Σ_j exp(s_j).

    Args:
        scores: (…, Q, K), unbounded. −∞ hides a key. +∞ counts as the largest finite number, so that such
            keys share the whole weight. Half precision is widened to float32, integers to float64.

    Returns:
        (…, Q, K) weights from 0 to 1, each row with sum 1. A row of −∞ alone, which may look nowhere, gets
        zeros with gradient zero. A row with a NaN is NaN.

    Source:
        Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """
    scores = wide("softmax", "scores", scores)
    xp = namespace(scores)
    if is_torch_namespace(xp) and scores.shape[-1]:
        weights = xp.softmax(scores, -1)
        # PyTorch's own is faster. A row that is empty or infinite it makes NaN: the first column tells.
        if surely(~xp.any(xp.isnan(weights[..., :1]))):
            return weights
    with calm(xp):
        shares, total, _ = _shares(xp, scores)
        return shares / xp.where(total == 0, 1.0, total)


def log_sum_exp(scores: Array) -> Array:
    """The logarithm by which softmax normalises each row: log Σ_k exp(s_k).

    Args:
        scores: (…, Q, K), unbounded, as for `softmax`.

    Returns:
        (…, Q), in nats; −∞ for a row that may look nowhere.
    """
    scores = wide("log_sum_exp", "scores", scores)
    xp = namespace(scores)
    with calm(xp):
        _, total, highest = _shares(xp, scores)
        empty = total == 0
        return xp.where(empty, -math.inf, highest + xp.log(xp.where(empty, 1.0, total)))[..., 0]


def _shares(xp: Namespace, scores: Array) -> tuple[Array, Array, Array]:
    """exp(s − highest), their sum over each row, and the highest score of each row, as a finite number."""
    if not scores.shape[-1]:
        nothing = xp.sum(scores, axis=-1, keepdims=True)
        return scores, nothing, nothing
    largest = float(xp.finfo(scores.dtype).max)
    scores = xp.where(scores > largest, largest, scores)
    highest = xp.max(scores, axis=-1, keepdims=True)
    highest = xp.where(highest < -largest, -largest, highest)
    shares = xp.exp(scores - highest)
    return shares, xp.sum(shares, axis=-1, keepdims=True), highest
