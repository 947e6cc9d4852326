"""Attention: each query's average of the values, by weights that say how well the keys match it.

`attend` gives the context, which is what a model needs. `attention` gives a record with the weights and what
is known about them, which is what whoever looks needs. Both take the same arguments and compute the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from regard.core import constraints, fused, normalizers, plain, scores, shapes, streaming
from regard.core import statistics as statistics_
from regard.core.arrays import Array, calm
from regard.core.constraints import Constraints
from regard.core.dtypes import cast
from regard.core.normalizers import Normalizer
from regard.core.options import Options
from regard.core.parameters import require_function
from regard.core.scores import Score
from regard.core.shapes import Inputs
from regard.core.statistics import Statistic
from regard.core.summaries import Rows


@dataclass(frozen=True, eq=False)
class Attention:
    """What was looked at: the result of `attention`.

    Attributes:
        context: (…, Q, V), the average of the values, in their dtype.
        weights: (…, Q, K), from 0 to 1, in float32 or wider; None when they were not asked for.
        log_normalizer: (…, Q), log Σ exp(score) in nats, in float32 or wider; −∞ where it may look nowhere.
        statistics: what was asked for, by name; see `regard.core.statistics` for the form of each.
    """

    context: Array
    weights: Array | None
    log_normalizer: Array
    statistics: Mapping[str, Any]


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
    options = Options(score, normalizer, mask, key_mask, bias, causal, window, query_offset, grouped)

    def plainly(query: Any, keys: Any, values: Any) -> Array:
        inputs, limits = _checked("attend", query, keys, values, options)
        with calm(inputs.xp):
            if streaming.worthwhile(inputs, score, normalizer):
                context, _ = streaming.stream(inputs, score, normalizer, limits, ())
            else:
                context = plain.look(inputs, score, normalizer, *limits.whole()).context()
            return inputs.out(cast(context, inputs.context_dtype), -2)

    found = fused.attend(query, keys, values, options, plainly)
    return plainly(query, keys, values) if found is None else found


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
    statistics: Iterable[str | Statistic] = (),
) -> Attention:
    """Do what `attend` does, and keep what can be looked at: the weights and what is known about them.

    Args:
        query, keys, values, and all others up to ``grouped``: as for `attend`.
        weights: whether to return the weights, (…, Q, K); without them the record holds None.
        statistics: names of statistics of the weights, such as "entropy", and what makes those with
            parameters, such as ``statistics.top_k(5)``; see `regard.core.statistics`. Without the weights
            these are found in memory that does not grow with Q · K.

    Returns:
        An `Attention`. For one query (D,) its arrays have no axis of queries: weights (K,), context (V,).

    Raises:
        InputError: an unknown statistic; the message lists the known ones.
        ShapeError, DtypeError, InputError: as `attend`.
    """
    asked = [statistics_.STATISTICS["log_normalizer"], *statistics_.known("attention", statistics)]
    options = Options(score, normalizer, mask, key_mask, bias, causal, window, query_offset, grouped)
    positions = any(one.needs_positions for one in asked)
    inputs, limits = _checked("attention", query, keys, values, options, positions)
    with calm(inputs.xp):
        asked = [one.fitted(inputs) for one in asked]
        if not weights and streaming.worthwhile(inputs, score, normalizer):
            context, found = streaming.stream(inputs, score, normalizer, limits, asked)
            map_of_weights = None
        else:
            whole = (inputs, score, normalizer, *limits.whole())
            rows = Rows.whole(fused.look(*whole) or plain.look(*whole), limits)
            context = rows.look.context()
            found = [one.join([one.part(rows)], inputs, rows.step) for one in asked]
            map_of_weights = inputs.out(rows.weights, -2) if weights else None
        return Attention(
            context=inputs.out(cast(context, inputs.context_dtype), -2),
            weights=map_of_weights,
            log_normalizer=found[0],
            statistics={one.name: value for one, value in list(zip(asked, found, strict=True))[1:]},
        )


def _checked(
    function: str, query: Any, keys: Any, values: Any, options: Options, positions: bool = False
) -> tuple[Inputs, Constraints]:
    """The inputs and who may look where, once all that was handed in is known to fit together."""
    require_function(f"{function}()", "score", options.score, scores.MAKERS)
    require_function(f"{function}()", "normalizer", options.normalizer, normalizers.MAKERS)
    inputs = shapes.prepare(function, query, keys, values, grouped=options.grouped)
    with calm(inputs.xp):
        return inputs, constraints.combine(inputs, options, positions=positions)
