"""Rules for outputs: what must not be said next is made impossible before a search chooses.

A rule looks at what the rows of a batch have said and writes −∞ into the log-probabilities of next words.
Every search asks the same rules, and hands back what they remember of each row after choosing its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from regard.data.tokenization import END, PAD, START

NEVER = float("-inf")
NOTHING = torch.empty(0, dtype=torch.long)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a search is.

    Args:
        length: how many words each row has said.
        sentences: (R,), which sentence of the batch each row says.
        left: (R,), how many words each row may still say, the end not counted.
    """

    length: int
    sentences: Tensor
    left: Tensor


class Rule(Protocol):
    """Something that outputs keep to."""

    def start(self, sentences: Tensor) -> Any:
        """What it remembers of rows (R,) that have said nothing, given the sentence of each."""
        ...

    def apply(self, log_probabilities: Tensor, remembered: Any, place: Place) -> None:
        """Write −∞ into log_probabilities (R, V) where the next word would break the rule."""
        ...

    def advance(self, remembered: Any, parents: Tensor, words: Tensor) -> Any:
        """What it remembers of rows that went on from rows `parents` (R',) with `words` (R',)."""
        ...


@dataclass(frozen=True)
class MinimumLength:
    """No end before so many tokens."""

    tokens: int

    def start(self, sentences: Tensor) -> None:
        """Nothing is remembered."""

    def apply(self, log_probabilities: Tensor, remembered: None, place: Place) -> None:
        """Forbid the end."""
        if place.length < self.tokens:
            log_probabilities[:, END] = NEVER

    def advance(self, remembered: None, parents: Tensor, words: Tensor) -> None:
        """Nothing is remembered."""


class WholeWord:
    """Where a given beginning ends with a space, what comes next begins with it.

    Args:
        lengths: (B,), the tokens of each sentence's beginning; −1 where the rule says nothing.
        begin: (V,), which tokens begin with a space.
    """

    def __init__(self, lengths: Tensor, begin: Tensor) -> None:
        self.lengths = lengths
        self.go_on = ~begin
        self.go_on[END] = False

    def start(self, sentences: Tensor) -> None:
        """Nothing is remembered."""

    def apply(self, log_probabilities: Tensor, remembered: None, place: Place) -> None:
        """Forbid to go on with the last word of the beginning."""
        behind = (self.lengths[place.sentences] == place.length).nonzero()[:, 0]
        if len(behind):
            log_probabilities[behind[:, None], self.go_on.nonzero()[:, 0]] = NEVER

    def advance(self, remembered: None, parents: Tensor, words: Tensor) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True)
class Rules:
    """All rules of a batch of sentences.

    Args:
        rules: each asked for itself.
        beginnings: the tokens that each sentence begins with, which no rule can forbid; empty for none.
    """

    rules: Sequence[Rule] = ()
    beginnings: Sequence[Sequence[int]] = ()
    _given: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = torch.full((len(self.beginnings), max(map(len, self.beginnings), default=0)), -1)
        for row, beginning in zip(given, self.beginnings, strict=True):
            row[: len(beginning)] = torch.tensor(beginning, dtype=torch.long)
        object.__setattr__(self, "_given", given)

    def start(self, sentences: Tensor) -> tuple[Any, ...]:
        """What the rules remember of rows (R,) that have said nothing, given the sentence of each."""
        return tuple(rule.start(sentences) for rule in self.rules)

    def apply(self, log_probabilities: Tensor, remembered: tuple[Any, ...], place: Place) -> None:
        """Write −∞ where a row may not go; padding and start are never said."""
        log_probabilities[:, [PAD, START]] = NEVER
        rows, given = self._given_next(place)
        likely = log_probabilities[rows, given]
        for rule, known in zip(self.rules, remembered, strict=True):
            rule.apply(log_probabilities, known, place)
        full = place.left <= 0
        if full.any():
            log_probabilities[full, :END] = NEVER
            log_probabilities[full, END + 1 :] = NEVER
        if len(rows):
            log_probabilities[rows] = NEVER
            log_probabilities[rows, given] = likely

    def advance(self, remembered: tuple[Any, ...], parents: Tensor, words: Tensor) -> tuple[Any, ...]:
        """What the rules remember of rows that went on from rows `parents` with `words`."""
        return tuple(
            rule.advance(known, parents, words) for rule, known in zip(self.rules, remembered, strict=True)
        )

    def _given_next(self, place: Place) -> tuple[Tensor, Tensor]:
        """Which rows are given their next token, and which one."""
        if place.length >= self._given.shape[1]:
            return NOTHING, NOTHING
        given = self._given[place.sentences, place.length]
        rows = (given >= 0).nonzero()[:, 0]
        return rows, given[rows]
