"""To and from folders of `transformers`: a post-norm Transformer is its Marian, a pre-norm one its Pegasus.

Both are the Transformer of Vaswani et al. with sinusoidal positions, all sines before all cosines, and a bias
on the logits. What is written are plain files: `config.json`, `generation_config.json`, the tokenizer as JSON
and `model.safetensors`; nothing of `transformers` is needed to write them, nor to read one that was written
here. Folders with sentencepiece vocabularies are read through the tokenizer of `transformers`.

Sources: Junczys-Dowmunt et al. 2018 (Marian), arXiv:1804.00344; Zhang et al. 2020 (Pegasus),
arXiv:1912.08777.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from regard.core.positions import sinusoidal
from regard.data.tokenization import END, PAD, SPECIAL_TOKENS, START, Tokenizer
from regard.decoding.translator import Model, Search
from regard.errors import RunError
from regard.export.folders import new_folder, write_json
from regard.export.foreign import Renumbering, read_tokenizer
from regard.export.limits import require
from regard.models.foreign import read_json, read_tensors
from regard.models.transformer import TransformerTranslator
from regard.models.transformer_config import TransformerConfig

POSITIONS = 1024
"""How many positions a written model knows at least, as Marian's do."""
HOLDS: Mapping[str, tuple[Any, ...]] = {
    "architecture": ("transformer",),
    "positions": ("sinusoidal",),
    "activation": ("relu", "gelu", "silu"),
    "score": ("scaled_dot",),
    "normalizer": ("softmax",),
    "key_heads": ("as many as heads",),
    "encoder_window": (0,),
    "copy": (False,),
}
INSTEAD = "Try ctranslate2, which holds more, or onnx, which holds nearly everything."
TYPES = {"post": "marian", "pre": "pegasus"}
CLASSES = {"marian": "MarianMTModel", "pegasus": "PegasusForConditionalGeneration"}
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "silu", "silu": "silu"}
UNSAID = -1e4
"""The bias of a token that is there twice and may be said only once: its share is 0 in float32."""

MODULES = (
    ("attention.query", "self_attn.q_proj"),
    ("attention.keys", "self_attn.k_proj"),
    ("attention.values", "self_attn.v_proj"),
    ("attention.out", "self_attn.out_proj"),
    ("attention_norm", "self_attn_layer_norm"),
    ("feed_forward.inner", "fc1"),
    ("feed_forward.outer", "fc2"),
    ("feed_forward_norm", "final_layer_norm"),
)
CROSS = (
    ("cross_attention.query", "encoder_attn.q_proj"),
    ("cross_attention.keys", "encoder_attn.k_proj"),
    ("cross_attention.values", "encoder_attn.v_proj"),
    ("cross_attention.out", "encoder_attn.out_proj"),
    ("cross_attention_norm", "encoder_attn_layer_norm"),
)


def write(model: Model, folder: str | Path) -> None:
    """Write a folder that `AutoModelForSeq2SeqLM` and `AutoTokenizer` open.

    Args:
        model: a Transformer with its tokenizer.
        folder: must not exist, or be empty.

    Raises:
        InputError: the model has what `transformers` has no place for, or the folder is not free.
        TrainingError: the disk is full, or cannot be written to.
    """
    config = model.network.config
    require(config, "a Marian or Pegasus model of transformers", HOLDS, instead=INSTEAD)
    with new_folder(Path(folder)) as temporary:
        write_json(temporary / "config.json", _config(model))
        write_json(temporary / "generation_config.json", _generation(model))
        write_json(temporary / "regard.json", {"name": model.name, "search": asdict(model.search)})
        _write_tokenizer(model.tokenizer, temporary)
        tensors = {name: tensor.contiguous() for name, tensor in _tensors(model).items()}
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})


def read(folder: str | Path) -> Model:
    """Open a Marian or Pegasus folder of `transformers`.

    Tokens that regard has in fixed places, padding, unknown, start and end, are moved there:
    ``model.tokenizer.original`` has for each token its number in the folder.

    Args:
        folder: what ``save_pretrained`` wrote, or `write`.

    Raises:
        RunError: not such a folder, damaged, or a model of another kind.
    """
    folder = Path(folder)
    if (folder / "model.bin").exists():
        raise RunError(
            f"{folder}: a model of CTranslate2, which has no way back. Predict with --engine ctranslate2, or "
            f"regard.export.ctranslate2.Engine; or load the run that it was exported from."
        )
    about = read_json(folder / "config.json")
    try:
        config, asked = _read_config(folder, about), _asked(folder, about)
        numbers = (about["pad_token_id"], asked.get("decoder_start_token_id"), about["eos_token_id"])
        tokenizer = read_tokenizer(folder, about["vocab_size"], *numbers)
        network = TransformerTranslator(config, len(tokenizer))
        scaled = bool(about.get("scale_embedding", False))
        _fill(network, read_tensors(folder), Renumbering.of(tokenizer), scaled=scaled)
    except KeyError as error:
        raise RunError(f"{folder}: {error} is missing; not a whole folder of transformers.") from None
    except RuntimeError as error:
        raise RunError(f"{folder}: its weights are not those that config.json describes: {error}") from None
    return Model(network.eval(), tokenizer, search=_search(folder, asked), name=folder.resolve().name)


