"""Networks whose probabilities are written down, with so few words that all outputs can be listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn

from regard.data.tokenization import END, PAD, START, UNKNOWN, Tokenizer
from regard.decoding.translator import Model, Search


class Rows:
    """Something kept for each row."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def select(self, rows: Tensor) -> Rows:
        return Rows(self.values[rows])


class Table(nn.Module):
    """Says word w after word v with log-probability table[v, w], and looks at nothing in particular."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def encode(self, source: Tensor, lengths: Tensor) -> Rows:
        return Rows(source)

    def start(self, encoded: Rows) -> tuple[Rows, Rows]:
        return encoded, encoded

    def step(self, steps: Rows, state: Rows, words: Tensor) -> tuple[Tensor, Tensor, Rows]:
        return self.table[words].clone(), torch.ones(len(words), steps.values.shape[1]), state

    def said(self, tokens: list[int]) -> float:
        """The log-probability of tokens with the end."""
        path = [START, *tokens, END]
        return sum(float(self.table[v, w]) for v, w in pairwise(path))


def table(vocabulary: int, seed: int, *, unknown: bool = False) -> Table:
    """A network of random opinions, which may or may not say unknown words."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(vocabulary, vocabulary, generator=generator, dtype=torch.float64)
    logits[:, [PAD, START] if unknown else [PAD, START, UNKNOWN]] = -torch.inf
    return Table(torch.log_softmax(logits, dim=-1))


def toy(
    kind: Any = "bpe",
    seed: int = 0,
    texts: Sequence[str] = ("ab b, ab a, b",) * 3,
    *,
    vocabulary: int = 10,
    limit: int = 4,
    unknown: bool = False,
    **options: Any,
) -> Model:
    """A model of a handful of tokens that says at most `limit` of them; its beam holds all it can say."""
    tokenizer = Tokenizer.train(texts, kind, vocabulary=vocabulary, **options)
    search = Search(beam=5000, length_penalty=0.0, longest_ratio=1e-9, longest_extra=limit)
    return Model(table(len(tokenizer), seed, unknown=unknown), tokenizer, search=search)


def outputs(model: Model, limit: int = 4) -> Iterator[list[int]]:
    """All sequences of at most so many tokens, none of them unknown."""
    words = [token for token in range(len(model.tokenizer)) if token not in (PAD, START, END, UNKNOWN)]
    for length in range(limit + 1):
        yield from (list(said) for said in product(words, repeat=length))


def spelt(model: Model, tokens: list[int]) -> str:
    """The text of tokens."""
    return model.tokenizer.join([model.tokenizer.tokens[token] for token in tokens])
