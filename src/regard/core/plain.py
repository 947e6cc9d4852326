"""Attention in its three lines, for all queries and keys at once: what every faster version must agree with.

scores  = score(query, keys) + bias
weights = normalizer(scores)
context = weights @ values
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from regard.core import nonfinite, normalizers, shapes
from regard.core.arrays import Array, is_array
from regard.core.dtypes import cast, wide
from regard.core.normalizers import Normalizer
from regard.core.scores import Score
from regard.core.shapes import Inputs
from regard.errors import ShapeError


@dataclass(frozen=True)
class Look:
    """Scores, and the shares they give, in which no row is empty: an empty row is all 0 until the end.

    alive: (…, Q or 1, 1) booleans, False where a query may look nowhere; None when all may look somewhere.
    broken: (…, Q, 1) booleans, True where a query sees a score of NaN; None when nothing had to be guarded.
    seen: (…, Q or 1, V), what each query sees of values that are not finite; 0 when all are.
    """

    inputs: Inputs
    scores: Array
    shares: Array
    values: Array
    alive: Array | None
    broken: Array | None
    seen: Array

    def context(self) -> Array:
        """The average of the values, (…, Q, V), in float32 or wider."""
        return self._finish(self.shares @ cast(self.values, self.shares.dtype), 0.0) + self.seen

    def weights(self) -> Array:
        """How much each query takes of each value, (…, Q, K)."""
        return self._finish(self.shares, 0.0)

    def log_normalizer(self) -> Array:
        """log Σ exp(score), (…, Q)."""
        return self._finish(normalizers.log_sum_exp(self.scores)[..., None], -math.inf)[..., 0]

    def _finish(self, array: Array, empty: float) -> Array:
        """Write in the rows that were kept out of the computation: the empty ones, those of NaN."""
        if self.alive is not None:
            array = self.inputs.xp.where(self.alive, array, empty)
        if self.broken is not None:
            array = self.inputs.xp.where(self.broken, math.nan, array)
        return array


def look(
    inputs: Inputs, score: Score, normalizer: Normalizer, visible: Array | None, bias: Array | None
) -> Look:
    """Score and normalise, where visible says who may look and bias is added to the scores.

    Raises:
        ShapeError: the score or the normalizer returns what does not fit.
    """
    xp, query, keys, values = inputs.xp, inputs.query, inputs.keys, inputs.values
    measure = partial(_scores, inputs, score)
    guarded = visible is not None and nonfinite.suspected(xp, query, keys, values)
    found = nonfinite.guarded_scores(xp, measure, query, keys) if guarded else measure(query, keys)
    if bias is not None:
        found = found + bias
    alive, broken, seen = None, None, 0.0
    if guarded:
        values, seen = nonfinite.guarded_values(xp, values, visible)
        broken = xp.any(visible & xp.isnan(found), axis=-1, keepdims=True)
        visible = visible & ~broken
    if visible is not None:
        alive = xp.any(visible, axis=-1, keepdims=True)
        # A row of 0 instead of −∞ keeps any normalizer, and its gradient, from dividing nothing by nothing.
        hidden = xp.where(alive, -math.inf, xp.zeros_like(found[..., :1]))
        found = xp.where(visible, found, hidden)
    return Look(inputs, found, _shares(inputs, normalizer, found), values, alive, broken, seen)


def _scores(inputs: Inputs, score: Score, query: Array, keys: Array) -> Array:
    found = score(query, keys)
    if not is_array(found) or not found.shape or not shapes.fits(found.shape, inputs.scores_shape):
        raise ShapeError(
            f"{inputs.function}(): the score must return (…, Q, K), here {inputs.scores_shape}. "
            f"{_name(score)} returned {_form(found)}."
        )
    found = wide(f"{inputs.function}()", "scores", found)
    if tuple(found.shape) == inputs.scores_shape:
        return found
    return inputs.xp.broadcast_to(found, inputs.scores_shape)


def _shares(inputs: Inputs, normalizer: Normalizer, found: Array) -> Array:
    if not found.shape[-1]:
        return found
    shares = normalizer(found)
    if not is_array(shares) or shares.shape != found.shape:
        raise ShapeError(
            f"{inputs.function}(): the normalizer must return weights {_form(found)}, the scores' shape. "
            f"{_name(normalizer)} returned {_form(shares)}."
        )
    return shares


def _form(thing: Any) -> Any:
    return tuple(thing.shape) if is_array(thing) else type(thing).__name__


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
