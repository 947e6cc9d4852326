"""The cache of a decoder that goes step by step: what was made of the positions before.

A cache is handed in and a new one is handed back; none is ever written to, so that several continuations can
start from the same one.

    cache = Cache()                               or Cache(window=256), which keeps the last 256 positions
    for word in words:
        context, cache = attention.step(word, cache)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from regard.errors import InputError, ShapeError


@dataclass(frozen=True, eq=False)
class Cache:
    """What attention has made of the positions before.

    Attributes:
        window: W, how many positions are kept and looked at, the query's own included; None for all.
        parts: tensors with positions on their second axis from the end, (…, K, F): the heads of the keys and
            of the values, or a latent and rotary keys. None are there before the first step.
        key_mask: (…, K) booleans, True where a position is real; None where all are.
        seen: how many positions there have been, those no longer kept included.
    """

    window: int | None = None
    parts: tuple[Tensor, ...] = ()
    key_mask: Tensor | None = None
    seen: int = 0

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise InputError(
                f"Cache(): window must be at least 1, which is the query's own position. Got {self.window}."
            )

    @property
    def kept(self) -> int:
        """K, how many positions are there to be looked at."""
        return self.parts[0].shape[-2] if self.parts else 0

    @property
    def start(self) -> int:
        """The position of the first one that is kept, counted from 0."""
        return self.seen - self.kept

    def extended(self, *parts: Tensor, key_mask: Any = None) -> Cache:
        """A cache that holds these positions too, all of them, whatever the window.

        Args:
            parts: (…, L, F) each, as many as there were before, of the same sizes but for L.
            key_mask: (…, L) booleans, True where a position is real; None where all are.

        Raises:
            ShapeError: parts that are not like those before.
        """
        if self.parts:
            self._require_alike(parts)
        new = parts[0].shape[-2]
        key_mask = None if key_mask is None else torch.as_tensor(key_mask, device=parts[0].device)
        if key_mask is not None and key_mask.shape[-1:] != (new,):
            raise ShapeError(
                f"Cache.extended(): key_mask must be (…, {new}), one for each new position. "
                f"Got {tuple(key_mask.shape)}."
            )
        if self.parts:
            key_mask = self._joined_mask(key_mask, new)
            parts = tuple(torch.cat(pair, dim=-2) for pair in zip(self.parts, parts, strict=True))
        return replace(self, parts=parts, key_mask=key_mask, seen=self.seen + new)

    def trimmed(self) -> Cache:
        """A cache that holds the last W positions only; itself where there are no more, or no window."""
        if self.window is None or self.kept <= self.window:
            return self
        parts = tuple(part[..., -self.window :, :] for part in self.parts)
        return replace(
            self, parts=parts, key_mask=None if self.key_mask is None else self.key_mask[..., -self.window :]
        )

    def select(self, rows: Tensor) -> Cache:
        """A cache of these rows of the batch, in their order, as beam search needs it.

        Args:
            rows: (R,) integers from 0 to B − 1; a row may be taken several times.
        """
        key_mask = self.key_mask
        if key_mask is not None and key_mask.ndim > 1 and key_mask.shape[0] > 1:
            key_mask = key_mask[rows]
        parts = tuple(part.index_select(0, rows) for part in self.parts)
        return replace(self, parts=parts, key_mask=key_mask)

    def _joined_mask(self, key_mask: Tensor | None, new: int) -> Tensor | None:
        old = self.key_mask
        if old is None and key_mask is None:
            return None
        like = old if key_mask is None else key_mask
        assert like is not None
        old = like.new_ones(self.kept) if old is None else old
        key_mask = like.new_ones(new) if key_mask is None else key_mask
        leading = torch.broadcast_shapes(old.shape[:-1], key_mask.shape[:-1])
        return torch.cat([old.expand(*leading, -1), key_mask.expand(*leading, -1)], dim=-1)

    def _require_alike(self, parts: tuple[Tensor, ...]) -> None:
        def form(parts: tuple[Tensor, ...]) -> list[tuple[int, ...]]:
            return [(*part.shape[:-2], part.shape[-1]) for part in parts]

        if form(parts) != form(self.parts):
            came, held = (", ".join(str(tuple(part.shape)) for part in both) for both in (parts, self.parts))
            raise ShapeError(
                f"Cache.extended(): all axes but the second from the end must be those of what the cache "
                f"holds, {held}. Got {came}; Cache.select() takes rows of the batch."
            )
