"""The settings of the Transformer encoder–decoder, and what contradicts what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from regard.errors import InputError

ScoreName = Literal[
    "scaled_dot",
    "dot",
    "general",
    "additive",
    "concat",
    "cosine",
    "negative_squared_distance",
    "learned_query",
]
NormalizerName = Literal["softmax", "sink", "sparsemax", "entmax15", "entmax", "sigmoid", "top_k", "hardmax"]
NO_SHARES = ("sink", "sigmoid")
PositionsName = Literal["sinusoidal", "learned", "rotary", "alibi", "relative"]
ActivationName = Literal["relu", "gelu", "silu", "swiglu"]


@dataclass(frozen=True)
class TransformerConfig:
    """What the model is made of.

    Args:
        architecture: says that it is a Transformer.
        width: features of a position, everywhere between the layers.
        heads: of every attention; they divide the width.
        key_heads: heads of keys and values, shared by neighbouring query heads; 0 for as many as `heads`.
        feed_forward: hidden features of the feed-forward layers.
        encoder_layers, decoder_layers: how many layers.
        norm: "post" normalises what a sub-layer has been added to, "pre" what it is given.
        activation: of the feed-forward layers.
        positions: how the model knows of order: "sinusoidal" and "learned" are added to the embeddings;
            "rotary", "alibi" and "relative" (Shaw) act in self-attention.
        longest: how many positions "learned" knows.
        score, normalizer: of every attention; see `regard.core`.
        top_k: how many keys "top_k" looks at.
        encoder_window: how many positions each side the encoder sees, its own included; 0 for all.
        bias: whether projections add a bias.
        tied: which embeddings are one matrix: source, target and output ("all"), target and output
            ("target"), "none".
        dropout: of embeddings and of what each sub-layer adds; attention_dropout: of weights;
            activation_dropout: inside feed-forward layers.
        layer_drop: how often a layer is left out while training.
        alignment_layer: the decoder layer, from 1, whose cross-attention is shown as the alignment; 0 for the
            last but one, where there are several.
        alignment_head: the head, from 1, of that layer that is shown, and that links guide (see
            `regard.nn.guided`); 0 for the mean of all.
        copy: whether a word may also be copied from where one head more looks, which is then the alignment.
        coverage_loss: the weight of the loss of that head's looking again where it has looked before.

    Raises:
        InputError: a name that is not known, or settings that contradict each other.
    """

    architecture: Literal["transformer"] = "transformer"
    width: int = 128
    heads: int = 4
    key_heads: int = 0
    feed_forward: int = 256
    encoder_layers: int = 4
    decoder_layers: int = 4
    norm: Literal["pre", "post"] = "pre"
    activation: ActivationName = "relu"
    positions: PositionsName = "sinusoidal"
    longest: int = 1024
    score: ScoreName = "scaled_dot"
    normalizer: NormalizerName = "softmax"
    top_k: int = 4
    encoder_window: int = 0
    bias: bool = True
    tied: Literal["all", "target", "none"] = "all"
    dropout: float = 0.3
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    layer_drop: float = 0.0
    alignment_layer: int = 0
    alignment_head: int = 0
    copy: bool = False
    coverage_loss: float = 0.0

    def __post_init__(self) -> None:
        for key, kind in get_type_hints(type(self)).items():
            choices = get_args(kind)
            if choices and getattr(self, key) not in choices:
                raise InputError(f"model.{key} is one of {', '.join(choices)}; got {getattr(self, key)!r}.")
        self._require_heads()
        self._require_copying()
        if self.encoder_window and self.positions in ("relative", "alibi"):
            raise InputError(
                f"model.encoder_window is {self.encoder_window}, but model.positions {self.positions} holds "
                f"a number for every pair of positions, which a window is there to avoid. Choose "
                f"sinusoidal, learned or rotary positions, or model.encoder_window 0."
            )
        if self.alignment_layer > self.decoder_layers:
            raise InputError(
                f"model.alignment_layer is {self.alignment_layer}, but model.decoder_layers is only "
                f"{self.decoder_layers}."
            )
        if self.alignment_head > self.heads:
            raise InputError(
                f"model.alignment_head is {self.alignment_head}, but model.heads is only {self.heads}."
            )

    def _require_copying(self) -> None:
        if self.coverage_loss and not self.copy:
            raise InputError(
                f"model.coverage_loss is {self.coverage_loss}, but of a Transformer it is that of the head "
                f"that words are copied by. Set model.copy to true, or model.coverage_loss to 0."
            )
        if self.copy and self.normalizer in NO_SHARES:
            raise InputError(
                f"model.copy is true, but the weights of model.normalizer {self.normalizer} are no shares of "
                f"one whole that words could be copied by. Choose another normalizer, such as softmax."
            )
        if self.copy and self.alignment_layer:
            raise InputError(
                f"model.copy is true, so that the alignment is what words are copied by, but "
                f"model.alignment_layer is {self.alignment_layer}. Leave it 0."
            )
        if self.copy and self.alignment_head:
            raise InputError(
                f"model.copy is true, so that the alignment is what words are copied by, but "
                f"model.alignment_head is {self.alignment_head}. Leave it 0."
            )

    def _require_heads(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise InputError(f"model.heads is {self.heads}, which does not divide model.width {self.width}.")
        if self.key_heads < 0 or (self.key_heads and self.heads % self.key_heads):
            raise InputError(
                f"model.key_heads is {self.key_heads}, which does not divide model.heads {self.heads}."
            )
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise InputError(
                f"model.positions rotary turns pairs of features, but a head has {self.width // self.heads}: "
                f"model.width {self.width} over model.heads {self.heads}."
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise InputError(
                f"model.width is {self.width}, but model.positions sinusoidal needs an even one."
            )

    @property
    def shown_layer(self) -> int:
        """The decoder layer, from 0, whose cross-attention is shown as the alignment."""
        return (self.alignment_layer or max(1, self.decoder_layers - 1)) - 1
