"""What every head of a Transformer looks at, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from regard.data.tokenization import SPECIAL_TOKENS, START, Encoded
from regard.decoding.translator import Model
from regard.errors import InputError
from regard.evaluation.alignment import merge_pieces
from regard.evaluation.heads import describe
from regard.record import AttentionRecord

Kind = Literal["encoder", "decoder", "cross", "copy"]
"""Source words at source words, target words at those before them, target words at source words; of a model
that copies, what is copied from."""
KINDS: tuple[str, ...] = get_args(Kind)


class Side(NamedTuple):
    """The words on one side of a map: which word each token is part of, and how these are spelt."""

    numbers: list[int]
    words: tuple[str, ...]


def heads(
    model: Model,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    kind: str = "cross",
    layer: int | None = None,
    head: int | None = None,
) -> list[AttentionRecord]:
    """The weights of single heads while a Transformer is made to say the given targets.

    Args:
        model: a trained Transformer.
        sources, targets: as many of one as of the other.
        kind: "encoder", "decoder", "cross" or, of a model that copies, "copy".
        layer, head: from 0; None for all.

    Returns:
        For each pair, in order, a record with the axes layer, head, query and key, and numbers of each head.
        A row belongs to the word that its step emits; in the decoder's own attention the first key is the
        start.

    Raises:
        InputError: not a Transformer, or a kind, a layer or a head that it has not got; as many targets as
            sources are needed.
    """
    if isinstance(sources, str) or isinstance(targets, str) or len(sources) != len(targets):
        raise InputError("heads(): takes two lists of as many texts: heads(model, [source], [target]).")
    names = _names(model, kind, layer)
    numbers = _heads(model, kind, head)
    left, right = (model.tokenizer.encode([text.strip() for text in side]) for side in (sources, targets))
    return [
        _record(model, source, target, names, numbers) for source, target in zip(left, right, strict=True)
    ]


def _names(model: Model, kind: str, layer: int | None) -> list[str]:
    """The attentions that are asked for, as the network calls them."""
    if not hasattr(model.network, "attentions"):
        raise InputError(
            "heads(): the model has no layers of heads, as one Transformer has. What it looks at is shown "
            "without kind, layer and head."
        )
    known = [name.split(".") for name in model.network.attentions]
    kinds = list(dict.fromkeys(name for name, _ in known))
    if kind not in kinds:
        raise InputError(f"heads(): kind is one of {', '.join(kinds)}; got {kind!r}.")
    layers = [int(number) for name, number in known if name == kind]
    if layer is not None and layer not in layers:
        raise InputError(f"heads(): layer is from 0 to {len(layers) - 1} in the {kind}; got {layer}.")
    return [f"{kind}.{number}" for number in layers if layer in (None, number)]


def _heads(model: Model, kind: str, head: int | None) -> list[int]:
    """The heads that are asked for, from 0."""
    count = 1 if kind == "copy" else model.network.config.heads
    if head is not None and not 0 <= head < count:
        raise InputError(f"heads(): head is from 0 to {count - 1}; got {head}.")
    return list(range(count)) if head is None else [head]


def _record(
    model: Model, source: Encoded, target: Encoded, names: Sequence[str], chosen: Sequence[int]
) -> AttentionRecord:
    inputs, outputs = _side(model, source), _side(model, target)
    given = [START, *target.ids[:-1]]
    seen = {}
    if source.ids:
        with torch.inference_mode():
            model.network.eval()
            seen = model.network.look(
                torch.tensor([source.ids]), torch.tensor([len(source.ids)]), torch.tensor([given]), names
            )
    kind = names[0].split(".")[0]
    queries, keys = (inputs if kind == "encoder" else outputs), inputs
    if kind == "decoder":
        before = [0, *(word + 1 for word in outputs.numbers[:-1])]
        keys = Side(before, (SPECIAL_TOKENS[START], *outputs.words)[: max(before) + 1])
    weights = np.zeros((len(names), len(chosen), len(queries.words), len(keys.words)), np.float32)
    for layer, name in enumerate(names):
        for place, head in enumerate(chosen):
            if name in seen:
                own = seen[name][0, head].float().numpy()[: len(queries.numbers)]
                weights[layer, place] = merge_pieces(own, queries.numbers, keys.numbers)
    return AttentionRecord(
        weights=weights,
        query_tokens=queries.words,
        key_tokens=keys.words,
        axes=("layer", "head", "query", "key"),
        title=_title(model, kind, names, chosen),
        metadata={"kind": kind},
        statistics=_described(weights, kind, keys.words),
    )


def _title(model: Model, kind: str, names: Sequence[str], chosen: Sequence[int]) -> str:
    layer = f", layer {names[0].split('.')[1]}" if len(names) == 1 < len(_names(model, kind, None)) else ""
    head = f", head {chosen[0]}" if len(chosen) == 1 < len(_heads(model, kind, None)) else ""
    return f"{model.name} {kind}{layer}{head}".strip()


def _described(weights: np.ndarray, kind: str, words: Sequence[str]) -> dict[str, np.ndarray]:
    """What kind of head each is; where a text does not look at itself alone, how widely it looks."""
    if not weights.size:
        return {}
    numbers = {word: number for number, word in enumerate(words)}
    itself = kind == "encoder"
    return describe(
        weights, offset=0 if itself else None, tokens=[numbers[word] for word in words] if itself else None
    )


def _side(model: Model, encoded: Encoded) -> Side:
    numbers = model.tokenizer.words(encoded.tokens)
    words: list[list[str]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for token, number in zip(encoded.tokens, numbers, strict=True):
        words[number].append(token)
    return Side(numbers, tuple(model.tokenizer.join(word) for word in words))
