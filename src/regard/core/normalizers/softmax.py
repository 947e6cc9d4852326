"""Softmax, with what is done to it: a temperature, a soft cap, a sink. And the logarithm of its sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from array_api_compat import is_torch_namespace

from regard.core.arrays import Array, Namespace, calm, is_array, namespace, surely
from regard.core.dtypes import wide
from regard.core.parameters import match_rows, row_parameter


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


@dataclass(frozen=True, eq=False)
class Softmax:
    """Softmax with a temperature, a soft cap and a sink: a normalizer made by `softmax_with`."""

    temperature: Any = 1.0
    soft_cap: Any = None
    sink: Any = None

    def __call__(self, scores: Array) -> Array:
        """Weights (…, Q, K) from scores (…, Q, K)."""
        logits = self.logits(scores)
        if self.sink is None or not logits.shape[-1]:
            return softmax(logits)
        xp = namespace(logits)
        with calm(xp):
            shares, total, _ = _shares(xp, logits, match_rows("softmax_with", "sink", self.sink, logits))
            return shares / total

    def logits(self, scores: Array) -> Array:
        """What is exponentiated, (…, Q, K): c · tanh(s / c) / T, and the infinities as they are."""
        scores = wide("softmax_with", "scores", scores)
        if self.soft_cap is None and not is_array(self.temperature) and self.temperature == 1:
            return scores
        xp = namespace(scores)
        # An infinity has no place in a product: its gradient towards a parameter would be NaN.
        infinite = xp.isinf(scores)
        logits = xp.where(infinite, 0.0, scores)
        if self.soft_cap is not None:
            cap = match_rows("softmax_with", "soft_cap", self.soft_cap, scores)
            logits = cap * xp.tanh(logits / cap)
        logits = logits / match_rows("softmax_with", "temperature", self.temperature, scores)
        return xp.where(infinite, scores, logits)


def softmax_with(*, temperature: Any = 1.0, soft_cap: Any = None, sink: Any = None) -> Softmax:
    """Make a softmax with more to it: exp(z_k) / (exp(sink) + Σ_j exp(z_j)), z = c · tanh(s / c) / T.

    Each parameter is a number, or an array that broadcasts with the scores, its last axis 1, such as one a
    head (H, 1, 1). Gradients reach them.

    Args:
        temperature: T, above 0: below 1 it sharpens, above 1 it flattens.
        soft_cap: c, above 0: scores are bent to stay within ±c, before the temperature. −∞ still hides, and
            +∞ stays. None for no cap.
        sink: a score, after cap and temperature, of a key that is not there: it takes its share, and gives no
            value. 0 adds 1 to the sum ("softmax off by one"). None for no sink.

    Returns:
        A normalizer: a function from scores (…, Q, K) to weights from 0 to 1, each row with sum 1, or less
        with a sink. A row of −∞ alone gets zeros with gradient zero. A row with a NaN is NaN. Its fields
        ``temperature``, ``soft_cap`` and ``sink`` can be read, and ``logits(scores)`` gives z.

    Raises:
        InputError: a temperature or a cap that is not above 0.
        ShapeError: one differs between keys; from the normalizer, it does not fit the scores.
        DtypeError: one is no real number.

    Source:
        Temperature: Hinton, Vinyals and Dean 2015, eq. 1; arXiv:1503.02531. Soft cap: Gemma Team 2024,
        section 2; arXiv:2408.00118. Sink: Xiao et al. 2024, eq. 2; arXiv:2309.17453; learned, one a head:
        OpenAI 2025 (gpt-oss), section 2; arXiv:2508.10925.
    """
    return Softmax(
        temperature=row_parameter("softmax_with", "temperature", temperature, above=0),
        soft_cap=None if soft_cap is None else row_parameter("softmax_with", "soft_cap", soft_cap, above=0),
        sink=None if sink is None else row_parameter("softmax_with", "sink", sink),
    )


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


def _shares(xp: Namespace, scores: Array, sink: Any = None) -> tuple[Array, Array, Array]:
    """exp(s − highest), their sum over each row and the sink, and the highest score, as a finite number."""
    if not scores.shape[-1]:
        nothing = xp.sum(scores, axis=-1, keepdims=True)
        return scores, nothing, nothing
    largest = float(xp.finfo(scores.dtype).max)
    scores = xp.where(scores > largest, largest, scores)
    highest = xp.max(scores, axis=-1, keepdims=True)
    highest = xp.where(highest < -largest, -largest, highest)
    if sink is not None:
        sink = xp.zeros_like(highest) + sink
        highest = xp.where(highest < sink, sink, highest)
    shares = xp.exp(scores - highest)
    total = xp.sum(shares, axis=-1, keepdims=True)
    return shares, total if sink is None else total + xp.exp(sink - highest), highest
