"""BERT: layers in which every word looks at every other, before it and behind.

Each position begins as the sum of what its token is, where it stands and which of two texts it is of. Each
layer adds what attention finds in all positions, then what two products make of each, and normalises after
each of them. Weights of BERT-type checkpoints of `transformers` give the same features and logits:

    bert = Bert.from_huggingface("a/folder/with/config.json")
    features = bert(tokens, mask=mask)
    weights = bert.look(tokens, mask=mask)["encoder.0"]

Source: Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers for language
understanding", arXiv:1810.04805.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import InputError, RunError
from regard.models.foreign import read_json, read_tensors
from regard.nn.blocks import ACTIVATIONS, FeedForward, Residual, Seen, attend
from regard.nn.dropout import dropout
from regard.nn.multihead import MultiheadAttention
from regard.nn.products import Linear, product

CALLED = {"gelu": "gelu", "relu": "relu", "silu": "silu", "swish": "silu"}
"""What they call activations, and what these are called here."""


@dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT; the defaults are those of BERT base.

    Args:
        vocabulary: V, how many tokens it knows.
        width: W, features of a position.
        heads: of each layer.
        feed_forward: features of the hidden layer between the two products.
        layers: one on top of the other.
        longest: how many positions it knows.
        kinds: of how many texts a position may be.
        activation: "gelu", "relu" or "silu".
        epsilon: what keeps normalisation from dividing by zero.
        dropout, attention_dropout: the share of features, and of weights, dropped while training.
        pooled: whether it has a layer that makes one vector of a text, of the features of its first position.
        says: whether it has a layer that says which token each position is, its projection tied to the
            embedding.
    """

    vocabulary: int = 30522
    width: int = 768
    heads: int = 12
    feed_forward: int = 3072
    layers: int = 12
    longest: int = 512
    kinds: int = 2
    activation: str = "gelu"
    epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    pooled: bool = True
    says: bool = True


class BertLayer(Residual):
    """Attention to all positions, then each for itself."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__("post", config.dropout)
        self.attention = MultiheadAttention(config.width, config.heads, dropout=config.attention_dropout)
        self.attention_norm = nn.LayerNorm(config.width, config.epsilon)
        self.feed_forward = FeedForward(config.width, config.feed_forward, activation=config.activation)
        self.feed_forward_norm = nn.LayerNorm(config.width, config.epsilon)

    def forward(self, x: Tensor, mask: Tensor | None, seen: Seen | None, name: str) -> Tensor:
        """x (B, L, W), of which positions (B, L) are there, to (B, L, W)."""

        def look(x: Tensor) -> Tensor:
            return attend(self.attention, x, key_mask=mask, seen=seen, name=name)

        return self.add(self.add(x, self.attention_norm, look), self.feed_forward_norm, self.feed_forward)


class Bert(nn.Module):
    """The whole model.

    Args:
        config: sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.longest, config.width)
        self.kinds = nn.Embedding(config.kinds, config.width)
        self.norm = nn.LayerNorm(config.width, config.epsilon)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.layers))
        self.pool = Linear(config.width, config.width) if config.pooled else None
        if config.says:
            self.transform = Linear(config.width, config.width)
            self.transform_norm = nn.LayerNorm(config.width, config.epsilon)
            self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        for embedding in (self.tokens, self.positions, self.kinds):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(
        self,
        tokens: Tensor,
        *,
        mask: Tensor | None = None,
        kinds: Tensor | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """What is made of each position.

        Args:
            tokens: (B, L) numbers, padded before or behind.
            mask: (B, L) booleans, True where a token is; None where all are.
            kinds: (B, L), of which text each is; None for the first.
            seen: where it has the names of attentions, such as "encoder.0", their weights (B, H, L, L) are
                put there.

        Returns:
            features (B, L, W).

        Raises:
            InputError: no tokens, more than it has positions for, or one that it does not know.
        """
        self._require_known(tokens)
        kinds = torch.zeros_like(tokens) if kinds is None else kinds
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.tokens(tokens) + self.positions(places) + self.kinds(kinds))
        x = dropout(x, self.config.dropout, training=self.training)
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, seen, f"encoder.{number}")
        return x

    def look(
        self,
        tokens: Tensor,
        *,
        mask: Tensor | None = None,
        kinds: Tensor | None = None,
        names: Iterable[str] | None = None,
    ) -> dict[str, Tensor]:
        """The weights (B, H, L, L) of every head of the attentions of these names, of all where None.

        The other arguments are those of `forward`.
        """
        seen: Seen = dict.fromkeys(self.attentions if names is None else names)
        self(tokens, mask=mask, kinds=kinds, seen=seen)
        return seen

    @property
    def attentions(self) -> list[str]:
        """The names of all attentions, as `look` gives them."""
        return [f"encoder.{number}" for number in range(len(self.layers))]

    def logits(self, features: Tensor) -> Tensor:
        """features (B, L, W) to the logits of each token (B, L, V): which one stands there.

        Raises:
            InputError: a model without the layer for it.
        """
        if not self.config.says:
            raise InputError("Bert.logits(): this checkpoint has no layer that says tokens; it has features.")
        spoken = self.transform_norm(ACTIVATIONS[self.config.activation](self.transform(features)))
        return product(spoken, self.tokens.weight, self.bias)

    def pooled(self, features: Tensor) -> Tensor:
        """features (B, L, W) to one vector (B, W) of each text.

        Raises:
            InputError: a model without the layer for it.
        """
        if self.pool is None:
            raise InputError("Bert.pooled(): this checkpoint has no pooling layer; it has features.")
        return torch.tanh(self.pool(features[:, 0]))

    @classmethod
    def from_huggingface(cls, folder: str | Path) -> Bert:
        """Open a BERT-type folder of `transformers`; nothing in it is run.

        Raises:
            RunError: not such a folder, damaged, or a model of another kind.
        """
        folder = Path(folder)
        about, theirs = read_json(folder / "config.json"), read_tensors(folder)
        theirs = {name.removeprefix("bert."): tensor for name, tensor in theirs.items()}
        try:
            config = _config(folder, about, theirs)
            made = cls(config)
            weights = {ours: theirs[name].float() for ours, name in names(config)}
            made.load_state_dict(weights)
        except KeyError as error:
            raise RunError(f"{folder}: {error} is missing; not a whole BERT of transformers.") from None
        except RuntimeError as error:
            raise RunError(
                f"{folder}: its weights are not those that config.json describes: {error}"
            ) from None
        return made.eval()

    def _require_known(self, tokens: Tensor) -> None:
        config = self.config
        if tokens.ndim != 2 or not tokens.shape[1]:
            raise InputError(f"Bert(): tokens are (B, L), at least one a text; got {tuple(tokens.shape)}.")
        if tokens.shape[1] > config.longest:
            raise InputError(
                f"Bert(): a text of {tokens.shape[1]:,} tokens, but this model knows {config.longest:,} "
                f"positions. Cut it into parts."
            )
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < config.vocabulary:
            raise InputError(
                f"Bert(): tokens from {int(tokens.min())} to {int(tokens.max())}, but the vocabulary has "
                f"the numbers 0 to {config.vocabulary - 1}. They may come from another tokenizer."
            )


