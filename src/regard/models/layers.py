"""What the decoders of `regard.models.recurrent` have in common: recurrent layers over a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from regard.models.config import RecurrentConfig
from regard.nn.dropout import drop, variational_mask
from regard.nn.products import Linear, product
from regard.nn.recurrent import CELLS, RecurrentWeights, State
from regard.nn.shared import Shared


@dataclass(frozen=True)
class Encoded:
    """A batch of sentences, read.

    Attributes:
        outputs: (B, S, W); mask: (B, S), True where words are.
        start: the decoder's first states.
        tokens: (B, S), for a decoder that copies; None for others.
    """

    outputs: Tensor
    mask: Tensor
    start: tuple[State, ...]
    tokens: Tensor | None = None

    def select(self, rows: Tensor) -> Encoded:
        """The sentences of the given rows, in their order; a row may be repeated."""
        tokens = None if self.tokens is None else self.tokens[rows]
        return Encoded(self.outputs[rows], self.mask[rows], select_layers(self.start, rows), tokens)


def select_layers(layers: tuple[State, ...], rows: Tensor) -> tuple[State, ...]:
    """The states of layers for the given rows."""
    return tuple(tuple(part[rows] for part in layer) for layer in layers)


@dataclass(frozen=True)
class Forced:
    """A decoder run along known words.

    Attributes:
        features: (B, T, E), for the projection to the vocabulary; of a decoder that sums over keys
            (B, T, S, E), what it would say by each key alone.
        weights: (B, T, S), where each step looked.
        log_probability: (B, T), in nats, of the keys that were drawn; None where none were.
        entropy: (B, T), in nats, of what they were drawn from.
        gates: (B, T), logits of saying a word, not copying one; None where it cannot copy.
    """

    features: Tensor
    weights: Tensor
    log_probability: Tensor | None = None
    entropy: Tensor | None = None
    gates: Tensor | None = None


class Layers(nn.Module):
    """The recurrent layers of a decoder, and what feeds them with where it looked."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config, self.cell = config, CELLS[config.cell]
        width = config.width
        inputs = [config.embedding] + [width] * (config.decoder_layers - 1)
        self.layers = nn.ModuleList(RecurrentWeights(self.cell, features, width) for features in inputs)
        gates = self.cell.gates * width
        self.feed = Linear(width, gates, bias=False) if config.feeds else None

    def levels(self) -> list[RecurrentWeights]:
        """The weights of each layer, the lowest first."""
        return cast("list[RecurrentWeights]", list(self.layers))

    def word_gates(self, embedded: Tensor) -> Tensor:
        """What words (…, E) give to the first layer's gates, (…, gates · W); for all known steps at once."""
        lowest = self.levels()[0]
        return product(embedded, lowest.weight_ih, lowest.bias_ih)


class LayersPass:
    """One pass of the layers over a batch: everything that is the same at each step, made once."""

    def __init__(self, decoder: Layers, sentences: int) -> None:
        config, training = decoder.config, decoder.training
        shape = (sentences, config.width)
        self.layers, self.cell = decoder.levels(), decoder.cell
        self.feed = None if decoder.feed is None else Shared(decoder.feed.weight)
        self.recurrent = [Shared(layer.weight_hh) for layer in self.layers]
        self.upwards = [Shared(layer.weight_ih) for layer in self.layers[1:]]
        self.state_masks = [
            variational_mask(shape, config.recurrent_dropout, training=training) for _ in self.layers
        ]
        self.layer_masks = [variational_mask(shape, config.dropout, training=training) for _ in self.upwards]
        self.output_mask = variational_mask(shape, config.dropout, training=training)

    def recur(self, x_gates: Tensor, states: tuple[State, ...]) -> tuple[State, ...]:
        """The next state of each layer, from what goes into the first one's gates (R, gates · W)."""
        layers: list[State] = []
        for level, layer in enumerate(self.layers):
            if level > 0:
                below = drop(layers[-1][0], self.layer_masks[level - 1])
                x_gates = self.upwards[level - 1](below) + layer.bias_ih
            h = drop(states[level][0], self.state_masks[level])
            h_gates = self.recurrent[level](h) + layer.bias_hh
            layers.append(self.cell.advance(x_gates, h_gates, states[level]))
        return tuple(layers)
