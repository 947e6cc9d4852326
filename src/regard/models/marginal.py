"""Exact hard attention: a decoder that says each word by one key, and sums over which one.

    s_t                    = RNN(e(y_{t−1}), s_{t−1})                        not fed with where it looked
    p(a_t = j | …)                                                          see `regard.nn.exact`
    p(y_t | a_t = j)       = softmax(E W_o tanh(W_c [s_t; h_j]) + b)         the word, by key j alone
    p(y_t | y_<t)          = Σ_j p(a_t = j | y_<t) p(y_t | a_t = j)

It costs as many projections to the vocabulary a step as there are keys. The weights that are shown are
p(a_t = j | y_<t), where it expected to look before the word was said.

Sources: Wu, Shapiro and Cotterell 2018, arXiv:1808.10024; Wu and Cotterell 2019, arXiv:1905.06319.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.data.tokenization import PAD
from regard.models.config import RecurrentConfig
from regard.models.layers import Encoded, Forced, Layers, LayersPass, select_layers
from regard.models.mechanisms import make_score
from regard.nn.dropout import drop
from regard.nn.exact import (
    Belief,
    Marginal,
    MonotonicMarginal,
    marginal_log_likelihood,
    mixture,
    monotonic_log_likelihood,
)
from regard.nn.losses import blocked_row_losses
from regard.nn.precision import wide
from regard.nn.recurrent import State


@dataclass(frozen=True)
class Asked:
    """How the decoder was asked for a word that is not known yet.

    Attributes:
        log_weights: (R, K), log p(a_t = j | y_<t).
        features: (R, K, E), for the projection to the vocabulary, of each key alone.
        normalizer: (R, K), log Σ exp of the logits that they are projected to.
    """

    log_weights: Tensor
    features: Tensor
    normalizer: Tensor

    def log_likelihoods(self, words: Tensor, output: nn.Linear) -> Tensor:
        """log p(y_t | a_t = j), (R, K), of the words (R,) that were said."""
        logits = (self.features.to(self.normalizer.dtype) * output.weight[words][:, None]).sum(-1)
        return logits + output.bias[words][:, None] - self.normalizer


@dataclass(frozen=True)
class MarginalState:
    """What the decoder remembers between two steps: its layers, where it looked, how it was last asked."""

    layers: tuple[State, ...]
    belief: Belief
    asked: Asked | None = None

    def select(self, rows: Tensor) -> MarginalState:
        """The state of the given rows, in their order; a row may be repeated."""
        asked = self.asked
        if asked is not None:
            asked = Asked(asked.log_weights[rows], asked.features[rows], asked.normalizer[rows])
        return MarginalState(select_layers(self.layers, rows), self.belief.select(rows), asked)


class MarginalDecoder(Layers):
    """Recurrent layers, and a sum over the keys of an encoder's outputs."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.score = make_score(config)
        self.combine = nn.Linear(2 * config.width, config.width, bias=False)
        self.output = nn.Linear(config.width, config.embedding, bias=False)
        monotonic = config.attention == "monotonic_marginal"
        self.marginal = MonotonicMarginal() if monotonic else Marginal()
        self.log_likelihood = monotonic_log_likelihood if monotonic else marginal_log_likelihood

    def start(self, encoded: Encoded) -> tuple[MarginalPass, MarginalState]:
        """A pass over a batch of sentences, keys prepared, and the state before the first word."""
        return MarginalPass(self, encoded), MarginalState(encoded.start, self.marginal.start(encoded.mask))

    def run(self, encoded: Encoded, word_gates: Tensor, given: Tensor, output: nn.Linear) -> Forced:
        """Run along known words.

        Args:
            encoded: the sentences.
            word_gates: (B, T, gates · W), what the words that each step is given give to the gates.
            given: (B, T), these words; from each but the first, where the step before looked is learned.
            output: projects features to the vocabulary.
        """
        steps, state = self.start(encoded)
        looked, features = [], []
        for gates, words in zip(word_gates.unbind(1), given.unbind(1), strict=True):
            state, _ = steps.advance(gates, state, words, output)
            assert state.asked is not None
            looked.append(state.asked.log_weights.exp())
            features.append(state.asked.features)
        return Forced(torch.stack(features, dim=1), torch.stack(looked, dim=1))

    def loss(
        self, encoded: Encoded, word_gates: Tensor, wanted: Tensor, output: nn.Linear, smoothing: float
    ) -> Tensor:
        """What to make small, summed over all real words, in nats: −log p(y_t | y_<t), summed over the keys.

        Args:
            encoded, word_gates: as for `run`.
            wanted: (B, T), what each step is to say, padded behind.
            output: projects features to the vocabulary.
            smoothing: ε of `regard.nn.losses`, by which what is said by each key alone is smoothed.
        """
        steps = MarginalPass(self, encoded)
        s = steps.states(word_gates, encoded.start)
        pairs = (wanted != PAD)[:, :, None] & encoded.mask[:, None]
        sentence, step, key = pairs.nonzero(as_tuple=True)
        left, right = F.linear(s, steps.from_state), steps.from_keys
        rows = steps.features(left[sentence, step] + right[sentence, key], sentence)
        losses = blocked_row_losses(rows, output.weight, output.bias, wanted[sentence, step], smoothing)
        likelihoods = losses.new_zeros(pairs.shape).index_put((sentence, step, key), -losses)
        said = self.log_likelihood(steps.scores(s, None), likelihoods, encoded.mask)
        return -torch.where(pairs.any(-1), said, 0.0).sum()


