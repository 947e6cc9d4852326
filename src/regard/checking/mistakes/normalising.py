"""Mistakes between scores and weights: over what is normalised, and how."""

from __future__ import annotations

import numpy as np

from regard.checking import reference
from regard.checking.mistakes.pipeline import Array, Deviation, Known, Over
from regard.checking.reference import Normalizer


def over_queries(scores: Array, normalize: Normalizer) -> Array:
    return normalize(scores.swapaxes(-1, -2)).swapaxes(-1, -2)


def over_heads(scores: Array, normalize: Normalizer) -> Array:
    _needs_several(scores.shape[1])
    return np.moveaxis(normalize(np.moveaxis(scores, 1, -1)), -1, 1)


def over_batch(scores: Array, normalize: Normalizer) -> Array:
    _needs_several(scores.shape[0])
    return np.moveaxis(normalize(np.moveaxis(scores, 0, -1)), -1, 0)


def over_everything(scores: Array, normalize: Normalizer) -> Array:
    return normalize(scores.reshape(1, -1)).reshape(scores.shape)


def over_each_matrix(scores: Array, normalize: Normalizer) -> Array:
    return normalize(scores.reshape(*scores.shape[:2], -1)).reshape(scores.shape)


def over_each_item(scores: Array, normalize: Normalizer) -> Array:
    return normalize(scores.reshape(scores.shape[0], -1)).reshape(scores.shape)


def below_row_maximum(over: Over) -> Over:
    """The same after each row's maximum has been taken off, which cancels only where rows are normalised."""

    def shifted(scores: Array, normalize: Normalizer) -> Array:
        return over(scores - scores.max(-1, keepdims=True), normalize)

    return shifted


def below_column_maximum(scores: Array, normalize: Normalizer) -> Array:
    return normalize(scores - scores.max(-2, keepdims=True))


def sum_laid_across(scores: Array) -> Array:
    return np.exp(scores) / np.exp(scores).sum(-1)[..., None, :]


def shifted_sum_laid_across(scores: Array) -> Array:
    return sum_laid_across(scores - scores.max(-1, keepdims=True))


def sum_and_maximum_laid_across(scores: Array) -> Array:
    return sum_laid_across(scores - scores.max(-1)[..., None, :])


def maximum_laid_across(scores: Array) -> Array:
    return reference.softmax(scores - scores.max(-1)[..., None, :])


def _needs_several(count: int) -> None:
    if count == 1:
        raise ValueError("Over one alone all weights are 1, which tells nothing about how they were made.")


def uniform(scores: Array) -> Array:
    return np.where(np.isneginf(scores), 0.0, 1 / scores.shape[-1])


def nothing(scores: Array) -> Array:
    return np.where(np.isneginf(scores), 0.0, scores)


def divide_by_sum(scores: Array) -> Array:
    kept = nothing(scores)
    return kept / kept.sum(-1, keepdims=True)


def divide_by_absolute_sum(scores: Array) -> Array:
    kept = nothing(scores)
    return kept / np.abs(kept).sum(-1, keepdims=True)


def divide_positive_by_sum(scores: Array) -> Array:
    return divide_by_sum(np.maximum(scores, 0.0))


def divide_by_length(scores: Array) -> Array:
    kept = nothing(scores)
    return kept / np.linalg.norm(kept, axis=-1, keepdims=True)


def divide_by_count(scores: Array) -> Array:
    return nothing(scores) / scores.shape[-1]


def spread_to_unit(scores: Array) -> Array:
    lowest, highest = scores.min(-1, keepdims=True), scores.max(-1, keepdims=True)
    return (scores - lowest) / (highest - lowest)


def positive_part(scores: Array) -> Array:
    return np.maximum(scores, 0.0)


def softmax_twice(scores: Array) -> Array:
    return reference.softmax(reference.softmax(scores))


def log_softmax(scores: Array) -> Array:
    highest = scores.max(-1, keepdims=True)
    return scores - highest - np.log(np.exp(scores - highest).sum(-1, keepdims=True))


def softmax_of_negative(scores: Array) -> Array:
    return reference.softmax(np.where(np.isneginf(scores), scores, -scores))


def softmax_to_base_two(scores: Array) -> Array:
    return reference.softmax(scores * np.log(2.0))


def softmax_with_one_more(scores: Array) -> Array:
    nobody = np.zeros((*scores.shape[:-1], 1))
    return reference.softmax(np.concatenate([scores, nobody], axis=-1))[..., :-1]


