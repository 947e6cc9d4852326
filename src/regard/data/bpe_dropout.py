"""BPE-dropout: the same words cut into other subwords each time they are seen.

Each word is cut by Algorithm 1 of the paper, every occurrence by draws of its own: from its characters on,
each merge that the vocabulary knows is left out with a given probability, the best of those that are left is
done, and so on until none is left. Merges are counted by where they stand, and one is done at a time, the
leftmost of equals first. This is written here, for a whole corpus at a time, because the dropout of the
`tokenizers` library (0.23) can't be repeated from a seed, and draws again for a merge that was left out
wherever it meets another one that is gone, so that it leaves more words whole than the paper's.

Source: Provilkov, Emelianenko and Voita 2020, arXiv:1910.13267, section 3.1, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regard.data.ragged import Ragged

WORDS_AT_A_TIME = 2**15
"""So many that what is worked on stays in a processor's cache."""

_NEVER = np.iinfo(np.int32).max
_HASH = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class CutTexts:
    """Texts as tokens that know where words begin, which is all that is needed to cut them anew.

    Args:
        ids: the token ids of each text.
        first: as many booleans as there are ids in all, whether a token is the first of its word.
    """

    ids: Ragged
    first: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> CutTexts:
        """Some of the texts, in the order asked for."""
        return CutTexts(self.ids.take(rows), self.first[self.ids.places(rows)])


class Merges:
    """What byte-pair encoding has learned: which two tokens become which third, and what goes first.

    Args:
        merges: pairs of tokens, the one to be done first in front.
        vocabulary: each token's id.
        specials: so many tokens at the front stand for no characters, and are never cut.
    """

    def __init__(self, merges: list[tuple[str, str]], vocabulary: dict[str, int], specials: int = 0) -> None:
        self.size = 1 + max(vocabulary.values(), default=0)
        pairs = [(vocabulary[left], vocabulary[right]) for left, right in merges]
        self._merged = np.array([vocabulary[left + right] for left, right in merges], dtype=np.int32)
        self._remember(np.array(pairs, dtype=np.uint64).reshape(-1, 2))
        self.pieces = _pieces(pairs, self._merged.tolist(), self.size, specials)

    def _remember(self, pairs: np.ndarray) -> None:
        """Put the pairs into a hash table with linear probing, which arrays of pairs are looked up in."""
        keys = self._keys(pairs[:, 0], pairs[:, 1])
        bits = max(8, int(np.ceil(np.log2(8 * max(1, len(keys))))))
        self._shift, self._probes = np.uint64(64 - bits), 1
        self._table = np.full(2**bits + len(keys), -1, dtype=np.int64)
        self._rank = np.full(2**bits + len(keys), _NEVER, dtype=np.int32)
        for rank, (key, slot) in enumerate(zip(keys.tolist(), self._slots(keys).tolist(), strict=True)):
            place = slot
            while self._table[place] not in (-1, key):
                place += 1
            if self._table[place] == -1:  # of a pair that is there twice the first counts
                self._table[place], self._rank[place] = key, rank
            self._probes = max(self._probes, place - slot + 1)

    def _keys(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return left.astype(np.uint64) * np.uint64(self.size) + right.astype(np.uint64)

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        return ((keys * _HASH) >> self._shift).astype(np.int64)

    def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The rank of each pair's merge, 0 the best; a very large number where the two never merge."""
        keys = self._keys(left, right)
        slots = self._slots(keys)
        keys = keys.astype(np.int64)
        found = np.where(self._table[slots] == keys, self._rank[slots], _NEVER)
        for probe in range(1, self._probes):
            (open_,) = np.nonzero(found == _NEVER)
            slot = slots[open_] + probe
            found[open_] = np.where(self._table[slot] == keys[open_], self._rank[slot], _NEVER)
        return found

    def cut(self, texts: CutTexts, dropout: float, random: np.random.Generator) -> Ragged:
        """Cut texts into tokens anew, each merge left out with the probability `dropout`."""
        ids, first = texts.ids.values, texts.first
        words = np.append(np.nonzero(first)[0], len(ids))
        counts = np.zeros(len(words) - 1, dtype=np.int64)
        parts = [np.empty(0, dtype=np.int32)]
        for start in range(0, len(words) - 1, WORDS_AT_A_TIME):
            begins = words[start : start + WORDS_AT_A_TIME + 1]
            tokens = ids[begins[0] : begins[-1]]
            letters = self.pieces.take(tokens)
            lengths = np.add.reduceat(letters.lengths, begins[:-1] - begins[0])
            part, number = self._cut_words(letters.values, lengths, dropout, random)
            parts.append(part)
            counts[start : start + len(number)] = number
        word_of_text = np.searchsorted(words, texts.ids.offsets)
        tokens_before = np.concatenate([[0], np.cumsum(counts)])
        return Ragged(np.concatenate(parts), tokens_before[word_of_text])

    def _cut_words(
        self, letters: np.ndarray, lengths: np.ndarray, dropout: float, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of some words, word after word, and how many each has.

        Every round does one merge in each word that has one left; the other words are done.
        """
        result = np.full(len(letters), -1, dtype=np.int32)
        place = np.arange(len(letters))  # where in the result each token will stand
        tokens, starts, lengths_left = letters, np.cumsum(lengths) - lengths, lengths
        ranks = np.append(self.ranks(tokens[:-1], tokens[1:]), np.int32(_NEVER))
        ranks[starts + lengths - 1] = _NEVER  # nothing merges with the next word
        while len(tokens):
            order = ranks.astype(np.int64) << 32 | np.arange(len(tokens))
            if dropout:
                order[random.random(len(tokens), dtype=np.float32) < dropout] = _NEVER << 32
            best = np.minimum.reduceat(order, starts)
            merging = best < _NEVER << 32
            at = best[merging] & 0xFFFFFFFF
            tokens = tokens.copy()
            tokens[at] = self._merged[ranks[at]]
            done = np.repeat(~merging, lengths_left)
            result[place[done]] = tokens[done]
            done[at + 1] = True
            kept = ~done
            new = np.cumsum(kept) - 1
            tokens, place, ranks = tokens[kept], place[kept], ranks[kept]
            lengths_left = lengths_left[merging] - 1
            starts = np.cumsum(lengths_left) - lengths_left
            at = new[at]
            is_last = at == starts + lengths_left - 1
            ranks[at[is_last]] = _NEVER
            left = np.concatenate([at[~is_last], at[at > starts] - 1])
            ranks[left] = self.ranks(tokens[left], tokens[left + 1])
        written = result >= 0
        return result[written], np.add.reduceat(written, np.cumsum(lengths) - lengths, dtype=np.int64)


def _pieces(pairs: list[tuple[int, int]], merged: list[int], size: int, specials: int) -> Ragged:
    """The characters of each token, as token ids."""
    characters: list[list[int]] = [[token] for token in range(size)]
    for (left, right), token in zip(pairs, merged, strict=True):
        characters[token] = characters[left] + characters[right]
    characters[:specials] = [[token] for token in range(specials)]
    return Ragged.of(characters)
