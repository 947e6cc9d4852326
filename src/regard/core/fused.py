"""PyTorch's own kernel for what it computes: softmax of dot products, without the map of weights.

`torch.nn.functional.scaled_dot_product_attention` is right, and fast, as long as nothing hidden is NaN or
infinite and no score overflows. Whether it was shows in what it returns, or before gradients in what goes in;
otherwise, and wherever something else is asked for, the answer here is None and the plain version computes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from regard.core import constraints, nonfinite, normalizers, scores
from regard.core.arrays import Array, namespace
from regard.core.constraints import Constraints
from regard.core.normalizers import Normalizer
from regard.core.options import Options
from regard.core.scores import Score
from regard.core.shapes import Inputs, fits

MANY_KEYS = 256
"""From how many keys on the kernel's backward pass is faster than that of plain products."""

MASK_SIZE = 2**22
"""How large a mask the kernel is handed at once, queries times keys: it makes numbers of it."""


FEW_NUMBERS = 2**16
"""So many numbers are sooner added up than picked out."""

FEW_QUERIES = 8
"""So few queries a head are sooner served by plain products: the kernel begins anew for each head."""

FEW_KEYS = 16
"""With fewer, sums of products are faster than products of matrices where there is one query a head."""

PRODUCTS = (scores.dot, scores.scaled_dot)


def attend(
    query: Any,
    keys: Any,
    values: Any,
    options: Options,
    plainly: Callable[[Array, Array, Array], Array],
) -> Array | None:
    """The context by PyTorch's kernel, or None where the plain version is to compute it or to refuse it.

    Args:
        query, keys, values: as `regard.attend` takes them.
        options: all others that it takes.
        plainly: the same by the plain version, for gradients of gradients.

    Raises:
        ShapeError, DtypeError, InputError: a mask, bias, window or query_offset that cannot be meant.
    """
    torch = sys.modules.get("torch")
    score, normalizer, mask, key_mask, bias, causal, window, query_offset, grouped = options
    if torch is None or not isinstance(query, torch.Tensor) or normalizer is not normalizers.softmax:
        return None
    if score not in PRODUCTS or not _fits(torch, query, keys, values, grouped):
        return None
    # A small number of half precision would hide as −∞ does, and the kernel keeps no gradient of a bias.
    if bias is not None and (query.element_size() < 4 or getattr(bias, "requires_grad", False)):
        return None
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return attend(query, keys, values, options, plainly)
    scale = None if score is scores.scaled_dot else 1.0
    upper_left = causal is True and (
        query_offset == 0 or (query_offset is None and query.shape[-2] == keys.shape[-2])
    )
    limits, own_mask = None, False
    if bias is None and window is None and (upper_left or (causal is False and query_offset is None)):
        own_mask = _own_mask(torch, query, keys, mask, key_mask, causal)
    if own_mask is False:
        limits = constraints.combine(_inputs(query, keys, values, grouped), options)

    def kernel(query: Array, keys: Array, values: Array) -> Array:
        if limits is None:
            return _sdpa(torch, query, keys, values, own_mask, upper_left, scale, grouped)
        return _masked(torch, limits, query, keys, values, scale, grouped)

    hides = upper_left or limits is not None or own_mask is not None
    return _reliable(torch, kernel, plainly, query, keys, values, hides)


def _reliable(
    torch: Any,
    kernel: Callable[..., Array],
    plainly: Callable[..., Array],
    query: Array,
    keys: Array,
    values: Array,
    hides: bool,
) -> Array | None:
    """What the kernel returns, unless something hidden shows in it or would show in its gradient."""
    try:
        if torch.is_grad_enabled() and (query.requires_grad or keys.requires_grad or values.requires_grad):
            if keys.shape[-2] < MANY_KEYS or (
                hides and nonfinite.suspected(namespace(query), query, keys, values)
            ):
                return None
            context = _differentiable().apply(kernel, plainly, query, keys, values)
        else:
            context = kernel(query, keys, values)
    except RuntimeError:
        # What the kernel is not made for on this device, or in this release.
        return None
    # An infinite score makes a row NaN altogether; what is hidden can show in a single feature.
    told = context if hides or context.numel() < FEW_NUMBERS else context[..., 0]
    return context if math.isfinite(told.sum().item()) else None


