"""Mistakes in masking, and those of attention whose score has parameters that nobody outside knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from function_subject import Array, Function, softmax, t

from regard.checking.problems import Subject

HIDE: dict[str, Callable[[Array, Array], Array]] = {
    "mask_inverted": lambda s, m: softmax(np.where(m, -np.inf, s)),
    "mask_ignored": lambda s, m: softmax(s),
    "mask_added_as_number": lambda s, m: softmax(s + m),
    "mask_multiplied_before_softmax": lambda s, m: softmax(s * m),
    "mask_after_softmax_without_renormalising": lambda s, m: softmax(s) * m,
    "mask_transposed": lambda s, m: softmax(np.where(t(m), s, -np.inf)),
    "mask_fill_too_small": lambda s, m: softmax(np.where(m, s, -3.0)),
    "masked_nan_leaks": lambda s, m: softmax(np.where(m, s, -np.inf)),
    "empty_rows_nan": lambda s, m: softmax(np.where(m, s, -np.inf)),
    "finite_fill_makes_empty_rows_uniform": lambda s, m: softmax(np.where(m, s, -1e9)),
}

rng = np.random.default_rng(5)
W_QUERY, W_KEYS, DIRECTION = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=3)


def additive_attention(query, keys, values):
    s = (np.tanh((query @ W_QUERY.T)[:, :, None] + (keys @ W_KEYS.T)[:, None])) @ DIRECTION
    return softmax(s) @ values


def additive_attention_without_tanh(query, keys, values):
    s = ((query @ W_QUERY.T)[:, :, None] + (keys @ W_KEYS.T)[:, None]) @ DIRECTION
    return softmax(s) @ values


def additive_attention_over_queries(query, keys, values):
    s = (np.tanh((query @ W_QUERY.T)[:, :, None] + (keys @ W_KEYS.T)[:, None])) @ DIRECTION
    return softmax(s, axis=-2) @ values


def additive_attention_over_the_batch(query, keys, values):
    s = (np.tanh((query @ W_QUERY.T)[:, :, None] + (keys @ W_KEYS.T)[:, None])) @ DIRECTION
    weights = softmax(s, axis=0)
    return weights @ values, weights


def additive_attention_of_keys(query, keys, values):
    s = (np.tanh((query @ W_QUERY.T)[:, :, None] + (keys @ W_KEYS.T)[:, None])) @ DIRECTION
    return softmax(s) @ keys


def additive_attention_with(hide: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    def function(query, keys, values, mask=None):
        s = (np.tanh((query @ W_QUERY.T)[:, :, None] + (keys @ W_KEYS.T)[:, None])) @ DIRECTION
        return (softmax(s) if mask is None else hide(s, mask)) @ values

    return function


ADDITIVE: list[tuple[str, Subject, dict[str, Any]]] = [
    ("additive_without_tanh", Function(additive_attention_without_tanh, width=4), {"score": "additive"}),
    ("softmax_over_queries", Function(additive_attention_over_queries, width=4), {"score": "additive"}),
    ("softmax_over_batch", Function(additive_attention_over_the_batch, width=4), {"score": "additive"}),
    ("keys_used_as_values", Function(additive_attention_of_keys, width=4), {"score": "additive"}),
    *(
        (name, Function(additive_attention_with(hide), width=4), {"score": "additive"})
        for name, hide in HIDE.items()
        if name != "mask_fill_too_small"
    ),
]
