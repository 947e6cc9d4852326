"""Scores by how near a key is to the query: attention as kernel regression."""

from __future__ import annotations

from typing import Any

from regard.core.arrays import Array, namespace
from regard.core.parameters import Score, match_rows, pairwise, row_parameter
from regard.errors import ShapeError


@pairwise
def negative_squared_distance(query: Array, keys: Array) -> Array:
    """Score each key by how near it is to the query: −‖q − k‖².

    Differences are taken before they are squared, so that two vectors near each other and far from the origin
    keep their distance, which ‖q‖² − 2 q · k + ‖k‖² would lose to rounding.

    Args:
        query: (…, Q, D), what is looked for.
        keys: (…, K, D), what may be looked at.

    Returns:
        (…, Q, K) scores, at most 0, in squares of the features' unit. All Q × K × D differences are held at
        once.

    Raises:
        ShapeError: query and keys differ in D.

    Source:
        Nadaraya 1964, "On estimating regression", whose Gaussian kernel is exp of it, up to the width.
    """
    if query.shape[-1] != keys.shape[-1]:
        raise ShapeError(
            f"negative_squared_distance score: the query has {query.shape[-1]} features but the keys have "
            f"{keys.shape[-1]}; both need the same. "
            f"Got query {tuple(query.shape)}, keys {tuple(keys.shape)}."
        )
    difference = query[..., :, None, :] - keys[..., None, :, :]
    return -namespace(query).sum(difference * difference, axis=-1)


def gaussian(width: Any) -> Score:
    """Make a score whose softmax is a Gaussian kernel around the query: −‖q − k‖² / (2 σ²).

    Args:
        width: σ, above 0, in the features' unit: a number, or an array that broadcasts with the scores, its
            last axis 1, such as one a head (H, 1, 1). A gradient reaches it.

    Returns:
        A score: a function from query (…, Q, D) and keys (…, K, D) to scores (…, Q, K), at most 0, no unit.

    Raises:
        InputError: a width that is not above 0.
        ShapeError: it differs between keys; from the score, it does not fit, or query and keys differ in D.
        DtypeError: it is no real number.

    Source:
        Nadaraya 1964, "On estimating regression"; Watson 1964, "Smooth regression analysis": with softmax,
        attention is their estimator.
    """
    where = "gaussian score"
    width = row_parameter(where, "width", width, above=0)

    @pairwise
    def score(query: Array, keys: Array) -> Array:
        found = negative_squared_distance(query, keys)
        sigma = match_rows(where, "width", width, found)
        return found / (2 * sigma * sigma)

    return score
