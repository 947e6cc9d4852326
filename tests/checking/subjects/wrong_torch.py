"""Wrong attention functions and modules in PyTorch, each with the mistakes that it makes."""

import math
import time

import torch
import torch.nn.functional as F
from torch import nn


def implicit_dim(q, k, v):
    """softmax over the first axis, as old code with an implicit dimension had it for three axes."""
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=0) @ v


def over_dim_one(q, k, v):
    """q (B, Q, D)."""
    return torch.softmax(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[-1]), dim=1) @ v


def inverted(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(mask == 1, float("-inf"))
    return scores.softmax(-1) @ value


class Unscaled(nn.Module):
    def __init__(self, dim=8):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        return F.softmax(self.q(x) @ self.k(x).transpose(-2, -1), dim=-1) @ self.v(x)


class OverQueries(nn.Module):
    def __init__(self, dim=8):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(-2, -1) / x.shape[-1] ** 0.5
        return F.softmax(scores, dim=1) @ self.v(x)


class SplitByView(nn.Module):
    """Heads split by view alone."""

    def __init__(self, d_model=8, num_heads=2):
        super().__init__()
        self.h, self.d = num_heads, d_model // num_heads
        self.q, self.k = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.v, self.o = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, x):
        b, n, e = x.shape
        q, k, v = (f(x).view(b, self.h, n, self.d) for f in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v)
        return self.o(out.transpose(1, 2).reshape(b, n, e))


class MergedByView(SplitByView):
    def forward(self, x):
        b, n, e = x.shape
        q, k, v = (f(x).view(b, n, self.h, self.d).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v).reshape(b, n, e))


class ModelWidth(SplitByView):
    def forward(self, x):
        b, n, e = x.shape
        q, k, v = (f(x).view(b, n, self.h, self.d).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = (q @ k.mT / math.sqrt(e)).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).reshape(b, n, e))


class CausalOffByOne(SplitByView):
    def forward(self, x):
        b, n, e = x.shape
        q, k, v = (f(x).view(b, n, self.h, self.d).transpose(1, 2) for f in (self.q, self.k, self.v))
        seen = torch.tril(torch.ones(n, n, dtype=torch.bool), diagonal=1)
        weights = (q @ k.mT / math.sqrt(self.d)).masked_fill(~seen, float("-inf")).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).reshape(b, n, e))


class AdditiveWithoutTanh(nn.Module):
    def __init__(self, hidden_size=8):
        super().__init__()
        self.Wa = nn.Linear(hidden_size, hidden_size)
        self.Ua = nn.Linear(hidden_size, hidden_size)
        self.Va = nn.Linear(hidden_size, 1)

    def forward(self, query, keys, values):
        scores = self.Va(self.Wa(query)[:, :, None] + self.Ua(keys)[:, None]).squeeze(-1)
        weights = F.softmax(scores, dim=-1)
        return weights @ values, weights


class TutorialAttention(nn.Module):
    """Scores from the keys alone: the query goes in and is never looked at."""

    def __init__(self, size=8):
        super().__init__()
        self.score = nn.Linear(size, 1)

    def forward(self, query, keys, values):
        weights = torch.softmax(self.score(keys).transpose(1, 2), dim=-1)
        return weights.expand(-1, query.shape[1], -1) @ values, weights.expand(-1, query.shape[1], -1)


class DropoutAlways(nn.Module):
    def forward(self, q, k, v):
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        return F.dropout(weights, 0.2) @ v


def tiled(q, k, v):
    """Grouped heads: q (B, H, Q, D), k and v (B, H_k, K, D)."""
    n = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(q, k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1))


def half(q, k, v):
    """Everything in half precision, whatever comes."""
    e = torch.exp((q.half() @ k.half().mT / q.shape[-1] ** 0.5).clamp(-10, 10))
    weights = e / e.cumsum(-1)[..., -1:]
    return (weights @ v.half()).to(v.dtype)


def writes(q, k, v, mask=None):
    q.mul_(q.shape[-1] ** -0.5)
    return (q @ k.mT).softmax(-1) @ v


def hangs(q, k, v):
    while True:
        time.sleep(0.1)


def upper_left(q, k, v):
    n, m = q.shape[-2], k.shape[-2]
    seen = torch.ones(n, m, dtype=torch.bool).tril()
    return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~seen, float("-inf")).softmax(-1) @ v


def keys_as_values(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    return scores.softmax(-1) @ key


class ValuesForgotten(nn.Module):
    """The values are projected, and then the keys are averaged."""

    def __init__(self, dim=8):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, _ = self.q(x), self.k(x), self.v(x)
        return F.softmax(q @ k.mT / x.shape[-1] ** 0.5, dim=-1) @ k


class PaddingOnTheQueries(nn.Module):
    """mask: (B, L), 1 for real tokens and 0 for padding."""

    def __init__(self, dim=8):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        scores = self.q(x) @ self.k(x).mT / x.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask[:, :, None] == 0, -1e9)
        return F.softmax(scores, dim=-1) @ self.v(x)


CASES = [
    (implicit_dim, {"softmax_over_batch", "softmax_over_queries"}, {}),
    (over_dim_one, {"softmax_over_queries"}, {}),
    (inverted, {"mask_inverted"}, {}),
    (Unscaled(), {"missing_scale"}, {}),
    (OverQueries(), {"softmax_over_queries"}, {}),
    (SplitByView(), {"heads_split_without_transpose"}, {"heads": 2}),
    (SplitByView, {"heads_split_without_transpose"}, {"heads": 2, "width": 8}),
    (MergedByView(), {"heads_merged_without_transpose"}, {"heads": 2}),
    (ModelWidth(), {"scaled_by_model_width"}, {"heads": 2}),
    (CausalOffByOne(), {"causal_off_by_one"}, {"heads": 2, "causal": True}),
    (AdditiveWithoutTanh(), {"additive_without_tanh"}, {"score": "additive"}),
    (TutorialAttention(), {"query_ignored"}, {}),
    (DropoutAlways(), {"dropout_active_in_evaluation"}, {}),
    (tiled, {"grouped_tiled_not_interleaved"}, {"grouped": True}),
    (writes, {"inputs_written_to"}, {}),
    (hangs, set(), {}),
    (keys_as_values, {"keys_used_as_values"}, {}),
    (ValuesForgotten(), set(), {}),
    (PaddingOnTheQueries(), {"key_mask_applied_to_queries"}, {}),
]

FRAGILE = [
    (upper_left, {"causal_upper_left"}, {"causal": True}),
    (half, {"half_precision_accumulation"}, {}),
]
