"""Wrong attention functions in NumPy, each with the mistakes that it makes; any of them named is right."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def three_lines(query, keys, values):
    """The dot-product attention of many a tutorial."""
    scores = query @ keys.T
    weights = np.exp(scores) / np.sum(np.exp(scores), axis=0)
    return weights @ values


def over_queries(q, k, v):
    return _softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), axis=-2) @ v


def over_everything(q, k, v):
    scores = q @ k.T / np.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max())
    return e / e.sum() @ v


def over_batch(q, k, v):
    """q (B, Q, D), k (B, K, D), v (B, K, V)"""
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    return _softmax(scores, axis=0) @ v


def over_heads(q, k, v):
    """q (B, H, Q, D), k (B, H, K, D), v (B, H, K, V)"""
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(q.shape[-1])
    return np.einsum("bhqk,bhkv->bhqv", _softmax(scores, axis=1), v)


def no_softmax(q, k, v):
    return q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]) @ v


def divided_by_sum(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    return scores / scores.sum(-1, keepdims=True) @ v


def unstable(q, k, v):
    e = np.exp(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]))
    return e / e.sum(-1, keepdims=True) @ v


def unscaled(q, k, v):
    return _softmax(q @ np.swapaxes(k, -1, -2)) @ v


def scaled_by_d(q, k, v):
    return _softmax(q @ np.swapaxes(k, -1, -2) / q.shape[-1]) @ v


def scaled_twice(q, k, v):
    d = q.shape[-1]
    scores = (q / np.sqrt(d)) @ np.swapaxes(k, -1, -2) / np.sqrt(d)
    return _softmax(scores) @ v


def multiplied_by_root(q, k, v):
    return _softmax(q @ np.swapaxes(k, -1, -2) * np.sqrt(q.shape[-1])) @ v


def by_model_width(x, num_heads=2):
    b, n, e = x.shape
    split = x.reshape(b, n, num_heads, e // num_heads).transpose(0, 2, 1, 3)
    weights = _softmax(split @ split.transpose(0, 1, 3, 2) / np.sqrt(e))
    return (weights @ split).transpose(0, 2, 1, 3).reshape(b, n, e)


def query_ignored(query, keys, values):
    scores = keys @ np.swapaxes(keys, -1, -2) / np.sqrt(keys.shape[-1])
    return _softmax(scores)[..., : query.shape[-2], :] @ values


def mean_of_keys(query, keys, values):
    weights = _softmax(np.broadcast_to(keys.sum(-1)[..., None, :], (*query.shape[:-1], keys.shape[-2])))
    return weights @ values


def keys_as_values(query, keys, values):
    weights = _softmax(query @ np.swapaxes(keys, -1, -2) / np.sqrt(query.shape[-1]))
    return weights @ keys


def swapped(query, keys, values):
    """(Q, D), (Q, D), (Q, V)"""
    return _softmax(keys @ np.swapaxes(query, -1, -2) / np.sqrt(query.shape[-1])) @ values


def inverted(q, k, v, mask):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    return _softmax(np.where(mask, -1e9, scores)) @ v


def ignored(q, k, v, mask=None):
    return _softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])) @ v


def added(q, k, v, mask=None):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    return _softmax(scores) @ v


def multiplied(q, k, v, mask=None):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores * mask
    return _softmax(scores) @ v


def afterwards(q, k, v, mask=None):
    weights = _softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]))
    if mask is not None:
        weights = weights * mask
    return weights @ v


def minus_one(q, k, v, mask=None):
    """The fill is too small to hide anything."""
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -1.0)
    return _softmax(scores) @ v


def causal_off_by_one(q, k, v):
    n, m = q.shape[-2], k.shape[-2]
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.tril(np.ones((n, m), dtype=bool), k=1 + m - n), scores, -1e9)
    return _softmax(scores) @ v


def causal_blind(q, k, v):
    n, m = q.shape[-2], k.shape[-2]
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.tril(np.ones((n, m), dtype=bool), k=m - n - 1), scores, -1e9)
    return _softmax(scores) @ v


def causal_reversed(q, k, v):
    n, m = q.shape[-2], k.shape[-2]
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.triu(np.ones((n, m), dtype=bool), k=m - n), scores, -np.inf)
    return _softmax(scores) @ v


def causal_missing(q, k, v):
    return _softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])) @ v


def split_without_transpose(x, num_heads=2):
    b, n, e = x.shape
    split = x.reshape(b, num_heads, n, e // num_heads)
    weights = _softmax(split @ split.transpose(0, 1, 3, 2) / np.sqrt(e // num_heads))
    return (weights @ split).transpose(0, 2, 1, 3).reshape(b, n, e)


def merged_without_transpose(x, num_heads=2):
    b, n, e = x.shape
    split = x.reshape(b, n, num_heads, e // num_heads).transpose(0, 2, 1, 3)
    weights = _softmax(split @ split.transpose(0, 1, 3, 2) / np.sqrt(e // num_heads))
    return (weights @ split).reshape(b, n, e)


def scores_in_place(query, keys, values):
    query /= np.sqrt(query.shape[-1])
    return _softmax(query @ np.swapaxes(keys, -1, -2)) @ values


def dropout_left_on(q, k, v):
    weights = _softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]))
    keep = np.random.random(weights.shape) < 0.9
    return weights * keep / 0.9 @ v


def batch_mixed(q, k, v):
    """q (B, Q, D): every text looks at the keys of all texts."""
    b, m, d = k.shape
    scores = q @ k.reshape(b * m, d).T / np.sqrt(d)
    return _softmax(scores) @ v.reshape(b * m, -1)


def weights_before_masking(q, k, v, mask=None):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    weights = _softmax(scores)
    if mask is not None:
        scores = np.where(mask, scores, -1e9)
    return _softmax(scores) @ v, weights


def one_shape_only(q, k, v):
    """Adds a bias of a fixed size that only fits as many queries as keys."""
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    return _softmax(scores + np.zeros((q.shape[-2], q.shape[-2]))) @ v


def key_mask_on_queries(query, keys, values, key_mask=None):
    """query and keys (B, N, D), key_mask (B, N)."""
    scores = query @ np.swapaxes(keys, -1, -2) / np.sqrt(query.shape[-1])
    if key_mask is not None:
        scores = np.where(key_mask[:, :, None], scores, -1e9)
    return _softmax(scores) @ values


def heads_averaged(x, num_heads=2):
    """The heads' contexts are averaged, and repeated to the width."""
    b, n, e = x.shape
    split = x.reshape(b, n, num_heads, e // num_heads).transpose(0, 2, 1, 3)
    weights = _softmax(split @ split.transpose(0, 1, 3, 2) / np.sqrt(e // num_heads))
    return np.tile((weights @ split).mean(1), (1, 1, num_heads))


def softmax_twice(q, k, v):
    return _softmax(_softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]))) @ v


