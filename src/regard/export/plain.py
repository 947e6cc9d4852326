"""The networks in operations that exporters understand: shapes may be anything, nothing looks at a number.

Each network becomes two functions of tensors: `reader` from source tokens to what stays the same at each step
and the first state, `stepper` from last words, these and the state to the next words' log-probabilities. What
they compute is what `encode`, `start` and `step` of the network do; a test says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from regard.core.positions import alibi_slopes, sinusoidal
from regard.models.decoder import DecoderState, RecurrentDecoder
from regard.models.layers import Encoded
from regard.models.recurrent import RecurrentTranslator
from regard.models.transformer import TransformerTranslator
from regard.nn.blocks import Residual
from regard.nn.heads import merge, split
from regard.nn.multihead import MultiheadAttention
from regard.nn.pointer import pointer_log_probabilities
from regard.nn.positions import Alibi, Rotary, Shaw
from regard.nn.recurrent import BidirectionalLayer, reversing_index
from regard.nn.soft import AttentionState

NEVER = float("-inf")


class TransformerReader(nn.Module):
    """Source tokens (B, S) and lengths (B,) to the mask, keys and values of each layer, and empty states."""

    def __init__(self, network: TransformerTranslator, longest: int) -> None:
        super().__init__()
        self.network, self.places = network, _Places(network, "source_positions", longest)

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """mask (B, S), keys and values (B, H, S, D) of each layer, states (B, H, 0, D) of each."""
        network, config = self.network, self.network.config
        mask = torch.arange(source.shape[1]) < lengths[:, None]
        x = self.places(network.source_embedding(source), 0)
        for layer in _each(network.encoder.layers):
            look = _looking(layer.attention, mask[:, None, None], window=config.encoder_window)
            x = _added(layer, x, layer.attention_norm, look)
            x = _added(layer, x, layer.feed_forward_norm, layer.feed_forward)
        x = network.encoder.norm(x)
        memory = [part for cross in _crosses(network) for part in _keys_and_values(cross, x)]
        empty = [part[:, :, :0] for part in memory[: 2 * config.decoder_layers]]
        return *((mask, source + 0) if network.copies else (mask,)), *memory, *empty


class TransformerStepper(nn.Module):
    """One step of the decoder."""

    def __init__(self, network: TransformerTranslator, longest: int) -> None:
        super().__init__()
        self.network, self.places = network, _Places(network, "target_positions", longest)

    def forward(self, words: Tensor, memory: list[Tensor], state: list[Tensor]) -> tuple[Tensor, ...]:
        """log-probabilities (R, V), weights (R, S), the next state; from words (R,), memory and state."""
        network, first = self.network, 2 if self.network.copies else 1
        mask, held = memory[0][:, None, None], memory[first:]
        embedded = self.places(network.target_embedding(words[:, None]), state[0].shape[2])
        y, kept, weights = embedded, [], []
        for number, layer in enumerate(_each(network.decoder.layers)):
            before, across = state[2 * number : 2 * number + 2], held[2 * number : 2 * number + 2]
            seen: list[Tensor] = []
            y = _added(
                layer, y, layer.attention_norm, _looking(layer.attention, None, before=before, kept=kept)
            )
            look = _looking(layer.cross_attention, mask, across=across, seen=seen)
            y = _added(layer, y, layer.cross_attention_norm, look)
            y = _added(layer, y, layer.feed_forward_norm, layer.feed_forward)
            weights.append(seen[0])
        y = network.decoder.norm(y)
        shown = weights[network.config.shown_layer].mean(1)[:, 0]
        logits = network.logits(y[:, 0])
        if network.copy_head is None:
            return torch.log_softmax(logits, dim=-1), shown, *kept
        head, copied = network.copy_head, []
        context = _looking(head.attention, mask, across=held[-2:], seen=copied)(y)
        gates = head.pointer(context, y, head.pointer.word(embedded)[..., 0])[:, 0]
        pointed = copied[0][:, 0, 0]
        return pointer_log_probabilities(logits, gates, pointed, memory[1]), pointed, *kept


class RecurrentReader(nn.Module):
    """Source tokens (B, S) and lengths (B,) to outputs, mask, and the decoder's first states."""

    def __init__(self, network: RecurrentTranslator) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(_Bidirectional(layer) for layer in _each(network.encoder.layers))

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """mask (B, S), outputs (B, S, W); then the attentional state, each layer's, what is remembered."""
        network = self.network
        x = network.source_embedding(source) * network.config.embedding**0.5
        x = x.transpose(0, 1)
        for layer in self.layers:
            x = layer(x, lengths)
        mean = x.sum(0) / lengths[:, None].clamp(min=1)
        cell = network.encoder.cell
        start = [part for bridge in network.encoder.bridges for part in cell.state(torch.tanh(bridge(mean)))]
        mask = torch.arange(x.shape[0]) < lengths[:, None]
        remembered = cast(RecurrentDecoder, network.decoder).score.start(mask)
        rest = [] if remembered is None else [remembered]
        memory = (mask, source + 0) if network.copies else (mask,)
        return *memory, x.transpose(0, 1), torch.zeros_like(start[0]), *start, *rest


