"""A recurrent encoder–decoder with attention and input feeding.

    h_1 … h_S = BiRNN(e(x_1) … e(x_S))                     encoder: keys and values at once
    s_t       = RNN([e(y_{t−1}); a_{t−1}], s_{t−1})        decoder state, fed with what it attended to
    α_t       = softmax_j score(s_t, h_j)                  where step t looks
    c_t       = Σ_j α_{t,j} h_j                            the context
    a_t       = tanh(W_c [s_t; c_t])                       the attentional state
    p(y_t)    = softmax(E W_o a_t + b)                     E: the target embeddings, where they are tied

With `copy` words may be copied from where the step looks, see `regard.nn.pointer`:
p(y_t) is then mixed with α_t.

The weights α_t belong to the word y_t that step t emits. Other mechanisms take the place of softmax by name,
see `regard.models.config`; `regard.models.marginal` sums over where it could look.

Sources: Luong, Pham and Manning 2015, eqs. 5–8 and section 3.3 (input feeding), arXiv:1508.04025; Bahdanau,
Cho and Bengio 2015, arXiv:1409.0473; start of the decoder from the mean of the h_j: Sennrich et al. 2017
(Nematus), arXiv:1703.04357; tied embeddings: Press and Wolf 2017, arXiv:1608.05859.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from regard.models.config import MARGINALS, RecurrentConfig
from regard.models.decoder import DecoderPass, DecoderState, RecurrentDecoder
from regard.models.layers import Encoded, Forced
from regard.models.marginal import MarginalDecoder, MarginalPass, MarginalState
from regard.nn.dropout import drop, variational_mask
from regard.nn.exact import NEVER, mixture
from regard.nn.pointer import copy_shares, said_or_copied, with_gates
from regard.nn.precision import wide
from regard.nn.products import Linear
from regard.nn.recurrent import CELLS, BidirectionalLayer

__all__ = ["RecurrentConfig", "RecurrentEncoder", "RecurrentTranslator"]


class RecurrentEncoder(nn.Module):
    """Bidirectional layers on top of each other, and the first states of the decoder."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.cell = CELLS[config.cell]
        inputs = [config.embedding] + [config.width] * (config.encoder_layers - 1)
        self.layers = nn.ModuleList(
            BidirectionalLayer(config.cell, features, config.width, config.recurrent_dropout)
            for features in inputs
        )
        self.bridges = nn.ModuleList(Linear(config.width, config.width) for _ in range(config.decoder_layers))

    def forward(self, embedded: Tensor, lengths: Tensor) -> Encoded:
        """Read embedded (B, S, E) sentences of the given lengths (B,)."""
        x = embedded.transpose(0, 1)
        for layer in self.layers:
            x = layer(x, lengths)
            shape = (1, *x.shape[1:])
            mask = variational_mask(shape, self.dropout, training=self.training, batch_axis=1)
            x = drop(x, mask)
        mean = x.sum(0) / lengths[:, None].clamp(min=1)
        start = tuple(self.cell.state(torch.tanh(bridge(mean))) for bridge in self.bridges)
        return Encoded(x.transpose(0, 1), torch.arange(len(x), device=x.device) < lengths[:, None], start)


