"""GPT: layers in which every word looks back, and says what comes next.

GPT-2 adds a learned row for each position, normalises by mean and deviation and has biases; the Llama family
turns query and keys by their positions, normalises by the root mean square, gates its feed-forward layers,
lets query heads share keys and has no biases. `GptConfig` names each of these choices; the layers are the
same. Weights of both kinds of checkpoints of `transformers` give the same logits:

    gpt = Gpt.from_huggingface("a/folder/with/config.json")
    logits = gpt.logits(gpt(tokens))
    weights = gpt.look(tokens)["decoder.0"]
    more = gpt.generate(tokens, 20)

Source: Radford et al. 2019, "Language models are unsupervised multitask learners"; Touvron et al. 2023,
"LLaMA: open and efficient foundation language models", arXiv:2302.13971.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regard.errors import InputError, RunError
from regard.models.foreign import read_json, read_tensors
from regard.models.gguf import GgufFile
from regard.nn.blocks import FeedForward, Residual, Seen, attend
from regard.nn.cache import Cache
from regard.nn.dropout import dropout
from regard.nn.multihead import MultiheadAttention
from regard.nn.positions import LearnedPositions, Rotary
from regard.nn.products import product


@dataclass(frozen=True)
class GptConfig:
    """Sizes and choices of a GPT; the defaults are those of the smallest GPT-2.

    Args:
        vocabulary: V, how many tokens it knows.
        width: W, features of a position.
        heads: of each layer; key_heads: of its keys and values, 0 for as many.
        head_width: features of a head; 0 for W / heads.
        feed_forward: features of the hidden layer between the products.
        layers: one on top of the other.
        longest: how many positions it knows.
        positions: "learned", added to the embeddings, or "rotary", in query and keys, which are turned by
            angles that fall with `rotary_base`.
        norm: "layer", by mean and deviation, or "rms", by the root mean square.
        epsilon: what keeps normalisation from dividing by zero.
        activation: "gelu_tanh", "gelu", "relu", "silu" or "swiglu".
        bias: whether projections add one.
        tied: whether the projection to the vocabulary is the embedding.
        dropout, attention_dropout: the share of features, and of weights, dropped while training.
    """

    vocabulary: int = 50257
    width: int = 768
    heads: int = 12
    key_heads: int = 0
    head_width: int = 0
    feed_forward: int = 3072
    layers: int = 12
    longest: int = 1024
    positions: Literal["learned", "rotary"] = "learned"
    rotary_base: float = 10_000.0
    norm: Literal["layer", "rms"] = "layer"
    epsilon: float = 1e-5
    activation: str = "gelu_tanh"
    bias: bool = True
    tied: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.1


class GptLayer(Residual):
    """Attention to all positions before, then each for itself."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__("pre", config.dropout)
        rotary = Rotary(base=config.rotary_base, interleaved=False)
        self.attention = MultiheadAttention(
            config.width,
            config.heads,
            key_heads=config.key_heads or None,
            head_width=config.head_width or None,
            bias=config.bias,
            dropout=config.attention_dropout,
            positions=rotary if config.positions == "rotary" else None,
        )
        self.attention_norm = _norm(config)
        self.feed_forward = FeedForward(
            config.width, config.feed_forward, activation=config.activation, bias=config.bias
        )
        self.feed_forward_norm = _norm(config)

    def forward(self, x: Tensor, mask: Tensor | None, seen: Seen | None, name: str) -> Tensor:
        """x (B, L, W), of which positions (B, L) are there, to (B, L, W)."""

        def look_back(x: Tensor) -> Tensor:
            return attend(self.attention, x, key_mask=mask, causal=True, seen=seen, name=name)

        return self.add(
            self.add(x, self.attention_norm, look_back), self.feed_forward_norm, self.feed_forward
        )

    def step(self, x: Tensor, before: Cache, mask: Tensor | None) -> tuple[Tensor, Cache]:
        """The same for the positions that come next, (B, L, W), and what is kept for those behind them."""
        kept = [before]

        def look_back(x: Tensor) -> Tensor:
            found, kept[0] = self.attention.step(x, before, key_mask=mask)
            return found

        x = self.add(x, self.attention_norm, look_back)
        return self.add(x, self.feed_forward_norm, self.feed_forward), kept[0]


