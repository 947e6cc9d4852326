"""Scores that multiply query and key: the dot product, with a scale, with a matrix, without the lengths."""

from __future__ import annotations

import math
from typing import Any

from regard.core.arrays import Array, constant, namespace
from regard.core.parameters import Score, axes, match, match_rows, pairwise, require_features, row_parameter
from regard.errors import ShapeError


@pairwise
def dot(query: Array, keys: Array) -> Array:
    """Score each key by its dot product with the query: q · k.

    Args:
        query: (…, Q, D), what is looked for.
        keys: (…, K, D), what may be looked at.

    Returns:
        (…, Q, K) scores, unbounded, no unit.

    Raises:
        ShapeError: query and keys differ in D.

    Source:
        Luong, Pham and Manning 2015, eq. 8, "dot"; arXiv:1508.04025.
    """
    if query.shape[-1] != keys.shape[-1]:
        raise ShapeError(
            f"dot score: the query has {query.shape[-1]} features but the keys have {keys.shape[-1]}; both "
            f"need the same (scores.general takes different ones). "
            f"Got query {tuple(query.shape)}, keys {tuple(keys.shape)}."
        )
    return query @ namespace(keys).matrix_transpose(keys)


@pairwise
def scaled_dot(query: Array, keys: Array) -> Array:
    """Score each key by its dot product with the query, of a size that doesn't grow with D: q · k / √D.

    Args:
        query: (…, Q, D), what is looked for.
        keys: (…, K, D), what may be looked at.

    Returns:
        (…, Q, K) scores, unbounded, no unit.

    Raises:
        ShapeError: query and keys differ in D.

    Source:
        Vaswani et al. 2017, eq. 1; arXiv:1706.03762.
    """
    return dot(query * (1 / math.sqrt(max(query.shape[-1], 1))), keys)


def general(w: Array) -> Score:
    """Make a score that compares query and keys through a matrix: q · W k.

    Args:
        w: (D_q, D_k), how much each feature of the query cares for each feature of a key.

    Returns:
        A score: a function from query (…, Q, D_q) and keys (…, K, D_k) to scores (…, Q, K), unbounded, no
        unit. It computes in the query's dtype.

    Raises:
        ShapeError: w is not a matrix; from the score, that it does not fit the query or the keys.

    Source:
        Luong, Pham and Manning 2015, eq. 8, "general"; arXiv:1508.04025. Their h_t is our query.
    """
    where = "general score"
    w = axes(where, "w", w, "(D_q, D_k)")

    @pairwise
    def score(query: Array, keys: Array) -> Array:
        matrix = match(where, "w", w, query)
        require_features(where, "w", matrix.shape[0], "query", query)
        require_features(where, "w", matrix.shape[1], "keys", keys)
        return dot(query @ matrix, keys)

    return score


@pairwise
def cosine(query: Array, keys: Array) -> Array:
    """Score each key by the cosine of its angle with the query: q · k / (‖q‖ ‖k‖).

    Weights of such scores are nearly alike, e² : 1 at most; `scaled_cosine` sharpens them.

    Args:
        query: (…, Q, D), what is looked for.
        keys: (…, K, D), what may be looked at.

    Returns:
        (…, Q, K) scores from −1 to 1. A vector of zeros, which has no direction, scores 0 and gets gradient
        zero.

    Raises:
        ShapeError: query and keys differ in D.

    Source:
        Graves, Wayne and Danihelka 2014, eq. 6; arXiv:1410.5401.
    """
    return dot(_direction(query), _direction(keys))


def scaled_cosine(temperature: Any) -> Score:
    """Make a score that sharpens the cosine: cos(q, k) / τ.

    Args:
        temperature: τ, above 0: a number, or an array that broadcasts with the scores, its last axis 1, such
            as one a head (H, 1, 1). A gradient reaches it.

    Returns:
        A score: a function from query (…, Q, D) and keys (…, K, D) to scores (…, Q, K) from −1/τ to 1/τ.

    Raises:
        InputError: a temperature that is not above 0.
        ShapeError: it differs between keys; from the score, it does not fit, or query and keys differ in D.
        DtypeError: it is no real number.

    Source:
        Graves, Wayne and Danihelka 2014, eq. 5, whose β is 1/τ; arXiv:1410.5401.
        Liu et al. 2022 (Swin Transformer V2), eq. 2; arXiv:2111.09883.
    """
    where = "scaled_cosine score"
    temperature = row_parameter(where, "temperature", temperature, above=0)

    @pairwise
    def score(query: Array, keys: Array) -> Array:
        found = cosine(query, keys)
        return found / match_rows(where, "temperature", temperature, found)

    return score


def _direction(vectors: Array) -> Array:
    """Vectors (…, D) of length 1, or 0 where they are; their squares neither overflow nor vanish."""
    xp = namespace(vectors)
    if not vectors.shape[-1]:
        return vectors
    largest = constant(xp.max(xp.abs(vectors), axis=-1, keepdims=True))
    zero = largest == 0
    vectors = xp.where(zero, 0.0, vectors / xp.where(zero, 1.0, largest))
    length = xp.sqrt(xp.where(zero, 1.0, xp.sum(vectors * vectors, axis=-1, keepdims=True)))
    return vectors / length
