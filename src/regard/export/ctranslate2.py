"""To folders of CTranslate2, and the engine that runs them.

The layers are described with CTranslate2's own specifications, from regard's weights; `transformers` is not
needed. Beside the model lies all that predicting takes: `tokenizer.json`, and `regard.json` with how to
search and what the model is called.

Source: Klein et al. 2020, section 4, 10.18653/v1/2020.ngt-1.25.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from regard.core.positions import sinusoidal
from regard.data.tokenization import END, SPECIAL_TOKENS, START, UNKNOWN, Tokenizer
from regard.decoding.translator import Model
from regard.errors import InputError
from regard.export.folders import new_folder, write_json
from regard.export.huggingface import longest
from regard.export.limits import require
from regard.models.transformer_config import TransformerConfig

if TYPE_CHECKING:
    from ctranslate2.specs import TransformerSpec

Quantization = Literal["int8", "int16", "float16", "bfloat16"]
HOLDS: Mapping[str, tuple[Any, ...]] = {
    "architecture": ("transformer",),
    "positions": ("sinusoidal", "learned", "rotary", "relative"),
    "score": ("scaled_dot", "dot"),
    "normalizer": ("softmax",),
    "window": (0,),
    "copy": (False,),
}
INSTEAD = "Export it to onnx, which holds everything."


def write(model: Model, folder: str | Path, quantization: Quantization | None = None) -> None:
    """Write a folder that CTranslate2 runs.

    Args:
        model: a Transformer with its tokenizer.
        folder: must not exist, or be empty.
        quantization: how matrices are stored; None for float32.

    Raises:
        InputError: the model has what CTranslate2 has no place for, the quantization is unknown, or the
            folder is not free.
        TrainingError: the disk is full, or cannot be written to.
    """
    require(model.network.config, "CTranslate2", HOLDS, instead=INSTEAD)
    if quantization is not None and quantization not in get_args(Quantization):
        known = ", ".join(get_args(Quantization))
        raise InputError(f"export: quantization is one of {known}, or none; got {quantization!r}.")
    with new_folder(Path(folder)) as temporary:
        made = specification(model)
        made.validate()
        made.optimize(quantization)
        made.save(str(temporary))
        model.tokenizer.save(temporary / "tokenizer.json")
        write_json(temporary / "regard.json", {"name": model.name, "search": asdict(model.search)})


def specification(model: Model) -> TransformerSpec:
    """The model as CTranslate2 describes models, with its weights in float32."""
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.common_spec import Activation
    from ctranslate2.specs.transformer_spec import TransformerDecoderSpec, TransformerEncoderSpec

    config: TransformerConfig = model.network.config
    weights = {name: tensor.detach().float() for name, tensor in model.network.state_dict().items()}
    activations = {
        "relu": Activation.RELU,
        "gelu": Activation.GELU,
        "silu": Activation.SWISH,
        "swiglu": Activation.SWISH,
    }
    options = {
        "pre_norm": config.norm == "pre",
        "activation": activations[config.activation],
        "ffn_glu": config.activation == "swiglu",
        "relative_position": config.positions == "relative",
        "rotary_dim": 0 if config.positions == "rotary" else None,
        "rotary_interleave": True,
        "num_heads_kv": config.key_heads if config.key_heads not in (0, config.heads) else None,
    }
    encoder = TransformerEncoderSpec(config.encoder_layers, config.heads, **options)
    decoder = TransformerDecoderSpec(
        config.decoder_layers,
        config.heads,
        alignment_layer=config.shown_layer,
        alignment_heads=config.heads,
        **options,
    )
    made = TransformerSpec(encoder, decoder)
    for side, part, embedding in (("encoder", encoder, "source"), ("decoder", decoder, "target")):
        held = part.embeddings[0] if side == "encoder" else part.embeddings
        held.weight = weights[f"{embedding}_embedding.weight"]
        part.scale_embeddings = True
        if config.positions in ("sinusoidal", "learned"):
            part.position_encodings.encodings = _positions(model, weights.get(f"{embedding}_positions.table"))
        elif hasattr(part, "position_encodings"):  # rotary needs none beside
            del part.position_encodings
        if config.norm == "pre":
            _norm(part.layer_norm, weights, f"{side}.norm")
        for number, layer in enumerate(part.layer):
            _layer(layer, weights, f"{side}.layers.{number}", config)
    decoder.projection.weight, decoder.projection.bias = weights["output.weight"], weights["output.bias"]
    tokens = vocabulary(model.tokenizer)
    made.register_source_vocabulary(tokens)
    made.register_target_vocabulary(tokens)
    made.config.unk_token, made.config.eos_token = SPECIAL_TOKENS[UNKNOWN], SPECIAL_TOKENS[END]
    made.config.bos_token = made.config.decoder_start_token = SPECIAL_TOKENS[START]
    made.config.layer_norm_epsilon = 1e-5
    return made


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """How CTranslate2 spells the tokens."""
    return [*SPECIAL_TOKENS, *tokenizer.tokens[len(SPECIAL_TOKENS) :]]


def _positions(model: Model, table: Tensor | None) -> Tensor:
    if table is not None:
        return table
    return sinusoidal(longest(model), model.network.config.width, interleaved=False, like=torch.zeros(0))


def _layer(layer: Any, weights: Mapping[str, Tensor], name: str, config: TransformerConfig) -> None:
    _attention(layer.self_attention, weights, f"{name}.attention", (("query", "keys", "values"),), config)
    if config.positions == "relative":
        for kind in ("keys", "values"):
            table = weights[f"{name}.attention.positions.{kind}"]
            setattr(layer.self_attention, f"relative_position_{kind}", table)
    if hasattr(layer, "attention"):
        _attention(layer.attention, weights, f"{name}.cross_attention", (("query",), ("keys", "values")), config)
    _linear(layer.ffn.linear_1, weights, f"{name}.feed_forward.outer")
    if config.activation == "swiglu":
        _linear(layer.ffn.linear_0, weights, f"{name}.feed_forward.gate")
        _linear(layer.ffn.linear_0_noact, weights, f"{name}.feed_forward.inner")
    else:
        _linear(layer.ffn.linear_0, weights, f"{name}.feed_forward.inner")
    _norm(layer.ffn.layer_norm, weights, f"{name}.feed_forward_norm")


def _attention(
    spec: Any,
    weights: Mapping[str, Tensor],
    name: str,
    products: tuple[tuple[str, ...], ...],
    config: TransformerConfig,
) -> None:
    """An attention whose projections are joined in some products, its last projection, its norm."""
    for linear, kinds in zip(spec.linear, (*products, ("out",)), strict=True):
        _linear(linear, weights, *(f"{name}.{kind}" for kind in kinds))
    if config.score == "dot":
        spec.queries_scale = 1.0
    _norm(spec.layer_norm, weights, f"{name}_norm")


def _linear(spec: Any, weights: Mapping[str, Tensor], *names: str) -> None:
    """A projection, or several whose results lie side by side."""
    spec.weight = torch.cat([weights[f"{name}.weight"] for name in names])
    if f"{names[0]}.bias" in weights:
        spec.bias = torch.cat([weights[f"{name}.bias"] for name in names])


def _norm(spec: Any, weights: Mapping[str, Tensor], name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
