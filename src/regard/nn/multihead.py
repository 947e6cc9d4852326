"""Multi-head attention: several looks side by side, each through projections of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from regard.core import attention as core
from regard.core import normalizers, scores
from regard.core.attention import Attention
from regard.core.masks import first_position
from regard.core.normalizers import Normalizer
from regard.core.scores import Score
from regard.errors import InputError, ShapeError
from regard.nn import foreign
from regard.nn.cache import Cache
from regard.nn.dropout import torch_dropout
from regard.nn.heads import checked, merge, over_heads, split
from regard.nn.positions import Positions
from regard.nn.products import Linear
from regard.nn.talking import TalkingHeads


class MultiheadAttention(nn.Module):
    """Project query, keys and values into heads, attend in each, and project what they found into one.

    Self-attention is ``module(x)``, cross-attention ``module(x, memory)``. Inputs are (…, L, E): (B, L, E),
    or (L, E) for one text. Masks mean what they mean in `regard.attend`: True where a query may look. A query
    that may look nowhere finds zeros, which leaves the bias of the last projection.

    Args:
        width: E, features of the query.
        heads: H, how many query heads.
        key_heads: how many heads keys and values have; H, or a divisor of it, whose heads are each shared by
            neighbouring query heads: 1 is multi-query, more is grouped-query attention. None for H.
        keys_width: features of the keys' inputs; None for E.
        values_width: features of the values' inputs; None for those of the keys.
        head_width: D, features of a head of query and keys; None for E / H.
        value_head_width: V, features of a head of the values; None for D.
        out_width: features of the result; None for E.
        bias: whether the projections add a bias.
        dropout: the share of the weights that are dropped while training, in [0, 1), the others growing to
            make up for it. See `regard.nn.dropout.torch_dropout`.
        score: from heads of query (B, H, Q, D) and keys (B, H, K, D) to scores; see `regard.core.scores`.
        normalizer: from scores (B, H, Q, K) to weights; see `regard.core.normalizers`.
        positions: how heads know of order; see `regard.nn.positions`.
        talking: whether heads mix their scores, and their weights; see `regard.nn.talking`.

    Raises:
        InputError: heads that don't divide what they must, or a dropout that is no share.

    Source:
        Vaswani et al. 2017, section 3.2.2; arXiv:1706.03762. Multi-query: Shazeer 2019; arXiv:1911.02150.
        Grouped-query: Ainslie et al. 2023; arXiv:2305.13245.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        key_heads: int | None = None,
        keys_width: int | None = None,
        values_width: int | None = None,
        head_width: int | None = None,
        value_head_width: int | None = None,
        out_width: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        score: Score = scores.scaled_dot,
        normalizer: Normalizer = normalizers.softmax,
        positions: Positions | None = None,
        talking: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.key_heads = heads, heads if key_heads is None else key_heads
        _require_heads(width, heads, self.key_heads, head_width)
        if not 0 <= dropout < 1:
            raise InputError(f"MultiheadAttention(): dropout must be in [0, 1). Got {dropout}.")
        head_width = width // heads if head_width is None else head_width
        value_head_width = head_width if value_head_width is None else value_head_width
        keys_width = width if keys_width is None else keys_width
        values_width = keys_width if values_width is None else values_width
        self.query = Linear(width, heads * head_width, bias)
        self.keys = Linear(keys_width, self.key_heads * head_width, bias)
        self.values = Linear(values_width, self.key_heads * value_head_width, bias)
        self.out = Linear(heads * value_head_width, width if out_width is None else out_width, bias)
        for projection in (self.query, self.keys, self.values, self.out):
            nn.init.xavier_uniform_(projection.weight)
            if bias:
                nn.init.zeros_(projection.bias)
        self.dropout, self.score, self.normalizer = dropout, score, normalizer
        self.positions = Positions() if positions is None else positions
        self.talking = TalkingHeads(heads) if talking else None

    def forward(
        self,
        query: Tensor,
        keys: Tensor | Cache | None = None,
        values: Tensor | None = None,
        *,
        mask: Any = None,
        key_mask: Any = None,
        bias: Any = None,
        causal: bool = False,
        window: int | None = None,
        query_offset: int | None = None,
    ) -> Tensor:
        """What each query finds.

        Args:
            query: (…, Q, E).
            keys: (…, K, E_k), or what `project` made of them; None for the query itself.
            values: (…, K, E_v); None for the keys.
            mask: (Q, K) or (…, Q, K) booleans, the same for all heads, or (…, H, Q, K); True where a query
                may look.
            key_mask: (…, K) booleans, True where a key is there.
            bias: numbers that are added to the scores, in one of the forms of mask.
            causal, window, query_offset: as for `regard.attend`.

        Returns:
            (…, Q, E), or with other features where ``out_width`` says so.

        Raises:
            ShapeError: inputs of another width, or that do not fit together.
            DtypeError, InputError: as `regard.attend`.
        """
        looks = self._prepared(query, keys, values, mask, key_mask, bias, causal, window, query_offset)
        if self.positions.needs_weights:
            return self.out(merge(self._look(looks, ()).context))
        return self.out(merge(core.attend(*looks.inputs, **looks.options)))

    def look(
        self,
        query: Tensor,
        keys: Tensor | Cache | None = None,
        values: Tensor | None = None,
        *,
        mask: Any = None,
        key_mask: Any = None,
        bias: Any = None,
        causal: bool = False,
        window: int | None = None,
        query_offset: int | None = None,
        statistics: Iterable[Any] = (),
    ) -> Attention:
        """Do what `forward` does, and keep where every head looked.

        Args:
            query, keys, values, and all others up to ``query_offset``: as for `forward`.
            statistics: what else to keep, as for `regard.attention`.

        Returns:
            A record: ``context`` is what `forward` gives, ``weights`` are (…, H, Q, K) as they were used,
            dropped ones 0, and ``log_normalizer`` (…, H, Q).

        Raises:
            ShapeError, DtypeError, InputError: as `forward`.
        """
        looks = self._prepared(query, keys, values, mask, key_mask, bias, causal, window, query_offset)
        found = self._look(looks, statistics)
        return replace(found, context=self.out(merge(found.context)))

    def told(
        self,
        hear: Callable[[tuple[Tensor, Tensor, Tensor], dict[str, Any], Tensor], Tensor | None],
        query: Tensor,
        keys: Tensor | Cache | None = None,
        *,
        key_mask: Any = None,
        causal: bool = False,
        window: int | None = None,
    ) -> Tensor:
        """Do what `forward` does, and tell of it.

        Args:
            hear: is handed query, keys and values in heads, the options that `regard.attend` took with them,
                and the context (…, H, Q, V) that it gave; what it returns, unless None, is taken instead.
            query, keys, and all others: as for `forward`.

        Raises:
            ShapeError, DtypeError, InputError: as `forward`; positions that are more than scores.
        """
        if self.positions.needs_weights:
            raise InputError(
                "MultiheadAttention.told(): relative positions that add to the context follow from no query, "
                "keys and values. Use look()."
            )
        looks = self._prepared(query, keys, None, None, key_mask, None, causal, window, None)
        context = core.attend(*looks.inputs, **looks.options)
        other = hear(looks.inputs, looks.options, context)
        return self.out(merge(context if other is None else other))

    def project(
        self, keys: Tensor, values: Tensor | None = None, *, key_mask: Any = None, offset: int = 0
    ) -> Cache:
        """Heads of keys and values, made once to be looked at often, as cross-attention's are.

        Args:
            keys: (…, K, E_k).
            values: (…, K, E_v); None for the keys.
            key_mask: (…, K) booleans, True where a key is there.
            offset: the position of the first key.

        Returns:
            What `forward` and `look` take as keys, and a cache for `step`.
        """
        where = "MultiheadAttention"
        values = keys if values is None else values
        keys = checked(where, "keys", keys, self.keys, key_mask)
        values = checked(where, "values", values, self.values, key_mask)
        if keys.shape[:-1] != values.shape[:-1]:
            raise ShapeError(
                f"{where}: all axes but the last of keys and values must be equal. "
                f"Got keys {tuple(keys.shape)}, values {tuple(values.shape)}."
            )
        key_heads = self.positions.turn(split(self.keys(keys), self.key_heads), offset)
        value_heads = split(self.values(values), self.key_heads)
        return Cache(seen=offset).extended(key_heads, value_heads, key_mask=key_mask)

    def step(
        self, query: Tensor, cache: Cache | None = None, *, key_mask: Any = None, bias: Any = None
    ) -> tuple[Tensor, Cache]:
        """Causal self-attention, gone on with: what the next positions find in those before and themselves.

        Args:
            query: (…, Q, E), the next positions, one or several.
            cache: what the steps before handed back; None, or an empty one with a window, at the start.
            key_mask: (…, Q) booleans, True where one of them is there for those that follow.
            bias: numbers that are added to the scores, over all positions kept and these.

        Returns:
            What they find, (…, Q, E), as `forward` does with all positions at once, ``causal=True`` and the
            cache's window; and the cache for the next step.

        Raises:
            ShapeError: a query that does not fit the cache.
        """
        cache = Cache() if cache is None else cache
        new = self.project(query, key_mask=key_mask, offset=cache.seen)
        whole = cache.extended(*new.parts, key_mask=new.key_mask)
        later = query.shape[-2] > 1 or cache.window is not None  # else there is nothing to hide
        context = self(query, whole, bias=bias, causal=later, window=cache.window)
        return context, whole.trimmed()

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention) -> MultiheadAttention:
        """The same attention as a module of PyTorch, with a copy of its weights.

        Its masks mean the opposite: `regard.core.masks.from_torch_mha` turns them round. Inputs here always
        have the batch first. What it calls add_zero_attn is a softmax with a sink of 0.

        Raises:
            InputError: a module with add_bias_kv, a key of its own that is none of the inputs'.
        """
        settings, weights = foreign.of_torch(module)
        made = cls(**settings).to(weights["out.weight"])
        made.load_state_dict(weights)
        return made.train(module.training)

    @classmethod
    def from_keras(cls, weights: Sequence[Any] | Mapping[str, Any]) -> MultiheadAttention:
        """The same attention as a MultiHeadAttention or GroupQueryAttention layer of Keras.

        Args:
            weights: what the layer's ``get_weights()`` gives, or a mapping from names that end as Keras' do:
                query/kernel (E, H, D), query/bias (H, D), key/…, value/…, attention_output/kernel (H, V, E)
                and attention_output/bias (E,). Biases may all be missing.

        Raises:
            InputError: weights that are missing, that are too many, as those of a gate, or do not fit.
        """
        settings, arrays = foreign.of_keras(weights)
        made = cls(**settings).to(arrays["out.weight"])
        made.load_state_dict(arrays)
        return made

    def _prepared(
        self,
        query: Tensor,
        keys: Tensor | Cache | None,
        values: Tensor | None,
        mask: Any,
        key_mask: Any,
        bias: Any,
        causal: bool,
        window: int | None,
        query_offset: int | None,
    ) -> _Looks:
        checked("MultiheadAttention", "query", query, self.query)
        if values is not None and not isinstance(keys, Tensor):
            raise InputError("MultiheadAttention: values need the keys they belong to, not projected yet.")
        if isinstance(keys, Cache):
            held, key_mask = keys, _both(keys.key_mask, key_mask)
        else:
            held = self.project(query if keys is None else keys, values, key_mask=key_mask)
        key_heads, value_heads = held.parts
        offset = self._offset(query.shape[-2], held.kept, query_offset)
        query_heads = self.positions.turn(split(self.query(query), self.heads), held.start + offset)
        if query_offset is not None and window is None and not causal and self._ordered:
            window = query.shape[-2] + held.kept + abs(offset)  # hides nothing; an offset is refused without
        most = max(query_heads, key_heads, key=lambda heads: heads.ndim)
        options = {
            "mask": over_heads(mask, most),
            "key_mask": key_mask,
            "bias": _sum(over_heads(bias, most), self.positions.bias(query_heads, held.kept, offset)),
            "causal": causal,
            "window": window,
            "query_offset": query_offset,
            "grouped": self.key_heads != self.heads,
            "score": self.score,
            "normalizer": self._normalizer(),
        }
        if self.talking is not None:
            options["score"] = self.talking.score(options["score"])
        return _Looks((query_heads, key_heads, value_heads), options, offset)

    def _look(self, looks: _Looks, statistics: Iterable[Any]) -> Attention:
        found = core.attention(*looks.inputs, **looks.options, statistics=statistics)
        if not self.positions.needs_weights:
            return found
        weights = cast(Tensor, found.weights)
        added = self.positions.context(weights, looks.query_offset)
        return replace(found, context=found.context + added.to(found.context.dtype))

    def _normalizer(self) -> Normalizer:
        """The normalizer, then what mixes the heads, then what drops weights; plain where it is plain."""
        normalizer = self.normalizer
        if self.talking is not None:
            normalizer = self.talking.normalizer(normalizer)
        if not (self.training and self.dropout):
            return normalizer
        return lambda scores: torch_dropout(normalizer(scores), self.dropout)

    @property
    def is_plain(self) -> bool:
        """Whether scores are scaled products, weights their softmax, and nothing else has a say."""
        plain = self.score is scores.scaled_dot and self.normalizer is normalizers.softmax
        return plain and self.talking is None and not self._ordered

    @property
    def _ordered(self) -> bool:
        """Whether positions do anything."""
        return type(self.positions) is not Positions

    def _offset(self, queries: int, keys: int, query_offset: int | None) -> int:
        """Where the first query stands among the keys; 0 where nobody asks."""
        if not self._ordered:
            return 0
        return first_position("MultiheadAttention", queries, keys, query_offset)


@dataclass(frozen=True)
class _Looks:
    """What attention is to be handed: heads of query, keys and values, and the options."""

    inputs: tuple[Tensor, Tensor, Tensor]
    options: dict[str, Any]
    query_offset: int


def _sum(one: Any, other: Tensor | None) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _both(one: Tensor | None, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return one & torch.as_tensor(other, device=one.device)


def _require_heads(width: int, heads: int, key_heads: int, head_width: int | None) -> None:
    if heads < 1 or key_heads < 1 or heads % key_heads:
        raise InputError(
            f"MultiheadAttention(): key_heads must divide heads. Got heads={heads}, key_heads={key_heads}."
        )
    if head_width is None and width % heads:
        raise InputError(f"MultiheadAttention(): {heads} heads do not divide width {width}; say head_width=.")
