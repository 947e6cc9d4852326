"""Mistakes in what the scores are multiplied by."""

from __future__ import annotations

import math

from regard.checking.mistakes.pipeline import Array, Deviation, Known, Sizes, unscaled


def dimension(sizes: Sizes) -> float:
    return 1 / sizes.features


def model_width(sizes: Sizes) -> float:
    """Not a number where there is one head, whose width is the model's."""
    return (sizes.heads * sizes.features) ** -0.5 if sizes.heads > 1 else math.nan


def times_root(sizes: Sizes) -> float:
    return sizes.features**0.5


def times_dimension(sizes: Sizes) -> float:
    return float(sizes.features)


def fourth_root(sizes: Sizes) -> float:
    return sizes.features**-0.25


def dimension_squared(sizes: Sizes) -> float:
    return sizes.features**-2.0


def whole_width(sizes: Sizes) -> float:
    return 1 / (sizes.heads * sizes.features) if sizes.heads > 1 else math.nan


def count_of_keys(sizes: Sizes) -> float:
    return sizes.keys**-0.5


def count_of_keys_whole(sizes: Sizes) -> float:
    return 1 / sizes.keys


def count_of_queries(sizes: Sizes) -> float:
    return sizes.queries**-0.5


def count_of_heads(sizes: Sizes) -> float:
    return sizes.heads**-0.5 if sizes.heads > 1 else math.nan


def scaled_context(weights: Array, values: Array, sizes: Sizes) -> Array:
    return weights @ values / sizes.features**0.5


def context_over_keys(weights: Array, values: Array, sizes: Sizes) -> Array:
    return weights @ values / values.shape[-2]


DEVIATIONS = (
    Deviation("missing_scale", "scale", unscaled),
    Deviation("scaled_by_dimension", "scale", dimension),
    Deviation("scaled_twice", "scale", dimension),
    Deviation("scaled_by_model_width", "scale", model_width),
    Deviation("scaled_by_model_width", "scale", whole_width, common=False),
    Deviation("scale_multiplied", "scale", times_root),
    Deviation("scale_multiplied", "scale", times_dimension, common=False),
    Deviation("scaled_by_fourth_root", "scale", fourth_root, common=False),
    Deviation("scaled_by_dimension", "scale", dimension_squared, common=False),
    Deviation("scaled_by_number_of_keys", "scale", count_of_keys, common=False),
    Deviation("scaled_by_number_of_keys", "scale", count_of_keys_whole, common=False),
    Deviation("scaled_by_number_of_queries", "scale", count_of_queries, common=False),
    Deviation("scaled_by_number_of_heads", "scale", count_of_heads, common=False),
    Deviation("scaled_after_softmax", "average", scaled_context),
    Deviation("context_divided_by_number_of_keys", "average", context_over_keys),
)

_RIGHT = "scores = query · keys / sqrt(D), where D is the number of features of one head."

KNOWN = {
    "missing_scale": Known(
        "wrong",
        "The scores are not divided by √D: with many features softmax saturates and its gradient vanishes.",
        _RIGHT + " If plain dot attention (Luong 2015) is meant, say score='dot'.",
    ),
    "scaled_by_dimension": Known(
        "wrong", "The scores are divided by D, not by its root: the weights are too flat.", _RIGHT
    ),
    "scaled_twice": Known(
        "wrong",
        "The scores are divided by √D twice, such as once in the query and once again in the product.",
        "Scale once. " + _RIGHT,
    ),
    "scaled_by_model_width": Known(
        "wrong",
        "The scores are divided by the root of the model's whole width, not of one head's.",
        "scores / sqrt(width / heads): the features that the dot product sums over.",
    ),
    "scale_multiplied": Known(
        "wrong", "The scores are multiplied by √D, not divided by it: the weights are far too sharp.", _RIGHT
    ),
    "scaled_by_fourth_root": Known(
        "wrong",
        "The scores are divided by the fourth root of D: only one of query and keys was scaled by D^-¼.",
        "Scale both query and keys by D ** -0.25, or one of them by D ** -0.5.",
    ),
    "scaled_by_number_of_keys": Known(
        "wrong", "The scores are scaled by the number of keys, not of features.", _RIGHT
    ),
    "scaled_by_number_of_queries": Known(
        "wrong", "The scores are scaled by the number of queries, not of features.", _RIGHT
    ),
    "scaled_by_number_of_heads": Known(
        "wrong", "The scores are scaled by the number of heads, not of features.", _RIGHT
    ),
    "scaled_after_softmax": Known(
        "wrong",
        "The context (or the weights) is divided by √D after softmax, so that weights don't sum to one.",
        "weights = softmax(scores / sqrt(D)); context = weights · values.",
    ),
    "context_divided_by_number_of_keys": Known(
        "wrong",
        "The weighted values are averaged (mean), though the weights sum to one already.",
        "context = Σ_k weights[k] · values[k]: sum, not mean.",
    ),
    "scale_unusual": Known(
        "wrong",
        "The scores are scaled by another number than 1/√D.",
        _RIGHT + " Take D from the query's shape, not from a constant.",
    ),
}
