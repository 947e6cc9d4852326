"""To folders of CTranslate2, and the engine that runs them.

The layers are described with CTranslate2's own specifications, from regard's weights; `transformers` is not
needed. Beside the model lies all that predicting takes: `tokenizer.json`, and `regard.json` with how to
search and what the model is called.

Source: Klein et al. 2020, section 4, 10.18653/v1/2020.ngt-1.25.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from regard.core.positions import sinusoidal
from regard.data.tokenization import END, PAD, SPECIAL_TOKENS, START, UNKNOWN, Encoded, Tokenizer
from regard.decoding.beam import length_penalty as penalty
from regard.decoding.hypothesis import Hypothesis
from regard.decoding.prediction import Prediction
from regard.decoding.translator import Model, Search, batches
from regard.errors import InputError, RunError
from regard.export.folders import new_folder, write_json
from regard.export.huggingface import longest
from regard.export.limits import require
from regard.models.transformer_config import TransformerConfig
from regard.record import AttentionRecord

if TYPE_CHECKING:
    from ctranslate2.specs import TransformerSpec

Quantization = Literal["int8", "int16", "float16", "bfloat16"]
HOLDS: Mapping[str, tuple[Any, ...]] = {
    "architecture": ("transformer",),
    "positions": ("sinusoidal", "learned", "rotary", "relative"),
    "score": ("scaled_dot", "dot"),
    "normalizer": ("softmax",),
    "encoder_window": (0,),
    "copy": (False,),
}
INSTEAD = "Try onnx, which holds nearly everything."
NEVER_SAID = {SPECIAL_TOKENS[PAD], SPECIAL_TOKENS[START]}
"""Left out afterwards: to suppress them while it searches would change the probabilities of all others."""
EVEN = 16
"""From so many texts on a batch ends where they become longer: without padding, nothing has to be mended."""
WORKERS = 4
"""So many batches are searched at once where there are as many processors, or more of these for each."""
AHEAD = 2
"""Batches for each worker that wait, or are searched, while what was found of another is put together."""
OPTIONS = ("beam", "nbest", "length_penalty", "min_length", "progress", "first")
"""What the engine can be asked for."""


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
        limited = model.network.config.positions in ("sinusoidal", "learned")
        about = {
            "name": model.name,
            "search": asdict(model.search),
            "positions": _positions(model) if limited else None,
        }
        write_json(temporary / "regard.json", about)


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
    encoder: Any = TransformerEncoderSpec(config.encoder_layers, config.heads, **options)
    decoder: Any = TransformerDecoderSpec(
        config.decoder_layers,
        config.heads,
        alignment_layer=config.shown_layer,
        alignment_heads=config.heads,
        **options,
    )
    made: Any = TransformerSpec(encoder, decoder)
    for side, part, embedding in (("encoder", encoder, "source"), ("decoder", decoder, "target")):
        held = part.embeddings[0] if side == "encoder" else part.embeddings
        held.weight = weights[f"{embedding}_embedding.weight"]
        part.scale_embeddings = True
        if config.positions in ("sinusoidal", "learned"):
            table = weights.get(f"{embedding}_positions.table")
            part.position_encodings.encodings = _waves(model) if table is None else table
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


class Engine(Model):
    """A model that CTranslate2 runs: it predicts as `Model` does, and knows less of how to search.

    Args:
        folder: what `write` wrote.
        threads: how many processors work; 0 for all.

    Raises:
        RunError: not such a folder, or CTranslate2 cannot read it.
    """

    def __init__(self, folder: str | Path, *, threads: int = 0) -> None:
        folder = Path(folder)
        about = _about(folder)
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        known = SimpleNamespace(config=_Limits("learned" if about["positions"] else "", about["positions"]))
        super().__init__(known, tokenizer, search=Search(**about["search"]), name=about["name"])
        self.translator = _translator(folder, threads)
        self.looks_again = True
        self.names = vocabulary(tokenizer)
        self.numbers = {name: number for number, name in enumerate(self.names)}

    @classmethod
    def of(cls, model: Model, *, quantization: Quantization | None = None, threads: int = 0) -> Engine:
        """The engine for a model in memory, by way of a folder that is removed again."""
        with tempfile.TemporaryDirectory() as place:
            write(model, Path(place) / "model", quantization)
            return cls(Path(place) / "model", threads=threads)

    def __repr__(self) -> str:
        return f"<regard Engine {self.name!r}: CTranslate2, {len(self.tokenizer):,} tokens>"

    def predict(self, texts: Sequence[str], *, alignments: bool = True, **options: Any) -> list[Prediction]:
        """Say what the model says of each text, as `Model.predict`.

        Args:
            texts: inputs, in any order and of any length.
            alignments: whether each first word's place in an alignment shall be right, which takes a second
                look at texts of different lengths that are searched together.
            options: beam, nbest, length_penalty, min_length, progress: as for `Model.predict`. What it takes
                besides is refused.

        Raises:
            InputError: as `Model.predict`; and an option that this engine does not have.
        """
        blocked = options.pop("block_ngrams", None)
        others = sorted(name for name, value in options.items() if value and name not in OPTIONS)
        others += ["block_ngrams"] if blocked else []
        if others:
            raise InputError(
                f"predict(): the engine ctranslate2 has no {', '.join(others)}. Leave it out, or use "
                f"regard's own engine."
            )
        if blocked is None and self.search.block_ngrams:
            raise InputError(
                f"predict(): decoding.block_ngrams of the model is {self.search.block_ngrams}, which the "
                f"engine ctranslate2 does not know. Block none, by --block-ngrams 0 or block_ngrams=0, or "
                f"predict with the run itself and regard's own engine."
            )
        engine = copy(self)
        engine.looks_again = alignments
        return Model.predict(engine, texts, block_ngrams=0, **options)

    def align(
        self, sources: Sequence[str], targets: Sequence[str], *, at_spaces_only: bool = False
    ) -> list[AttentionRecord]:
        """Refused: CTranslate2 tells where it looks only while it says its own.

        Raises:
            InputError: always.
        """
        raise InputError(
            "align(): the engine ctranslate2 cannot be made to say a target. Load the run itself."
        )

    def _searches(
        self, encoded: Sequence[Encoded], task: Any
    ) -> Iterator[tuple[list[int], list[list[Hypothesis]]]]:
        """While what was found of one batch is put together, CTranslate2 searches for the next ones.

        The longest texts come first, so that no worker is left with them at the end.
        """
        asked: deque[tuple[list[int], list[Any]]] = deque()
        lengths = [len(sentence.ids) for sentence in encoded]
        for chosen in reversed([*batches(lengths, task.rows, len(self.tokenizer), even=EVEN)]):
            sentences = [encoded[i] for i in chosen]
            asked.append((chosen, self._asked(sentences, chosen, task, task.nbest)))
            if len(asked) > AHEAD * self.translator.num_translators:
                yield self._answered(*asked.popleft(), encoded, task)
        while asked:
            yield self._answered(*asked.popleft(), encoded, task)

    def _answered(
        self, chosen: list[int], promises: list[Any], encoded: Sequence[Encoded], task: Any
    ) -> tuple[list[int], list[list[Hypothesis]]]:
        """The hypotheses of the texts of a batch that CTranslate2 was asked for."""
        sentences, results = [encoded[i] for i in chosen], [promise.result() for promise in promises]
        found = self._found_by(results, sentences, chosen, task)
        again = [row for row, result in enumerate(results) if _says(result, NEVER_SAID)]
        wider = [sentences[row] for row in again], [chosen[row] for row in again]
        for row, hypotheses in zip(again, self._search(*wider, task) if again else [], strict=True):
            found[row] = hypotheses
        return chosen, found

    def _search(
        self, sentences: Sequence[Encoded], numbers: Sequence[int], task: Any
    ) -> list[list[Hypothesis]]:
        """The same where some hypotheses say what is never said: the best of all of the beam that do not."""

        def searched(sentences: Sequence[Encoded], numbers: Sequence[int], *never: list[str]) -> Any:
            promises = self._asked(sentences, numbers, task, task.search.beam, never)
            return self._found_by([promise.result() for promise in promises], sentences, numbers, task)

        found = searched(sentences, numbers)
        lost = [row for row, hypotheses in enumerate(found) if not hypotheses]
        if lost:
            never = [[token] for token in sorted(NEVER_SAID)]
            again = searched([sentences[row] for row in lost], [numbers[row] for row in lost], *never)
            for row, hypotheses in zip(lost, again, strict=True):
                found[row] = hypotheses
        return found

    def _asked(
        self,
        sentences: Sequence[Encoded],
        numbers: Sequence[int],
        task: Any,
        count: int,
        suppressed: Sequence[list[str]] = (),
    ) -> list[Any]:
        """What will be the so many best hypotheses of each of some texts."""
        search: Search = task.search
        limits = [self._limit(len(s.ids), i, task) for s, i in zip(sentences, numbers, strict=True)]
        return self.translator.translate_batch(
            [self._spelling(sentence) for sentence in sentences],
            beam_size=search.beam,
            num_hypotheses=count,
            length_penalty=search.length_penalty,
            max_input_length=0,
            max_decoding_length=max(limits),
            min_decoding_length=search.min_length,
            suppress_sequences=list(suppressed),
            return_scores=True,
            return_attention=True,
            asynchronous=True,
        )

    def _found_by(
        self, results: Sequence[Any], sentences: Sequence[Encoded], numbers: Sequence[int], task: Any
    ) -> list[list[Hypothesis]]:
        """What CTranslate2 found, ranked as regard ranks it."""
        limits = [self._limit(len(s.ids), i, task) for s, i in zip(sentences, numbers, strict=True)]
        hypotheses = [
            self._ranked(result, len(sentence.ids), limit, task.search, task.nbest)
            for result, sentence, limit in zip(results, sentences, limits, strict=True)
        ]
        if task.search.beam > 1 and self.looks_again:
            self._mend(sentences, hypotheses)
        return hypotheses

    def _spelling(self, sentence: Encoded) -> list[str]:
        return [self.names[i] for i in sentence.ids]

    def _mend(self, sentences: Sequence[Encoded], hypotheses: Sequence[list[Hypothesis]]) -> None:
        """Write where the first step looked, which depends on no hypothesis, into the weights.

        A beam search of CTranslate2 (4.8 at least) counts what that step's heads would see of the padding
        behind shorter texts; its greedy search does not.
        """
        longest = max(len(sentence.ids) for sentence in sentences)
        shorter = [row for row, sentence in enumerate(sentences) if len(sentence.ids) < longest]
        if not shorter:
            return
        first = self.translator.translate_batch(
            [self._spelling(sentences[row]) for row in shorter],
            beam_size=1,
            max_input_length=0,
            max_decoding_length=1,
            return_attention=True,
        )
        for row, result in zip(shorter, first, strict=True):
            for hypothesis in hypotheses[row]:
                if len(hypothesis.weights) and result.attention[0]:
                    hypothesis.weights[0] = result.attention[0][0]

    def _ranked(self, result: Any, keys: int, limit: int, search: Search, nbest: int) -> list[Hypothesis]:
        """The best for a text by regard's length penalty; its own divides by length to the power α.

        It has one limit for all texts that it is given at once; what goes beyond a text's own is cut. The
        text has so many tokens, the keys of its attention.
        """
        alpha = search.length_penalty
        found = []
        for place, (said, score) in enumerate(zip(result.hypotheses, result.scores, strict=True)):
            if not NEVER_SAID.isdisjoint(said):
                continue
            log_probability = score * (len(said) + 1) ** alpha
            found.append((log_probability / penalty(len(said) + 1, alpha), log_probability, place))
        return [
            Hypothesis(
                [self.numbers[token] for token in result.hypotheses[place][:limit]],
                log_probability,
                score,
                _looked(result.attention[place], min(limit, len(result.hypotheses[place])), keys),
            )
            for score, log_probability, place in sorted(found, key=lambda entry: -entry[0])[:nbest]
        ]


def _says(result: Any, tokens: set[str]) -> bool:
    """Whether any hypothesis says one of some tokens."""
    return any(not tokens.isdisjoint(said) for said in result.hypotheses)


def _looked(attention: Sequence[Sequence[float]], length: int, keys: int) -> np.ndarray:
    """The weights (T, S) of a hypothesis, without those of its end."""
    return np.array(attention[:length], dtype=np.float32).reshape(length, keys)


@dataclass(frozen=True)
class _Limits:
    """What `Model` asks a network's settings for: how many positions it knows."""

    positions: str
    longest: int | None


