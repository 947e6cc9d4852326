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
        layer: from 1; None for all. head: from 1; None for all.

    Returns:
        For each pair, in order, a record for each layer and head, named in its title and metadata. A row
        belongs to the word that its step emits; in the decoder's own attention the first key is the start.

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
        record
        for source, target in zip(left, right, strict=True)
        for record in _records(model, source, target, names, numbers)
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
    if layer is not None and layer - 1 not in layers:
        raise InputError(f"heads(): layer is from 1 to {len(layers)} in the {kind}; got {layer}.")
    return [f"{kind}.{number}" for number in layers if layer in (None, number + 1)]


def _heads(model: Model, kind: str, head: int | None) -> list[int]:
    """The heads that are asked for, from 0."""
    count = 1 if kind == "copy" else model.network.config.heads
    if head is not None and not 1 <= head <= count:
        raise InputError(f"heads(): head is from 1 to {count}; got {head}.")
    return list(range(count)) if head is None else [head - 1]


def _records(
    model: Model, source: Encoded, target: Encoded, names: Sequence[str], chosen: Sequence[int]
) -> list[AttentionRecord]:
    inputs, outputs = _side(model, source), _side(model, target)
    given = [START, *target.ids[:-1]]
    seen = {}
    if source.ids:
        with torch.inference_mode():
            model.network.eval()
            seen = model.network.look(
                torch.tensor([source.ids]), torch.tensor([len(source.ids)]), torch.tensor([given]), names
            )
    records = []
    for name in names:
        kind, number = name.split(".")
        queries, keys = (inputs if kind == "encoder" else outputs), inputs
        if kind == "decoder":
            before = [0, *(word + 1 for word in outputs.numbers[:-1])]
            keys = Side(before, (SPECIAL_TOKENS[START], *outputs.words)[: max(before) + 1])
        for head in chosen:
            weights = np.zeros((len(queries.numbers), len(keys.numbers)), np.float32)
            if name in seen:
                weights = seen[name][0, head].float().numpy()[: len(queries.numbers)]
            records.append(
                AttentionRecord(
                    weights=merge_pieces(weights, queries.numbers, keys.numbers),
                    query_tokens=queries.words,
                    key_tokens=keys.words,
                    title=f"{model.name} {kind} {int(number) + 1}, head {head + 1}".strip(),
                    metadata={"kind": kind, "layer": str(int(number) + 1), "head": str(head + 1)},
                )
            )
    return records


def _side(model: Model, encoded: Encoded) -> Side:
    numbers = model.tokenizer.words(encoded.tokens)
    words: list[list[str]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for token, number in zip(encoded.tokens, numbers, strict=True):
        words[number].append(token)
    return Side(numbers, tuple(model.tokenizer.join(word) for word in words))
