"""Scores: how well a query matches a key, before anything is normalised.

A score is a function ``score(query, keys)`` from query (…, Q, D) and keys (…, K, D) to scores (…, Q, K), or
to what broadcasts to that. Those with parameters are made by a function that takes them:
``attend(q, k, v, score=additive(w_query, w_keys, v_score))``. Any other function of this form will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from regard.core.arrays import Array, as_array, beside, namespace
from regard.core.dtypes import cast, is_floating
from regard.errors import ShapeError

Score = Callable[[Any, Any], Any]


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
    w = as_array("general score", "w", w)
    _require_axes("general", "w", w, 2, "(D_q, D_k)")

    def score(query: Array, keys: Array) -> Array:
        matrix = _parameter("general", "w", w, query)
        _require_fit("general", "w", matrix.shape[0], "query", query)
        _require_fit("general", "w", matrix.shape[1], "keys", keys)
        return dot(query @ matrix, keys)

    return score


def additive(w_query: Array | None, w_keys: Array | None, v: Array) -> Score:
    """Make a score from a small network over query and key: v · tanh(W_q q + W_k k).

    Args:
        w_query: (A, D_q), projects the query into A hidden features; None when it is already projected.
        w_keys: (A, D_k), projects the keys; None when they already are, as where it is done once a sentence.
        v: (A,), the direction in which a match scores high.

    Returns:
        A score: a function from query (…, Q, D_q) and keys (…, K, D_k) to scores (…, Q, K), within ±Σ|v|, no
        unit. It computes in the query's dtype, and holds all Q × K × A hidden features at once.

    Raises:
        ShapeError: a parameter has the wrong number of axes, or another A than v; from the score, that a
            projection does not fit its input.

    Source:
        Bahdanau, Cho and Bengio 2015, appendix A.1.2; arXiv:1409.0473. Their s is our query, h our keys.
    """
    v = as_array("additive score", "v", v)
    _require_axes("additive", "v", v, 1, "(A,)")
    w_query = _projection("w_query", w_query, v)
    w_keys = _projection("w_keys", w_keys, v)

    def score(query: Array, keys: Array) -> Array:
        direction = _parameter("additive", "v", v, query)
        hidden_query = _project("w_query", w_query, "query", query, direction)
        hidden_keys = _project("w_keys", w_keys, "keys", keys, direction)
        hidden = hidden_query[..., :, None, :] + hidden_keys[..., None, :, :]
        return namespace(query).tanh(hidden) @ direction

    return score


def _projection(name: str, w: Array | None, v: Array) -> Array | None:
    if w is None:
        return None
    matrix = as_array("additive score", name, w)
    _require_axes("additive", name, matrix, 2, "(A, D)")
    if matrix.shape[0] != v.shape[0]:
        raise ShapeError(
            f"additive score: {name} has {matrix.shape[0]} hidden features but v has {v.shape[0]}; "
            f"both need the same. Got {name} {tuple(matrix.shape)}, v {tuple(v.shape)}."
        )
    return matrix


def _project(name: str, w: Array | None, side: str, inputs: Array, direction: Array) -> Array:
    if w is None:
        _require_fit("additive", "v", direction.shape[0], side, inputs)
        return inputs
    matrix = _parameter("additive", name, w, inputs)
    _require_fit("additive", name, matrix.shape[1], side, inputs)
    return inputs @ matrix.T


def _parameter(score: str, name: str, parameter: Array, inputs: Array) -> Array:
    """The parameter beside its inputs: same library, device and dtype, unless those are integers."""
    parameter = beside(f"{score} score", name, parameter, inputs)
    if not is_floating(inputs):
        return parameter
    return cast(parameter, inputs.dtype)


def _require_axes(score: str, name: str, parameter: Array, axes: int, form: str) -> None:
    if len(parameter.shape) != axes:
        raise ShapeError(f"{score} score: {name} must be {form}. Got {tuple(parameter.shape)}.")


def _require_fit(score: str, name: str, size: int, side: str, inputs: Array) -> None:
    if inputs.shape[-1] != size:
        raise ShapeError(
            f"{score} score: {name} takes {size} features but the {side} of shape {tuple(inputs.shape)} has "
            f"{inputs.shape[-1]} on its last axis."
        )
