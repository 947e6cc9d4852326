"""Attention functions that make one known mistake each, named beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from function_subject import Array, Function, scores, softmax, t
from wrong_masks import ADDITIVE, HIDE

from regard.checking.problems import Subject


def normalised(axis: int) -> Callable[..., Array]:
    """Attention whose softmax runs over another axis."""

    def function(query, keys, values):
        return softmax(scores(query, keys), axis=axis) @ values

    return function


def weighed(weigh: Callable[[Array], Array]) -> Callable[..., Array]:
    """Attention whose scores become weights in another way."""

    def function(query, keys, values):
        return weigh(scores(query, keys)) @ values

    return function


def scaled(factor: Callable[[Array], float]) -> Callable[..., Array]:
    def function(query, keys, values):
        return softmax(query @ t(keys) * factor(query)) @ values

    return function


def played(roles: Callable[[Array, Array, Array], tuple[Array, Array, Array]]) -> Callable[..., Array]:
    def function(query, keys, values):
        query, keys, values = roles(query, keys, values)
        return softmax(scores(query, keys)) @ values

    return function


def hidden(hide: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Attention in which a mask gets into the weights in another way."""

    def function(query, keys, values, mask=None):
        s = scores(query, keys)
        return (softmax(s) if mask is None else hide(s, mask)) @ values

    return function


def triangular(triangle: Callable[[int, int], Array]) -> Callable[..., Array]:
    def function(query, keys, values):
        s = scores(query, keys)
        return softmax(np.where(triangle(*s.shape[-2:]), s, -1e9)) @ values

    return function


def several_heads_with(
    split: Callable[[Array], Array], weigh: Callable[[Array], Array], merge: Callable[[Array], Array]
) -> Callable[..., Array]:
    """Self-attention whose steps around the heads are given: (B, N, E) to (B, 2, N, D) and back."""

    def function(x):
        parts = split(x)
        return merge(weigh(scores(parts, parts)) @ parts)

    return function