def raises(q, k, v):
    raise RuntimeError("not written yet")


def returns_text(q, k, v):
    return "context"


def both_unscaled_and_over_queries(q, k, v):
    return _softmax(q @ np.swapaxes(k, -1, -2), axis=-2) @ v


class NoSoftmax:
    """Weights of its own, as arrays."""

    def __init__(self, width=8):
        random = np.random.default_rng(0)
        self.w_query, self.w_key, self.w_value = random.normal(size=(3, width, width))

    def __call__(self, x):
        q, k, v = x @ self.w_query, x @ self.w_key, x @ self.w_value
        return q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]) @ v


def documented_otherwise(q, k, v, mask=None):
    """mask: 1 marks positions to be masked out, 0 is attended."""
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + (1.0 - mask) * -1e9
    return _softmax(scores) @ v


def causal_multiplied(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    return _softmax(np.tril(scores, k=k.shape[-2] - q.shape[-2])) @ v


CASES = [
    (three_lines, {"softmax_over_queries"}, {}),
    (over_queries, {"softmax_over_queries"}, {}),
    (over_everything, {"softmax_over_everything", "softmax_over_queries"}, {}),
    (over_batch, {"softmax_over_batch"}, {}),
    (over_heads, {"softmax_over_heads"}, {}),
    (no_softmax, {"no_softmax"}, {}),
    (divided_by_sum, {"sum_normalised_without_exp"}, {}),
    (unstable, {"softmax_unstable"}, {}),
    (unscaled, {"missing_scale"}, {}),
    (unscaled, {"missing_scale"}, {"score": "scaled_dot"}),
    (scaled_by_d, {"scaled_by_dimension"}, {}),
    (scaled_twice, {"scaled_twice"}, {}),
    (multiplied_by_root, {"scale_multiplied"}, {}),
    (by_model_width, {"scaled_by_model_width"}, {"heads": 2}),
    (query_ignored, {"query_ignored"}, {}),
    (mean_of_keys, {"query_ignored"}, {}),
    (keys_as_values, {"keys_used_as_values"}, {}),
    (swapped, {"query_and_keys_swapped"}, {}),
    (inverted, {"mask_inverted"}, {}),
    (ignored, {"mask_ignored"}, {}),
    (added, {"mask_added_as_number"}, {}),
    (multiplied, {"mask_multiplied_before_softmax"}, {}),
    (afterwards, {"mask_after_softmax_without_renormalising"}, {}),
    (minus_one, set(), {}),
    (causal_off_by_one, {"causal_off_by_one"}, {"causal": True}),
    (causal_blind, {"causal_off_by_one"}, {"causal": True}),
    (causal_reversed, {"causal_reversed"}, {"causal": True}),
    (causal_missing, {"causal_missing"}, {"causal": True}),
    (split_without_transpose, {"heads_split_without_transpose"}, {"heads": 2}),
    (merged_without_transpose, {"heads_merged_without_transpose"}, {"heads": 2}),
    (scores_in_place, {"inputs_written_to"}, {}),
    (dropout_left_on, {"dropout_active_in_evaluation"}, {}),
    (batch_mixed, {"batch_items_mixed"}, {}),
    (weights_before_masking, {"weights_returned_before_masking"}, {}),
    (one_shape_only, {"crashes_on_documented_shapes"}, {}),
    (key_mask_on_queries, {"key_mask_applied_to_queries"}, {}),
    (heads_averaged, {"heads_averaged_not_concatenated"}, {"heads": 2}),
    (softmax_twice, {"softmax_twice", "softmax_applied_twice"}, {}),
    (raises, set(), {}),
    (returns_text, set(), {}),
    (both_unscaled_and_over_queries, {"softmax_over_queries"}, {}),
    (NoSoftmax(), {"no_softmax"}, {}),
    (documented_otherwise, {"mask_inverted"}, {}),
    (causal_multiplied, {"mask_multiplied_before_softmax"}, {"causal": True}),
]
