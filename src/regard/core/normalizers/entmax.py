"""Normalizers that give few keys a weight: sparsemax, 1.5-entmax and α-entmax.

All three are max over weights p of p · s + H_α(p) with Tsallis' entropy H_α, whose solution is
p_k = [(α − 1) s_k − τ]₊^{1 / (α − 1)} for a threshold τ that makes the sum 1. The threshold is found from
numbers through which no gradient passes. Then one step of Newton's method, of size 0 but with the gradient of
the scores and of α, gives it the derivative that the implicit function theorem says it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from regard.core.arrays import Array, Namespace, constant, is_array
from regard.core.dtypes import wide
from regard.core.loops import repeat
from regard.core.normalizers.rows import normalize
from regard.core.parameters import match_rows, row_parameter

LOW = 1.5
"""(α − 1) times how far below the highest score a key surely gets nothing: 1, and room for rounding."""


def sparsemax(scores: Array) -> Array:
    """Give each key what its score exceeds a threshold by, and most keys nothing: (s_k − τ)₊.

    Args:
        scores: (…, Q, K), unbounded. −∞ hides a key. +∞ counts as the largest finite number. Half precision
            is widened to float32, integers to float64.

    Returns:
        (…, Q, K) weights from 0 to 1, each row with sum 1: the point of the simplex that is nearest to the
        scores. A row of −∞ alone gets zeros with gradient zero. A row with a NaN is NaN.

    Source:
        Martins and Astudillo 2016, algorithm 1 and eq. 11; arXiv:1602.02068.
    """
    return normalize("sparsemax", scores, _sparsemax, floor=-LOW)


def entmax15(scores: Array) -> Array:
    """Give each key a weight between softmax and sparsemax, and few keys nothing: (s_k / 2 − τ)₊².

    Args:
        scores: (…, Q, K), as for `sparsemax`.

    Returns:
        (…, Q, K) weights from 0 to 1, each row with sum 1; zeros and NaN as for `sparsemax`.

    Source:
        Peters, Niculae and Martins 2019, algorithm 2; arXiv:1905.05702.
    """
    return normalize("entmax15", scores, _entmax15, floor=-2 * LOW)


@dataclass(frozen=True, eq=False)
class Entmax:
    """α-entmax with its α: a normalizer made by `entmax`."""

    alpha: Any

    def __call__(self, scores: Array) -> Array:
        """Weights (…, Q, K) from scores (…, Q, K)."""
        if not is_array(self.alpha) and self.alpha in (1.5, 2):
            return entmax15(scores) if self.alpha == 1.5 else sparsemax(scores)
        scores = wide("entmax", "scores", scores)
        power = match_rows("entmax", "alpha", self.alpha, scores) - 1
        floor = -LOW / (constant(power) if is_array(power) else power)
        return normalize("entmax", scores, lambda xp, below: _entmax(xp, below, power), floor)


def entmax(alpha: Any) -> Entmax:
    """Make a normalizer as sparse as α says: [(α − 1) s_k − τ]₊^{1 / (α − 1)}.

    Towards 1 it is softmax, at 1.5 it is `entmax15`, at 2 `sparsemax`, and towards ∞ the hard maximum.

    Args:
        alpha: α, above 1: a number, or an array that broadcasts with the scores, its last axis 1, such as one
            a head (H, 1, 1). A gradient reaches it; towards α = 1 rounding spoils that, not the weights.

    Returns:
        A normalizer: a function from scores (…, Q, K) to weights from 0 to 1, each row with sum 1; zeros and
        NaN as for `sparsemax`. Its field ``alpha`` can be read.

    Raises:
        InputError: an alpha that is not above 1.
        ShapeError: it differs between keys; from the normalizer, it does not fit the scores.
        DtypeError: it is no real number.

    Source:
        Peters, Niculae and Martins 2019, eq. 10 and algorithm 1; arXiv:1905.05702. The gradient towards α:
        Correia, Niculae and Martins 2019, proposition 1; arXiv:1909.00015.
    """
    return Entmax(row_parameter("entmax", "alpha", alpha, above=1))


def _sparsemax(xp: Namespace, below: Array) -> Array:
    ordered = xp.sort(constant(below), axis=-1, descending=True)
    enough = 1 + _ranks(xp, ordered) * ordered > xp.cumulative_sum(ordered, axis=-1)
    size = xp.sum(xp.astype(enough, ordered.dtype), axis=-1, keepdims=True)
    found = (xp.sum(xp.where(enough, ordered, 0.0), axis=-1, keepdims=True) - 1) / size
    total = xp.sum(_excess(xp, below, found), axis=-1, keepdims=True)
    return _excess(xp, below, found + (total - constant(total)) / size)


def _entmax15(xp: Namespace, below: Array) -> Array:
    halves = below / 2
    ordered = xp.sort(constant(halves), axis=-1, descending=True)
    ranks = _ranks(xp, ordered)
    mean = xp.cumulative_sum(ordered, axis=-1) / ranks
    spread = xp.cumulative_sum(ordered * ordered, axis=-1) - ranks * mean * mean
    room = (1 - spread) / ranks
    # The threshold if the support were the first key, the first two, …: rightly so up to its size.
    thresholds = mean - xp.sqrt(xp.where(room > 0, room, 0.0))
    size = xp.sum(xp.astype(thresholds <= ordered, ordered.dtype), axis=-1, keepdims=True)
    found = xp.sum(xp.where(ranks == size, thresholds, 0.0), axis=-1, keepdims=True)
    excess = _excess(xp, halves, found)
    total = xp.sum(excess * excess, axis=-1, keepdims=True)
    slope = 2 * constant(xp.sum(excess, axis=-1, keepdims=True))
    excess = _excess(xp, halves, found + (total - constant(total)) / slope)
    return excess * excess


def _excess(xp: Namespace, numbers: Array, threshold: Array) -> Array:
    """(number − threshold)₊, with gradient 0 where it is 0."""
    return xp.where(numbers > threshold, numbers - threshold, 0.0)


def _ranks(xp: Namespace, ordered: Array) -> Array:
    """1, 2, …, K in the dtype and on the device of the array."""
    return xp.cumulative_sum(xp.ones_like(ordered), axis=-1)


def _entmax(xp: Namespace, below: Array, power: Any) -> Array:
    """The weights exp(−t) r_k, of which the highest is exp(−t): a form that rounds at no α."""
    fixed, fixed_power = constant(below), constant(power) if is_array(power) else power
    level = _level(xp, fixed, fixed_power)
    shares = _shares_of_highest(xp, below, power, level)
    total = xp.exp(-level) * xp.sum(shares, axis=-1, keepdims=True)
    fixed_shares = constant(shares)
    inside = fixed_shares > 0
    steep = xp.exp((1 - fixed_power) * xp.log(xp.where(inside, fixed_shares, 1.0)))
    slope = xp.exp(-level) * xp.sum(xp.where(inside, steep, 0.0), axis=-1, keepdims=True)
    level = level + (total - constant(total)) / slope
    return xp.exp(-level) * _shares_of_highest(xp, below, power, level)


def _level(xp: Namespace, below: Array, power: Any) -> Array:
    """t by bisection: how far the logarithm of the highest weight is below 0, from 0 to log K."""
    lowest = xp.zeros_like(below[..., :1])

    def halve(between: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = between
        middle = (low + high) / 2
        shares = _shares_of_highest(xp, below, power, middle)
        much = xp.exp(-middle) * xp.sum(shares, axis=-1, keepdims=True) >= 1
        return xp.where(much, middle, low), xp.where(much, high, middle)

    bits = -math.log2(float(xp.finfo(below.dtype).eps))
    return repeat(xp, round(bits) + 5, halve, (lowest, lowest + math.log(below.shape[-1])))[0]


def _shares_of_highest(xp: Namespace, below: Array, power: Any, level: Array) -> Array:
    """r_k = [1 + a b_k exp(a t)]₊^{1 / a}, each weight as a share of the highest, with a = α − 1."""
    limits = xp.finfo(below.dtype)
    steepness, most = power * level, math.log(float(limits.max)) / 2
    offset = power * below * xp.exp(xp.where(steepness < most, steepness, most))
    # What is smaller is the rounding of 1: with its power below 1 it would become a weight.
    inside = offset > float(limits.eps) - 1
    return xp.where(inside, xp.exp(xp.log1p(xp.where(inside, offset, 0.0)) / power), 0.0)
