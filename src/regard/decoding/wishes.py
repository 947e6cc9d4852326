"""What somebody wishes of outputs, made into rules; wishes that contradict each other are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from regard.data.tokenization import UNKNOWN, Encoded
from regard.decoding.avoided import ForbiddenPhrases, RepeatedNgrams
from regard.decoding.beam import Chooser, likeliest
from regard.decoding.constraints import MinimumLength, Rule, Rules, WholeWord
from regard.decoding.required import RequiredPhrases
from regard.decoding.spelling import Spelling
from regard.errors import InputError

Texts = str | Sequence[str]
Phrases = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class Phrase:
    """Some words.

    Args:
        text: as they were given.
        tokens: their ids.
        words: their words.
    """

    text: str
    tokens: tuple[int, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Wishes:
    """What outputs keep to.

    Args:
        spelling: what tokens spell.
        min_length: no fewer tokens.
        block_ngrams: how many words are not said twice in the same order; 0 for any.
        beginnings: of each text; None where there is none.
        whole: for each text, whether its beginning ends a word.
        required, forbidden: phrases of each text.
    """

    spelling: Spelling
    min_length: int
    block_ngrams: int
    beginnings: Sequence[Encoded | None]
    whole: Sequence[bool]
    required: Sequence[tuple[Phrase, ...]]
    forbidden: Sequence[tuple[Phrase, ...]]

    def room(self, number: int) -> int:
        """How many tokens the output of a text must be allowed, whatever its length."""
        beginning = self.beginnings[number]
        required = sum(len(phrase.tokens) + 1 for phrase in self.required[number])
        begun = 0 if beginning is None else len(beginning.ids)
        return max(self.min_length, begun + required + bool(required))

    def rules(self, numbers: Sequence[int], *, ahead: bool) -> tuple[Rules, Chooser]:
        """The rules of a batch of texts, and how a beam is shared under them.

        Args:
            numbers: which texts.
            ahead: whether the search keeps several hypotheses; see `regard.decoding.avoided`.
        """
        rules: list[Rule] = []
        choose: Chooser = likeliest
        if self.min_length:
            rules.append(MinimumLength(self.min_length))
        if any(self.whole[i] for i in numbers):
            lengths = [len(b.ids) if (b := self.beginnings[i]) and self.whole[i] else -1 for i in numbers]
            rules.append(WholeWord(torch.tensor(lengths), self.spelling.spaced))
        if any(self.forbidden[i] for i in numbers):
            words = [[phrase.words for phrase in self.forbidden[i]] for i in numbers]
            rules.append(ForbiddenPhrases(self.spelling, words, ahead=ahead))
        if self.block_ngrams:
            rules.append(RepeatedNgrams(self.spelling, self.block_ngrams, ahead=ahead))
        if any(self.required[i] for i in numbers):
            required = RequiredPhrases(
                self.spelling, [[phrase.tokens for phrase in self.required[i]] for i in numbers]
            )
            rules.append(required)
            choose = required.choose
        beginnings = [b.ids if (b := self.beginnings[i]) else [] for i in numbers]
        return Rules(rules, beginnings if any(beginnings) else ()), choose

    def allow(self, number: int, tokens: Sequence[str]) -> bool:
        """Whether the output of a text may be spelt in this way, which is another than what was searched."""
        words = self.spelling.units(tokens)
        if any(_within(phrase.words, words) for phrase in self.forbidden[number]):
            return False
        n, folded = self.block_ngrams, [word.casefold() for word in words]
        ngrams = [tuple(folded[i : i + n]) for i in range(len(folded) - n + 1)]
        return not n or len({*ngrams}) == len(ngrams)

    def __str__(self) -> str:
        """The names of what is wished."""
        named = {
            f"min_length={self.min_length}": self.min_length,
            "prefix": any(beginning is not None for beginning in self.beginnings),
            "require": any(self.required),
            "forbid": any(self.forbidden),
            f"block_ngrams={self.block_ngrams}": self.block_ngrams,
        }
        return ", ".join(name for name, wished in named.items() if wished)


def make_wishes(
    spelling: Spelling,
    count: int,
    *,
    min_length: int,
    block_ngrams: int,
    prefix: Texts | None,
    require: Phrases,
    forbid: Phrases,
) -> Wishes:
    """What is wished of the outputs of so many texts.

    Args:
        spelling: what tokens spell.
        count: how many texts.
        min_length, block_ngrams: as in `Wishes`.
        prefix: the beginning of all outputs, or of each.
        require, forbid: phrases of all outputs, or a list of them for each.

    Raises:
        InputError: something that cannot be meant, or that contradicts something else.
    """
    for name, value in (("min_length", min_length), ("block_ngrams", block_ngrams)):
        if value < 0:
            raise InputError(f"predict(): {name} is not negative, 0 for none; got {value}.")
    prefixes = _for_each(prefix or "", count)
    encoded = spelling.tokenizer.encode([text.strip() for text in prefixes])
    wishes = Wishes(
        spelling,
        min_length,
        block_ngrams,
        [e if e.ids else None for e in encoded],
        [bool(text) and text[-1].isspace() for text in prefixes],
        _phrases(spelling, "require", require, count),
        _phrases(spelling, "forbid", forbid, count),
    )
    _require_sayable(wishes)
    _require_agreement(wishes, prefixes)
    return wishes


def _for_each(prefix: Texts, count: int) -> list[str]:
    if isinstance(prefix, str):
        return [prefix] * count
    if len(prefix) != count:
        raise InputError(
            f"predict(): {count} texts but {len(prefix)} prefixes; give one text for all, or one for each."
        )
    for number, text in enumerate(prefix):
        if not isinstance(text, str):
            raise InputError(f"predict(): prefix {number} is no text but {text!r}.")
    return list(prefix)


def _phrases(spelling: Spelling, name: str, given: Phrases, count: int) -> list[tuple[Phrase, ...]]:
    """The phrases of each text, none twice."""
    if isinstance(given, str):
        raise InputError(f"predict(): {name} is a list of phrases; put one into a list: {name}=[{given!r}].")
    if all(isinstance(phrase, str) for phrase in given):
        return [_read(spelling, name, given)] * count
    if any(isinstance(phrases, str) for phrases in given):
        raise InputError(f"predict(): {name} is a list of phrases, or a list of lists, one for each text.")
    if len(given) != count:
        raise InputError(
            f"predict(): {count} texts but {len(given)} lists of {name}; one is needed for each."
        )
    return [_read(spelling, name, phrases) for phrases in given]


def _read(spelling: Spelling, name: str, texts: Sequence) -> tuple[Phrase, ...]:
    phrases = []
    for text in dict.fromkeys(texts):
        if not isinstance(text, str):
            raise InputError(f"predict(): a phrase of {name} is no text but {text!r}.")
        ids, words = spelling.phrase(text)
        if not words:
            raise InputError(f"predict(): a phrase of {name} is empty. Leave it out.")
        phrases.append(Phrase(text, tuple(ids), words))
    return tuple(phrases)


def _require_sayable(wishes: Wishes) -> None:
    for phrases in dict.fromkeys(wishes.required):
        for phrase in phrases:
            if UNKNOWN in phrase.tokens:
                raise InputError(
                    f"predict(): require has {phrase.text!r}, which the model cannot say: its vocabulary "
                    f"does not hold all of it."
                )


def _require_agreement(wishes: Wishes, prefixes: Sequence[str]) -> None:
    """Refuse to forbid what is required or given."""
    seen = set()
    for number, forbidden in enumerate(wishes.forbidden):
        beginning = wishes.beginnings[number]
        key = (forbidden, wishes.required[number], prefixes[number])
        if not forbidden or key in seen:
            continue
        seen.add(key)
        given = () if beginning is None else wishes.spelling.units(beginning.tokens)
        for phrase in forbidden:
            for required in wishes.required[number]:
                if _within(phrase.words, required.words):
                    raise InputError(
                        f"predict(): forbid has {phrase.text!r}, which is part of {required.text!r} in "
                        f"require; leave one of them out."
                    )
            if _within(phrase.words, given):
                raise InputError(
                    f"predict(): forbid has {phrase.text!r}, which is part of the prefix "
                    f"{prefixes[number]!r}; leave one of them out."
                )


def _within(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return any(others[i : i + len(words)] == words for i in range(len(others) - len(words) + 1))
