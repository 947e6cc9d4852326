"""A Transformer encoder–decoder.

    x_0  = √W · e(source) + positions                    y_0  = √W · e(given) + positions
    x_n  = feed(attend(x_{n−1}))                         y_n  = feed(cross(attend(y_{n−1}; causal), x_N))
    p(y) = softmax(E y_N + b)                            E: the target embeddings, where they are tied

Each attend, cross and feed is added to what it is given, and normalised: afterwards ("post"), or what goes
into it and once more at the end ("pre"). With post-norm, sinusoidal positions and plain attention it is the
model of the paper, which Marian trains too.

With `copy` there is one look more, of one head, from what the decoder says to what it has read: words may be
copied from there, see `regard.nn.pointer`, and it is the alignment that is shown.

Sources: Vaswani et al. 2017, arXiv:1706.03762; pre-norm: Xiong et al. 2020, arXiv:2002.04745; layers left
out: Fan, Grave and Joulin 2020, arXiv:1909.11556; the layer shown as the alignment: Garg et al. 2019, section
4.1, arXiv:1909.02074; R-Drop: Liang et al. 2021, arXiv:2106.14448.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from regard.core.positions import sinusoidal
from regard.data.tokenization import PAD
from regard.models.transformer_config import TransformerConfig
from regard.nn import learned
from regard.nn.blocks import FeedForward, Residual, Seen, attend
from regard.nn.cache import Cache
from regard.nn.coverage import coverage_loss
from regard.nn.dropout import dropout
from regard.nn.guided import guided_loss
from regard.nn.losses import blocked_cross_entropy, consistent_cross_entropy
from regard.nn.multihead import MultiheadAttention
from regard.nn.pointer import (
    Pointer,
    blocked_pointer_cross_entropy,
    copy_shares,
    looked_at,
    pointer_log_probabilities,
    said_or_copied,
    with_gates,
)
from regard.nn.positions import Alibi, LearnedPositions, Positions, Rotary, Shaw
from regard.nn.precision import wide
from regard.nn.products import Linear
from regard.nn.programs import outside

__all__ = ["TransformerConfig", "TransformerTranslator"]

_waves = outside(sinusoidal)

COPY = "copy.0"
"""The name of the look from which words are copied."""


@dataclass(frozen=True)
class Encoded:
    """A batch of sentences, read: outputs (B, S, W), where words are (B, S), which they are, to be copied."""

    outputs: Tensor
    mask: Tensor
    tokens: Tensor | None = None

    def select(self, rows: Tensor) -> Encoded:
        """The sentences of the given rows, in their order; a row may be repeated."""
        tokens = None if self.tokens is None else self.tokens[rows]
        return Encoded(self.outputs[rows], self.mask[rows], tokens)


class EncoderLayer(Residual):
    """Self-attention, then each position for itself."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config.norm, config.dropout)
        self.window = config.encoder_window or None
        self.attention, self.attention_norm = _attention(config, ordered=True), nn.LayerNorm(config.width)
        self.feed_forward, self.feed_forward_norm = _feed_forward(config), nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor, seen: Seen | None, name: str) -> Tensor:
        """x (B, S, W), of which positions (B, S) are real, to (B, S, W)."""

        def look(x: Tensor) -> Tensor:
            return attend(self.attention, x, key_mask=mask, window=self.window, seen=seen, name=name)

        x = self.add(x, self.attention_norm, look)
        return self.add(x, self.feed_forward_norm, self.feed_forward)


