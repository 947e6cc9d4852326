"""What a Transformer layer is put together from: sub-layers that are added to what they are given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.nn.cache import Cache
from regard.nn.dropout import add_dropped, dropout
from regard.nn.multihead import MultiheadAttention
from regard.nn.products import Linear
from regard.nn.short import attend_short

SHORT = 256
"""Up to so many keys, a map held whole is faster than one that is computed again on the way back."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}

Seen = dict[str, Any]
"""Names of the attentions that somebody asked about, and what each has seen: weights (B, H, Q, K).

Where a function stands there, it is told instead, see `MultiheadAttention.told`, and no weights are made."""


class FeedForward(nn.Module):
    """Each position for itself, through a wider hidden layer.

        relu, gelu, gelu_tanh, silu:  W_o f(W_i x)     swiglu:  W_o (silu(W_g x) ⊙ W_i x)

    Args:
        width: E, features of a position.
        hidden: F, features of the hidden layer.
        activation: "relu", "gelu", "gelu_tanh", an approximation of it that GPT-2 has, "silu" or "swiglu".
        bias: whether the projections add one.
        dropout: the share of hidden features that are dropped while training.

    Source:
        Vaswani et al. 2017, eq. 2, arXiv:1706.03762; gelu: Hendrycks and Gimpel 2016, arXiv:1606.08415;
        swiglu: Shazeer 2020, eq. 6, arXiv:2002.05202.
    """

    def __init__(
        self, width: int, hidden: int, *, activation: str = "relu", bias: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.activation, self.dropout = activation, dropout
        self.inner, self.outer = Linear(width, hidden, bias), Linear(hidden, width, bias)
        self.gate = Linear(width, hidden, bias) if activation == "swiglu" else None
        for projection in (self.inner, self.outer, self.gate):
            if projection is not None:
                nn.init.xavier_uniform_(projection.weight)
                if bias:
                    nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, E) to (…, E)."""
        hidden = self.inner(x)
        if self.gate is not None:
            hidden = F.silu(self.gate(x)) * hidden
        else:
            hidden = ACTIVATIONS[self.activation](hidden)
        return self.outer(dropout(hidden, self.dropout, training=self.training))


class Residual(nn.Module):
    """What layers of encoder and decoder have in common: adding what a sub-layer finds, and normalising.

        post:  norm(x + drop(f(x)))            pre:  x + drop(f(norm(x)))

    Args:
        norm: "post" or "pre".
        dropout: the share of features that are dropped of what is added.

    Source:
        post: Vaswani et al. 2017, section 5.4; pre: Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, norm: str, dropout: float) -> None:
        super().__init__()
        self.post, self.dropout = norm == "post", dropout

    def add(self, x: Tensor, norm: nn.Module, find: Callable[[Tensor], Tensor]) -> Tensor:
        """x (…, E) and what `find` finds in it."""
        if self.post:
            return norm(add_dropped(x, find(x), self.dropout, training=self.training))
        return add_dropped(x, find(norm(x)), self.dropout, training=self.training)


def attend(
    attention: MultiheadAttention,
    query: Tensor,
    keys: Tensor | Cache | None = None,
    *,
    key_mask: Tensor | None = None,
    causal: bool = False,
    window: int | None = None,
    seen: Seen | None = None,
    name: str = "",
) -> Tensor:
    """What multi-head attention finds, by the fastest way that gives it.

    Args:
        attention: which one.
        query: (B, Q, E).
        keys: (B, K, E), or what `MultiheadAttention.project` made of them; None for the query itself.
        key_mask, causal, window: as for `MultiheadAttention`.
        seen, name: where `seen` has this name, the weights are put there, or the function there is told.

    Returns:
        (B, Q, E).
    """
    if seen is not None and name in seen:
        if callable(seen[name]):
            return attention.told(seen[name], query, keys, key_mask=key_mask, causal=causal, window=window)
        found = attention.look(query, keys, key_mask=key_mask, causal=causal, window=window)
        seen[name] = found.weights
        return found.context
    if isinstance(keys, Cache) or not attention.is_plain or window is not None:
        return attention(query, keys, key_mask=key_mask, causal=causal, window=window)
    if (query if keys is None else keys).shape[-2] > SHORT:
        return attention(query, keys, key_mask=key_mask, causal=causal)
    if keys is None:
        q, k, v = joint(query, attention.query, attention.keys, attention.values)
    else:
        q, (k, v) = attention.query(query), joint(keys, attention.keys, attention.values)
    context = attend_short(
        q,
        k,
        v,
        attention.heads,
        key_heads=attention.key_heads,
        key_mask=key_mask,
        causal=causal,
        dropout=attention.dropout if attention.training else 0.0,
    )
    return attention.out(context)


def joint(x: Tensor, *projections: nn.Linear) -> tuple[Tensor, ...]:
    """Several projections of x (…, E) as one product."""
    weight = torch.cat([projection.weight for projection in projections])
    has_bias = projections[0].bias is not None
    bias = torch.cat([projection.bias for projection in projections]) if has_bias else None
    return F.linear(x, weight, bias).split([projection.out_features for projection in projections], dim=-1)