class Gpt(nn.Module):
    """The whole model.

    Args:
        config: sizes and choices.
    """

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        learned = config.positions == "learned"
        self.positions = LearnedPositions(config.longest, config.width) if learned else None
        self.layers = nn.ModuleList(GptLayer(config) for _ in range(config.layers))
        self.norm = _norm(config)
        if not config.tied:
            self.output = nn.Parameter(torch.randn(config.vocabulary, config.width) * 0.02)

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None, seen: Seen | None = None) -> Tensor:
        """What is made of each position.

        Args:
            tokens: (B, L) numbers, padded before or behind.
            mask: (B, L) booleans, True where a token is; None where all are.
            seen: where it has the names of attentions, such as "decoder.0", their weights (B, H, L, L) are
                put there.

        Returns:
            features (B, L, W), for `logits`.

        Raises:
            InputError: no tokens, more than it has positions for, or one that it does not know.
        """
        x = self._embedded(tokens, 0)
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, seen, f"decoder.{number}")
        return self.norm(x)

    def look(
        self, tokens: Tensor, *, mask: Tensor | None = None, names: Iterable[str] | None = None
    ) -> dict[str, Tensor]:
        """The weights (B, H, L, L) of every head of the attentions of these names, of all where None."""
        seen: Seen = dict.fromkeys(self.attentions if names is None else names)
        self(tokens, mask=mask, seen=seen)
        return seen

    @property
    def attentions(self) -> list[str]:
        """The names of all attentions, as `look` gives them."""
        return [f"decoder.{number}" for number in range(len(self.layers))]

    def logits(self, features: Tensor) -> Tensor:
        """features (…, W) to the logits (…, V) of the token that comes next."""
        return product(features, self.tokens.weight if self.config.tied else self.output)

    def step(
        self, tokens: Tensor, before: tuple[Cache, ...] = (), *, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Cache, ...]]:
        """Go on by some tokens, without looking at those before them again.

        Args:
            tokens: (B, L), those that come next.
            before: what the step before kept; none at the start.
            mask: (B, L) booleans, True where one of these tokens is; None where all are.

        Returns:
            the features (B, L, W) of these positions, and what is kept for the next step.

        Raises:
            InputError: as `forward`.
        """
        before = before or (Cache(),) * len(self.layers)
        x, kept = self._embedded(tokens, before[0].seen), []
        for layer, cache in zip(self.layers, before, strict=True):
            assert isinstance(layer, GptLayer)
            x, after = layer.step(x, cache, mask)
            kept.append(after)
        return self.norm(x), tuple(kept)

    @torch.inference_mode()
    def generate(
        self,
        tokens: Tensor,
        count: int,
        *,
        temperature: float = 0.0,
        end: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Say what comes next, token by token.

        Args:
            tokens: (B, L), the beginnings, of one length.
            count: how many tokens to say at most.
            temperature: 0 takes the likeliest token; else logits are divided by it, and one is drawn.
            end: the token behind which nothing is said; a text that has ended goes on with it.
            generator: what draws; None for the global one.

        Returns:
            (B, L + T), T at most `count`.

        Raises:
            InputError: as `forward`, or a temperature below 0.
        """
        if temperature < 0:
            raise InputError(f"Gpt.generate(): temperature is at least 0; got {temperature}.")
        said, new, kept = tokens, tokens, ()
        ended = torch.zeros(len(tokens), 1, dtype=torch.bool, device=tokens.device)
        for _ in range(count):
            features, kept = self.step(new, kept)
            logits = self.logits(features[:, -1])
            if temperature:
                shares = torch.softmax(logits.float() / temperature, dim=-1)
                new = torch.multinomial(shares, 1, generator=generator)
            else:
                new = logits.argmax(dim=-1, keepdim=True)
            if end is not None:
                new = new.masked_fill(ended, end)
                ended |= new == end
            said = torch.cat([said, new], dim=1)
            if bool(ended.all()):
                break
        return said

    @classmethod
    def from_huggingface(cls, folder: str | Path) -> Gpt:
        """Open a GPT-2 or Llama folder of `transformers`; nothing in it is run.

        Raises:
            RunError: not such a folder, damaged, or a model of another kind.
        """
        folder = Path(folder)
        about, theirs = read_json(folder / "config.json"), read_tensors(folder)
        kind = about.get("model_type")
        if kind not in KINDS:
            raise RunError(f"{folder}: a model of the kind {kind!r}; Gpt reads {' and '.join(KINDS)}.")
        try:
            config, weights = KINDS[kind](folder, about, theirs)
            made = cls(config)
            made.load_state_dict({name: weight.float() for name, weight in weights})
        except KeyError as error:
            raise RunError(f"{folder}: {error} is missing; not a whole {kind} of transformers.") from None
        except RuntimeError as error:
            raise RunError(
                f"{folder}: its weights are not those that config.json describes: {error}"
            ) from None
        return made.eval()

    @classmethod
    def from_gguf(cls, path: str | Path) -> Gpt:
        """Open a Llama in a GGUF file, quantised or not, with weights in float32.

        Its vocabulary is ``regard.models.gguf.GgufFile(path).tokenizer``.

        Raises:
            InputError: the package gguf is not installed.
            RunError: not such a file, damaged, or a model of another kind.
        """
        file = GgufFile(path)
        config, weights = _llama(file.path, file.settings, file.weights)
        made = cls(config)
        try:
            made.load_state_dict(dict(weights))
        except KeyError as error:
            raise RunError(f"{path}: {error} is missing; not a whole Llama.") from None
        except RuntimeError as error:
            raise RunError(f"{path}: its weights are not those that it describes: {error}") from None
        return made.eval()

    def _embedded(self, tokens: Tensor, offset: int) -> Tensor:
        """Tokens (B, L), the first of which is at this position, as (B, L, W)."""
        config = self.config
        if tokens.ndim != 2 or not tokens.shape[1]:
            raise InputError(f"Gpt(): tokens are (B, L), at least one a text; got {tuple(tokens.shape)}.")
        if offset + tokens.shape[1] > config.longest:
            raise InputError(
                f"Gpt(): a text of {offset + tokens.shape[1]:,} tokens, but this model knows "
                f"{config.longest:,} positions. Cut it, or say fewer tokens more."
            )
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < config.vocabulary:
            raise InputError(
                f"Gpt(): tokens from {int(tokens.min())} to {int(tokens.max())}, but the vocabulary has "
                f"the numbers 0 to {config.vocabulary - 1}. They may come from another tokenizer."
            )
        x = self.tokens(tokens)
        x = x if self.positions is None else self.positions(x, offset)
        return dropout(x, config.dropout, training=self.training)


def _norm(config: GptConfig) -> nn.Module:
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.width, eps=config.epsilon)


Weights = Iterator[tuple[str, Tensor]]


def _gpt2(folder: Path, about: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> tuple[GptConfig, Weights]:
    """The sizes of a GPT-2, and its weights under our names."""
    activations = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
    asked = about.get("activation_function", "gelu_new")
    others = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn")
    strange = [name for name in others if about.get(name)]
    strange += [] if about.get("scale_attn_weights", True) else ["scale_attn_weights"]
    strange += [] if asked in activations else ["activation_function"]
    if strange:
        raise RunError(f"{folder}: {strange[0]} is {about.get(strange[0])!r}, which Gpt does not have.")
    width = about["n_embd"]
    config = GptConfig(
        vocabulary=about["vocab_size"],
        width=width,
        heads=about["n_head"],
        feed_forward=about.get("n_inner") or 4 * width,
        layers=about["n_layer"],
        longest=about["n_positions"],
        epsilon=about.get("layer_norm_epsilon", 1e-5),
        activation=activations[asked],
        tied=about.get("tie_word_embeddings", True),
        dropout=about.get("resid_pdrop", 0.0),
        attention_dropout=about.get("attn_pdrop", 0.0),
    )

    def weights() -> Weights:
        known = {name.removeprefix("transformer."): weight for name, weight in theirs.items()}
        yield "tokens.weight", known["wte.weight"]
        yield "positions.table", known["wpe.weight"]
        if not config.tied:
            yield "output", known["lm_head.weight"]
        modules = {
            "ln_1": "attention_norm",
            "ln_2": "feed_forward_norm",
            "attn.c_proj": "attention.out",
            "mlp.c_fc": "feed_forward.inner",
            "mlp.c_proj": "feed_forward.outer",
        }
        for number in range(config.layers):
            for name, ours in modules.items():
                for kind in ("weight", "bias"):  # their matrices lie the other way round
                    weight = known[f"h.{number}.{name}.{kind}"]
                    yield f"layers.{number}.{ours}.{kind}", weight.T if weight.ndim == 2 else weight
            for kind in ("weight", "bias"):
                joint = known[f"h.{number}.attn.c_attn.{kind}"]
                for ours, weight in zip(
                    ("query", "keys", "values"), joint.movedim(-1, 0).chunk(3), strict=True
                ):
                    yield f"layers.{number}.attention.{ours}.{kind}", weight
        for kind in ("weight", "bias"):
            yield f"norm.{kind}", known[f"ln_f.{kind}"]

    return config, weights()


def _llama(folder: Path, about: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> tuple[GptConfig, Weights]:
    """The sizes of a Llama, and its weights under our names."""
    rotary = about.get("rope_parameters") or about.get("rope_scaling") or {}
    scaled = rotary.get("rope_type", rotary.get("type", "default"))
    for name, value, plain in (
        ("rope_type", scaled, "default"),
        ("hidden_act", about.get("hidden_act", "silu"), "silu"),
        ("attention_bias", about.get("attention_bias", False), False),
        ("mlp_bias", about.get("mlp_bias", False), False),
    ):
        if value != plain:
            raise RunError(f"{folder}: {name} is {value!r}, which Gpt does not have; it has {plain!r}.")
    config = GptConfig(
        vocabulary=about["vocab_size"],
        width=about["hidden_size"],
        heads=about["num_attention_heads"],
        key_heads=about.get("num_key_value_heads") or 0,
        head_width=about.get("head_dim") or 0,
        feed_forward=about["intermediate_size"],
        layers=about["num_hidden_layers"],
        longest=about["max_position_embeddings"],
        positions="rotary",
        rotary_base=about.get("rope_theta") or rotary.get("rope_theta") or 10_000.0,
        norm="rms",
        epsilon=about.get("rms_norm_eps", 1e-6),
        activation="swiglu",
        bias=False,
        tied=about.get("tie_word_embeddings", False),
        dropout=0.0,
        attention_dropout=about.get("attention_dropout", 0.0),
    )

    def weights() -> Weights:
        yield "tokens.weight", theirs["model.embed_tokens.weight"]
        yield "norm.weight", theirs["model.norm.weight"]
        if not config.tied:
            yield "output", theirs["lm_head.weight"]
        modules = {
            "input_layernorm": "attention_norm",
            "post_attention_layernorm": "feed_forward_norm",
            "self_attn.q_proj": "attention.query",
            "self_attn.k_proj": "attention.keys",
            "self_attn.v_proj": "attention.values",
            "self_attn.o_proj": "attention.out",
            "mlp.gate_proj": "feed_forward.gate",
            "mlp.up_proj": "feed_forward.inner",
            "mlp.down_proj": "feed_forward.outer",
        }
        for number in range(config.layers):
            for name, ours in modules.items():
                yield f"layers.{number}.{ours}.weight", theirs[f"model.layers.{number}.{name}.weight"]

    return config, weights()


KINDS = {"gpt2": _gpt2, "llama": _llama}
"""How each kind of folder is read."""