LAYER = (
    ("attention.query", "attention.self.query"),
    ("attention.keys", "attention.self.key"),
    ("attention.values", "attention.self.value"),
    ("attention.out", "attention.output.dense"),
    ("attention_norm", "attention.output.LayerNorm"),
    ("feed_forward.inner", "intermediate.dense"),
    ("feed_forward.outer", "output.dense"),
    ("feed_forward_norm", "output.LayerNorm"),
)
"""Modules of a layer, ours and theirs."""


def names(config: BertConfig) -> Iterator[tuple[str, str]]:
    """Ours and theirs, of all weights; theirs without the «bert.» that some begin with."""
    for ours, theirs in (("tokens", "word"), ("positions", "position"), ("kinds", "token_type")):
        yield f"{ours}.weight", f"embeddings.{theirs}_embeddings.weight"
    modules = [("norm", "embeddings.LayerNorm")]
    for number in range(config.layers):
        modules += [(f"layers.{number}.{ours}", f"encoder.layer.{number}.{theirs}") for ours, theirs in LAYER]
    if config.pooled:
        modules.append(("pool", "pooler.dense"))
    if config.says:
        modules.append(("transform", "cls.predictions.transform.dense"))
        modules.append(("transform_norm", "cls.predictions.transform.LayerNorm"))
        yield "bias", "cls.predictions.bias"
    for ours, theirs in modules:
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _config(folder: Path, about: dict[str, Any], theirs: dict[str, Tensor]) -> BertConfig:
    """The sizes that config.json names, or the reason why there is no such model here."""
    kind, positions = about.get("model_type"), about.get("position_embedding_type") or "absolute"
    if kind != "bert":
        raise RunError(f"{folder}: a model of the kind {kind!r}, which Bert is not; it reads 'bert'.")
    if positions != "absolute" or about.get("is_decoder"):
        asked = f"{positions} positions" if positions != "absolute" else "a decoder"
        raise RunError(f"{folder}: a BERT with {asked}; Bert has absolute positions and looks both ways.")
    activation = about.get("hidden_act", "gelu")
    if activation not in CALLED:
        known = ", ".join(sorted(CALLED))
        raise RunError(f"{folder}: hidden_act is {activation!r}, which Bert does not have; it has {known}.")
    untied = theirs.get("cls.predictions.decoder.weight")
    if untied is not None and not torch.equal(untied, theirs["embeddings.word_embeddings.weight"]):
        raise RunError(
            f"{folder}: a BERT that says tokens by other weights than it reads them; Bert has one."
        )
    return BertConfig(
        vocabulary=about["vocab_size"],
        width=about["hidden_size"],
        heads=about["num_attention_heads"],
        feed_forward=about["intermediate_size"],
        layers=about["num_hidden_layers"],
        longest=about["max_position_embeddings"],
        kinds=about["type_vocab_size"],
        activation=CALLED[activation],
        epsilon=about.get("layer_norm_eps", 1e-12),
        dropout=about.get("hidden_dropout_prob", 0.0),
        attention_dropout=about.get("attention_probs_dropout_prob", 0.0),
        pooled="pooler.dense.weight" in theirs,
        says="cls.predictions.transform.dense.weight" in theirs,
    )
