"""The decoder that looks, softly or by picking: recurrent layers, attention, the attentional state."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from regard.data.tokenization import PAD
from regard.models.config import RecurrentConfig
from regard.models.layers import Encoded, Forced, Layers, LayersPass, select_layers
from regard.models.mechanisms import make_mechanism
from regard.nn.coverage import coverage_loss
from regard.nn.dropout import drop
from regard.nn.guided import guided_loss
from regard.nn.losses import blocked_cross_entropy, blocked_row_losses
from regard.nn.pointer import Pointer, blocked_pointer_cross_entropy, looked_at, pointer_log_probabilities
from regard.nn.precision import wide
from regard.nn.products import Linear
from regard.nn.recurrent import State
from regard.nn.reinforce import MovingAverage, reinforce_loss
from regard.nn.shared import Shared
from regard.nn.soft import AttentionState, Looked, Mechanism

ENTROPY_WEIGHT = 0.01
"""How much a large entropy of what is drawn from is wished for. Xu et al. 2015, section 4.1, have it too."""


@dataclass(frozen=True)
class DecoderState:
    """What a decoder remembers between two steps.

    Attributes:
        layers: the state of each layer.
        attended: (R, W), the attentional state.
        attention: what attention carries from step to step.
    """

    layers: tuple[State, ...]
    attended: Tensor
    attention: AttentionState

    def select(self, rows: Tensor) -> DecoderState:
        """The state of the given rows, in their order; a row may be repeated."""
        return DecoderState(
            select_layers(self.layers, rows), self.attended[rows], self.attention.select(rows)
        )


class RecurrentDecoder(Layers):
    """Recurrent layers, attention over the encoder's outputs, and the attentional state."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        width, mechanism = config.width, make_mechanism(config)
        self.score, self.weigher, self.chunk_score = (
            mechanism.score,
            mechanism.weigher,
            mechanism.chunk_score,
        )
        self.combine = Linear(2 * width, width, bias=False)
        self.output = Linear(width, config.embedding, bias=False)
        self.pointer = Pointer(width, width, config.embedding) if config.copy else None
        if config.attention == "reinforce" and config.baseline == "moving_average":
            # The moving average and its number of updates; a parameter, as checkpoints keep parameters.
            self.rewards = nn.Parameter(torch.zeros(2), requires_grad=False)

    def word_gates(self, embedded: Tensor) -> Tensor:
        """As of all decoders; where it copies, the last number is what the word gives to that decision."""
        gates = super().word_gates(embedded)
        return gates if self.pointer is None else torch.cat([gates, self.pointer.word(embedded)], dim=-1)

    def start(self, encoded: Encoded) -> tuple[DecoderPass, DecoderState]:
        """A pass over a batch of sentences, keys prepared, and the state before the first word."""
        steps = DecoderPass(self, encoded)
        attended = torch.zeros_like(encoded.start[0][0])
        return steps, DecoderState(encoded.start, attended, steps.attend.start())

    def run(self, encoded: Encoded, word_gates: Tensor) -> Forced:
        """Run along known words.

        Args:
            encoded: the sentences.
            word_gates: (B, T, gates · W), what the words that each step is given give to the gates; with one
                more for a decoder that copies.
        """
        steps, state = self.start(encoded)
        attended, looked, tops = [], [], []
        of_layers, of_pointer = self.apart(word_gates)
        for gates in of_layers.unbind(1):
            state, look = steps.advance(gates, state)
            attended.append(state.attended)
            looked.append(look)
            tops.append(state.layers[-1][0])
        features, weights = self.output(_over_time(attended)), _over_time([look.weights for look in looked])
        drawn = [look.log_probability for look in looked if look.log_probability is not None]
        entropies = [look.entropy for look in looked if look.entropy is not None]
        if self.pointer is not None:
            contexts = _over_time([look.context for look in looked])
            gates = self.pointer(contexts, _over_time(tops), of_pointer)
            return Forced(features, weights, gates=gates)
        if not drawn:
            return Forced(features, weights)
        return Forced(features, weights, _over_time(drawn), _over_time(entropies))

    def apart(self, word_gates: Tensor) -> tuple[Tensor, Tensor]:
        """What words give to the layers (…, gates · W), and to the decision to copy (…)."""
        if self.pointer is None:
            return word_gates, word_gates[..., 0]
        return word_gates[..., :-1], word_gates[..., -1]

    def loss(
        self,
        encoded: Encoded,
        word_gates: Tensor,
        wanted: Tensor,
        output: nn.Linear,
        smoothing: float,
        wished: Tensor | None = None,
    ) -> Tensor:
        """What to make small, summed over all real words, in nats.

        Args:
            encoded, word_gates: as for `run`.
            wanted: (B, T), what each step is to say, padded behind.
            output: projects features to the vocabulary.
            smoothing: ε of `regard.nn.losses`.
            wished: (B, T, S), where each step should look, see `regard.nn.guided`; heeded by attention whose
                weights are shares, nothing drawn.
        """
        run = self.run(encoded, word_gates)
        if self.training and self.config.attention == "reinforce":
            return self._reinforced(run, encoded, word_gates, wanted, output, smoothing)
        features, words = run.features.flatten(0, 1), wanted.flatten()
        if run.gates is None:
            total = blocked_cross_entropy(features, output.weight, output.bias, words, smoothing)
        else:
            assert encoded.tokens is not None
            copied = looked_at(run.weights, encoded.tokens, wanted).flatten()
            gates = run.gates.flatten()
            total = blocked_pointer_cross_entropy(
                features, output.weight, output.bias, gates, copied, words, smoothing
            )
        if self.config.coverage_loss:
            repeated = coverage_loss(run.weights).masked_fill(wanted == PAD, 0.0)
            total = total + self.config.coverage_loss * repeated.sum()
        if wished is not None:
            total = total + guided_loss(run.weights, wished)
        return total

    def _reinforced(
        self,
        run: Forced,
        encoded: Encoded,
        word_gates: Tensor,
        wanted: Tensor,
        output: nn.Linear,
        smoothing: float,
    ) -> Tensor:
        """The loss of words said by drawn keys, with what makes good draws likelier, whose value is 0.

        The reward of a draw is the log-likelihood of its own word. What it changes later by input feeding is
        left out: it is far noisier than it is large.
        """
        assert run.log_probability is not None
        real = wanted != PAD
        losses = _losses(run, wanted, output, smoothing)
        rewards = -losses.detach()
        if self.config.baseline == "self_critical":
            baseline = -self._own(encoded, word_gates, wanted, output, smoothing)
        else:
            baseline = self._expected(rewards[real])
        draws = reinforce_loss(
            run.log_probability, rewards, baseline, entropy=run.entropy, entropy_weight=ENTROPY_WEIGHT
        )
        draws = draws.masked_fill(~real, 0.0).sum()
        return losses.sum() + (draws - draws.detach())

    @torch.no_grad()
    def _own(
        self, encoded: Encoded, word_gates: Tensor, wanted: Tensor, output: nn.Linear, smoothing: float
    ) -> Tensor:
        """The losses (B, T) of what it would have picked itself."""
        self.eval()
        try:
            return _losses(self.run(encoded, word_gates), wanted, output, smoothing)
        finally:
            self.train()

    @torch.no_grad()
    def _expected(self, rewards: Tensor) -> float:
        """The moving average of rewards before these, which it then takes in."""
        value, updates = self.rewards.tolist()
        before = MovingAverage(value, updates=int(updates))
        after = before.update(rewards)
        self.rewards.copy_(self.rewards.new_tensor([after.value, float(after.updates)]))
        return before.value if before.updates else after.value


