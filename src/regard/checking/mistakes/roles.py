"""Mistakes in who plays the query, the keys and the values."""

from __future__ import annotations

import numpy as np

from regard.checking.mistakes.pipeline import Array, Deviation, Known, Sizes

Three = tuple[Array, Array, Array]


def keys_ask(query: Array, keys: Array, values: Array) -> Three:
    return keys[..., : query.shape[-2], :], keys, values


def ones_ask(query: Array, keys: Array, values: Array) -> Three:
    return np.ones_like(query), keys, values


def first_asks(query: Array, keys: Array, values: Array) -> Three:
    return np.broadcast_to(query[..., :1, :], query.shape), keys, values


def last_asks(query: Array, keys: Array, values: Array) -> Three:
    return np.broadcast_to(query[..., -1:, :], query.shape), keys, values


def mean_asks(query: Array, keys: Array, values: Array) -> Three:
    return np.broadcast_to(query.mean(-2, keepdims=True), query.shape), keys, values


def values_ask(query: Array, keys: Array, values: Array) -> Three:
    return values[..., : query.shape[-2], :], keys, values


def keys_are_values(query: Array, keys: Array, values: Array) -> Three:
    return query, keys, keys


def values_are_keys(query: Array, keys: Array, values: Array) -> Three:
    return query, values, values


def keys_and_values_swapped(query: Array, keys: Array, values: Array) -> Three:
    return query, values, keys


def query_and_keys_swapped(query: Array, keys: Array, values: Array) -> Three:
    return keys, query, values


def query_and_values_swapped(query: Array, keys: Array, values: Array) -> Three:
    return values, keys, query


def query_is_keys(query: Array, keys: Array, values: Array) -> Three:
    return query, query, values


def query_is_values(query: Array, keys: Array, values: Array) -> Three:
    return query, keys, query


def transposed(weights: Array, values: Array, sizes: Sizes) -> Array:
    return weights.swapaxes(-1, -2) @ values


def residual(weights: Array, values: Array, sizes: Sizes) -> Array:
    return weights @ values + values


def keys_reshaped(query: Array, keys: Array) -> Array:
    return query @ keys.reshape(*keys.shape[:2], keys.shape[3], keys.shape[2])


DEVIATIONS = (
    Deviation("query_ignored", "roles", keys_ask),
    Deviation("query_ignored", "roles", ones_ask),
    Deviation("query_ignored", "roles", values_ask, common=False),
    Deviation("keys_used_as_values", "roles", keys_are_values),
    Deviation("query_and_keys_swapped", "roles", query_and_keys_swapped),
    Deviation("values_used_as_keys", "roles", values_are_keys),
    Deviation("keys_and_values_swapped", "roles", keys_and_values_swapped),
    Deviation("query_and_values_swapped", "roles", query_and_values_swapped, common=False),
    Deviation("keys_ignored", "roles", query_is_keys),
    Deviation("query_used_as_values", "roles", query_is_values),
    Deviation("one_query_for_all", "roles", first_asks, common=False),
    Deviation("one_query_for_all", "roles", last_asks, common=False),
    Deviation("one_query_for_all", "roles", mean_asks, common=False),
    Deviation("keys_reshaped_not_transposed", "score", keys_reshaped, common=False),
    Deviation("weights_transposed", "average", transposed, common=False),
    Deviation("values_added_to_context", "average", residual, common=False),
)

KNOWN = {
    "query_ignored": Known(
        "wrong",
        "What is looked at doesn't depend on the query: every query gets what the keys alone decide.",
        "scores[q, k] = query[q] · keys[k] / sqrt(D): the query has to be in the score, and not cancel.",
    ),
    "keys_used_as_values": Known(
        "wrong", "The keys are averaged, and the values never used.", "context = weights @ values."
    ),
    "query_and_keys_swapped": Known(
        "wrong",
        "The keys ask and the queries answer: the scores are keys · query.",
        "scores = query @ keys.T, of shape (Q, K).",
    ),
    "values_used_as_keys": Known(
        "wrong",
        "The values are compared with the query, and the keys never used.",
        "scores = query @ keys.T / sqrt(D).",
    ),
    "keys_and_values_swapped": Known(
        "wrong",
        "Keys and values have changed places: the values are compared, the keys averaged.",
        "scores = query @ keys.T / sqrt(D); context = weights @ values.",
    ),
    "query_and_values_swapped": Known(
        "wrong",
        "Query and values have changed places: the values ask, the query is averaged.",
        "scores = query @ keys.T / sqrt(D); context = weights @ values.",
    ),
    "keys_ignored": Known(
        "wrong",
        "What is looked at doesn't depend on the keys.",
        "scores[q, k] = query[q] · keys[k] / sqrt(D).",
    ),
    "query_used_as_values": Known(
        "wrong", "The queries are averaged, and the values never used.", "context = weights @ values."
    ),
    "one_query_for_all": Known(
        "wrong",
        "All queries get the context of one: the scores are those of a single query, or of their mean.",
        "scores[q, k] = query[q] · keys[k] / sqrt(D), a row for each query.",
    ),
    "keys_reshaped_not_transposed": Known(
        "wrong",
        "The keys are reshaped to (D, K), not transposed: features of different keys are mixed.",
        "keys.swapaxes(-1, -2) or keys.mT, not reshape or view.",
    ),
    "weights_transposed": Known(
        "wrong",
        "The weights meet the values transposed: columns, which don't sum to one, take the place of rows.",
        "context[q] = Σ_k weights[q, k] · values[k]: weights @ values, not weights.T @ values.",
    ),
    "values_added_to_context": Known(
        "wrong",
        "The values are added to the context, as a residual connection would.",
        "context = weights @ values; residual connections belong outside.",
    ),
}