class MarginalPass(LayersPass):
    """One pass of the decoder over a batch: everything that is the same at each step, made once."""

    def __init__(self, decoder: MarginalDecoder, encoded: Encoded) -> None:
        super().__init__(decoder, len(encoded.outputs))
        self.decoder, self.mask = decoder, encoded.mask
        width = decoder.config.width
        keys = encoded.outputs.masked_fill(~encoded.mask[..., None], 0.0)
        self.from_state = decoder.combine.weight[:, :width]
        self.from_keys = F.linear(keys, decoder.combine.weight[:, width:])
        self.prepared = decoder.score.prepare(keys)
        self.scores = decoder.score.over(self.prepared)

    def states(self, word_gates: Tensor, start: tuple[State, ...]) -> Tensor:
        """The state s_t of each step along known words, (B, T, W)."""
        layers, found = start, []
        for gates in word_gates.unbind(1):
            layers = self.recur(gates, layers)
            found.append(layers[-1][0])
        return torch.stack(found, dim=1)

    def features(self, hidden: Tensor, sentence: Tensor) -> Tensor:
        """For the projection to the vocabulary (N, …, E), from W_c [s; h] (N, …, W) of sentences (N,)."""
        mask = self.output_mask
        if mask is not None:
            mask = mask[sentence].view(-1, *[1] * (hidden.dim() - 2), mask.shape[-1])
        return self.decoder.output(drop(torch.tanh(hidden), mask))

    def advance(
        self, word_gates: Tensor, state: MarginalState, words: Tensor, output: nn.Linear
    ) -> tuple[MarginalState, Tensor]:
        """Learn the words that were said, and go one step.

        Args:
            word_gates: (R, gates · W), what the words give to the gates. The R = B · k rows are as many
                hypotheses for each sentence, one sentence after the other.
            state: of the step before.
            words: (R,).
            output: projects features to the vocabulary.

        Returns:
            the next state, and the log-probabilities (R, K, V) of each next word by each key alone.
        """
        decoder, belief = self.decoder, state.belief
        if state.asked is not None:
            likelihoods = state.asked.log_likelihoods(words, output)
            belief = decoder.marginal.observe(state.asked.log_weights, likelihoods)[1]
        layers = self.recur(word_gates, state.layers)
        s = layers[-1][0].unflatten(0, (len(self.mask), -1))
        log_weights = decoder.marginal.predict(self.scores(s, None).flatten(0, 1), self.mask, belief)
        hidden = F.linear(s, self.from_state)[:, :, None] + self.from_keys[:, None]
        features = self.features(hidden, torch.arange(len(self.mask), device=self.mask.device)).flatten(0, 1)
        logits = wide(output(features))
        normalizer = torch.logsumexp(logits, dim=-1)
        asked = Asked(log_weights, features, normalizer)
        return MarginalState(layers, belief, asked), logits - normalizer[..., None]

    def say(
        self, word_gates: Tensor, state: MarginalState, words: Tensor, output: nn.Linear
    ) -> tuple[Tensor, Tensor, MarginalState]:
        """Go one step, and say how likely each next word is.

        Args:
            word_gates, state, words, output: as for `advance`.

        Returns:
            log-probabilities (R, V), weights (R, S), and the next state.
        """
        state, said = self.advance(word_gates, state, words, output)
        assert state.asked is not None
        log_weights = state.asked.log_weights
        return mixture(log_weights, said), log_weights.exp(), state

    def select(self, rows: Tensor) -> Self:
        """The pass over the sentences of the given rows, in evaluation; no keys are prepared again."""
        chosen = copy(self)
        chosen.mask, chosen.from_keys, chosen.prepared = (
            self.mask[rows],
            self.from_keys[rows],
            self.prepared[rows],
        )
        chosen.scores = self.decoder.score.over(chosen.prepared)
        return chosen
