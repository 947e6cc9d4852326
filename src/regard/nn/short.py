"""Attention for short texts on a processor: scaled-dot softmax with its own way back.

For sentences of some tens of tokens the fused attention of PyTorch spends its time on bookkeeping, most of
all on the way back. Here the heads are copied once, products are plain batched products in the dtype of the
inputs, scale and mask go into the first of them, the softmax is in float32, and its gradient is

    dS = (dP − Σ_k dP · P) · P

What it computes is `regard.attend`, and a test compares them.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.core.masks import first_position
from regard.core.shapes import fits
from regard.errors import InputError, ShapeError
from regard.nn.dropout import multiplier
from regard.nn.precision import BITS, wide

VECTOR = 16  # float32 numbers in a register: PyTorch's softmax is slow where a row has fewer


def attend_short(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    heads: int,
    *,
    key_heads: int | None = None,
    mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """What each head finds, softmax(query · keysᵀ · scale) · values, side by side.

    Args:
        query: (B, Q, H · D), keys: (B, K, G · D), values: (B, K, G · V), as projections give them; they may
            be views of one tensor. Keys that are hidden must be finite: a NaN in them is not held back.
        heads: H.
        key_heads: G, a divisor of H, whose heads neighbouring query heads share; None for H.
        mask: (Q, K), (B, Q, K) or (B, H, Q, K) booleans, axes may be 1; True where a query may look.
        key_mask: (B, K) booleans, True where a key is there.
        causal: hide the keys after the query's own position; the last query stands at the last key.
        dropout: the share of the weights that are dropped, in [0, 1); see `regard.nn.dropout`.
        scale: what scores are multiplied by; None for 1 / √D.

    Returns:
        (B, Q, H · V). Who may look nowhere gets zeros. It can be differentiated once.

    Raises:
        ShapeError: inputs or masks that do not fit together.
        InputError: heads that don't divide what they must, a dropout outside [0, 1).

    Source:
        Vaswani et al. 2017, eq. 1; arXiv:1706.03762.
    """
    key_heads = heads if key_heads is None else key_heads
    _check(query, keys, values, heads, key_heads, dropout)
    B, Q, K = query.shape[0], query.shape[1], keys.shape[1]
    scale = 1 / sqrt(query.shape[-1] // heads) if scale is None else scale
    allowed = _allowed((B, heads, Q, K), mask, key_mask, causal, query.device)
    penalty, seeing = (None, None) if allowed is None else _limits(allowed, query.dtype)
    keep, growth = None, 1.0
    if dropout:
        keep, growth = multiplier(query.new_empty(1).expand(B, heads, Q, K), dropout)
    return _Attend.apply(query, keys, values, heads, key_heads, penalty, seeing, keep, scale, growth)  # pyright: ignore


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        heads: int,
        key_heads: int,
        penalty: Tensor | None,
        seeing: Tensor | None,
        keep: Tensor | None,
        scale: float,
        growth: float,
    ) -> Tensor:
        B, Q, K = query.shape[0], query.shape[1], keys.shape[1]
        q, k, v = _split(query, heads, key_heads), _split(keys, key_heads), _split(values, key_heads)
        scores = _scores(q, k, _beside(penalty, (B, heads, Q, K), q.shape), scale)
        weights = _softmax(wide(scores))
        if seeing is not None:
            weights.view(B, heads, Q, K).mul_(seeing)
        weights = weights.to(q.dtype)
        used = weights if keep is None else weights.mul(keep.view_as(weights)).mul_(growth)
        ctx.save_for_backward(q, k, v, weights, keep)
        ctx.sizes, ctx.scale, ctx.growth = (heads, key_heads), scale, growth
        return _merge(torch.bmm(used, v), B, heads)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_context: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, weights, keep = ctx.saved_tensors
        heads, key_heads = ctx.sizes
        B = d_context.shape[0]
        d_context = _split(d_context, heads, key_heads)
        d_weights = torch.bmm(d_context, v.transpose(1, 2))
        used = weights
        if keep is not None:
            keep = keep.view_as(weights)
            used = weights.mul(keep).mul_(ctx.growth)
            d_weights.mul_(keep).mul_(ctx.growth)
        d_values = torch.bmm(used.transpose(1, 2), d_context)
        d_scores = _softmax_gradient(wide(d_weights), wide(weights)).mul_(ctx.scale).to(q.dtype)
        d_query, d_keys = torch.bmm(d_scores, k), torch.bmm(d_scores.transpose(1, 2), q)
        gradients = _merge(d_query, B, heads), _merge(d_keys, B, key_heads), _merge(d_values, B, key_heads)
        return *gradients, *(None,) * 7


def _split(x: Tensor, heads: int, groups: int | None = None) -> Tensor:
    """(B, L, H · D) as (B · G, H / G · L, D): the heads of one group are one list of positions."""
    B, L, _ = x.shape
    groups = heads if groups is None else groups
    apart = x.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous()
    return apart.view(B * groups, heads // groups * L, -1)


def _merge(x: Tensor, batch: int, heads: int) -> Tensor:
    """(B · G, H / G · L, D) as (B, L, H · D)."""
    x = x.view(batch, heads, -1, x.shape[-1])
    return x.transpose(1, 2).flatten(2)


def _scores(q: Tensor, k: Tensor, penalty: Tensor | None, scale: float) -> Tensor:
    if penalty is None:
        return torch.bmm(q, k.transpose(1, 2)).mul_(scale)
    return torch.baddbmm(penalty, q, k.transpose(1, 2), alpha=scale)


def _softmax(scores: Tensor) -> Tensor:
    """softmax over the last axis, which may take the place of the scores."""
    if scores.shape[-1] >= VECTOR:
        return torch.softmax(scores, dim=-1)
    powers = scores.sub_(scores.amax(-1, keepdim=True)).mul_(BITS).exp2_()
    return powers.div_(powers.sum(-1, keepdim=True))


def _softmax_gradient(d_weights: Tensor, weights: Tensor) -> Tensor:
    if weights.shape[-1] >= VECTOR:
        return torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
    return d_weights.sub((d_weights * weights).sum(-1, keepdim=True)).mul_(weights)


def _allowed(
    shape: tuple[int, int, int, int],
    mask: Tensor | None,
    key_mask: Tensor | None,
    causal: bool,
    device: torch.device,
) -> Tensor | None:
    """Who may look where, as booleans that broadcast to (B, H, Q, K); None for everywhere."""
    B, _, Q, K = shape
    parts = []
    if mask is not None:
        parts.append(_fitting("mask", mask[:, None] if mask.ndim == 3 else mask, shape))
    if key_mask is not None:
        if key_mask.ndim != 2:
            raise ShapeError(f"attend_short(): key_mask must be {(B, K)}. Got {tuple(key_mask.shape)}.")
        parts.append(_fitting("key_mask", key_mask[:, None, None], shape))
    if causal:
        first = first_position("attend_short()", Q, K, None)
        parts.append(torch.ones(Q, K, dtype=torch.bool, device=device).tril_(first)[None, None])
    if not parts:
        return None
    allowed = parts[0]
    for part in parts[1:]:
        allowed = allowed & part
    return allowed.reshape(*(1,) * (4 - allowed.ndim), *allowed.shape)


def _fitting(name: str, mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    if mask.dtype != torch.bool or not fits(mask.shape, shape):
        raise ShapeError(
            f"attend_short(): {name} must be booleans that fit scores (B, H, Q, K) = {tuple(shape)}. "
            f"Got {str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}."
        )
    return mask


def _limits(allowed: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """What is added to scores, huge and negative where a query may not look; and which queries see a key."""
    seen = allowed.view(torch.uint8).to(dtype)
    penalty = seen.sub_(1).mul_(-(torch.finfo(dtype).min / 2))
    seeing = allowed.any(-1, keepdim=True)
    return penalty, None if bool(seeing.all()) else seeing


def _beside(penalty: Tensor | None, shape: tuple[int, ...], products: torch.Size) -> Tensor | None:
    """The penalty in the shape that the products have."""
    if penalty is None:
        return None
    size = (products[0], products[1], shape[-1])
    if penalty.shape[:2] == (1, 1) and shape[1] * shape[0] == size[0]:
        return penalty[0].expand(size)
    return penalty.expand(shape).reshape(size)


def _check(query: Tensor, keys: Tensor, values: Tensor, heads: int, key_heads: int, dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise InputError(f"attend_short(): dropout must be in [0, 1). Got {dropout}.")
    if key_heads < 1 or heads % key_heads:
        raise InputError(
            f"attend_short(): key_heads must divide heads. Got {heads} heads and {key_heads} key_heads."
        )
    for name, x, parts in (("query", query, heads), ("keys", keys, key_heads), ("values", values, key_heads)):
        if x.ndim != 3 or x.shape[0] != query.shape[0] or x.shape[-1] % parts:
            raise ShapeError(
                f"attend_short(): {name} must be (B, L, F) with F a multiple of {parts} heads, all of one B. "
                f"Got {tuple(x.shape)}, query {tuple(query.shape)}."
            )
    if keys.shape[-1] * heads != query.shape[-1] * key_heads or keys.shape[1] != values.shape[1]:
        raise ShapeError(
            "attend_short(): keys need the features a head of the query has, and one value each. "
            f"Got query {tuple(query.shape)}, keys {tuple(keys.shape)}, values {tuple(values.shape)}."
        )