class RecurrentStepper(nn.Module):
    """One step of the decoder."""

    def __init__(self, network: RecurrentTranslator) -> None:
        super().__init__()
        self.network = network

    def forward(self, words: Tensor, memory: list[Tensor], state: list[Tensor]) -> tuple[Tensor, ...]:
        """log-probabilities (R, V), weights (R, S), the next state; from words (R,), memory and state."""
        network, parts = self.network, self.network.encoder.cell.parts
        count = network.config.decoder_layers
        layers = tuple(tuple(state[1 + i * parts : 1 + (i + 1) * parts]) for i in range(count))
        remembered = state[1 + count * parts] if len(state) > 1 + count * parts else None
        encoded = Encoded(memory[-1], memory[0], layers, *(memory[1:2] if network.copies else ()))
        steps, _ = network.start(encoded)
        before = DecoderState(layers, state[0], AttentionState(remembered))
        said, weights, after = network.step(steps, before, words)
        kept = [part for layer in after.layers for part in layer]
        left = after.attention.remembered
        return said, weights, after.attended, *kept, *([] if left is None else [left])


class _Places(nn.Module):
    """Embedded words (B, L, W), multiplied by √W, with their positions where these are added."""

    def __init__(self, network: TransformerTranslator, learned: str, longest: int) -> None:
        super().__init__()
        config = network.config
        self.scale = config.width**0.5
        self.table: Tensor | None = None
        if config.positions == "sinusoidal":
            table = sinusoidal(longest, config.width, interleaved=False, like=torch.zeros(0))
            self.register_buffer("waves", table)
            self.table = table
        elif config.positions == "learned":
            self.table = getattr(network, learned).table

    def forward(self, embedded: Tensor, offset: Any) -> Tensor:
        """The first word stands at the offset."""
        x = embedded * self.scale
        if self.table is None:
            return x
        return x + self.table[torch.arange(x.shape[1]) + offset]


class _Bidirectional(nn.Module):
    """`regard.nn.recurrent.BidirectionalLayer` by the recurrent layers that PyTorch and ONNX have names for.

    PyTorch's is what is computed here; a graph gets ONNX's, which is told the lengths.
    """

    inner: Tensor
    recurrent: Tensor
    biases: Tensor

    def __init__(self, layer: BidirectionalLayer) -> None:
        super().__init__()
        weights = layer.weights
        self.width, gru = layer.width, layer.cell.gates == 3
        self.kind, order = ("GRU", (1, 0, 2)) if gru else ("LSTM", (0, 3, 1, 2))
        self.directions = nn.ModuleList()
        for direction in range(2):
            made = (nn.GRU if gru else nn.LSTM)(weights.weight_ih.shape[-1], layer.width)
            with torch.no_grad():
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(made, f"{name}_l0").copy_(getattr(weights, name)[direction])
            self.directions.append(made)

        def ordered(gates: Tensor) -> Tensor:
            return gates.detach().unflatten(1, (-1, self.width))[:, list(order)].flatten(1, 2)

        self.register_buffer("inner", ordered(weights.weight_ih))
        self.register_buffer("recurrent", ordered(weights.weight_hh))
        biases = [ordered(bias) for bias in (weights.bias_ih, weights.bias_hh)]
        self.register_buffer("biases", torch.cat(biases, dim=1))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (S, B, I) to (S, B, W), zero behind a sentence's end."""
        read = self._named if torch.compiler.is_exporting() else self._computed
        real = (torch.arange(x.shape[0])[:, None] < lengths)[..., None]
        return read(x, lengths).masked_fill(~real, 0.0)

    def _computed(self, x: Tensor, lengths: Tensor) -> Tensor:
        index = reversing_index(lengths, x.shape[0]).T[..., None]
        forwards = self.directions[0](x)[0]
        backwards = self.directions[1](x.gather(0, index.expand_as(x)))[0]
        return torch.cat([forwards, backwards.gather(0, index.expand_as(backwards))], dim=-1)

    def _named(self, x: Tensor, lengths: Tensor) -> Tensor:
        attributes = {"hidden_size": self.width, "direction": "bidirectional"}
        outputs = torch.onnx.ops.symbolic(
            self.kind,
            (x, self.inner, self.recurrent, self.biases, lengths.int()),
            attributes | ({"linear_before_reset": 1} if self.kind == "GRU" else {}),
            dtype=x.dtype,
            shape=(x.shape[0], 2, x.shape[1], self.width),
        )
        return outputs.transpose(1, 2).flatten(2)