@dataclass(frozen=True)
class FusedLook:
    """What queries find when their scores become their weights in the same memory.

    shares: (…, Q, K), the weights. values: (…, K, V). logs: (…, Q), log Σ exp(score).
    """

    shares: Array
    values: Array
    logs: Array

    def context(self) -> Array:
        """The average of the values, (…, Q, V), in float32 or wider."""
        return self.shares @ self.values

    def weights(self) -> Array:
        """How much each query takes of each value, (…, Q, K)."""
        return self.shares

    def log_normalizer(self) -> Array:
        """log Σ exp(score), (…, Q)."""
        return self.logs


def look(
    inputs: Inputs, score: Score, normalizer: Normalizer, visible: Array | None, bias: Array | None
) -> FusedLook | None:
    """The same as `plain.look` for tensors without gradients, or None where that is to do it."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(inputs.query, torch.Tensor) or normalizer is not normalizers.softmax:
        return None
    arrays = (inputs.query, inputs.keys, inputs.values)
    if score not in PRODUCTS or not inputs.scores_shape[-1] or _transformed(torch):
        return None
    differentiated = any(array.requires_grad for array in (*arrays, bias) if array is not None)
    if (torch.is_grad_enabled() and differentiated) or (
        visible is not None and nonfinite.suspected(inputs.xp, *arrays)
    ):
        return None
    try:
        # Heads cut out of one projection: copied in order once, not transposed while they are multiplied.
        query, keys, values = (array.contiguous() for array in arrays)
        found = score(query, keys)
        if visible is None and bias is None:
            logs = _normalized(torch, found)
        else:
            logs = _normalized_behind(torch, found, visible, bias)
    except RuntimeError:
        # Forward-mode gradients, which writing into memory loses.
        return None
    return None if logs is None else FusedLook(found, values, logs)


def surprise(weights: Array) -> Array | None:
    """−w ln w of each weight (…, Q, K) of a tensor without gradients, in one step; None for other arrays."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(weights, torch.Tensor) or _transformed(torch):
        return None
    if not weights.is_floating_point() or (torch.is_grad_enabled() and weights.requires_grad):
        return None
    return torch.special.entr(weights)


def _normalized(torch: Any, found: Array) -> Array | None:
    """Turn scores into weights where they are; their log Σ exp, or None where that is not to be seen."""
    first = found[..., 0].clone()
    torch.softmax(found, -1, out=found)
    shares = found[..., 0]
    # A weight is exp(score − log Σ exp), and tells it as well as its own precision, if it is not too small.
    return first - shares.log() if bool((shares > 1e-30).all()) else None


def _normalized_behind(torch: Any, found: Array, visible: Array | None, bias: Array | None) -> Array | None:
    """The same behind a mask, with zeros for a query that may look nowhere."""
    if bias is not None:
        found += bias
    if visible is not None:
        found.masked_fill_(~visible, -math.inf)
    highest = found.amax(-1)
    if not bool((highest < math.inf).all()):
        return None
    torch.softmax(found, -1, out=found)
    empty = highest == -math.inf
    if bool(empty.any()):
        found.masked_fill_(empty[..., None], 0.0)
    return torch.where(empty, -math.inf, highest - torch.log(found.amax(-1)))


def _fits(torch: Any, query: Any, keys: Any, values: Any, grouped: bool) -> bool:
    """Whether these are tensors of a form that the kernel takes, and computes without a map of scores."""
    if not isinstance(keys, torch.Tensor) or not isinstance(values, torch.Tensor):
        return False
    shape, key_shape, value_shape = query.shape, keys.shape, values.shape
    if not 2 <= len(shape) <= 4 or key_shape != value_shape or len(shape) != len(key_shape):
        return False
    if shape[-1] != key_shape[-1] or 0 in shape or 0 in key_shape:
        return False
    if grouped:
        if grouped is not True or len(shape) < 3 or shape[:-3] != key_shape[:-3] or shape[-3] % key_shape[-3]:
            return False
    elif shape[:-2] != key_shape[:-2]:
        return False
    return (
        query.dtype == keys.dtype == values.dtype
        and query.dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
        and not _transformed(torch)
    )