def _translator(folder: Path, threads: int) -> Any:
    import ctranslate2

    threads = threads or os.cpu_count() or 1
    workers = min(threads, WORKERS)
    try:
        return ctranslate2.Translator(
            str(folder), device="cpu", inter_threads=workers, intra_threads=threads // workers
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"{folder}: CTranslate2 cannot read it: {error}") from None


def _about(folder: Path) -> dict[str, Any]:
    path = folder / "regard.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return {name: about[name] for name in ("name", "search", "positions")}
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path}: cannot be read ({error}). Write the folder with: regard export RUN --to ctranslate2 "
            f"--out FOLDER"
        ) from None


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """How CTranslate2 spells the tokens."""
    return [*SPECIAL_TOKENS, *tokenizer.tokens[len(SPECIAL_TOKENS) :]]


def _positions(model: Model) -> int:
    """How many positions the written model knows."""
    config = model.network.config
    return config.longest if config.positions == "learned" else longest(model)


def _waves(model: Model) -> Tensor:
    width = model.network.config.width
    return sinusoidal(_positions(model), width, interleaved=False, like=torch.zeros(0))


def _layer(layer: Any, weights: Mapping[str, Tensor], name: str, config: TransformerConfig) -> None:
    _attention(layer.self_attention, weights, f"{name}.attention", (("query", "keys", "values"),), config)
    if config.positions == "relative":
        for kind in ("keys", "values"):
            table = weights[f"{name}.attention.positions.{kind}"]
            setattr(layer.self_attention, f"relative_position_{kind}", table)
    if hasattr(layer, "attention"):
        _attention(
            layer.attention, weights, f"{name}.cross_attention", (("query",), ("keys", "values")), config
        )
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
