"""Mistakes in hiding the future."""

from __future__ import annotations

from functools import partial

import numpy as np

from regard.checking.mistakes import masking
from regard.checking.mistakes.pipeline import Array, Deviation, Known


def lower(queries: int, keys: int, *, shift: int = 0, corner: bool = True) -> Array:
    """Each query sees its own position, those before and ``shift`` more; the last stands at the last key."""
    return np.tril(np.ones((queries, keys), dtype=bool), k=shift + (keys - queries if corner else 0))


def upper(queries: int, keys: int, *, shift: int = 0, corner: bool = True) -> Array:
    """Each query sees its own position and those after."""
    return np.triu(np.ones((queries, keys), dtype=bool), k=shift + (keys - queries if corner else 0))


def multiplied_before(scores: Array, seen: Array, weigh: masking.Weigh) -> Array:
    return weigh(np.where(seen, scores, 0.0))


SHAPES = (
    Deviation("causal_upper_left", "future", partial(lower, corner=False)),
    Deviation("causal_off_by_one", "future", partial(lower, shift=1)),
    Deviation("causal_off_by_one", "future", partial(lower, shift=-1)),
    Deviation("causal_off_by_one", "future", partial(lower, shift=1, corner=False)),
    Deviation("causal_off_by_one", "future", partial(lower, shift=-1, corner=False)),
    Deviation("causal_reversed", "future", upper),
    Deviation("causal_reversed", "future", partial(upper, corner=False)),
    Deviation("causal_reversed", "future", partial(upper, shift=1)),
    Deviation("causal_reversed", "future", partial(upper, shift=1, corner=False)),
)
MISSING = Deviation("causal_missing", "future", None)
WAYS = (
    Deviation("causal_after_softmax_without_renormalising", "hide_future", masking.after_softmax),
    Deviation("causal_multiplied_before_softmax", "hide_future", multiplied_before),
    Deviation("causal_added_as_number", "hide_future", masking.added),
    Deviation("causal_added_as_number", "hide_future", masking.hidden_added),
)

KNOWN = {
    "causal_missing": Known(
        "wrong",
        "The future is not hidden: a position looks at those after it.",
        "scores = where(tril(ones(Q, K), k=K - Q), scores, -inf) before softmax.",
    ),
    "causal_off_by_one": Known(
        "wrong",
        "The causal mask is off by one: a position sees one that it shouldn't, or not itself.",
        "Query i sees keys j ≤ i + K − Q: tril(ones(Q, K), k=K - Q), or hide triu(…, k=1 + K - Q).",
    ),
    "causal_upper_left": Known(
        "fragile",
        "The causal mask starts at the first key: with fewer queries than keys, as with a cache, the last "
        "query doesn't see the latest keys.",
        "Align the ends: tril(ones(Q, K), k=K - Q).",
    ),
    "causal_reversed": Known(
        "wrong",
        "The causal mask hides the past, not the future: upper and lower triangle have changed places.",
        "Keep the lower triangle: where(tril(ones(Q, K), k=K - Q), scores, -inf).",
    ),
    "causal_after_softmax_without_renormalising": Known(
        "wrong",
        "The future is multiplied away after softmax: the weights that are left no longer sum to one.",
        "scores = where(tril(ones(Q, K), k=K - Q), scores, -inf) before softmax.",
    ),
    "causal_multiplied_before_softmax": Known(
        "wrong",
        "The future gets the score 0, and exp(0) = 1 is a share, not none.",
        "scores = where(tril(ones(Q, K), k=K - Q), scores, -inf) before softmax.",
    ),
    "causal_added_as_number": Known(
        "wrong",
        "The causal mask is added to the scores as 0 and 1, which hides nothing.",
        "scores + where(tril(ones(Q, K), k=K - Q), 0, -inf).",
    ),
}