def _over_time(steps: list[Tensor]) -> Tensor:
    return torch.stack(steps, dim=1)


def _losses(run: Forced, wanted: Tensor, output: nn.Linear, smoothing: float) -> Tensor:
    """The loss of each word, (B, T), in nats; 0 of padding."""
    real = wanted != PAD
    rows = blocked_row_losses(run.features[real], output.weight, output.bias, wanted[real], smoothing)
    return rows.new_zeros(wanted.shape).masked_scatter(real, rows)


class DecoderPass(LayersPass):
    """One pass of the decoder over a batch: everything that is the same at each step, made once."""

    def __init__(self, decoder: RecurrentDecoder, encoded: Encoded) -> None:
        mechanism = Mechanism(decoder.score, decoder.weigher, decoder.chunk_score)
        self.attend = mechanism.over(encoded.outputs, encoded.mask)
        super().__init__(decoder, encoded.outputs.shape[0])
        self.combine, self.output = Shared(decoder.combine.weight), decoder.output
        self.decoder, self.tokens = decoder, encoded.tokens

    def advance(self, word_gates: Tensor, state: DecoderState) -> tuple[DecoderState, Looked]:
        """Go one step.

        Args:
            word_gates: (R, gates · W), what the previous words give to the gates. The R = B · k rows are as
                many hypotheses for each sentence, one sentence after the other.
            state: of the step before.

        Returns:
            the next state, and what the step looked at.
        """
        x_gates = word_gates if self.feed is None else word_gates + self.feed(state.attended)
        layers = self.recur(x_gates, state.layers)
        s = layers[-1][0]
        looked = self.attend(s, state.attention)
        context = looked.context
        attended = torch.tanh(self.combine(torch.cat([s.to(context.dtype), context], dim=-1)))
        return DecoderState(layers, drop(attended, self.output_mask), looked.state), looked

    def say(
        self, word_gates: Tensor, state: DecoderState, words: Tensor, output: nn.Linear
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Go one step, and say how likely each next word is.

        Args:
            word_gates, state: as for `advance`.
            words: (R,), the words that the gates are of.
            output: projects features to the vocabulary.

        Returns:
            log-probabilities (R, V), weights (R, S), and the next state.
        """
        of_layers, of_pointer = self.decoder.apart(word_gates)
        state, looked = self.advance(of_layers, state)
        logits = output(self.output(state.attended))
        if self.decoder.pointer is None:
            return torch.log_softmax(wide(logits), dim=-1), looked.weights, state
        assert self.tokens is not None
        gates = self.decoder.pointer(looked.context, state.layers[-1][0], of_pointer)
        source = self.tokens.repeat_interleave(len(logits) // max(len(self.tokens), 1), dim=0)
        return pointer_log_probabilities(logits, gates, looked.weights, source), looked.weights, state

    def select(self, rows: Tensor) -> Self:
        """The pass over the sentences of the given rows, in evaluation; no keys are prepared again."""
        chosen = copy(self)
        chosen.attend = self.attend.select(rows)
        chosen.tokens = None if self.tokens is None else self.tokens[rows]
        return chosen