class DecoderLayer(Residual):
    """Self-attention that sees no future, attention to the source, then each position for itself."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config.norm, config.dropout)
        self.attention, self.attention_norm = _attention(config, ordered=True), nn.LayerNorm(config.width)
        self.cross_attention = _attention(config, ordered=False)
        self.cross_attention_norm = nn.LayerNorm(config.width)
        self.feed_forward, self.feed_forward_norm = _feed_forward(config), nn.LayerNorm(config.width)

    def forward(self, y: Tensor, encoded: Encoded, seen: Seen | None, number: int) -> Tensor:
        """y (B, T, W), over a batch of sentences, to (B, T, W)."""

        def look_back(y: Tensor) -> Tensor:
            return attend(self.attention, y, causal=True, seen=seen, name=f"decoder.{number}")

        def look_across(y: Tensor) -> Tensor:
            keys, mask = encoded.outputs, encoded.mask
            return attend(self.cross_attention, y, keys, key_mask=mask, seen=seen, name=f"cross.{number}")

        y = self.add(y, self.attention_norm, look_back)
        y = self.add(y, self.cross_attention_norm, look_across)
        return self.add(y, self.feed_forward_norm, self.feed_forward)

    def step(
        self, y: Tensor, before: Cache, source: Cache, seen: Seen | None, number: int
    ) -> tuple[Tensor, Cache]:
        """Go one position on.

        Args:
            y: (A · k, 1, W), the positions of k hypotheses for each of A sentences, one after the other.
            before: what self-attention keeps of the positions before.
            source: keys and values of the A sentences.
            seen, number: as for `forward`.

        Returns:
            (A · k, 1, W), and what is kept for the next step.
        """
        kept = [before]

        def look_back(y: Tensor) -> Tensor:
            found, kept[0] = self.attention.step(y, before)
            return found

        def look_across(y: Tensor) -> Tensor:
            beside = y.view(
                len(source.parts[0]), -1, y.shape[-1]
            )  # the hypotheses of a sentence share its keys
            return attend(self.cross_attention, beside, source, seen=seen, name=f"cross.{number}").view_as(y)

        y = self.add(y, self.attention_norm, look_back)
        y = self.add(y, self.cross_attention_norm, look_across)
        return self.add(y, self.feed_forward_norm, self.feed_forward), kept[0]


class Encoder(nn.Module):
    """Layers on top of each other."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layer_drop = config.layer_drop
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(config.width) if config.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, lengths: Tensor, seen: Seen | None = None) -> Encoded:
        """Read embedded (B, S, W) sentences of the given lengths (B,)."""
        mask = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        for number, layer in enumerate(self.layers):
            if not (self.training and _left_out(self.layer_drop)):
                x = layer(x, mask, seen, f"encoder.{number}")
        return Encoded(self.norm(x), mask)


class Decoder(nn.Module):
    """Layers on top of each other."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layer_drop = config.layer_drop
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.width) if config.norm == "pre" else nn.Identity()

    def __iter__(self) -> Iterator[DecoderLayer]:
        return (cast(DecoderLayer, layer) for layer in self.layers)

    def forward(self, y: Tensor, encoded: Encoded, seen: Seen | None = None) -> Tensor:
        """Embedded words (B, T, W) to features (B, T, W)."""
        for number, layer in enumerate(self.layers):
            if not (self.training and _left_out(self.layer_drop)):
                y = layer(y, encoded, seen, number)
        return self.norm(y)


class CopyHead(nn.Module):
    """The look from which words are copied, and the decision to do so."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = _attention(
            replace(config, heads=1, key_heads=0, attention_dropout=0.0), ordered=False
        )
        self.pointer = Pointer(config.width, config.width, config.width)

    def forward(
        self, features: Tensor, embedded: Tensor, keys: Tensor | Cache, mask: Any, seen: Seen
    ) -> Tensor:
        """The logits (B, Q) of saying a word, not copying one; what is looked at is put into `seen`.

        Args:
            features: (B, Q, W), what the decoder made of positions, and embedded: (B, Q, W), their words.
            keys: (B, S, W), or what `MultiheadAttention.project` made of them; mask: (B, S), where words are.
        """
        context = attend(self.attention, features, keys, key_mask=mask, seen=seen, name=COPY)
        return self.pointer(context, features, self.pointer.word(embedded)[..., 0])


@dataclass(frozen=True)
class Steps:
    """What is the same at each step.

    Attributes:
        sources: keys and values of the sentences, a cache for each layer.
        copied: the same for the look from which words are copied, and tokens: (B, S), these words.
    """

    sources: tuple[Cache, ...]
    copied: Cache | None = None
    tokens: Tensor | None = None

    def select(self, rows: Tensor) -> Steps:
        """The part that belongs to the sentences of the given rows."""
        sources = tuple(source.select(rows) for source in self.sources)
        if self.copied is None or self.tokens is None:
            return Steps(sources)
        return Steps(sources, self.copied.select(rows), self.tokens[rows])


