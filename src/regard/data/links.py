"""Links between words, brought to the tokens of a batch, however words are cut in an epoch.

What lasts through all ways to cut a text are its characters: each of them knows its word, and a token is part
of the word of its first character.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from regard.data.ragged import Ragged
from regard.data.tokenization import SPECIAL_TOKENS, Tokenizer

Link = tuple[int, int]


@dataclass(frozen=True, eq=False)
class WordLinks:
    """The links of all pairs of a corpus.

    Args:
        source_words, target_words: of each text the word that each of its characters is part of.
        target_ends, source_ends: of each pair the target and the source words of its links.
        widths: (V,), how many characters each token of the vocabulary stands for.
    """

    source_words: Ragged
    target_words: Ragged
    target_ends: Ragged
    source_ends: Ragged
    widths: np.ndarray

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        sources: Sequence[str],
        targets: Sequence[str],
        links: Sequence[Collection[Link]],
        *,
        at_spaces_only: bool,
    ) -> WordLinks:
        """Links between words of texts.

        Args:
            tokenizer: of both sides.
            sources, targets: the texts of each pair.
            links: of each pair, (target word, source word).
            at_spaces_only: what a word is, see `Tokenizer.words`.
        """
        widths = token_widths(tokenizer)
        ordered = [sorted(each) for each in links]
        return cls(
            _words_of_characters(tokenizer, sources, widths, at_spaces_only),
            _words_of_characters(tokenizer, targets, widths, at_spaces_only),
            Ragged.of([[target for target, _ in each] for each in ordered]),
            Ragged.of([[source for _, source in each] for each in ordered]),
            widths,
        )

    def shares(
        self, rows: np.ndarray, sources: Ragged, targets: Ragged, shape: tuple[int, int]
    ) -> np.ndarray:
        """Where each target token of some pairs should look.

        Args:
            rows: (B,), which pairs.
            sources, targets: the token ids of all pairs, as they are cut now.
            shape: (T, S), how wide the rectangles of target and source are.

        Returns:
            (B, T, S) float32: over the tokens of all source words that its word is linked with, each alike,
            summing to 1; zeros for a token without links.
        """
        source = self._words(self.source_words, sources, rows, shape[1])
        target = self._words(self.target_words, targets, rows, shape[0])
        linked = np.zeros((len(rows), target.max(initial=0) + 2, source.max(initial=0) + 2), np.float32)
        counts = self.target_ends.offsets[rows + 1] - self.target_ends.offsets[rows]
        places = self.target_ends.places(rows)
        ends = self.target_ends.values[places], self.source_ends.values[places]
        inside = (ends[0] < linked.shape[1] - 1) & (ends[1] < linked.shape[2] - 1)
        linked[np.repeat(np.arange(len(rows)), counts)[inside], ends[0][inside], ends[1][inside]] = 1
        shares = linked[np.arange(len(rows))[:, None, None], target[:, :, None], source[:, None]]
        return shares / np.maximum(shares.sum(axis=2, keepdims=True), 1)

    def _words(self, words: Ragged, ids: Ragged, rows: np.ndarray, width: int) -> np.ndarray:
        """(B, width): the word of each token; −1, the last one of any array, behind the end of a text."""
        lengths = ids.offsets[rows + 1] - ids.offsets[rows]
        result = np.full((len(rows), width), -1, dtype=np.int64)
        tokens = np.full((len(rows), width), 0, dtype=np.int64)
        real = np.arange(width) < lengths[:, None]
        tokens[real] = self.widths[ids.values[ids.places(rows)]]
        begins = (tokens.cumsum(axis=1) - tokens + words.offsets[rows][:, None])[real]
        result[real] = words.values[begins]
        return result


def token_widths(tokenizer: Tokenizer) -> np.ndarray:
    """(V,), how many characters each token stands for; 1 for all where a text is always cut alike."""
    widths = np.ones(len(tokenizer), dtype=np.int64)
    if tokenizer.subwords:
        widths[len(SPECIAL_TOKENS) :] = [len(token) for token in tokenizer.tokens[len(SPECIAL_TOKENS) :]]
    return widths


def _words_of_characters(
    tokenizer: Tokenizer, texts: Sequence[str], widths: np.ndarray, at_spaces_only: bool
) -> Ragged:
    encoded = tokenizer.encode(texts)
    tokens = Ragged.of([e.ids for e in encoded])
    words = (tokenizer.words(e.tokens, at_spaces_only=at_spaces_only) for e in encoded)
    numbers = np.fromiter(chain.from_iterable(words), np.int32, len(tokens.values))
    repeats = widths[tokens.values]
    ends = np.concatenate([[0], np.cumsum(repeats)])
    return Ragged(np.repeat(numbers, repeats), ends[tokens.offsets])
