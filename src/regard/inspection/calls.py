"""One call of attention in the words of `regard.attention`, so that what it looked at can be worked out.

A fused kernel returns the context alone. From what it was handed the weights follow; that they are those it
used is checked each time, against the context that it gave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.core import scores
from regard.core.attention import Attention, attention
from regard.core.statistics import Statistic
from regard.errors import InputError

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far the context may be from that of the kernel, as a share of its largest number."""


@dataclass(frozen=True, eq=False)
class Call:
    """What attention was handed in one call.

    Args:
        query: (B, H, Q, D), keys (B, H / n, K, D), values (B, H / n, K, V), on one device.
        scale: what the products of query and keys are multiplied by.
        softcap: c of c · tanh(score / c), which no score exceeds; None for no such limit.
        mask: booleans, True where a query may look, that broadcast to (B, H, Q, K); None for no mask.
        bias: numbers added to the scores, that broadcast to (B, H, Q, K).
        offset: of a causal call, the position of the first query among the keys; None where it is not causal.
        window: the number of nearest keys that are seen, as `regard.attention` takes it.
        sinks: (H,), the score of a key that takes weight and gives nothing; None for none.
        itself: whether a text looks at itself; None where the call does not tell.
    """

    query: Tensor
    keys: Tensor
    values: Tensor
    scale: float
    softcap: float | None = None
    mask: Tensor | None = None
    bias: Tensor | None = None
    offset: int | None = None
    window: int | None = None
    sinks: Tensor | None = None
    itself: bool | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, H, Q, K) of the weights."""
        *leading, queries, _ = self.query.shape
        return (leading[0], leading[1], queries, self.keys.shape[2])

    def text(self, number: int) -> Call:
        """The same call of one text."""

        def own(array: Any) -> Any:
            if array is None:
                return None
            array = _four(array)
            return array if len(array) == 1 else array[number : number + 1]

        return replace(
            self,
            query=own(self.query),
            keys=own(self.keys),
            values=own(self.values),
            mask=own(self.mask),
            bias=own(self.bias),
        )

    def part(self, head: int, start: int, end: int) -> Call:
        """The same call with one head and some of its queries."""

        def own(array: Tensor | None) -> Tensor | None:
            if array is None:
                return None
            array = _four(array)
            array = array if array.shape[1] == 1 else array[:, head : head + 1]
            return array if array.shape[2] == 1 else array[:, :, start:end]

        shared = head // (self.query.shape[1] // self.keys.shape[1])
        return replace(
            self,
            query=self.query[:, head : head + 1, start:end],
            keys=self.keys[:, shared : shared + 1],
            values=self.values[:, shared : shared + 1],
            mask=own(self.mask),
            bias=own(self.bias),
            offset=None if self.offset is None else self.offset + start,
            sinks=None if self.sinks is None else self.sinks[head : head + 1],
        )

    def without_values(self) -> Call:
        """The same call, holding no more memory than its queries and keys take."""
        return replace(self, query=_alone(self.query), keys=(keys := _alone(self.keys)), values=keys[..., :1])

    @torch.no_grad()
    def look(self, *, weights: bool = True, statistics: Iterable[str | Statistic] = ()) -> Attention:
        """What `regard.attention` finds: weights (B, H, Q, K), or statistics without holding these.

        Where there are sinks, the weights of a query add up to less than 1.
        """
        query, keys, values = (_wide(array).contiguous() for array in (self.query, self.keys, self.values))
        mask, bias = self.mask, None if self.bias is None else self.bias.to(query.dtype)
        if self.sinks is not None:
            # A last key of zeros has the score 0 with every query; its bias is the sink's score.
            keys, values = F.pad(keys, (0, 0, 0, 1)), F.pad(values, (0, 0, 0, 1))
            mask, bias = self._with_sinks(bias)
        causal = self.offset is not None and self.sinks is None
        found = attention(
            _scaled(query, self.scale) if self.softcap is None else query * self.scale,
            keys,
            values,
            score=scores.scaled_dot if self.softcap is None else _capped(self.softcap),
            mask=mask,
            bias=bias,
            causal=causal,
            window=None if self.sinks is not None else self.window,
            query_offset=self.offset if causal else self._offset_of_window(),
            grouped=query.shape[1] != keys.shape[1],
            weights=weights,
            statistics=statistics,
        )
        if self.sinks is None or found.weights is None:
            return found
        return Attention(found.context, found.weights[..., :-1], found.log_normalizer, found.statistics)

    def _offset_of_window(self) -> int | None:
        *_, queries, keys = self.shape
        return None if self.window is None or self.sinks is not None else keys - queries

    def _with_sinks(self, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        heads, queries, keys = self.shape[1:]
        seen = self._seen()
        seen = F.pad(seen.expand(*seen.shape[:2], queries, keys), (0, 1), value=True)
        assert self.sinks is not None
        added = seen.new_zeros(1, 1, 1, keys, dtype=torch.float32) if bias is None else bias.float()
        added = added.expand(added.shape[0], heads, added.shape[2], keys)
        sinks = self.sinks.float().view(1, heads, 1, 1).expand(*added.shape[:3], 1)
        return seen, torch.cat([added, sinks], dim=-1)

    def plain(self) -> tuple[Tensor, Tensor, Tensor]:
        """The weights (B, H, Q, K), booleans of where a query may look, and the values, with gradients.

        For short texts: all is held at once. A query that may look nowhere gets zeros.
        """
        group = self.query.shape[1] // self.keys.shape[1]
        keys, values = (_wide(array).repeat_interleave(group, dim=1) for array in (self.keys, self.values))
        found = _wide(self.query) @ keys.transpose(-1, -2) * self.scale
        if self.softcap is not None:
            found = self.softcap * torch.tanh(found / self.softcap)
        if self.bias is not None:
            found = found + self.bias
        seen = self._seen().expand(found.shape)
        found = found.masked_fill(~seen, -torch.inf)
        if self.sinks is not None:
            sinks = self.sinks.view(1, -1, 1, 1).expand(*found.shape[:-1], 1).to(found.dtype)
            weights = torch.softmax(torch.cat([found, sinks], dim=-1), dim=-1)[..., :-1]
        else:
            nowhere = ~seen.any(-1, keepdim=True)
            weights = torch.softmax(found.masked_fill(nowhere, 0.0), dim=-1).masked_fill(nowhere, 0.0)
        return weights, seen, values

    def _seen(self) -> Tensor:
        """Where a query may look, booleans that broadcast to (B, H, Q, K)."""
        queries, keys = self.shape[-2:]
        place = self.query.device
        seen = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=place)
        if self.mask is not None:
            seen = seen & self.mask
        query = torch.arange(queries, device=place)[:, None]
        return seen & self._near(query, torch.arange(keys, device=place))

    def _near(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Whether queries may see keys as far as their positions tell."""
        offset = self.shape[3] - self.shape[2] if self.offset is None else self.offset
        ahead = keys - (queries + offset)
        seen = torch.ones_like(ahead, dtype=torch.bool)
        if self.offset is not None:
            seen = ahead <= 0
        return seen if self.window is None else seen & (ahead.abs() < self.window)

    @torch.no_grad()
    def weights_at(self, log_normalizer: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """The weights at some places of the map, without the map.

        Args:
            log_normalizer: (B, H, Q), as `look` gives it.
            queries, keys: (N,), the places; those that are hidden get 0.

        Returns:
            (B, H, N).
        """
        group = self.query.shape[1] // self.keys.shape[1]
        query = _wide(self.query)[:, :, queries]
        chosen = _wide(self.keys)[:, :, keys].repeat_interleave(group, dim=1)
        score = (query * chosen).sum(-1) * self.scale
        if self.softcap is not None:
            score = self.softcap * torch.tanh(score / self.softcap)
        if self.bias is not None:
            score = score + _places(self.bias, queries, keys).to(score.dtype)
        normalizer = log_normalizer[:, :, queries].to(score.dtype)
        weight = torch.exp(score - normalizer.clamp_min(torch.finfo(score.dtype).min))
        seen = torch.isfinite(normalizer)
        if self.mask is not None:
            seen = seen & _places(self.mask, queries, keys)
        return torch.where(seen & self._near(queries, keys), weight, 0.0)

    def require_same(self, found: Attention, context: Tensor, who: str) -> None:
        """Check that what was found is what the model computed.

        Args:
            found: by `look`.
            context: (B, H, Q, V), what the model's own attention returned, without dropout.
            who: whose attention it was, for the error.

        Raises:
            InputError: it is not, so that a picture of it would be wrong.
        """
        there = torch.isfinite(found.log_normalizer)[..., None]
        theirs = torch.where(there, context.to(found.context.dtype), 0.0)
        ours = torch.where(there, found.context, 0.0)
        if not theirs.numel():
            return
        size = float(theirs.abs().amax())
        apart = float((ours - theirs).abs().amax())
        if not apart <= TOLERANCE.get(context.dtype, 1e-1) * max(size, 1e-6):
            raise InputError(
                f"capture(): {who} computes something else than softmax of scaled products: its output is "
                f"{apart:.2g} from that of the weights that follow from its queries and keys, of numbers up "
                f"to {size:.2g}. A picture of it would be wrong, so there is none."
            )


def _four(array: Tensor) -> Tensor:
    """What broadcasts to (B, H, Q, K), with four axes."""
    return array[(None,) * (4 - array.ndim)]


def _alone(array: Tensor) -> Tensor:
    """The array, in memory of its own where it is a view of much more."""
    array = array.detach()
    held = array.untyped_storage().nbytes()
    return array.clone() if held > 1.5 * array.numel() * array.element_size() else array


def _wide(array: Tensor) -> Tensor:
    return array if array.dtype in (torch.float32, torch.float64) else array.float()


def _scaled(query: Tensor, scale: float) -> Tensor:
    """The query whose scaled products, as Vaswani et al. scale them, are those with this scale."""
    ratio = scale * math.sqrt(query.shape[-1])
    return query if math.isclose(ratio, 1.0, rel_tol=1e-7) else query * ratio


Hear = Callable[[nn.Module, Call, "Tensor | None"], "Tensor | None"]
"""Told of each call: whose it is, what it was handed, and the context (B, H, Q, V); None where that says
nothing, as after dropout. What it returns, unless None, is taken for the context."""


def mask_and_bias(added: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """What is added to the scores, as a mask and a bias.

    Args:
        added: numbers, those that hide a key −∞ or near it.
        bias: what is added already.

    Returns:
        Booleans, True where a query may look, and the bias with what is neither 0 nor hides; None for none.
    """
    seen = added > torch.finfo(added.dtype).min / 2
    rest = torch.where(seen, added, 0.0)
    if bool((rest != 0).any()):
        bias = rest if bias is None else bias + rest
    return seen, bias


def _capped(limit: float) -> Callable[[Any, Any], Any]:
    def score(query: Any, keys: Any) -> Any:
        return limit * torch.tanh(scores.dot(query, keys) / limit)

    return score


def _places(array: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """Of an array that broadcasts to (B, H, Q, K), what stands at some places, (…, N)."""
    queries = queries if array.shape[-2] > 1 else torch.zeros_like(queries)
    keys = keys if array.shape[-1] > 1 else torch.zeros_like(keys)
    return _four(array)[..., queries, keys]