def _each(layers: nn.ModuleList) -> list[Any]:
    """The layers, whose attributes PyTorch has no types for."""
    return list(layers)


def _crosses(network: TransformerTranslator) -> list[MultiheadAttention]:
    """The attentions that look at the source."""
    found = [layer.cross_attention for layer in _each(network.decoder.layers)]
    return [*found, network.copy_head.attention] if network.copy_head is not None else found


def _added(layer: Residual, x: Tensor, norm: nn.Module, find: Callable[[Tensor], Tensor]) -> Tensor:
    return norm(x + find(x)) if layer.post else x + find(norm(x))


def _keys_and_values(attention: MultiheadAttention, x: Tensor, offset: Any = 0) -> tuple[Tensor, Tensor]:
    """Heads (B, H, L, D) of keys, turned by their positions, and of values."""
    keys, values = (split(project(x), attention.key_heads) for project in (attention.keys, attention.values))
    return _turned(attention, keys, offset), values


def _looking(
    attention: MultiheadAttention,
    mask: Tensor | None,
    *,
    window: int = 0,
    before: list[Tensor] | None = None,
    across: list[Tensor] | None = None,
    kept: list[Tensor] | None = None,
    seen: list[Tensor] | None = None,
) -> Callable[[Tensor], Tensor]:
    """What an attention finds, as a function of the query (B, Q, E).

    Args:
        attention: which one.
        mask: (B, 1, 1, K), where keys are; None for everywhere.
        window: how many positions each side a query sees; 0 for all.
        before: heads of keys and values of the positions before the query.
        across: heads of keys and values of the source; the query's own where there are none.
        kept: where the keys and values that were looked at are put.
        seen: where the weights (B, H, Q, K) are put.
    """

    def look(x: Tensor) -> Tensor:
        offset = 0 if before is None else before[0].shape[2]
        query = _turned(attention, split(attention.query(x), attention.heads), offset)
        keys, values = _keys_and_values(attention, x, offset) if across is None else across
        if before is not None:
            keys, values = torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)
        if kept is not None:
            kept.extend([keys, values])
        group = attention.heads // attention.key_heads
        if group > 1:
            keys, values = (part.repeat_interleave(group, dim=1) for part in (keys, values))
        scores = attention.score(query, keys)
        distance = torch.arange(keys.shape[2]) - (torch.arange(x.shape[1]) + offset)[:, None]
        scores = scores + _bias(attention, query, distance) if across is None else scores
        scores = scores.expand(-1, -1, x.shape[1], -1)  # of a score that asks all queries the same
        hidden = distance.abs() >= window if window else None
        if mask is not None:
            hidden = ~mask if hidden is None else hidden | ~mask
        weights = attention.normalizer(scores if hidden is None else scores.masked_fill(hidden, NEVER))
        if seen is not None:
            seen.append(weights)
        context = weights @ values
        if isinstance(attention.positions, Shaw) and across is None:
            context = context + torch.einsum(
                "bhqk,qkd->bhqd", weights, _rows(attention.positions.values, distance)
            )
        return attention.out(merge(context))

    return look


def _turned(attention: MultiheadAttention, heads: Tensor, offset: Any) -> Tensor:
    """Heads (B, H, L, D), turned by their positions where these are rotary."""
    positions = attention.positions
    if not isinstance(positions, Rotary):
        return heads
    width = heads.shape[-1]
    speed = positions.base ** (-torch.arange(0, width, 2) / width)
    angle = (torch.arange(heads.shape[2]) + offset)[:, None] * speed
    one, other = heads.unflatten(-1, (-1, 2)).unbind(-1)
    sine, cosine = angle.sin(), angle.cos()
    return torch.stack([one * cosine - other * sine, one * sine + other * cosine], dim=-1).flatten(-2)


def _bias(attention: MultiheadAttention, query: Tensor, distance: Tensor) -> Tensor | float:
    """What positions add to the scores of query (B, H, Q, D) and keys this far away (Q, K)."""
    positions = attention.positions
    if isinstance(positions, Alibi):
        slopes = torch.as_tensor(alibi_slopes(positions.heads), dtype=query.dtype)
        return -slopes[:, None, None] * distance.abs()
    if isinstance(positions, Shaw):
        return (
            torch.einsum("bhqd,qkd->bhqk", query, _rows(positions.keys, distance)) * query.shape[-1] ** -0.5
        )
    return 0.0


def _rows(table: Tensor, distance: Tensor) -> Tensor:
    """The rows (Q, K, D) of a table of distances from −C to C."""
    clip = table.shape[0] // 2
    return table[distance.clamp(-clip, clip) + clip]