def names(config: TransformerConfig) -> Iterator[tuple[str, str]]:
    """Ours and theirs, of all layers: the name of a module, whose weight and bias are called alike."""
    for side, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        modules = MODULES if side == "encoder" else MODULES + CROSS
        for number in range(layers):
            for ours, theirs in modules:
                yield f"{side}.layers.{number}.{ours}", f"model.{side}.layers.{number}.{theirs}"
        if config.norm == "pre":
            yield f"{side}.norm", f"model.{side}.layer_norm"


def _config(model: Model) -> dict[str, Any]:
    config, kind = model.network.config, TYPES[model.network.config.norm]
    return {
        "architectures": [CLASSES[kind]],
        "model_type": kind,
        "vocab_size": len(model.tokenizer),
        "d_model": config.width,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_attention_heads": config.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.feed_forward,
        "decoder_ffn_dim": config.feed_forward,
        "activation_function": config.activation,
        "scale_embedding": True,
        "max_position_embeddings": longest(model),
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "encoder_layerdrop": config.layer_drop,
        "decoder_layerdrop": config.layer_drop,
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.tied == "all",
        "pad_token_id": PAD,
        "bos_token_id": START,
        "eos_token_id": END,
        "decoder_start_token_id": START,
        "forced_eos_token_id": END,
        "dtype": "float32",
    } | ({"share_encoder_decoder_embeddings": config.tied == "all"} if kind == "marian" else {})


def _search(folder: Path, asked: dict[str, Any]) -> Search:
    """How to search: as `generate` would, and in what it does not know as the run did that was exported."""
    own = folder / "regard.json"
    kept = read_json(own).get("search", {}) if own.exists() else {}
    known = {each.name: kept[each.name] for each in fields(Search) if each.name in kept}
    beam, alpha = asked.get("num_beams") or 1, asked.get("length_penalty") or 0.0
    return Search(**known | {"beam": beam, "length_penalty": alpha})


def _generation(model: Model) -> dict[str, Any]:
    return {
        "num_beams": model.search.beam,
        "length_penalty": model.search.length_penalty,
        "early_stopping": False,
        "min_length": model.search.min_length + 1 if model.search.min_length else 0,  # with the start
        "max_length": longest(model),
        "suppress_tokens": [PAD, START],
        "pad_token_id": PAD,
        "bos_token_id": START,
        "eos_token_id": END,
        "decoder_start_token_id": START,
        "forced_eos_token_id": END,
    }


def longest(model: Model) -> int:
    """How many positions an exported model shall know: as many as its corpus may ask for."""
    data = getattr(model.recipe, "data", None)
    search = model.search
    asked = int(getattr(data, "longest", 0) * max(1.0, search.longest_ratio)) + search.longest_extra + 1
    return max(POSITIONS, asked)


def _write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """The tokenizer as `AutoTokenizer` opens it: the same ids, spaces at the ends of a text taken off."""
    backend = json.loads(tokenizer.backend.to_str())
    backend["normalizer"] = {"type": "Strip", "strip_left": True, "strip_right": True}
    write_json(folder / "tokenizer.json", backend)
    pad, unknown, start, end = SPECIAL_TOKENS
    special = {"pad_token": pad, "unk_token": unknown, "bos_token": start, "eos_token": end}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        special
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,  # «</s>» in somebody's text is text
        },
    )


