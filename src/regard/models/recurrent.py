"""A recurrent encoder–decoder with attention and input feeding.

    h_1 … h_S = BiRNN(e(x_1) … e(x_S))                     encoder: keys and values at once
    s_t       = RNN([e(y_{t−1}); a_{t−1}], s_{t−1})        decoder state, fed with what it attended to
    α_t       = softmax_j score(s_t, h_j)                  where step t looks
    c_t       = Σ_j α_{t,j} h_j                            the context
    a_t       = tanh(W_c [s_t; c_t])                       the attentional state
    p(y_t)    = softmax(E W_o a_t + b)                     E: the target embeddings, where they are tied

The weights α_t belong to the word y_t that step t emits.

Sources: Luong, Pham and Manning 2015, eqs. 5–8 and section 3.3 (input feeding), arXiv:1508.04025; Bahdanau,
Cho and Bengio 2015, arXiv:1409.0473; start of the decoder from the mean of the h_j: Sennrich et al. 2017
(Nematus), arXiv:1703.04357; tied embeddings: Press and Wolf 2017, arXiv:1608.05859.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.nn.dropout import drop, variational_mask
from regard.nn.precision import wide
from regard.nn.recurrent import CELLS, BidirectionalLayer, CellName, RecurrentWeights, State
from regard.nn.shared import Shared
from regard.nn.soft import ATTENTIONS, AttentionName, SentenceAttention


@dataclass(frozen=True)
class RecurrentConfig:
    """What the model is made of.

    Args:
        cell: the recurrent cell of encoder and decoder.
        embedding: features of a word.
        width: features of a decoder state and of an encoder output; half of the latter for each direction.
        encoder_layers, decoder_layers: how many recurrent layers.
        attention: the score function.
        input_feeding: whether the decoder is fed with where it has just looked.
        tied: which embeddings are one matrix: source, target and output ("all"), target and output
            ("target"), "none".
        embedding_dropout, dropout, recurrent_dropout: shares of features dropped from the embeddings, between
            layers and before the output, and from the states that recur; each mask is kept over a sentence.
    """

    cell: CellName = "gru"
    embedding: int = 256
    width: int = 512
    encoder_layers: int = 1
    decoder_layers: int = 1
    attention: AttentionName = "general"
    input_feeding: bool = True
    tied: Literal["all", "target", "none"] = "all"
    embedding_dropout: float = 0.2
    dropout: float = 0.3
    recurrent_dropout: float = 0.0


@dataclass(frozen=True)
class Encoded:
    """A batch of sentences, read: outputs (B, S, W), where words are (B, S), the decoder's first states."""

    outputs: Tensor
    mask: Tensor
    start: tuple[State, ...]

    def select(self, rows: Tensor) -> Encoded:
        """The sentences of the given rows, in their order; a row may be repeated."""
        start = tuple(tuple(part[rows] for part in layer) for layer in self.start)
        return Encoded(self.outputs[rows], self.mask[rows], start)


@dataclass(frozen=True)
class DecoderState:
    """What a decoder remembers between two steps: the state of each layer, the attentional state (B, W)."""

    layers: tuple[State, ...]
    attended: Tensor

    def select(self, rows: Tensor) -> DecoderState:
        """The state of the given rows, in their order; a row may be repeated."""
        layers = tuple(tuple(part[rows] for part in layer) for layer in self.layers)
        return DecoderState(layers, self.attended[rows])


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
        self.bridges = nn.ModuleList(
            nn.Linear(config.width, config.width) for _ in range(config.decoder_layers)
        )

    def forward(self, embedded: Tensor, lengths: Tensor) -> Encoded:
        """Read embedded (B, S, E) sentences of the given lengths (B,)."""
        x = embedded.transpose(0, 1)
        for layer in self.layers:
            x = layer(x, lengths)
            x = drop(x, variational_mask((1, *x.shape[1:]), self.dropout, training=self.training))
        mean = x.sum(0) / lengths[:, None].clamp(min=1)
        start = tuple(self.cell.state(torch.tanh(bridge(mean))) for bridge in self.bridges)
        return Encoded(x.transpose(0, 1), torch.arange(len(x)) < lengths[:, None], start)


class RecurrentDecoder(nn.Module):
    """Recurrent layers, attention over the encoder's outputs, and the attentional state."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config, self.cell = config, CELLS[config.cell]
        width = config.width
        inputs = [config.embedding] + [width] * (config.decoder_layers - 1)
        self.layers = nn.ModuleList(RecurrentWeights(self.cell, features, width) for features in inputs)
        gates = self.cell.gates * width
        self.feed = nn.Linear(width, gates, bias=False) if config.input_feeding else None
        self.score = ATTENTIONS[config.attention](width, width)
        self.combine = nn.Linear(2 * width, width, bias=False)
        self.output = nn.Linear(width, config.embedding, bias=False)

    def levels(self) -> list[RecurrentWeights]:
        """The weights of each layer, the lowest first."""
        return cast("list[RecurrentWeights]", list(self.layers))

    def start(self, encoded: Encoded) -> DecoderState:
        """The state before the first word."""
        return DecoderState(encoded.start, torch.zeros_like(encoded.start[0][0]))

    def word_gates(self, embedded: Tensor) -> Tensor:
        """What words (…, E) give to the first layer's gates, (…, gates · W); for all known steps at once."""
        lowest = self.levels()[0]
        return F.linear(embedded, lowest.weight_ih, lowest.bias_ih)

    def over(self, encoded: Encoded) -> DecoderPass:
        """Get ready to step over a batch of sentences: keys are projected here, once."""
        return DecoderPass(self, encoded)


