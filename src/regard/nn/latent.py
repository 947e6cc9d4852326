"""Multi-head latent attention: keys and values of all heads come from one narrow vector a position.

A cache then holds that vector and one rotary key, whatever the number of heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from regard.core import attention as core
from regard.core.attention import Attention
from regard.core.positions import rotary
from regard.errors import InputError
from regard.nn.cache import Cache
from regard.nn.heads import checked, merge, over_heads, split


class LatentAttention(nn.Module):
    """Self-attention whose heads read keys and values off a latent vector, and positions off a rotary key.

    Inputs are (…, L, E): (B, L, E), or (L, E) for one text. `forward` makes the keys and values of every head
    from the latents; `step` looks at the latents themselves, with the projections absorbed into the query and
    into what is found, and gives the same numbers.

    Args:
        width: E, features of the inputs.
        heads: H.
        latent: C, features of the latent vector of keys and values.
        head_width: D, features of a head of query and keys without the rotary ones; None for E / H.
        value_head_width: V, features of a head of the values; None for D.
        rotary_width: R, an even number of features that are turned by the position, added to those of every
            head; the key's are the same for all heads.
        query_latent: features of a latent vector of the query; None for none.
        normalize: whether the latent vectors are divided by their root mean square, as the models do though
            the equations do not.
        base, interleaved: as for `regard.core.positions.rotary`.

    Raises:
        InputError: heads that do not divide the width, where head_width is not said.

    Source:
        DeepSeek-AI 2024, section 2.1, eq. 9 to 19; arXiv:2405.04434. Their W^DKV is our down, W^UK our keys,
        W^UV our values, W^DQ our query_down, W^UQ and W^QR together our query, W^KR our rotary_key.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        latent: int,
        head_width: int | None = None,
        value_head_width: int | None = None,
        rotary_width: int = 64,
        query_latent: int | None = None,
        normalize: bool = False,
        base: float = 10_000.0,
        interleaved: bool = True,
    ) -> None:
        super().__init__()
        if head_width is None and width % heads:
            raise InputError(
                f"LatentAttention(): {heads} heads do not divide width {width}; say head_width=."
            )
        self.heads = heads
        self.head_width = width // heads if head_width is None else head_width
        value_head_width = self.head_width if value_head_width is None else value_head_width
        self.rotary_width, self.base, self.interleaved = rotary_width, base, interleaved
        self.query_down = nn.Linear(width, query_latent, bias=False) if query_latent else nn.Identity()
        self.query = nn.Linear(query_latent or width, heads * (self.head_width + rotary_width), bias=False)
        self.down = nn.Linear(width, latent, bias=False)
        self.keys = nn.Linear(latent, heads * self.head_width, bias=False)
        self.values = nn.Linear(latent, heads * value_head_width, bias=False)
        self.rotary_key = nn.Linear(width, rotary_width, bias=False)
        self.out = nn.Linear(heads * value_head_width, width, bias=False)
        self.query_norm = nn.RMSNorm(query_latent, eps=1e-6) if normalize and query_latent else nn.Identity()
        self.norm = nn.RMSNorm(latent, eps=1e-6) if normalize else nn.Identity()

    def forward(
        self,
        x: Tensor,
        *,
        mask: Any = None,
        key_mask: Any = None,
        bias: Any = None,
        causal: bool = False,
        window: int | None = None,
    ) -> Tensor:
        """What each position finds in all.

        Args:
            x: (…, L, E).
            mask, key_mask, bias, causal, window: as for `regard.nn.multihead.MultiheadAttention`.

        Returns:
            (…, L, E).

        Raises:
            ShapeError, DtypeError, InputError: as `regard.attend`.
        """
        heads = self._expanded(x, key_mask)
        options = _options(heads[0], mask, key_mask, bias, causal, window)
        return self.out(merge(core.attend(*heads, **options)))

    def look(
        self,
        x: Tensor,
        *,
        mask: Any = None,
        key_mask: Any = None,
        bias: Any = None,
        causal: bool = False,
        window: int | None = None,
        statistics: Iterable[Any] = (),
    ) -> Attention:
        """Do what `forward` does, and keep where every head looked.

        Args:
            x, and all others up to ``window``: as for `forward`.
            statistics: what else to keep, as for `regard.attention`.

        Returns:
            A record: ``context`` is what `forward` gives, ``weights`` are (…, H, L, L).
        """
        heads = self._expanded(x, key_mask)
        options = _options(heads[0], mask, key_mask, bias, causal, window)
        found = core.attention(*heads, **options, statistics=statistics)
        return replace(found, context=self.out(merge(found.context)))

    def step(self, x: Tensor, cache: Cache | None = None, *, key_mask: Any = None) -> tuple[Tensor, Cache]:
        """Causal self-attention, gone on with: what the next positions find in those before and themselves.

        Args:
            x: (…, Q, E), the next positions, one or several.
            cache: what the steps before handed back; None, or an empty one with a window, at the start. It
                holds latents (…, K, C) and rotary keys (…, K, R).
            key_mask: (…, Q) booleans, True where one of them is there for those that follow.

        Returns:
            What they find, (…, Q, E), as `forward` does with all positions at once, ``causal=True`` and the
            cache's window; and the cache for the next step.

        Raises:
            ShapeError: inputs that do not fit the cache.
        """
        cache = Cache() if cache is None else cache
        plain, turned = self._query(x, cache.seen)
        whole = cache.extended(*self._latents(x, cache.seen, key_mask), key_mask=key_mask)
        latents, rotary_keys = whole.parts
        absorbed = torch.einsum("...hqd,hdc->...hqc", plain, self._by_head(self.keys))
        keys = torch.cat([latents, rotary_keys], dim=-1).unsqueeze(-3)
        # The score divides by the root of the features that there are, eq. 18 by that of D + R.
        scale = (keys.shape[-1] / (self.head_width + self.rotary_width)) ** 0.5
        context = core.attend(
            torch.cat([absorbed, turned], dim=-1) * scale,
            keys,
            latents.unsqueeze(-3),
            key_mask=whole.key_mask,
            causal=True,
            window=cache.window,
        )
        found = torch.einsum("...hqc,hvc->...hqv", context, self._by_head(self.values))
        return self.out(merge(found)), whole.trimmed()

    def _expanded(self, x: Tensor, key_mask: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Query and keys (…, H, L, D + R) and values (…, H, L, V): eq. 9 to 17."""
        latents, rotary_keys = self._latents(x, 0, key_mask)
        keys = split(self.keys(latents), self.heads)
        shared = rotary_keys.unsqueeze(-3).expand(*keys.shape[:-1], -1)
        values = split(self.values(latents), self.heads)
        return torch.cat(self._query(x, 0), dim=-1), torch.cat([keys, shared], dim=-1), values

    def _query(self, x: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        """The query's heads, (…, H, L, D) and, turned, (…, H, L, R): eq. 12 to 14."""
        x = checked("LatentAttention", "x", x, self.down)
        heads = split(self.query(self.query_norm(self.query_down(x))), self.heads)
        plain, turned = heads.split([self.head_width, self.rotary_width], dim=-1)
        return plain, self._turned(turned, offset)

    def _latents(self, x: Tensor, offset: int, key_mask: Any) -> tuple[Tensor, Tensor]:
        """What a cache holds: latents (…, L, C) and rotary keys (…, L, R): eq. 9 and 15."""
        x = checked("LatentAttention", "x", x, self.down, key_mask)
        return self.norm(self.down(x)), self._turned(self.rotary_key(x), offset)

    def _turned(self, x: Tensor, offset: int) -> Tensor:
        return rotary(x, offset=offset, base=self.base, interleaved=self.interleaved)

    def _by_head(self, projection: nn.Linear) -> Tensor:
        """The matrix of each head, (H, D or V, C)."""
        return projection.weight.unflatten(0, (self.heads, -1))


def _options(
    heads: Tensor, mask: Any, key_mask: Any, bias: Any, causal: bool, window: int | None
) -> dict[str, Any]:
    return {
        "mask": over_heads(mask, heads),
        "key_mask": key_mask,
        "bias": over_heads(bias, heads),
        "causal": causal,
        "window": window,
    }
