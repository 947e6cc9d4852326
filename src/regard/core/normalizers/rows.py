"""Rows in which nothing can be compared: what all normalizers that compare the keys of a row do with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from regard.core.arrays import Array, Namespace, calm, constant, namespace
from regard.core.dtypes import wide


def normalize(
    where: str, scores: Array, solve: Callable[[Namespace, Array], Array], floor: Any = -math.inf
) -> Array:
    """Solve all rows from how far each score is below the highest of its row, which is finite.

    Args:
        where: who was called, for messages.
        scores: (…, Q, K), unbounded.
        solve: from (…, Q, K) finite numbers from ``floor`` to 0, at least one of each row 0, to weights.
        floor: where it makes no difference how much lower a score is: a number, or one for each row (…, 1).
            −∞ is as low as the dtype goes.

    Returns:
        (…, Q, K) weights of sum 1; zeros for a row of −∞ alone, NaN for a row with a NaN, both with gradient
        zero.
    """
    scores = wide(where, "scores", scores)
    if not scores.shape[-1]:
        return scores
    xp = namespace(scores)
    with calm(xp):
        largest = float(xp.finfo(scores.dtype).max)
        scores = xp.where(scores > largest, largest, scores)
        highest = constant(xp.max(scores, axis=-1, keepdims=True))
        nothing = (highest == -math.inf) | xp.isnan(highest)
        # A row in which nothing can be compared is solved as if its scores were alike.
        floor = xp.where(nothing, 0.0, xp.zeros_like(highest) + floor)
        floor = xp.where(floor < -largest, -largest, floor)
        below = scores - xp.where(nothing, 0.0, highest)
        weights = solve(xp, xp.where(below > floor, below, floor))
        weights = weights / constant(xp.sum(weights, axis=-1, keepdims=True))
        return xp.where(nothing, xp.where(xp.isnan(highest), math.nan, xp.zeros_like(highest)), weights)
