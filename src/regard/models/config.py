"""The settings of the recurrent encoder–decoder, and the names of its mechanisms of attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from regard.errors import InputError
from regard.nn.recurrent import CellName

ScoreName = Literal[
    "dot",
    "scaled_dot",
    "general",
    "concat",
    "additive",
    "cosine",
    "negative_squared_distance",
    "location",
    "location_aware",
    "coverage",
    "learned_query",
]
NormalizerName = Literal["softmax", "sink", "sparsemax", "entmax15", "entmax", "sigmoid", "top_k", "hardmax"]
PickerName = Literal["reinforce", "gumbel", "straight_through", "monotonic", "mocha", "local_m", "local_p"]
MarginalName = Literal["marginal", "monotonic_marginal"]
AttentionName = Literal[ScoreName, NormalizerName, PickerName, MarginalName]

SCORES: tuple[str, ...] = get_args(ScoreName)
MARGINALS: tuple[str, ...] = get_args(MarginalName)
REMEMBERING = ("location_aware", "coverage")
NO_SHARES = ("sink", "sigmoid", "reinforce", "monotonic", "mocha", "local_p", *MARGINALS)
"""Attention whose weights are no shares of one whole, or not known where it learns: nothing to copy by."""


@dataclass(frozen=True)
class RecurrentConfig:
    """What the model is made of.

    Args:
        architecture: says that it is recurrent.
        cell: the recurrent cell of encoder and decoder.
        embedding: features of a word.
        width: features of a decoder state and of an encoder output; half of the latter for each direction.
        encoder_layers, decoder_layers: how many recurrent layers.
        attention: a score, whose softmax is taken; or another normalizer, or a mechanism that picks, or one
            that sums over what could be picked, each of which takes the scores of `score`.
        score: see `attention`.
        temperature: what scores are divided by before softmax, and how soft "gumbel" is.
        window: how many keys a chunk of "mocha" has, and how many "local_m" and "local_p" see on each side.
        top_k: how many keys "top_k" looks at.
        positions: how many keys "location" knows; those behind are not looked at.
        baseline: what "reinforce" measures a draw by: what its own best pick earns, or the mean of rewards.
        coverage_loss: the weight of the loss of looking again where was looked before; none of what is drawn
            by "reinforce" or summed over.
        copy: whether a word may also be copied from where the step looks.
        input_feeding: whether the decoder is fed with where it has just looked; the mechanisms that sum over
            what could be picked have nothing to feed, whatever this says.
        tied: which embeddings are one matrix: source, target and output ("all"), target and output
            ("target"), "none".
        embedding_dropout, dropout, recurrent_dropout: shares of features dropped from the embeddings, between
            layers and before the output, and from the states that recur; each mask is kept over a sentence.

    Raises:
        InputError: a name that is not known, an odd width, or settings that contradict each other.
    """

    architecture: Literal["recurrent"] = "recurrent"
    cell: CellName = "gru"
    embedding: int = 256
    width: int = 512
    encoder_layers: int = 1
    decoder_layers: int = 1
    attention: AttentionName = "general"
    score: ScoreName = "general"
    temperature: float = 1.0
    window: int = 3
    top_k: int = 4
    positions: int = 256
    baseline: Literal["self_critical", "moving_average"] = "self_critical"
    coverage_loss: float = 0.0
    copy: bool = False
    input_feeding: bool = True
    tied: Literal["all", "target", "none"] = "all"
    embedding_dropout: float = 0.2
    dropout: float = 0.3
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        for key, kind in get_type_hints(type(self)).items():
            choices = get_args(kind)
            if choices and getattr(self, key) not in choices:
                raise InputError(f"model.{key} is one of {', '.join(choices)}; got {getattr(self, key)!r}.")
        if self.width < 2 or self.width % 2:
            raise InputError(
                f"model.width is even, half of it for each direction of the encoder; got {self.width}."
            )
        if self.attention in MARGINALS and self.score in REMEMBERING:
            raise InputError(
                f"model.score is {self.score!r}, which remembers where was looked, but {self.attention} sums "
                f"over all that could have been looked at. Choose another score, such as general."
            )
        if self.copy and self.attention in NO_SHARES:
            raise InputError(
                f"model.copy is true, but the weights of model.attention {self.attention!r} are no shares of "
                f"one whole that words could be copied by. Choose another attention, such as general."
            )

    @property
    def feeds(self) -> bool:
        """Whether the decoder is fed with where it has just looked."""
        return self.input_feeding and self.attention not in MARGINALS