def _transformed(torch: Any) -> bool:
    """Whether the tensors are those of `torch.compile` or `torch.func`, whose numbers nobody knows."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def _inputs(query: Array, keys: Array, values: Array, grouped: bool) -> Inputs:
    group = query.shape[-3] // keys.shape[-3] if grouped else 1
    scores_shape = (*query.shape[:-1], keys.shape[-2])
    return Inputs("attend", namespace(query), query, keys, values, scores_shape, values.dtype, False, group)


def _own_mask(
    torch: Any, query: Array, keys: Array, mask: Any, key_mask: Any, causal: bool
) -> Array | Literal[False] | None:
    """The mask that was handed in, if it is the only one and the kernel can be handed it as it is."""
    if mask is None and key_mask is None:
        return None
    own: Any = mask if key_mask is None else key_mask
    if causal or (mask is not None and key_mask is not None) or not isinstance(own, torch.Tensor):
        return False
    if (
        own.dtype is not torch.bool
        or own.device != query.device
        or query.shape[-2] * keys.shape[-2] > MASK_SIZE
    ):
        return False
    whole = (*query.shape[:-1], keys.shape[-2])
    if key_mask is not None:
        plain_form = len(whole) == 4 and own.shape == (whole[0], whole[3])
        return own[:, None, None, :] if plain_form else False
    return own if own.ndim > 1 and fits(own.shape, whole) else False


def _masked(
    torch: Any,
    limits: Constraints,
    query: Array,
    keys: Array,
    values: Array,
    scale: float | None,
    grouped: bool,
) -> Array:
    """The context by a mask, made for some queries at a time and the keys in their reach."""
    queries, count = limits.inputs.scores_shape[-2:]
    size = max(MASK_SIZE // count, 1)
    found = []
    for start in range(0, queries, size):
        own = min(size, queries - start)
        first, end = limits.keys_in_reach(start, own)
        if first == end:
            found.append(torch.zeros_like(query[..., start : start + own, :]))
            continue
        visible, bias = limits.part(start, own, first, end)
        if bias is not None:
            visible = torch.where(visible, bias, -math.inf)
        part = query[..., start : start + own, :], keys[..., first:end, :], values[..., first:end, :]
        found.append(_sdpa(torch, *part, visible, False, scale, grouped))
    return found[0] if len(found) == 1 else torch.cat(found, -2)


def _sdpa(
    torch: Any,
    query: Array,
    keys: Array,
    values: Array,
    mask: Array | None,
    causal: bool,
    scale: float | None,
    grouped: bool,
) -> Array:
    missing = 4 - query.ndim
    if missing:
        # With fewer axes the kernel would make the map.
        query, keys, values = (array[(None,) * missing] for array in (query, keys, values))
    if mask is not None:
        mask = mask[(None,) * (4 - mask.ndim)]
    if _few(torch, query, keys, values, causal, grouped):
        context = _by_products(torch, query, keys, values, mask, scale)
    else:
        context = torch.nn.functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
        )
    return context[(0,) * missing] if missing else context


def _few(torch: Any, query: Array, keys: Array, values: Array, causal: bool, grouped: bool) -> bool:
    """Whether the kernel is to be spared: few queries, as of a decoder that goes step by step."""
    return (
        query.shape[-2] <= FEW_QUERIES
        and query.device.type == "cpu"
        and query.dtype in (torch.float32, torch.float64)
        and not causal
        and not (grouped and query.shape[-3] != keys.shape[-3])
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in (query, keys, values)))
    )


def _by_products(
    torch: Any, query: Array, keys: Array, values: Array, mask: Array | None, scale: float | None
) -> Array:
    """The context of few queries, by the map of their weights."""
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    alone = query.shape[-2] == 1 and keys.shape[-2] < FEW_KEYS
    scored = (query * keys).sum(-1)[..., None, :] if alone else query @ keys.mT
    if mask is None:
        shares = scored.softmax(-1)
    else:
        sees = mask != -math.inf if mask.is_floating_point() else mask
        scored = scored + mask if mask.is_floating_point() else scored.masked_fill(~mask, -math.inf)
        shares = scored.softmax(-1).masked_fill(~sees.any(-1, keepdim=True), 0.0)
    return (shares.mT * values).sum(-2, keepdim=True) if alone else shares @ values


@lru_cache
def _differentiable() -> Any:
    """The kernel with its own backward pass, and the plain version's where that is differentiated again."""
    import torch

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, kernel: Any, plainly: Any, *arrays: Any) -> Any:
            ctx.save_for_backward(*arrays)
            ctx.plainly = plainly
            with torch.enable_grad():
                ctx.inside = [array.detach().requires_grad_() for array in arrays]
                ctx.context = kernel(*ctx.inside)
            return ctx.context.detach()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            if torch.is_grad_enabled():
                found = torch.autograd.grad(
                    ctx.plainly(*ctx.saved_tensors), ctx.saved_tensors, gradients, create_graph=True
                )
            else:
                found = torch.autograd.grad(ctx.context, ctx.inside, gradients, retain_graph=True)
            return None, None, *found

    return Fused
