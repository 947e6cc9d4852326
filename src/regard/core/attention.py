"""Attention: each query's average of the values, by weights that say how well the keys match it.

`attend` gives the context, which is what a model needs. `attention` gives a record with the weights and what
is known about them, which is what whoever looks needs. Both take the same arguments and compute the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from regard.core import constraints, nonfinite, normalizers, scores, shapes
from regard.core import statistics as statistics_
from regard.core.arrays import Array, calm, is_array
from regard.core.dtypes import cast, wide
from regard.core.normalizers import Normalizer
from regard.core.scores import Score
from regard.core.shapes import Inputs
from regard.errors import DtypeError, ShapeError


@dataclass(frozen=True, eq=False)
class Attention:
    """What was looked at: the result of `attention`.

    Attributes:
        context: (…, Q, V), the average of the values, in their dtype.
        weights: (…, Q, K), from 0 to 1, in float32 or wider; None when they were not asked for.
        log_normalizer: (…, Q), log Σ exp(score) in nats, in float32 or wider; −∞ where it may look nowhere.
        statistics: the statistics asked for, by name, each (…, Q).
    """

    context: Array
    weights: Array | None
    log_normalizer: Array
    statistics: Mapping[str, Array]


def attend(
    query: Any,
    keys: Any,
    values: Any,
    *,
    score: Score = scores.scaled_dot,
    normalizer: Normalizer = normalizers.softmax,
    mask: Any = None,
    key_mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    window: int | None = None,
    query_offset: int | None = None,
    grouped: bool = False,
) -> Array:
    """Average the values for each query, by how well the keys match it: normalizer(score + bias) · values.

    All arrays come from one library and have one floating dtype: float16, bfloat16, float32 or float64. Lists
    and integers take the dtype of the others; where all are such, it is float64. Scores and weights are
    computed in float32 or wider. Masks and bias may be lists or NumPy arrays beside those of another library.
    Nothing that is handed in is written to.

    Args:
        query: (…, Q, D) or one query (D,), what is looked for.
        keys: (…, K, D), what may be looked at.
        values: (…, K, V), what is taken from each key. Leading axes of the three are equal, 1 or missing.
        score: from query and keys to scores (…, Q, K); see `regard.core.scores`.
        normalizer: from scores to weights, row by row; see `regard.core.normalizers`.
        mask: (…, Q, K) booleans, True where a query may look; axes may be 1, and those in front missing.
        key_mask: (…, K) booleans, True where a key is there for any query. Its leading axes count from the
            first, so that (B, K) serves all heads of (B, H, K, D).
        bias: (…, Q, K) numbers added to the scores, axes as for mask; −∞ hides a key as a mask does.
        causal: hide the keys after the query's own position; the last query stands at the last key.
        window: hide the keys that are this many positions away or more; with causal these are the ``window``
            latest keys, the query's own included.
        query_offset: the position of the first query among the keys, for causal and window; 0 is at the first
            key. Needed when there are more queries than keys.
        grouped: let neighbouring query heads share a key head, as [h0, h0, h1, h1]: query (…, H, Q, D), keys
            (…, H / n, K, D), values (…, H / n, K, V).

    Returns:
        (…, Q, V), or (…, V) for one query (D,), in the values' dtype. Who may look nowhere gets zeros.

    Raises:
        ShapeError: arrays that do not fit together; the message names the axis.
        DtypeError: dtypes that are mixed or no real numbers, several libraries, a mask that is not boolean.
        InputError: a window or query_offset that cannot be meant.

    Source:
        Bahdanau, Cho and Bengio 2015, eq. 5 and 6; arXiv:1409.0473.
        Vaswani et al. 2017, eq. 1; arXiv:1706.03762.
    """
    inputs = shapes.prepare("attend", query, keys, values, grouped=grouped)
    with calm(inputs.xp):
        visible, bias = constraints.combine(
            inputs,
            mask=mask,
            key_mask=key_mask,
            bias=bias,
            causal=causal,
            window=window,
            query_offset=query_offset,
        )
        return _look(inputs, score, normalizer, visible, bias).context()


def attention(
    query: Any,
    keys: Any,
    values: Any,
    *,
    score: Score = scores.scaled_dot,
    normalizer: Normalizer = normalizers.softmax,
    mask: Any = None,
    key_mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    window: int | None = None,
    query_offset: int | None = None,
    grouped: bool = False,
    weights: bool = True,
    statistics: Iterable[str] = (),
) -> Attention:
    """Do what `attend` does, and keep what can be looked at: the weights and what is known about them.

    Args:
        query, keys, values, and all others up to ``grouped``: as for `attend`.
        weights: whether to return the weights, (…, Q, K); without them the record holds None.
        statistics: names of statistics of each query's weights: entropy (nats), max_weight, argmax (−1 for a
            query that may look nowhere); see `regard.core.statistics`.

    Returns:
        An `Attention`. For one query (D,) its arrays have no axis of queries: weights (K,), context (V,).

    Raises:
        InputError: an unknown statistic; the message lists the known ones.
        ShapeError, DtypeError, InputError: as `attend`.
    """
    names = statistics_.known("attention", statistics)
    inputs = shapes.prepare("attention", query, keys, values, grouped=grouped)
    with calm(inputs.xp):
        visible, bias = constraints.combine(
            inputs,
            mask=mask,
            key_mask=key_mask,
            bias=bias,
            causal=causal,
            window=window,
            query_offset=query_offset,
        )
        look = _look(inputs, score, normalizer, visible, bias)
        found = look.weights() if weights or names else None
        return Attention(
            context=look.context(),
            weights=inputs.out(found, -2) if weights else None,
            log_normalizer=look.log_normalizer(),
            statistics={name: inputs.out(statistics_.STATISTICS[name](found), -1) for name in names},
        )


@dataclass(frozen=True)
class _Look:
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
        context = self._finish(self.shares @ cast(self.values, self.shares.dtype), 0.0) + self.seen
        return self.inputs.out(cast(context, self.inputs.context_dtype), -2)

    def weights(self) -> Array:
        return self._finish(self.shares, 0.0)

    def log_normalizer(self) -> Array:
        found = self._finish(normalizers.log_sum_exp(self.scores)[..., None], -math.inf)
        return self.inputs.out(found[..., 0], -1)

    def _finish(self, array: Array, empty: float) -> Array:
        """Write in the rows that were kept out of the computation: the empty ones, those of NaN."""
        if self.alive is not None:
            array = self.inputs.xp.where(self.alive, array, empty)
        if self.broken is not None:
            array = self.inputs.xp.where(self.broken, math.nan, array)
        return array


def _look(
    inputs: Inputs, score: Score, normalizer: Normalizer, visible: Array | None, bias: Array | None
) -> _Look:
    for name, function in (("score", score), ("normalizer", normalizer)):
        if not callable(function):
            raise DtypeError(
                f"{inputs.function}(): {name} is a function, such as those in regard.{name}s. "
                f"Got {function!r}."
            )
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
    return _Look(inputs, found, _shares(inputs, normalizer, found), values, alive, broken, seen)


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
