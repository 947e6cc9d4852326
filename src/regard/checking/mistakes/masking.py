"""Mistakes in how a mask gets into the weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from regard.checking.mistakes.pipeline import Array, Deviation, Known

Weigh = Callable[[Array], Array]


def ignored(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(scores)


def inverted(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(np.where(seen, -np.inf, scores))


def added(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(scores + seen)


def hidden_added(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(scores + ~seen)


def multiplied_before(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(scores * seen)


def multiplied_before_inverted(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(scores * ~seen)


def after_softmax(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(scores) * seen


def after_softmax_inverted(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(scores) * ~seen


def transposed(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(np.where(seen.swapaxes(-1, -2), scores, -np.inf))


def first_items(scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(np.where(seen[:1], scores, -np.inf))


def hiding_queries(scores: Array, seen: Array, weigh: Weigh) -> Array:
    """A key mask (B, 1, 1, K) laid over the queries; their rows are then anything at all."""
    present = seen[..., :1, :].swapaxes(-1, -2)
    return np.where(present, weigh(scores), np.nan)


def hiding_both(scores: Array, seen: Array, weigh: Weigh) -> Array:
    """A key mask laid over keys and queries, which is no mistake where both are one text."""
    weights = weigh(np.where(seen, scores, -np.inf))
    return np.where(seen[..., :1, :].swapaxes(-1, -2), weights, np.nan)


def filled(number: float, scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(np.where(seen, scores, number))


def lowered(number: float, scores: Array, seen: Array, weigh: Weigh) -> Array:
    return weigh(np.where(seen, scores, scores + number))


MASK = (
    Deviation("mask_inverted", "hide", inverted),
    Deviation("mask_ignored", "hide", ignored),
    Deviation("mask_added_as_number", "hide", added),
    Deviation("mask_added_as_number", "hide", hidden_added),
    Deviation("mask_multiplied_before_softmax", "hide", multiplied_before),
    Deviation("mask_multiplied_before_softmax", "hide", multiplied_before_inverted),
    Deviation("mask_after_softmax_without_renormalising", "hide", after_softmax),
    Deviation("mask_after_softmax_without_renormalising", "hide", after_softmax_inverted),
    Deviation("mask_transposed", "hide", transposed),
    Deviation("mask_of_first_item_for_all", "hide", first_items),
)
KEY_MASK = (
    Deviation("key_mask_ignored", "hide", ignored),
    Deviation("key_mask_applied_to_queries", "hide", hiding_queries),
    *(deviation for deviation in MASK if deviation.name not in ("mask_transposed", "mask_ignored")),
)

NUMBERS = [0.5 * place - 15 for place in range(41)]
"""Numbers among which one that hides too little is looked for; below −15 the share can't be seen."""

_RIGHT = "scores = where(mask, scores, -inf), then softmax: a hidden key gets the weight 0."

KNOWN = {
    "mask_inverted": Known(
        "wrong",
        "The mask is read the other way round: what should be hidden is all that is looked at.",
        "where(mask, scores, -inf) with True where a query may look; ~mask where True means hidden.",
    ),
    "mask_ignored": Known("wrong", "The mask changes nothing: hidden keys are looked at.", _RIGHT),
    "key_mask_ignored": Known(
        "wrong",
        "The mask of keys changes nothing: padding is looked at.",
        "scores = where(key_mask[:, None, :], scores, -inf) before softmax.",
    ),
    "mask_added_as_number": Known(
        "wrong",
        "The mask is added to the scores as 0 and 1: hidden keys only count e times less (or more).",
        "scores + where(mask, 0, -inf): what is added must be -inf where a key is hidden.",
    ),
    "mask_multiplied_before_softmax": Known(
        "wrong",
        "Hidden keys get the score 0 (scores · mask, or a fill of 0), and exp(0) = 1 is a share, not none.",
        _RIGHT,
    ),
    "mask_after_softmax_without_renormalising": Known(
        "wrong",
        "The weights are multiplied by the mask after softmax: what is left no longer sums to one.",
        _RIGHT,
    ),
    "mask_transposed": Known(
        "wrong",
        "The mask is laid on transposed: row q hides what it says about query q as a key.",
        "mask[q, k] belongs to scores[q, k]; check which axis is which.",
    ),
    "mask_of_first_item_for_all": Known(
        "wrong",
        "The first item's mask is used for the whole batch.",
        "where(mask, scores, -inf) with a mask (B, 1, Q, K), one for each item.",
    ),
    "mask_fill_too_small": Known(
        "wrong",
        "The number that hides a key is too near to ordinary scores: hidden keys keep a share.",
        "Fill with -inf, or with the dtype's most negative number.",
    ),
    "key_mask_applied_to_queries": Known(
        "wrong",
        "The mask of keys is laid over the queries: padding is looked at, and some queries look nowhere.",
        "scores = where(key_mask[:, None, :], scores, -inf): (B, 1, K), not (B, K, 1).",
    ),
    "weights_returned_before_masking": Known(
        "wrong",
        "The weights that are returned are those before the mask: they show what was not used.",
        "Return the weights that the values were averaged by.",
    ),
    "weights_returned_are_not_those_used": Known(
        "wrong",
        "The weights that are returned are not those that the values were averaged by.",
        "Return the very array that is multiplied with the values.",
    ),
}
