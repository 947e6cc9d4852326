"""Right attention functions in NumPy, in the styles that people write: none may be called wrong."""

import math

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def textbook(Q, K, V):  # noqa: N803
    """Scaled dot-product attention, softmax(QK^T / sqrt(d)) V."""
    return _softmax(Q @ K.T / np.sqrt(Q.shape[-1])) @ V


def with_weights(query, key, value):
    scores = query @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1])
    weights = _softmax(scores)
    return weights @ value, weights


def weights_first(queries, keys, values, mask=None):
    scores = np.einsum("...qd,...kd->...qk", queries, keys) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    weights = _softmax(scores)
    return weights, np.einsum("...qk,...kv->...qv", weights, values)


def careful(q, k, v, mask=None):
    """Nothing for a query that sees nothing, and nothing from behind the mask."""
    q, k, v = (np.asarray(x) for x in (q, k, v))
    dtype = v.dtype
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    if mask is None:
        mask = np.ones((q.shape[-2], k.shape[-2]), dtype=bool)
    clean = np.isfinite(k).all(-1, keepdims=True) & np.isfinite(v).all(-1, keepdims=True)
    k, v = np.where(clean, k, 0), np.where(clean, v, 0)
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    shares = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = shares.sum(-1, keepdims=True)
    return (shares / np.where(total == 0, 1, total) @ v).astype(dtype)


def one_query(query, keys, values):
    """Luong's dot-product attention for one decoder state."""
    scores = keys @ query
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    return weights @ values


def luong_dot(decoder_state, encoder_states):
    """Dot attention of Luong et al.; returns the context and the alignment weights."""
    scores = decoder_state @ encoder_states.T
    alignment = _softmax(scores)
    return alignment @ encoder_states, alignment


def loops(query, keys, values):
    context = np.zeros((query.shape[0], values.shape[1]))
    for i in range(query.shape[0]):
        scores = [
            sum(a * b for a, b in zip(query[i], k, strict=True)) / math.sqrt(len(query[i])) for k in keys
        ]
        top = max(scores)
        total = sum(math.exp(s - top) for s in scores)
        for s, v in zip(scores, values, strict=True):
            context[i] += math.exp(s - top) / total * v
    return context


def causal_attention(q, k, v):
    n, m = q.shape[-2], k.shape[-2]
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    future = np.triu(np.ones((n, m), dtype=bool), k=1 + m - n)
    scores = np.where(future, -np.inf, scores)
    return _softmax(scores) @ v


def with_lengths(queries, keys, values, valid_lens):
    """queries (B, Q, D), keys (B, K, D), values (B, K, V), valid_lens (B,): how many keys are real."""
    scores = queries @ keys.transpose(0, 2, 1) / math.sqrt(queries.shape[-1])
    real = np.arange(keys.shape[1])[None, None, :] < np.asarray(valid_lens)[:, None, None]
    return _softmax(np.where(real, scores, -1e30)) @ values


def cosine(query, keys, values):
    a = query / np.linalg.norm(query, axis=-1, keepdims=True)
    b = keys / np.linalg.norm(keys, axis=-1, keepdims=True)
    return _softmax(a @ np.swapaxes(b, -1, -2)) @ values


def sparse(query, keys, values):
    scores = query @ np.swapaxes(keys, -1, -2) / np.sqrt(query.shape[-1])
    ordered = -np.sort(-scores, axis=-1)
    total = np.cumsum(ordered, axis=-1)
    rank = np.arange(1, scores.shape[-1] + 1)
    support = (1 + rank * ordered > total).sum(-1, keepdims=True)
    threshold = (np.take_along_axis(total, support - 1, -1) - 1) / support
    return np.maximum(scores - threshold, 0) @ values


rng = np.random.default_rng(0)
W_Q, W_K, V_A = rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), rng.normal(size=6)


def bahdanau(query, keys, values):
    """Additive attention with weights of its own; 4 features."""
    hidden = np.tanh((query @ W_Q.T)[..., :, None, :] + (keys @ W_K.T)[..., None, :, :])
    weights = _softmax(hidden @ V_A)
    return weights @ values, weights


def self_attention(x, w_q, w_k, w_v):
    q, k, v = x @ w_q, x @ w_k, x @ w_v
    return _softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(k.shape[-1])) @ v


def four_axes(q, k, v, mask=None, causal=False):
    """q (B, H, Q, D), k and v (B, H, K, D)."""
    b, h, n, d = q.shape
    m = k.shape[2]
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) * d**-0.5
    allowed = np.ones((b, h, n, m), dtype=bool)
    if mask is not None:
        allowed &= mask
    if causal:
        allowed &= np.tril(np.ones((n, m), dtype=bool), k=m - n)
    scores[~allowed] = -np.inf
    return np.einsum("bhqk,bhkd->bhqd", _softmax(scores), v)


def heads_inside(x, num_heads=2):
    """Multi-head self-attention of (B, N, E) without projections."""
    b, n, e = x.shape
    split = x.reshape(b, n, num_heads, e // num_heads).transpose(0, 2, 1, 3)
    weights = _softmax(split @ split.transpose(0, 1, 3, 2) / np.sqrt(e // num_heads))
    return (weights @ split).transpose(0, 2, 1, 3).reshape(b, n, e)


def blockwise(q, k, v):
    """Flash-attention by hand: running maximum and running sum over blocks of two keys."""
    m = np.full((*q.shape[:-1], 1), -np.inf)
    total = np.zeros_like(m)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for i in range(0, k.shape[-2], 2):
        s = q @ np.swapaxes(k[..., i : i + 2, :], -1, -2) / np.sqrt(q.shape[-1])
        new = np.maximum(m, s.max(-1, keepdims=True))
        p = np.exp(s - new)
        total = total * np.exp(m - new) + p.sum(-1, keepdims=True)
        out = out * np.exp(m - new) + p @ v[..., i : i + 2, :]
        m = new
    return out / total


CASES = [
    (textbook, {}),
    (with_weights, {}),
    (weights_first, {}),
    (careful, {}),
    (one_query, {}),
    (luong_dot, {}),
    (loops, {}),
    (causal_attention, {"causal": True}),
    (causal_attention, {}),
    (with_lengths, {}),
    (cosine, {"score": "cosine"}),
    (sparse, {"normalizer": "sparsemax"}),
    (bahdanau, {"score": "additive", "width": 4}),
    (self_attention, {}),
    (four_axes, {}),
    (heads_inside, {"heads": 2}),
    (blockwise, {}),
]