DEVIATIONS = (
    Deviation("softmax_over_queries", "over", over_queries),
    Deviation("softmax_over_batch", "over", over_batch),
    Deviation("softmax_over_heads", "over", over_heads),
    Deviation("softmax_over_everything", "over", over_everything),
    Deviation("softmax_over_everything", "over", over_each_matrix),
    Deviation("softmax_over_everything", "over", over_each_item, common=False),
    Deviation("softmax_over_queries", "over", below_row_maximum(over_queries)),
    Deviation("softmax_over_batch", "over", below_row_maximum(over_batch), common=False),
    Deviation("softmax_over_heads", "over", below_row_maximum(over_heads), common=False),
    Deviation("softmax_over_everything", "over", below_row_maximum(over_everything), common=False),
    Deviation("maximum_over_queries", "over", below_column_maximum, common=False),
    Deviation("sum_laid_across", "normalize", sum_laid_across, common=False),
    Deviation("sum_laid_across", "normalize", shifted_sum_laid_across, common=False),
    Deviation("sum_laid_across", "normalize", sum_and_maximum_laid_across, common=False),
    Deviation("sum_laid_across", "normalize", maximum_laid_across, common=False),
    Deviation("uniform_weights", "normalize", uniform, common=False),
    Deviation("no_softmax", "normalize", nothing),
    Deviation("sum_normalised_without_exp", "normalize", divide_by_sum),
    Deviation("sum_normalised_without_exp", "normalize", divide_by_absolute_sum, common=False),
    Deviation("sum_normalised_without_exp", "normalize", divide_positive_by_sum, common=False),
    Deviation("sum_normalised_without_exp", "normalize", divide_by_length, common=False),
    Deviation("sum_normalised_without_exp", "normalize", spread_to_unit, common=False),
    Deviation("no_softmax", "normalize", divide_by_count, common=False),
    Deviation("no_softmax", "normalize", positive_part, common=False),
    Deviation("exp_without_sum", "normalize", np.exp),
    Deviation("softmax_twice", "normalize", softmax_twice),
    Deviation("log_softmax_as_weights", "normalize", log_softmax),
    Deviation("scores_negated", "normalize", softmax_of_negative),
    Deviation("softmax_to_base_two", "normalize", softmax_to_base_two, common=False),
    Deviation("softmax_with_one_more", "normalize", softmax_with_one_more, common=False),
    Deviation("sigmoid_instead_of_softmax", "normalize", reference.sigmoid),
    Deviation("hardmax_instead_of_softmax", "normalize", reference.hardmax, common=False),
)

KNOWN = {
    "softmax_over_queries": Known(
        "wrong",
        "The weights are normalised over the queries, not the keys: each column sums to one, the rows don't.",
        "weights[q, k] = exp(s[q, k]) / Σ_k' exp(s[q, k']): softmax(scores, axis=-1), the axis of the keys.",
    ),
    "softmax_over_batch": Known(
        "wrong",
        "The weights are normalised over the batch: what one item looks at depends on the others.",
        "softmax(scores, axis=-1), the axis of the keys, not axis 0.",
    ),
    "softmax_over_heads": Known(
        "wrong",
        "The weights are normalised over the heads: they compete, and no head's weights sum to one.",
        "softmax(scores, axis=-1), the axis of the keys, not axis 1.",
    ),
    "softmax_over_everything": Known(
        "wrong",
        "The weights are normalised over several axes at once: all queries share one sum.",
        "softmax(scores, axis=-1); with exp by hand, exp(s).sum(axis=-1, keepdims=True).",
    ),
    "maximum_over_queries": Known(
        "wrong",
        "What is taken off before exp is each key's maximum over the queries, which doesn't cancel.",
        "exp(s - max(s)) with the maximum over the keys: scores.max(axis=-1, keepdims=True).",
    ),
    "sum_laid_across": Known(
        "wrong",
        "A sum (or maximum) over the keys lost its axis, and is laid across: row q's goes to column q.",
        "exp(scores).sum(axis=-1, keepdims=True): keep the axis; the same for max.",
    ),
    "uniform_weights": Known(
        "wrong",
        "All keys get the same weight: the context is the plain mean of the values.",
        "weights = softmax(scores, axis=-1) of scores that differ; check that they reach softmax.",
    ),
    "no_softmax": Known(
        "wrong",
        "The scores are used as weights as they are: nothing makes them positive or sum to one.",
        "weights = softmax(scores, axis=-1) before they meet the values.",
    ),
    "sum_normalised_without_exp": Known(
        "wrong",
        "The scores are divided by their sum (or size) without exp: weights can be negative, and explode "
        "where the sum is near zero.",
        "weights = exp(scores) / exp(scores).sum(axis=-1, keepdims=True).",
    ),
    "exp_without_sum": Known(
        "wrong",
        "The weights are exp(scores), not divided by their sum.",
        "weights = exp(scores) / exp(scores).sum(axis=-1, keepdims=True).",
    ),
    "softmax_twice": Known(
        "wrong",
        "Softmax is applied to weights that went through softmax already, which makes them nearly uniform.",
        "Apply softmax once: weights = softmax(scores, axis=-1).",
    ),
    "log_softmax_as_weights": Known(
        "wrong",
        "The logarithms of the weights are used as weights: all are negative.",
        "weights = exp(log_softmax(scores)), which is softmax(scores, axis=-1).",
    ),
    "scores_negated": Known(
        "wrong",
        "The key that matches worst gets the largest weight: the scores have the wrong sign.",
        "weights = softmax(+scores, axis=-1).",
    ),
    "softmax_to_base_two": Known(
        "wrong",
        "The weights are powers of 2, not of e: all scores are smaller by the factor ln 2.",
        "Multiply scores by log2(e) before exp2.",
    ),
    "softmax_with_one_more": Known(
        "wrong",
        "The sum has a 1 too many in it (softmax plus one): the weights don't sum to one.",
        "weights = exp(scores) / exp(scores).sum(axis=-1, keepdims=True), without + 1; if the sink is meant, "
        "say so by normalizer=.",
    ),
    "sigmoid_instead_of_softmax": Known(
        "wrong",
        "Each weight is the sigmoid of its score: the keys don't compete, and weights don't sum to one.",
        "weights = softmax(scores, axis=-1); if sigmoid is meant, say normalizer='sigmoid'.",
    ),
    "hardmax_instead_of_softmax": Known(
        "wrong",
        "Only the best key is looked at: the largest score gets all the weight.",
        "weights = softmax(scores, axis=-1); if it is meant, say normalizer='hardmax'.",
    ),
}