def several_heads(*, split: bool = True, merge: bool = True, width: bool = False, average: bool = False):
    """Self-attention that splits into two heads by itself."""

    def function(x):
        b, n, e = x.shape
        parts = x.reshape(b, n, 2, e // 2).transpose(0, 2, 1, 3) if split else x.reshape(b, 2, n, e // 2)
        context = softmax(parts @ t(parts) / np.sqrt(e if width else e // 2)) @ parts
        if average:
            return np.tile(context.mean(1), 2)
        return (context.transpose(0, 2, 1, 3) if merge else context).reshape(b, n, e)

    return function


def square(n: int, m: int, k: int = 0) -> Array:
    return np.tril(np.ones((n, m), dtype=bool), k=k)


def scaled_afterwards(query, keys, values):
    return softmax(query @ t(keys)) @ values / np.sqrt(query.shape[-1])


def scaled_by_keys(query, keys, values):
    return softmax(query @ t(keys) / np.sqrt(keys.shape[-2])) @ values


def summed_elsewhere(query, keys, values):
    e = np.exp(scores(query, keys) - scores(query, keys).max(-1, keepdims=True))
    return e / e.sum(-2, keepdims=True) @ values


def shifted_elsewhere(query, keys, values):
    return softmax(scores(query, keys) - scores(query, keys).max(-2, keepdims=True)) @ values


def without_keepdims(query, keys, values):
    e = np.exp(scores(query, keys))
    return e / e.sum(-1) @ values


def reshaped(query, keys, values):
    return softmax(query @ keys.reshape(len(keys), keys.shape[2], -1) / np.sqrt(query.shape[-1])) @ values


def tiled(query, keys, values):
    keys, values = (np.tile(x, (1, query.shape[1] // x.shape[1], 1, 1)) for x in (keys, values))
    return softmax(scores(query, keys)) @ values


def repeated(query, keys, values):
    keys, values = (np.repeat(x, query.shape[1] // x.shape[1], axis=1) for x in (keys, values))
    return softmax(scores(query, keys)) @ values


def unstable(query, keys, values):
    e = np.exp(scores(query, keys))
    return e / e.sum(-1, keepdims=True) @ values


def one_maximum(query, keys, values):
    s = scores(query, keys)
    e = np.exp(s - s.max())
    return e / e.sum(-1, keepdims=True) @ values


def dropping(query, keys, values):
    weights = softmax(scores(query, keys))
    return weights * (np.random.default_rng().random(weights.shape) < 0.5) * 2 @ values


def writing(query, keys, values):
    query /= np.sqrt(query.shape[-1])
    return softmax(query @ t(keys)) @ values


def mixing_items(query, keys, values):
    keys, values = (x.reshape(1, -1, x.shape[-1]) for x in (keys, values))
    return softmax(scores(query, keys)) @ values


def mixing_heads(query, keys, values):
    keys, values = (x.reshape(x.shape[0], 1, -1, x.shape[-1]) for x in (keys, values))
    return softmax(scores(query, keys)) @ values


def in_half_precision(query, keys, values):
    query, keys, values = (x.astype(np.float16) for x in (query, keys, values))
    return (softmax(scores(query, keys)) @ values).astype(np.float64)


def summing_in_half_precision(query, keys, values):
    s = query @ t(keys) * query.shape[-1] ** -0.5
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / np.cumsum(e, axis=-1)[..., -1:] @ values


def before_masking(query, keys, values, mask=None):
    s = scores(query, keys)
    context = softmax(s if mask is None else np.where(mask, s, -np.inf)) @ values
    return context, softmax(s)


def other_weights(query, keys, values):
    return softmax(scores(query, keys)) @ values, scores(query, keys)


def padded_queries(query, keys, values, key_mask=None):
    s = scores(query, keys)
    return softmax(s if key_mask is None else np.where(key_mask[:, :, None], s, -1e9)) @ values


def padding_ignored(query, keys, values, key_mask=None):
    return softmax(scores(query, keys)) @ values


def of_one_size(query, keys, values):
    return softmax(scores(query, keys) + np.zeros((5, 5))) @ values


def squeezing(query, keys, values):
    weights = softmax(scores(query, keys)).squeeze()
    return np.einsum("bqk,bkv->bqv", weights, values)


def switched(triangle: Callable[[int, int], Array]) -> Callable[..., Array]:
    def function(query, keys, values, causal=False):
        s = scores(query, keys)
        return softmax(np.where(triangle(*s.shape[-2:]), s, -np.inf) if causal else s) @ values

    return function


def added_to_values(query, keys, values):
    return softmax(scores(query, keys)) @ values + values


def masked_as_first(query, keys, values, mask=None):
    s = scores(query, keys)
    return softmax(s if mask is None else np.where(mask[:1], s, -np.inf)) @ values


def first_key_head(query, keys, values):
    return softmax(scores(query, keys[:, :1])) @ values[:, :1]


def causal_by(hide: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    def function(query, keys, values):
        s = scores(query, keys)
        return hide(s, square(s.shape[-2], s.shape[-1], s.shape[-1] - s.shape[-2])) @ values

    return function


def parts(x: Array) -> Array:
    return x.reshape(*x.shape[:2], 2, -1).transpose(0, 2, 1, 3)


def dealt(x: Array) -> Array:
    return x.reshape(*x.shape[:2], -1, 2).transpose(0, 3, 1, 2)


def whole(x: Array) -> Array:
    return x[:, None]


def side_by_side(x: Array) -> Array:
    return np.concatenate(list(x.swapaxes(0, 1)), axis=-1)


def in_turn(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)


def backwards(x: Array) -> Array:
    return side_by_side(x[:, ::-1])


def mean_over_heads(s: Array) -> Array:
    return softmax(s).mean(1, keepdims=True)


HEADS = {
    "heads_not_split": (whole, softmax, side_by_side),
    "heads_split_alternating": (dealt, softmax, side_by_side),
    "heads_merged_alternating": (parts, softmax, in_turn),
    "heads_merged_in_other_order": (parts, softmax, backwards),
    "weights_averaged_over_heads": (parts, mean_over_heads, side_by_side),
}
ROLES: dict[str, Callable[[Array, Array, Array], tuple[Array, Array, Array]]] = {
    "query_ignored": lambda q, k, v: (k[..., : q.shape[-2], :], k, v),
    "keys_used_as_values": lambda q, k, v: (q, k, k),
    "query_and_keys_swapped": lambda q, k, v: (k, q, v),
    "values_used_as_keys": lambda q, k, v: (q, v, v),
    "keys_and_values_swapped": lambda q, k, v: (q, v, k),
    "query_and_values_swapped": lambda q, k, v: (v, k, q),
    "keys_ignored": lambda q, k, v: (q, q, v),
    "query_used_as_values": lambda q, k, v: (q, k, q),
    "one_query_for_all": lambda q, k, v: (np.broadcast_to(q[..., :1, :], q.shape), k, v),
}
WEIGH: dict[str, Callable[[Array], Array]] = {
    "softmax_over_everything": lambda s: np.exp(s) / np.exp(s).sum(),
    "no_softmax": lambda s: s,
    "sum_normalised_without_exp": lambda s: s / s.sum(-1, keepdims=True),
    "exp_without_sum": np.exp,
    "softmax_twice": lambda s: softmax(softmax(s)),
    "log_softmax_as_weights": lambda s: np.log(softmax(s)),
    "scores_negated": lambda s: softmax(-s),
    "softmax_to_base_two": lambda s: softmax(s * np.log(2)),
    "softmax_with_one_more": lambda s: np.exp(s) / (1 + np.exp(s).sum(-1, keepdims=True)),
    "sigmoid_instead_of_softmax": lambda s: 1 / (1 + np.exp(-s)),
    "hardmax_instead_of_softmax": lambda s: (s == s.max(-1, keepdims=True)) * 1.0,
    "uniform_weights": lambda s: np.full_like(s, 1 / s.shape[-1]),
    "weights_transposed": lambda s: t(softmax(s)),
    "context_divided_by_number_of_keys": lambda s: softmax(s) / s.shape[-1],
}
SCALES: dict[str, Callable[[Array], float]] = {
    "missing_scale": lambda q: 1.0,
    "scaled_by_dimension": lambda q: 1 / q.shape[-1],
    "scaled_twice": lambda q: 1 / q.shape[-1],
    "scale_multiplied": lambda q: q.shape[-1] ** 0.5,
    "scaled_by_fourth_root": lambda q: q.shape[-1] ** -0.25,
    "scale_unusual": lambda q: 0.4,
    "scaled_by_number_of_queries": lambda q: q.shape[-2] ** -0.5,
}
TRIANGLES: dict[str, Callable[[int, int], Array]] = {
    "causal_missing": lambda n, m: np.ones((n, m), dtype=bool),
    "causal_off_by_one": lambda n, m: square(n, m, 1 + m - n),
    "causal_upper_left": lambda n, m: square(n, m),
    "causal_reversed": lambda n, m: ~square(n, m, m - n - 1),
}

MISTAKEN: list[tuple[str, Subject, dict[str, Any]]] = [
    ("softmax_over_queries", Function(normalised(-2)), {}),
    ("softmax_over_batch", Function(normalised(0)), {}),
    ("softmax_over_heads", Function(normalised(1), axes="BHQD"), {}),
    *((name, Function(weighed(weigh)), {}) for name, weigh in WEIGH.items()),
    *((name, Function(scaled(factor)), {}) for name, factor in SCALES.items()),
    *((name, Function(played(roles)), {}) for name, roles in ROLES.items()),
    *((name, Function(hidden(hide), axes="BHQD"), {}) for name, hide in HIDE.items()),
    *((name, Function(triangular(shape)), {"causal": True}) for name, shape in TRIANGLES.items()),
    *((name, Function(switched(shape)), {"causal": True}) for name, shape in TRIANGLES.items()),
    ("causal_off_by_one", Function(triangular(lambda n, m: square(n, m, m - n - 1))), {"causal": True}),
    ("scaled_by_model_width", Function(several_heads(width=True), inputs="self", heads=2), {}),
    ("scaled_by_number_of_heads", Function(scaled(lambda q: q.shape[1] ** -0.5), axes="BHQD"), {}),
    ("scaled_by_model_width", Function(scaled(lambda q: (q.shape[1] * q.shape[3]) ** -0.5), axes="BHQD"), {}),
    ("heads_split_without_transpose", Function(several_heads(split=False), inputs="self", heads=2), {}),
    ("heads_merged_without_transpose", Function(several_heads(merge=False), inputs="self", heads=2), {}),
    ("heads_averaged_not_concatenated", Function(several_heads(average=True), inputs="self", heads=2), {}),
    *(
        (name, Function(several_heads_with(*steps), inputs="self", heads=2), {})
        for name, steps in HEADS.items()
    ),
    ("first_key_head_for_all", Function(first_key_head, axes="BHQD", grouped=True), {}),
    ("mask_of_first_item_for_all", Function(masked_as_first), {}),
    ("values_added_to_context", Function(added_to_values), {}),
    (
        "causal_added_as_number",
        Function(causal_by(HIDE["mask_added_as_number"])),
        {"causal": True},
    ),
    (
        "causal_multiplied_before_softmax",
        Function(causal_by(HIDE["mask_multiplied_before_softmax"])),
        {"causal": True},
    ),
    (
        "causal_after_softmax_without_renormalising",
        Function(causal_by(HIDE["mask_after_softmax_without_renormalising"])),
        {"causal": True},
    ),
    ("grouped_tiled_not_interleaved", Function(tiled, axes="BHQD", grouped=True), {}),
    ("softmax_over_queries", Function(summed_elsewhere), {}),
    ("maximum_over_queries", Function(shifted_elsewhere), {}),
    ("sum_laid_across", Function(without_keepdims, axes="QD"), {}),
    ("keys_reshaped_not_transposed", Function(reshaped), {}),
    ("scaled_by_number_of_keys", Function(scaled_by_keys), {}),
    ("scaled_after_softmax", Function(scaled_afterwards), {}),
    ("softmax_unstable", Function(unstable), {}),
    ("maximum_over_all_rows", Function(one_maximum), {}),
    ("dropout_active_in_evaluation", Function(dropping), {}),
    ("inputs_written_to", Function(writing), {}),
    ("batch_items_mixed", Function(mixing_items), {}),
    ("heads_mixed", Function(mixing_heads, axes="BHQD"), {}),
    ("half_precision_accumulation", Function(in_half_precision), {}),
    ("half_precision_accumulation", Function(summing_in_half_precision), {}),
    ("weights_returned_before_masking", Function(before_masking), {}),
    ("weights_returned_are_not_those_used", Function(other_weights), {}),
    ("key_mask_applied_to_queries", Function(padded_queries), {}),
    ("key_mask_ignored", Function(padding_ignored), {}),
    ("crashes_on_documented_shapes", Function(of_one_size), {}),
    ("crashes_on_documented_shapes", Function(squeezing), {}),
    *ADDITIVE,
    ("another_score", Function(weighed(softmax)), {"score": "cosine"}),
    ("another_normalizer", Function(weighed(softmax)), {"normalizer": "sparsemax"}),
    ("scaled_though_not_asked", Function(weighed(softmax)), {"score": "dot"}),
]