@dataclass(frozen=True)
class State:
    """What a step hands to the next: the positions before, a cache for each layer, and how many they are."""

    before: tuple[Cache, ...]
    length: int = 0

    def select(self, rows: Tensor) -> State:
        """The state of the given rows, in their order; a row may be repeated."""
        if not self.length:  # nothing is kept yet
            return self
        return replace(self, before=tuple(cache.select(rows) for cache in self.before))


class TransformerTranslator(nn.Module):
    """The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

    Args:
        config: sizes and mechanisms.
        vocabulary: how many tokens source and target share.

    Attributes:
        narrow: that all of it, weights included, may be computed with in bfloat16.
    """

    narrow = True

    def __init__(self, config: TransformerConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.target_embedding = nn.Embedding(vocabulary, config.width)
        self.source_embedding = (
            self.target_embedding if config.tied == "all" else nn.Embedding(vocabulary, config.width)
        )
        if config.positions == "learned":
            self.source_positions = LearnedPositions(config.longest, config.width)
            self.target_positions = LearnedPositions(config.longest, config.width)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.copy_head = CopyHead(config) if config.copy else None
        self.output = Linear(config.width, vocabulary)
        for embedding in (self.target_embedding, self.source_embedding, self.output):
            nn.init.normal_(embedding.weight, std=config.width**-0.5)
        nn.init.zeros_(self.output.bias)
        if config.tied != "none":
            self.output.weight = self.target_embedding.weight

    def _embed_source(self, source: Tensor) -> Tensor:
        return self._placed(self.source_embedding(source), "source_positions", 0)

    def _embed_target(self, given: Tensor, offset: int = 0) -> Tensor:
        return self._placed(self.target_embedding(given), "target_positions", offset)

    def _placed(self, embedded: Tensor, learned_positions: str, offset: int) -> Tensor:
        """Embedded words (B, L, W) with their positions, where these are added."""
        width, kind = self.config.width, self.config.positions
        x = embedded * width**0.5
        if kind == "sinusoidal":
            x = x + _waves(x.shape[1], width, offset=offset, interleaved=False, like=x)
        elif kind == "learned":
            x = getattr(self, learned_positions)(x, offset)
        return dropout(x, self.config.dropout, training=self.training)

    def encode(self, source: Tensor, lengths: Tensor) -> Encoded:
        """Read source tokens (B, S) of the given lengths (B,), padded behind."""
        encoded = self.encoder(self._embed_source(source), lengths)
        return replace(encoded, tokens=source) if self.copies else encoded

    def features(self, source: Tensor, lengths: Tensor, given: Tensor, seen: Seen | None = None) -> Tensor:
        """What the decoder makes of each position, (B, T, W); the arguments are those of `forward`.

        Where `seen` has the names of attentions, such as "cross.0", their weights (B, H, Q, K) are put there.
        """
        return self._run(source, lengths, given, seen)[0]

    def _run(
        self, source: Tensor, lengths: Tensor, given: Tensor, seen: Seen | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The features, and, where it copies and `seen` has the name of that, the logits of not doing so."""
        encoded, embedded = self.encoder(self._embed_source(source), lengths, seen), self._embed_target(given)
        features = self.decoder(embedded, encoded, seen)
        if self.copy_head is None or seen is None or COPY not in seen:
            return features, None
        return features, self.copy_head(features, embedded, encoded.outputs, encoded.mask, seen)

    def forward(self, source: Tensor, lengths: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Run the decoder along known words.

        Args:
            source: (B, S) tokens, padded behind; lengths: (B,).
            given: (B, T) tokens that each step is given: the start token and all but the last of what is to
                be said.

        Returns:
            features (B, T, W), for `log_probabilities`, and the alignment (B, T, S): the weights of one head,
            or the mean of all, of one layer's cross-attention. Of a model that copies, features are
            (B, T, W + 1), with the logit of saying a word, not copying one, behind them, and the alignment is
            what it copies by.
        """
        seen: Seen = {self._shown: None}
        features, gates = self._run(source, lengths, given, seen)
        return with_gates(features, gates), self._alignment(seen)

    def look(
        self, source: Tensor, lengths: Tensor, given: Tensor, names: Iterable[str] | None = None
    ) -> dict[str, Tensor]:
        """The weights of every head.

        Args:
            source, lengths, given: as for `forward`.
            names: of which attentions, as in the result; None for all.

        Returns:
            (B, H, Q, K) for "encoder.0", … of the source's words to each other, "decoder.0", … of the
            target's, "cross.0", … of the target's words to the source's, and "copy.0" of what is copied.
        """
        seen: Seen = dict.fromkeys(self.attentions if names is None else names)
        self.features(source, lengths, given, seen)
        return seen

    @property
    def attentions(self) -> list[str]:
        """The names of all attentions, as `look` gives them."""
        encoder, decoder = range(len(self.encoder.layers)), range(len(self.decoder.layers))
        kinds = (("encoder", encoder), ("decoder", decoder), ("cross", decoder))
        return [f"{kind}.{number}" for kind, layers in kinds for number in layers] + [COPY] * self.copies

    @property
    def _shown(self) -> str:
        return COPY if self.copies else f"cross.{self.config.shown_layer}"

    def _alignment(self, seen: Seen) -> Tensor:
        """What is shown of what was seen, (B, T, S)."""
        weights, head = seen[self._shown], self.config.alignment_head
        return weights[:, head - 1] if head else weights.mean(1)

    @property
    def copies(self) -> bool:
        """Whether words may be copied from the source."""
        return self.config.copy

    def copy_shares(self, source: Tensor, lengths: Tensor, given: Tensor, wanted: Tensor) -> Tensor:
        """The share of copying in the probability of each wanted word, from 0 to 1, (B, T).

        Args:
            source, lengths, given, wanted: as for `loss`, of a model that copies.
        """
        features, weights = self(source, lengths, given)
        return copy_shares(self.logits, features, weights, source, wanted)

    def loss(
        self,
        source: Tensor,
        lengths: Tensor,
        given: Tensor,
        wanted: Tensor,
        *,
        smoothing: float = 0.0,
        consistency: float = 0.0,
        wished: Tensor | None = None,
    ) -> Tensor:
        """What training makes small, summed over all real words, in nats.

        Args:
            source, lengths, given: as for `forward`.
            wanted: (B, T) tokens that each step is to say, padded behind.
            smoothing: the share of each wanted word that is spread over the whole vocabulary.
            consistency: α of R-Drop, how much it counts that two passes with other features dropped agree; 0
                for one pass, as a model that copies always has it.
            wished: (B, T, S), where each step's alignment should look, and how much that counts; see
                `regard.nn.guided`.
        """
        if self.copy_head is not None:
            return self._copying_loss(source, lengths, given, wanted, smoothing, wished)
        if consistency:
            source, lengths, given = (torch.cat([part, part]) for part in (source, lengths, given))
        seen: Seen = {} if wished is None else {self._shown: None}
        features = self.features(source, lengths, given, seen).flatten(0, 1)
        matrix, wanted = (self.output.weight, self.output.bias), wanted.flatten()
        if consistency:
            total = consistent_cross_entropy(features, *matrix, wanted, smoothing, consistency)
        else:
            total = blocked_cross_entropy(features, *matrix, wanted, smoothing)
        if wished is None or seen[self._shown] is None:  # the layer may have been left out
            return total
        passes = 2 if consistency else 1
        return total + guided_loss(self._alignment(seen), wished.repeat(passes, 1, 1)) / passes

    def _copying_loss(
        self,
        source: Tensor,
        lengths: Tensor,
        given: Tensor,
        wanted: Tensor,
        smoothing: float,
        wished: Tensor | None,
    ) -> Tensor:
        """The loss of a model that copies, with that of looking again where was looked before."""
        seen: Seen = {COPY: None}
        features, gates = self._run(source, lengths, given, seen)
        assert gates is not None
        weights = seen[COPY][:, 0]
        total = blocked_pointer_cross_entropy(
            features.flatten(0, 1),
            self.output.weight,
            self.output.bias,
            gates.flatten(),
            looked_at(weights, source, wanted).flatten(),
            wanted.flatten(),
            smoothing,
        )
        if self.config.coverage_loss:
            repeated = coverage_loss(weights).masked_fill(wanted == PAD, 0.0)
            total = total + self.config.coverage_loss * repeated.sum()
        return total if wished is None else total + guided_loss(weights, wished)

    def logits(self, features: Tensor) -> Tensor:
        """features (…, W) to the logits of each token of the vocabulary (…, V)."""
        return self.output(features.to(self.output.weight.dtype))

    def log_probabilities(self, features: Tensor, weights: Tensor, source: Tensor | None = None) -> Tensor:
        """log p of each word (B, T, V), from what `forward` gives, and, if the model copies, what it read."""
        if self.copies:
            return said_or_copied(self.logits, features, weights, source)
        return torch.log_softmax(wide(self.logits(features)), dim=-1)

    def start(self, encoded: Encoded) -> tuple[Steps, State]:
        """What `step` needs before the first word."""
        sources = tuple(
            layer.cross_attention.project(encoded.outputs, key_mask=encoded.mask) for layer in self.decoder
        )
        state = State((Cache(),) * len(sources))
        if self.copy_head is None:
            return Steps(sources), state
        copied = self.copy_head.attention.project(encoded.outputs, key_mask=encoded.mask)
        return Steps(sources, copied, encoded.tokens), state

    def step(self, steps: Steps, state: State, words: Tensor) -> tuple[Tensor, Tensor, State]:
        """Say one word more, without looking back.

        Args:
            steps, state: from `start`, then the state of the step before.
            words: (R,), the last word said by each hypothesis; there are as many for each sentence, one
                sentence after the other.

        Returns:
            log-probabilities of the next word (R, V), weights (R, S), and the next state.
        """
        seen: Seen = {self._shown: None}
        kept: list[Cache] = []
        y = embedded = self._embed_target(words[:, None], state.length)
        for number, layer in enumerate(self.decoder):
            y, cache = layer.step(y, state.before[number], steps.sources[number], seen, number)
            kept.append(cache)
        features, state = self.decoder.norm(y), State(tuple(kept), state.length + 1)
        logits = self.logits(features[:, 0])
        if self.copy_head is None or steps.copied is None or steps.tokens is None:
            weights = self._alignment(seen).flatten(0, 1)
            return torch.log_softmax(wide(logits), dim=-1), weights, state
        beside = (len(steps.tokens), -1, features.shape[-1])
        gates = self.copy_head(features.view(beside), embedded.view(beside), steps.copied, None, seen)
        weights = seen[COPY][:, 0].flatten(0, 1)
        source = steps.tokens.repeat_interleave(gates.shape[1], dim=0)
        return pointer_log_probabilities(logits, gates.flatten(), weights, source), weights, state


def _left_out(share: float) -> bool:
    return share > 0 and bool(torch.rand(()) < share)


def _attention(config: TransformerConfig, *, ordered: bool) -> MultiheadAttention:
    return MultiheadAttention(
        config.width,
        config.heads,
        key_heads=config.key_heads or None,
        bias=config.bias,
        dropout=config.attention_dropout,
        score=learned.score(config.score, config.width // config.heads),
        normalizer=learned.normalizer(config.normalizer, top_k=config.top_k),
        positions=_positions(config) if ordered else None,
    )


def _positions(config: TransformerConfig) -> Positions | None:
    if config.positions == "rotary":
        return Rotary()
    if config.positions == "alibi":
        return Alibi(config.heads)
    return Shaw(config.width // config.heads) if config.positions == "relative" else None


def _feed_forward(config: TransformerConfig) -> FeedForward:
    return FeedForward(
        config.width,
        config.feed_forward,
        activation=config.activation,
        bias=config.bias,
        dropout=config.activation_dropout,
    )