class RecurrentTranslator(nn.Module):
    """The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

    Args:
        config: sizes and mechanisms.
        vocabulary: how many tokens source and target share.

    Attributes:
        narrow: that weights and states stay in float32; its products alone may be in bfloat16.
    """

    narrow = False

    def __init__(self, config: RecurrentConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = RecurrentEncoder(config)
        self.decoder = MarginalDecoder(config) if config.attention in MARGINALS else RecurrentDecoder(config)
        self.target_embedding = nn.Embedding(vocabulary, config.embedding)
        self.source_embedding = (
            self.target_embedding if config.tied == "all" else nn.Embedding(vocabulary, config.embedding)
        )
        self.output = Linear(config.embedding, vocabulary)
        for embedding in (self.target_embedding, self.source_embedding):
            nn.init.normal_(embedding.weight, std=config.embedding**-0.5)
        nn.init.normal_(self.output.weight, std=config.embedding**-0.5)
        nn.init.zeros_(self.output.bias)
        if config.tied != "none":
            self.output.weight = self.target_embedding.weight

    def _embed(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        """tokens (B, L) to (B, L, E), of about unit size, dropped feature by feature over each sentence."""
        embedded = embedding(tokens) * self.config.embedding**0.5
        shape = (tokens.shape[0], 1, self.config.embedding)
        return drop(embedded, variational_mask(shape, self.config.embedding_dropout, training=self.training))

    def encode(self, source: Tensor, lengths: Tensor) -> Encoded:
        """Read source tokens (B, S) of the given lengths (B,), padded behind."""
        encoded = self.encoder(self._embed(self.source_embedding, source), lengths)
        return replace(encoded, tokens=source) if self.copies else encoded

    def _word_gates(self, given: Tensor) -> Tensor:
        """What words (B, T) give to the decoder's gates, (B, T, gates · W); a step's lie side by side."""
        embedded = self._embed(self.target_embedding, given)
        return self.decoder.word_gates(embedded.transpose(0, 1)).transpose(0, 1)

    def forward(self, source: Tensor, lengths: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Run the decoder along known words.

        Args:
            source: (B, S) tokens, padded behind; lengths: (B,).
            given: (B, T) tokens that each step is given: the start token and all but the last of what is to
                be said.

        Returns:
            features and weights (B, T, S), for `log_probabilities`. Features are (B, T, E); for attention
            that sums over keys (B, T, S, E), of what would be said by each key alone; of a model that copies
            (B, T, E + 1), with the logit of saying a word, not copying one, behind them.
        """
        encoded, word_gates = self.encode(source, lengths), self._word_gates(given)
        run = self._run(encoded, word_gates, given)
        return with_gates(run.features, run.gates), run.weights

    def _run(self, encoded: Encoded, word_gates: Tensor, given: Tensor) -> Forced:
        if isinstance(self.decoder, MarginalDecoder):
            return self.decoder.run(encoded, word_gates, given, self.output)
        return self.decoder.run(encoded, word_gates)

    def loss(
        self,
        source: Tensor,
        lengths: Tensor,
        given: Tensor,
        wanted: Tensor,
        *,
        smoothing: float = 0.0,
        wished: Tensor | None = None,
    ) -> Tensor:
        """What training makes small, summed over all real words, in nats.

        It is cross-entropy; with attention that draws, of words said by drawn keys, and its gradient makes
        good draws likelier too; with attention that sums over keys, of the sum.

        Args:
            source, lengths, given: as for `forward`.
            wanted: (B, T) tokens that each step is to say, padded behind.
            smoothing: the share of each wanted word that is spread over the whole vocabulary.
            wished: (B, T, S), where each step should look, and how much that counts; see `regard.nn.guided`.
                Attention that sums over keys heeds none.
        """
        encoded, word_gates = self.encode(source, lengths), self._word_gates(given)
        if isinstance(self.decoder, MarginalDecoder):
            return self.decoder.loss(encoded, word_gates, wanted, self.output, smoothing)
        return self.decoder.loss(encoded, word_gates, wanted, self.output, smoothing, wished)

    def logits(self, features: Tensor) -> Tensor:
        """features (…, E) to the logits of each token of the vocabulary (…, V)."""
        return self.output(features)

    def log_probabilities(self, features: Tensor, weights: Tensor, source: Tensor | None = None) -> Tensor:
        """log p of each word (B, T, V), from what `forward` gives, and, if the model copies, what it read."""
        if self.copies:
            return said_or_copied(self.logits, features, weights, source)
        said = torch.log_softmax(wide(self.logits(features)), dim=-1)
        if features.dim() == weights.dim():
            return said
        never = weights == 0  # whose logarithm has no gradient
        return mixture(wide(weights).masked_fill(never, 1.0).log().masked_fill(never, NEVER), said)

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

    def start(self, encoded: Encoded) -> tuple[DecoderPass | MarginalPass, DecoderState | MarginalState]:
        """What `step` needs before the first word."""
        return self.decoder.start(encoded)

    def step(self, steps: Any, state: Any, words: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Say one word more, without looking back.

        Args:
            steps, state: from `start`, then the state of the step before.
            words: (R,), the last word said by each hypothesis; there are as many for each sentence, one
                sentence after the other.

        Returns:
            log-probabilities of the next word (R, V), weights (R, S), and the next state.
        """
        return steps.say(self._word_gates(words[:, None])[:, 0], state, words, self.output)