class DecoderPass:
    """One pass of the decoder over a batch: everything that is the same at each step, made once."""

    def __init__(self, decoder: RecurrentDecoder, encoded: Encoded) -> None:
        config, training = decoder.config, decoder.training
        shape = (len(encoded.outputs), config.width)
        self.layers, self.cell = decoder.levels(), decoder.cell
        self.attend = SentenceAttention(decoder.score, encoded.outputs, encoded.mask)
        self.feed = None if decoder.feed is None else Shared(decoder.feed.weight)
        self.recurrent = [Shared(layer.weight_hh) for layer in self.layers]
        self.upwards = [Shared(layer.weight_ih) for layer in self.layers[1:]]
        self.combine = Shared(decoder.combine.weight)
        self.state_masks = [
            variational_mask(shape, config.recurrent_dropout, training=training) for _ in self.layers
        ]
        self.layer_masks = [variational_mask(shape, config.dropout, training=training) for _ in self.upwards]
        self.output_mask = variational_mask(shape, config.dropout, training=training)

    def advance(self, word_gates: Tensor, state: DecoderState) -> tuple[DecoderState, Tensor]:
        """Go one step.

        Args:
            word_gates: (R, gates · W), what the previous words give to the gates. The R = B · k rows are as
                many hypotheses for each sentence, one sentence after the other.
            state: of the step before.

        Returns:
            the next state, and the weights (R, S).
        """
        x_gates = word_gates if self.feed is None else word_gates + self.feed(state.attended)
        layers: list[State] = []
        for level, layer in enumerate(self.layers):
            if level > 0:
                below = drop(layers[-1][0], self.layer_masks[level - 1])
                x_gates = self.upwards[level - 1](below) + layer.bias_ih
            h = drop(state.layers[level][0], self.state_masks[level])
            h_gates = self.recurrent[level](h) + layer.bias_hh
            layers.append(self.cell.advance(x_gates, h_gates, state.layers[level]))
        s = layers[-1][0]
        context, weights = self.attend(s)
        attended = torch.tanh(self.combine(torch.cat([s.to(context.dtype), context], dim=-1)))
        return DecoderState(tuple(layers), drop(attended, self.output_mask)), weights

    def select(self, rows: Tensor) -> DecoderPass:
        """The pass over the sentences of the given rows, in evaluation; no keys are projected again."""
        chosen = copy(self)
        chosen.attend = self.attend.select(rows)
        return chosen


class RecurrentTranslator(nn.Module):
    """The whole model: embeddings, encoder, decoder, and the projection to the vocabulary.

    Args:
        config: sizes and mechanisms.
        vocabulary: how many tokens source and target share.
    """

    def __init__(self, config: RecurrentConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = RecurrentEncoder(config)
        self.decoder = RecurrentDecoder(config)
        self.target_embedding = nn.Embedding(vocabulary, config.embedding)
        self.source_embedding = (
            self.target_embedding if config.tied == "all" else nn.Embedding(vocabulary, config.embedding)
        )
        self.output = nn.Linear(config.embedding, vocabulary)
        for embedding in (self.target_embedding, self.source_embedding):
            nn.init.normal_(embedding.weight, std=config.embedding**-0.5)
        nn.init.normal_(self.output.weight, std=config.embedding**-0.5)
        nn.init.zeros_(self.output.bias)
        if config.tied != "none":
            self.output.weight = self.target_embedding.weight

    def _embed(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        """tokens (B, L) to (B, L, E), of about unit size, dropped feature by feature over each sentence."""
        embedded = embedding(tokens) * self.config.embedding**0.5
        shape = (len(tokens), 1, self.config.embedding)
        return drop(embedded, variational_mask(shape, self.config.embedding_dropout, training=self.training))

    def encode(self, source: Tensor, lengths: Tensor) -> Encoded:
        """Read source tokens (B, S) of the given lengths (B,), padded behind."""
        return self.encoder(self._embed(self.source_embedding, source), lengths)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Run the decoder along known words.

        Args:
            source: (B, S) tokens, padded behind; lengths: (B,).
            target: (B, T) tokens that each step is given: the start token and all but the last of what is to
                be said.

        Returns:
            features (B, T, E), for `logits`; weights (B, T, S).
        """
        encoded = self.encode(source, lengths)
        steps = self.decoder.over(encoded)
        state = self.decoder.start(encoded)
        word_gates = self.decoder.word_gates(self._embed(self.target_embedding, target).transpose(0, 1))
        attended, weights = [], []
        for gates in word_gates.unbind(0):
            state, looked = steps.advance(gates, state)
            attended.append(state.attended)
            weights.append(looked)
        return self.decoder.output(torch.stack(attended, dim=1)), torch.stack(weights, dim=1)

    def logits(self, features: Tensor) -> Tensor:
        """features (…, E) to the logits of each token of the vocabulary (…, V)."""
        return self.output(features)

    def start(self, encoded: Encoded) -> tuple[DecoderPass, DecoderState]:
        """What `step` needs before the first word."""
        return self.decoder.over(encoded), self.decoder.start(encoded)

    def step(
        self, steps: DecoderPass, state: DecoderState, words: Tensor
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Say one word more, without looking back.

        Args:
            steps, state: from `start`, then the state of the step before.
            words: (R,), the last word said by each hypothesis; there are as many for each sentence, one
                sentence after the other.

        Returns:
            log-probabilities of the next word (R, V), weights (R, S), and the next state.
        """
        embedded = self._embed(self.target_embedding, words[:, None])[:, 0]
        state, weights = steps.advance(self.decoder.word_gates(embedded), state)
        logits = self.logits(self.decoder.output(state.attended))
        return torch.log_softmax(wide(logits), dim=-1), weights, state
