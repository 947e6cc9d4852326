"""Words that must not be said: given phrases, and n-grams that have been said before.

Both are sequences of words of which the last one is avoided where the others have just been said. They are
told by their text, however it is cut into tokens, and a word counts only when it ends: «Hundert» is not
«Hund», though it may begin with the same token. A search that keeps several hypotheses (`ahead`) lets such a
word begin and forbids it to end, and gives it up where it would have to go on against all probability; one
that keeps a single hypothesis forbids the token that would spell it in full.

Source of blocked n-grams: Paulus, Xiong and Socher 2018, section 2.5, arXiv:1705.04304.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.data.tokenization import END
from regard.decoding.constraints import NEVER, Place
from regard.decoding.spelling import Spelling

GOES_ON = 0.01
"""With tokens less probable than this a word that must not be said does not go on as another one."""

Endings = Mapping[tuple[str, ...], Collection[str]]
"""Which words may not follow a sequence of words."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a row has said.

    Args:
        words: that have ended.
        current: what there is of the word that has not.
        last: the last token; −1 before the first.
        sentence: which one of the batch it says.
        endings: which words may not follow which.
    """

    sentence: int
    endings: Endings
    words: tuple[str, ...] = ()
    current: str = ""
    last: int = -1


class Avoided(ABC):
    """Rows must not say certain last words of certain sequences.

    Args:
        spelling: what tokens spell.
        ahead: whether a word that must not be said may begin as another one does.
        folded: whether large and small letters are the same.
    """

    def __init__(self, spelling: Spelling, *, ahead: bool, folded: bool) -> None:
        self.spelling, self.ahead = spelling, ahead
        self.texts = spelling.folded if folded else spelling.texts
        self.tokens_of = spelling.folded_by if folded else spelling.spelt_by
        self.opens, self.closes, self.blank, self.marks, self.final = (
            flags.tolist()
            for flags in (spelling.opens, spelling.closes, spelling.blank, spelling.marks, spelling.final)
        )

    @abstractmethod
    def endings(self, sentence: int) -> Endings:
        """Which words may not follow which, where nothing has been said."""

    @abstractmethod
    def ended(self, said: Said) -> Endings:
        """The same, now that another word has ended, the last of `said.words`."""

    def silent(self, said: Said) -> bool:
        """Whether nothing is to be avoided, whatever comes next."""
        return not said.endings

    def avoided_next(self, said: Said) -> set[str]:
        """Which words may not follow the current one."""
        return self.avoided(said.endings, (*said.words, said.current) if said.current else said.words)

    @property
    @abstractmethod
    def orders(self) -> Sequence[int]:
        """How many words the sequences have, the avoided one included."""

    def start(self, sentences: Tensor) -> list[Said]:
        """Nothing is said yet."""
        return [Said(sentence, self.endings(sentence)) for sentence in sentences.tolist()]

    def advance(self, remembered: list[Said], parents: Tensor, words: Tensor) -> list[Said]:
        """Each parent with one token more."""
        return [
            self._with(remembered[parent], token)
            for parent, token in zip(parents.tolist(), words.tolist(), strict=True)
        ]

    def _with(self, said: Said, token: int) -> Said:
        text = self.texts[token]
        if said.last < 0 or not self._begins(said.last, token):
            return replace(said, current=said.current + text, last=token)
        said = replace(said, words=(*said.words, said.current), current=text, last=token)
        return replace(said, endings=self.ended(said))

    def _begins(self, before: int, token: int) -> bool:
        if self.blank[before] or self.marks[token]:
            return False
        return self.opens[token] or self.closes[before]

    def apply(self, log_probabilities: Tensor, remembered: list[Said], place: Place) -> None:
        """Forbid words to end, or the tokens that would end them."""
        rows: list[int] = []
        tokens: list[int] = []
        for row, said in enumerate(remembered):
            if self.silent(said):
                continue
            if self.ahead and said.current and said.current in self.avoided(said.endings, said.words):
                self._go_on(log_probabilities[row], said.last)
            for token in self._completing(said):
                rows.append(row)
                tokens.append(token)
        if rows:
            log_probabilities[rows, tokens] = NEVER

    def avoided(self, endings: Endings, words: tuple[str, ...]) -> set[str]:
        """Which words may not follow others."""
        found: set[str] = set()
        for order in self.orders:
            if len(words) >= order - 1:
                found.update(endings.get(words[len(words) - order + 1 :], ()))
        return found

    def _completing(self, said: Said) -> Iterator[int]:
        """The tokens that are forbidden because they would spell an avoided word in full."""
        first = said.last < 0
        if not first:
            for word in self.avoided(said.endings, said.words):
                if len(word) > len(said.current) and word.startswith(said.current):
                    for token in self.tokens_of.get(word[len(said.current) :], ()):
                        if self._blocked(token) and not self._begins(said.last, token):
                            yield token
        for word in self.avoided_next(said):
            for token in self.tokens_of.get(word, ()):
                if self._blocked(token) and (first or self._begins(said.last, token)):
                    yield token

    def _go_on(self, log_probabilities: Tensor, last: int) -> None:
        """Forbid (V,) all that would end the current word, and all that it hardly ever goes on with."""
        rare = log_probabilities.exp() < GOES_ON
        log_probabilities.masked_fill_(self._closers(last) | rare, NEVER)

    def _blocked(self, token: int) -> bool:
        """Whether a token that spells an avoided word in full is forbidden, not what follows it."""
        return not self.ahead or self.final[token]

    def _closers(self, last: int) -> Tensor:
        """(V,), which tokens would end the current word."""
        begins = self.spelling.begins(torch.tensor(last), torch.arange(len(self.texts)))
        begins[END] = True
        return begins


class ForbiddenPhrases(Avoided):
    """Phrases that may not be said.

    Args:
        spelling: what tokens spell.
        phrases: the phrases of each sentence of the batch, as words.
        ahead: see `Avoided`.
    """

    def __init__(
        self, spelling: Spelling, phrases: Sequence[Sequence[tuple[str, ...]]], *, ahead: bool
    ) -> None:
        super().__init__(spelling, ahead=ahead, folded=False)
        self._endings: list[dict[tuple[str, ...], set[str]]] = []
        for forbidden in phrases:
            endings: dict[tuple[str, ...], set[str]] = {}
            for *before, last in forbidden:
                endings.setdefault(tuple(before), set()).add(last)
            self._endings.append(endings)
        self._orders = sorted({len(phrase) for forbidden in phrases for phrase in forbidden})

    @property
    def orders(self) -> Sequence[int]:
        """How long the phrases are."""
        return self._orders

    def endings(self, sentence: int) -> Endings:
        """The phrases of a sentence."""
        return self._endings[sentence]

    def ended(self, said: Said) -> Endings:
        """They stay the same."""
        return said.endings


class RepeatedNgrams(Avoided):
    """Sequences of n words that have been said, large and small letters being the same.

    Args:
        spelling: what tokens spell.
        n: how many words.
        ahead: see `Avoided`.
    """

    def __init__(self, spelling: Spelling, n: int, *, ahead: bool) -> None:
        super().__init__(spelling, ahead=ahead, folded=True)
        self.n = n

    @property
    def orders(self) -> Sequence[int]:
        """n alone."""
        return (self.n,)

    def endings(self, sentence: int) -> Endings:
        """Nothing has been said that could be repeated."""
        return {}

    def silent(self, said: Said) -> bool:
        """So little has been said that nothing can be repeated."""
        return len(said.words) + 1 < self.n

    def avoided_next(self, said: Said) -> set[str]:
        """With what the end of the current word makes an n-gram that may be repeated at once: «so so so»."""
        words = (*said.words, said.current)
        found = self.avoided(said.endings, words)
        if said.current and len(words) >= self.n and len({*words[-self.n :]}) == 1:
            found.add(said.current)
        return found

    def ended(self, said: Said) -> Endings:
        """The n-grams that have been said, with the last one."""
        if len(said.words) < self.n:
            return said.endings
        *before, last = said.words[-self.n :]
        key = tuple(before)
        return {**said.endings, key: frozenset({*said.endings.get(key, ()), last})}
