"""GGUF: one file with a model's settings, vocabulary and weights, as llama.cpp writes it.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from regard.errors import InputError, RunError

NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""What the weights of a layer are called here, and in `transformers`."""

PRE = {
    "smollm": [pre_tokenizers.Digits(individual_digits=True)],
    "gpt-2": [],
}
"""How a text is cut before its bytes are joined."""
SPECIAL = 3
"""The kind of token that no text is cut into."""


class GgufFile:
    """A Llama-type model in a GGUF file, in the words of a folder of `transformers`.

    Args:
        path: of the file.

    Raises:
        InputError: the package gguf is not installed.
        RunError: not a GGUF file, cut short, or a model of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            from gguf import GGUFReader
        except ImportError:
            raise InputError("GGUF files need the package gguf: pip install gguf.") from None
        if not self.path.is_file():
            raise RunError(f"{path}: no such file.")
        try:
            self.reader = GGUFReader(self.path)
        except (ValueError, IndexError, KeyError, OSError) as error:
            raise RunError(f"{path}: not a whole GGUF file ({error}).") from None
        if (kind := self._field("general.architecture")) != "llama":
            raise RunError(f"{path}: a model of the kind {kind!r}; of GGUF files Gpt reads 'llama'.")
        if (scaling := self._field("llama.rope.scaling.type", "none")) != "none":
            raise RunError(f"{path}: llama.rope.scaling.type is {scaling!r}, which Gpt does not have.")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """As in config.json of a Llama."""
        heads = self._field("llama.attention.head_count")
        return {
            "model_type": "llama",
            "vocab_size": int(self._shapes["token_embd.weight"][0]),
            "hidden_size": self._field("llama.embedding_length"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._field("llama.attention.head_count_kv", heads),
            "intermediate_size": self._field("llama.feed_forward_length"),
            "num_hidden_layers": self._field("llama.block_count"),
            "max_position_embeddings": self._field("llama.context_length"),
            "rope_theta": self._field("llama.rope.freq_base", 10_000.0),
            "rms_norm_eps": self._field("llama.attention.layer_norm_rms_epsilon"),
            "tie_word_embeddings": "output.weight" not in self._shapes,
        }

    @cached_property
    def weights(self) -> Mapping[str, Tensor]:
        """All weights in float32, under the names of a Llama of `transformers`."""
        from gguf.quants import dequantize

        settings, found = self.settings, {}
        for tensor in self.reader.tensors:
            weight = torch.tensor(dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
            name = self._named(tensor.name)
            heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(
                name.split(".")[-2] if "." in name else ""
            )
            # llama.cpp turns neighbouring features together, transformers those half a head apart.
            found[name] = weight if heads is None else _apart(weight, settings[heads])
        return found

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary, as a tokenizer of `tokenizers`.

        Raises:
            RunError: a vocabulary of a kind that is not known here.
        """
        kind, pre = self._field("tokenizer.ggml.model"), self._field("tokenizer.ggml.pre", "gpt-2")
        if kind != "gpt2" or pre not in PRE:
            raise RunError(
                f"{self.path}: a vocabulary of the kind {kind!r} with {pre!r}; known: gpt2 with "
                f"{', '.join(PRE)}. Open the model's own tokenizer with transformers."
            )
        tokens = self._field("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self._field("tokenizer.ggml.merges")]
        made = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
        cuts = [*PRE[pre], pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        made.pre_tokenizer = pre_tokenizers.Sequence(cuts)
        made.decoder = decoders.ByteLevel()
        kinds = self._field("tokenizer.ggml.token_type", [])
        made.add_special_tokens(
            [
                AddedToken(token, special=True, normalized=False)
                for token, kind in zip(tokens, kinds, strict=False)
                if kind == SPECIAL
            ]
        )
        return made

    @cached_property
    def _shapes(self) -> dict[str, list[int]]:
        return {tensor.name: list(reversed(tensor.shape.tolist())) for tensor in self.reader.tensors}

    def _named(self, name: str) -> str:
        """A weight's name in `transformers`."""
        whole = {
            "token_embd.weight": "model.embed_tokens.weight",
            "output_norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight",
        }
        if name in whole:
            return whole[name]
        _, number, kind, end = (*name.split("."), "", "", "")[:4]
        if kind not in NAMES or end != "weight":
            raise RunError(f"{self.path}: has weights {name}, which a Llama has not.")
        return f"model.layers.{number}.{NAMES[kind]}.weight"

    def _field(self, name: str, *default: Any) -> Any:
        field = self.reader.get_field(name)
        if field is None:
            if default:
                return default[0]
            raise RunError(f"{self.path}: {name} is missing; not a whole Llama.")
        return field.contents()


def _apart(weight: Tensor, heads: int) -> Tensor:
    """Rows (H · D, W) whose pairs of features stand beside each other, with these half a head apart."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
