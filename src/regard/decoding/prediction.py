"""What a model says of a text, and which words it looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from regard.data.tokenization import Tokenizer
from regard.evaluation.alignment import merge_pieces
from regard.record import AttentionRecord


@dataclass(frozen=True)
class Prediction:
    """What a model says of a text.

    Args:
        text: the output.
        score: log-probability, divided by the length penalty; 0 is certainty.
        look: gives the alignment, when it is first asked for.
        unknown: how many tokens of the input the vocabulary does not hold.
        alternatives: all hypotheses asked for, best first, this one among them.
    """

    text: str
    score: float
    look: Callable[[], AttentionRecord] = field(repr=False, compare=False)
    unknown: int = 0
    alternatives: tuple[Prediction, ...] = field(default=(), repr=False)

    @cached_property
    def alignment(self) -> AttentionRecord:
        """Which input words each output word looked at."""
        return self.look()

    def __str__(self) -> str:
        return self.text

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the alignment, not what it would be made of."""
        return vars(self) | {"look": partial(_known, self.alignment)}


def _known(record: AttentionRecord) -> AttentionRecord:
    return record


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where tokens looked, to be told of words.

    Args:
        tokenizer: knows which tokens are one word.
        title: of the record, such as the model's name.
        source, target: tokens; none of the target where nothing was said.
        weights: (len(target), len(source)); None where nothing was said.
        copied: the target's tokens that were copied.
        at_spaces_only: whether words are what stands between spaces, punctuation included.
    """

    tokenizer: Tokenizer
    title: str
    source: Sequence[str]
    target: Sequence[str] = ()
    weights: np.ndarray | None = None
    copied: frozenset[int] = frozenset()
    at_spaces_only: bool = False

    def __call__(self) -> AttentionRecord:
        """The attention between words, from the attention between tokens."""
        cut = partial(self.tokenizer.words, at_spaces_only=self.at_spaces_only)
        columns, rows = cut(self.source), cut(self.target)
        weights = np.empty((0, len(columns))) if self.weights is None else self.weights
        return AttentionRecord(
            weights=merge_pieces(weights, rows, columns),
            query_tokens=self._words(self.target, rows),
            key_tokens=self._words(self.source, columns),
            title=self.title,
            copied=frozenset(rows[i] for i in self.copied),
        )

    def _words(self, tokens: Sequence[str], numbers: Sequence[int]) -> tuple[str, ...]:
        """The words that tokens make up, given the number of the word that each is part of."""
        pieces: list[list[str]] = [[] for _ in range(max(numbers, default=-1) + 1)]
        for token, number in zip(tokens, numbers, strict=True):
            pieces[number].append(token)
        return tuple(self.tokenizer.join(word) for word in pieces)