def _tensors(model: Model) -> dict[str, Tensor]:
    """All weights under their names there, in float32; a bias of zeros where there is none."""
    network: TransformerTranslator = model.network
    own = {name: tensor.detach().float() for name, tensor in network.state_dict().items()}
    found = {}
    for ours, theirs in names(network.config):
        weight = own[f"{ours}.weight"]
        found[f"{theirs}.weight"] = weight
        found[f"{theirs}.bias"] = own.get(f"{ours}.bias", torch.zeros(len(weight)))
    found["final_logits_bias"] = own["output.bias"][None]
    if network.config.norm == "pre":  # Marian makes its waves itself, Pegasus says so where they are missing
        for side in ("encoder", "decoder"):
            waves = sinusoidal(longest(model), network.config.width, interleaved=False, like=torch.zeros(0))
            found[f"model.{side}.embed_positions.weight"] = waves
    if network.config.tied == "all":
        return found | {"model.shared.weight": own["target_embedding.weight"]}
    found |= {
        "model.encoder.embed_tokens.weight": own["source_embedding.weight"],
        "model.decoder.embed_tokens.weight": own["target_embedding.weight"],
        "lm_head.weight": own["output.weight"].clone(),
    }
    if network.config.norm == "pre":  # Pegasus has it, and uses it for nothing where nothing is tied
        found["model.shared.weight"] = own["source_embedding.weight"].clone()
    return found


def _read_config(folder: Path, about: Mapping[str, Any]) -> TransformerConfig:
    kind = about.get("model_type")
    norm = {theirs: ours for ours, theirs in TYPES.items()}.get(cast(str, kind))
    if norm is None:
        raise RunError(
            f"{folder}: a model of type {kind!r}; regard opens those of type marian and pegasus, whose "
            f"Transformer is its own."
        )
    for one, other in (
        ("encoder_attention_heads", "decoder_attention_heads"),
        ("encoder_ffn_dim", "decoder_ffn_dim"),
    ):
        if about[one] != about[other]:
            raise RunError(
                f"{folder}: {one} is {about[one]} and {other} {about[other]}; regard's Transformer has the "
                f"same in encoder and decoder."
            )
    if about.get("decoder_vocab_size", about["vocab_size"]) not in (None, about["vocab_size"]):
        raise RunError(
            f"{folder}: vocab_size is {about['vocab_size']} and decoder_vocab_size "
            f"{about['decoder_vocab_size']}; regard's source and target share one vocabulary."
        )
    activation = about["activation_function"]
    if activation not in ACTIVATIONS:
        raise RunError(
            f"{folder}: activation_function is {activation!r}; regard has {', '.join(ACTIVATIONS)}."
        )
    return TransformerConfig(
        width=about["d_model"],
        heads=about["encoder_attention_heads"],
        feed_forward=about["encoder_ffn_dim"],
        encoder_layers=about["encoder_layers"],
        decoder_layers=about["decoder_layers"],
        norm=cast(Any, norm),
        activation=cast(Any, ACTIVATIONS[activation]),
        tied=_tied(about),
        dropout=about.get("dropout", 0.0),
        attention_dropout=about.get("attention_dropout", 0.0),
        activation_dropout=about.get("activation_dropout", 0.0),
        layer_drop=about.get("encoder_layerdrop", 0.0),
    )


def _tied(about: Mapping[str, Any]) -> Any:
    """Which embeddings are one matrix here: the output is apart where theirs are not multiplied by √width."""
    if not (about.get("tie_word_embeddings", True) and about.get("scale_embedding", False)):
        return "none"
    return "all" if about.get("share_encoder_decoder_embeddings", True) else "target"


def _asked(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """How the model wants to be asked, which older folders have among its settings."""
    path = folder / "generation_config.json"
    return dict(about) | (read_json(path) if path.exists() else {})


def _fill(
    network: TransformerTranslator, theirs: Mapping[str, Tensor], numbers: Renumbering, *, scaled: bool
) -> None:
    """Copy weights into a network, the rows of tokens in their new places."""
    own = {}
    for name, other in names(network.config):
        own |= {f"{name}.{kind}": theirs[f"{other}.{kind}"] for kind in ("weight", "bias")}
    names_of_shared = ("model.shared.weight", "lm_head.weight")
    shared = next((theirs[name] for name in names_of_shared if name in theirs), None)
    source = theirs.get("model.encoder.embed_tokens.weight", shared)
    target = theirs.get("model.decoder.embed_tokens.weight", shared)
    if source is None or target is None:
        raise KeyError("model.shared.weight")
    output = theirs.get("lm_head.weight", target)
    scale = 1.0 if scaled else 1 / math.sqrt(network.config.width)
    bias = theirs.get("final_logits_bias", torch.zeros(1, len(output)))
    own |= {
        "source_embedding.weight": numbers.rows(source.float() * scale),
        "target_embedding.weight": numbers.rows(target.float() * scale),
        "output.weight": numbers.rows(output.float()),
        "output.bias": numbers.rows(bias.float().flatten()),
    }
    if numbers.start_is_a_copy:
        own["output.bias"][START] = UNSAID
    network.load_state_dict(own)
