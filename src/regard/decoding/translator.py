"""The model as its users meet it: texts in, texts out, with scores and alignments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard.data.batches import rectangle
from regard.data.tokenization import START, UNKNOWN, Encoded, Tokenizer
from regard.decoding.beam import beam_search, length_penalty
from regard.decoding.greedy import Hypothesis, greedy
from regard.errors import InputError, TrainingError
from regard.evaluation.alignment import merge_pieces
from regard.record import AttentionRecord

BATCH_TOKENS = 4096
"""Source positions that are decoded at once, padding included, times the hypotheses kept of each sentence."""
SHORTEST = 8
"""Positions that a shorter text counts as: each row also takes the scores of a whole vocabulary."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of a text.

    Args:
        text: the output.
        score: log-probability, divided by the length penalty; 0 is certainty.
        alignment: which input words each output word looked at.
        unknown: how many tokens of the input the vocabulary does not hold.
        alternatives: all hypotheses asked for, best first, this one among them.
    """

    text: str
    score: float
    alignment: AttentionRecord
    unknown: int = 0
    alternatives: tuple[Prediction, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Search:
    """How to search.

    Args:
        beam: hypotheses kept at each step; 1 is greedy.
        length_penalty: α of Wu et al. 2016, eq. 14; 0 prefers short outputs, 1 is nearly the mean
            log-probability.
        longest_ratio, longest_extra: an output has at most ratio · source + extra tokens.
        replace_unknown: whether an unknown word is copied from the source word that the model looks at.
    """

    beam: int = 5
    length_penalty: float = 1.0
    longest_ratio: float = 2.0
    longest_extra: int = 20
    replace_unknown: bool = True


class Model:
    """A trained encoder–decoder with its tokenizer.

    Args:
        network: such as `regard.models.recurrent.RecurrentTranslator`.
        tokenizer: of source and target.
        search: how to search where `predict` is not told otherwise.
        name: what pictures are titled with.
        recipe: the settings it was trained with, for whoever wants to know.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Tokenizer,
        *,
        search: Search | None = None,
        name: str = "",
        recipe: Any = None,
    ) -> None:
        self.network, self.tokenizer, self.name, self.recipe = network, tokenizer, name, recipe
        self.search = search or Search()

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.network.parameters())
        return f"<regard Model {self.name!r}: {parameters:,} parameters, {len(self.tokenizer):,} tokens>"

    def predict(
        self,
        texts: Sequence[str],
        *,
        beam: int | None = None,
        nbest: int = 1,
        length_penalty: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Say what the model says of each text. An empty text gives an empty one.

        Args:
            texts: inputs, in any order and of any length.
            beam: hypotheses kept at each step; 1 is greedy.
            nbest: how many of them to return as `alternatives`, at most `beam`.
            length_penalty: α of Wu et al. 2016, eq. 14.
            progress: called with the number of texts done after each batch.

        Raises:
            InputError: texts is one string, or the options contradict each other.
            TrainingError: the model's probabilities are not numbers.
        """
        if isinstance(texts, str):
            raise InputError("predict(): texts is a list of texts; put one into a list: predict([text]).")
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"predict(): text {number} is no text but {text!r}.")
        search = replace(
            self.search,
            beam=self.search.beam if beam is None else beam,
            length_penalty=self.search.length_penalty if length_penalty is None else length_penalty,
        )
        if search.beam < 1:
            raise InputError(f"predict(): beam is at least 1; got {search.beam}.")
        if not 1 <= nbest <= search.beam:
            raise InputError(
                f"predict(): nbest is from 1 to beam; got nbest={nbest} with beam={search.beam}."
            )
        encoded = self.tokenizer.encode([text.strip() for text in texts])
        predictions = [Prediction("", 0.0, self._record(e)) for e in encoded]
        done = 0
        for chosen in _batches([len(e.ids) for e in encoded], rows=search.beam):
            found = self._search([encoded[i] for i in chosen], search)
            for i, hypotheses in zip(chosen, found, strict=True):
                predictions[i] = self._prediction(encoded[i], hypotheses[:nbest], search.replace_unknown)
            done += len(chosen)
            if progress is not None:
                progress(done)
        return predictions

    def align(
        self, sources: Sequence[str], targets: Sequence[str], *, at_spaces_only: bool = False
    ) -> list[AttentionRecord]:
        """Where the model looks while it is made to say the given targets, one record a pair.

        Args:
            sources, targets: as many of one as of the other.
            at_spaces_only: whether words are what stands between spaces, punctuation included, as in files of
                gold links.

        Raises:
            InputError: one string for many, or not as many targets as sources.
        """
        if isinstance(sources, str) or isinstance(targets, str):
            raise InputError("align(): takes lists of texts: align([source], [target]).")
        if len(sources) != len(targets):
            raise InputError(
                f"align(): {len(sources)} sources but {len(targets)} targets; one is needed for each."
            )
        left, right = (self.tokenizer.encode([text.strip() for text in side]) for side in (sources, targets))
        records = [self._record(e, at_spaces_only=at_spaces_only) for e in left]
        for chosen in _batches([len(a.ids) if b.ids else 0 for a, b in zip(left, right, strict=True)]):
            source, lengths = _tensors([left[i].ids for i in chosen])
            given = torch.from_numpy(rectangle([[START, *right[i].ids[:-1]] for i in chosen]))
            with torch.inference_mode():
                self.network.eval()
                weights = self.network(source, lengths, given)[1].float().numpy()
            for row, i in enumerate(chosen):
                attention = weights[row, : len(right[i].ids), : len(left[i].ids)]
                records[i] = self._record(left[i], right[i].tokens, attention, at_spaces_only=at_spaces_only)
        return records

    def _search(self, sentences: Sequence[Encoded], search: Search) -> list[list[Hypothesis]]:
        source, lengths = _tensors([sentence.ids for sentence in sentences])
        limits = (lengths * search.longest_ratio).long() + search.longest_extra
        self.network.eval()
        alpha = search.length_penalty
        if search.beam == 1:
            found = [[_ranked(h, alpha)] for h in greedy(self.network, source, lengths, limits)]
        else:
            found = beam_search(self.network, source, lengths, limits, beam=search.beam, alpha=alpha)
        if any(not hypotheses or math.isnan(hypotheses[0].score) for hypotheses in found):
            raise TrainingError(
                "predict(): the model's probabilities are not numbers; its weights have overflowed or are "
                "damaged. Train again, perhaps with a smaller training.learning_rate."
            )
        return found

    def _prediction(
        self, source: Encoded, hypotheses: Sequence[Hypothesis], replace_unknown: bool
    ) -> Prediction:
        spelt = [self._spelt(source, hypothesis, replace_unknown) for hypothesis in hypotheses]
        options = tuple(
            Prediction(
                self.tokenizer.join(tokens),
                hypothesis.score,
                self._record(source, tokens, hypothesis.weights, copied),
                source.unknown,
            )
            for hypothesis, (tokens, copied) in zip(hypotheses, spelt, strict=True)
        )
        return replace(options[0], alternatives=options)

    def _spelt(
        self, source: Encoded, hypothesis: Hypothesis, replace_unknown: bool
    ) -> tuple[list[str], set[int]]:
        """The tokens of an output, unknown ones copied from where they looked, and which ones were.

        A word that the model cannot say is most likely one that it cannot read: where the source has unknown
        words, the one looked at most is copied, else whichever word is. A step that looked nowhere copies
        nothing.
        """
        tokens = [self.tokenizer.tokens[i] for i in hypothesis.tokens]
        unknown = [i for i, token in enumerate(hypothesis.tokens) if token == UNKNOWN]
        copied = {i for i in unknown if replace_unknown and hypothesis.weights[i].any()}
        candidates = [j for j, token in enumerate(source.ids) if token == UNKNOWN] or range(len(source.ids))
        for i in copied:
            tokens[i] = source.tokens[max(candidates, key=hypothesis.weights[i].__getitem__)]
        return tokens, copied

    def _record(
        self,
        source: Encoded,
        target: Sequence[str] = (),
        weights: np.ndarray | None = None,
        copied: set[int] | frozenset[int] = frozenset(),
        *,
        at_spaces_only: bool = False,
    ) -> AttentionRecord:
        """The attention between words, from the attention between tokens (len(target), len(source))."""
        columns = self.tokenizer.words(source.tokens, at_spaces_only=at_spaces_only)
        rows = self.tokenizer.words(target, at_spaces_only=at_spaces_only)
        weights = np.empty((0, len(columns))) if weights is None else weights
        return AttentionRecord(
            weights=merge_pieces(weights, rows, columns),
            query_tokens=self._words(target, rows),
            key_tokens=self._words(source.tokens, columns),
            title=self.name,
            copied=frozenset(rows[i] for i in copied),
        )

    def _words(self, tokens: Sequence[str], numbers: Sequence[int]) -> tuple[str, ...]:
        """The words that tokens make up, given the number of the word that each is part of."""
        pieces: list[list[str]] = [[] for _ in range(max(numbers, default=-1) + 1)]
        for token, number in zip(tokens, numbers, strict=True):
            pieces[number].append(token)
        return tuple(self.tokenizer.join(word) for word in pieces)


def _ranked(hypothesis: Hypothesis, alpha: float) -> Hypothesis:
    """A hypothesis of greedy search with the score that beam search would give it."""
    penalty = length_penalty(len(hypothesis.tokens) + 1, alpha)
    return replace(hypothesis, score=hypothesis.log_probability / penalty)


def _batches(lengths: Sequence[int], rows: int = 1) -> Iterator[list[int]]:
    """The positions of texts that are not empty, shortest first, as many at a time as may be decoded at once.

    Args:
        lengths: tokens of each text.
        rows: hypotheses kept of each.
    """
    chosen: list[int] = []
    for i in sorted((i for i, length in enumerate(lengths) if length), key=lengths.__getitem__):
        if chosen and (len(chosen) + 1) * rows * max(lengths[i], SHORTEST) > BATCH_TOKENS:
            yield chosen
            chosen = []
        chosen.append(i)
    if chosen:
        yield chosen


def _tensors(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rectangle(rows)), torch.tensor([len(row) for row in rows])
