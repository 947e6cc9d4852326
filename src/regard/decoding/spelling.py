"""What the tokens of a vocabulary spell, and where words begin: for rules about words, however they are cut.

Words here are the smallest that `Tokenizer.words` knows, with a punctuation mark as a word of its own where
the tokenizer splits it off; of characters they are what stands between spaces and punctuation. Outputs of the
same words have the same text but for spaces, so that a rule about words holds whichever tokens spell them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from regard.data.tokenization import (
    END,
    PAD,
    SPACE,
    START,
    UNKNOWN,
    Tokenizer,
    is_blank,
    is_mark,
    stands_alone,
)


class Spelling:
    """Where words begin and end among the tokens of a vocabulary.

    Args:
        tokenizer: of the vocabulary.

    Attributes:
        texts: what each token spells, without the space before it.
        opens: (V,), whether a token begins a word whatever stands before it.
        spaced: (V,), whether it begins with a space.
        closes: (V,), whether nothing goes on with its word, but a combining mark.
        final: (V,), whether a word that it is the end of cannot be gone on with.
        blank: (V,), whether it is nothing but a space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        spelt = [self._marked(token) for token in tokenizer.tokens]
        split = tokenizer.characters or tokenizer.splits_punctuation
        self.texts = [token.replace(SPACE, "") for token in spelt]
        self.blank = torch.tensor([is_blank(token) for token in spelt])
        self.marks = torch.tensor([is_mark(token) for token in spelt])
        spaced = [token.startswith(SPACE) for token in spelt]
        self.spaced = torch.tensor(spaced)
        self.opens = torch.tensor(
            [space or (split and stands_alone(token[0])) for space, token in zip(spaced, spelt, strict=True)]
        )
        self.closes = ~self.blank & torch.tensor([split and stands_alone(token[-1]) for token in spelt])
        whole = not (tokenizer.characters or tokenizer.subwords)
        self.final = torch.ones_like(self.closes) if whole else self.closes

    def _marked(self, token: str) -> str:
        return token.replace(" ", SPACE) if self.tokenizer.characters else token

    def begins(self, before: Tensor, token: Tensor) -> Tensor:
        """Whether tokens begin a word after the ones before them; both of any shapes that fit."""
        return ~self.blank[before] & ~self.marks[token] & (self.opens[token] | self.closes[before])

    def units(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """The words that tokens spell, given as `Tokenizer.encode` spells them."""
        words: list[str] = []
        before = SPACE
        split = self.tokenizer.characters or self.tokenizer.splits_punctuation
        for token in map(self._marked, tokens):
            alone = split and (stands_alone(token[0]) or (not is_blank(before) and stands_alone(before[-1])))
            new = not is_blank(before) and not is_mark(token) and (token.startswith(SPACE) or alone)
            text = token.replace(SPACE, "")
            if new or not words:
                words.append(text)
            else:
                words[-1] += text
            before = token
        return tuple(word for word in words if word)

    def phrase(self, text: str) -> tuple[list[int], tuple[str, ...]]:
        """The ids of a phrase's tokens, as they stand within a text, and its words."""
        (encoded,) = self.tokenizer.encode([text.strip()])
        known = [(i, t) for i, t in zip(encoded.ids, encoded.tokens, strict=True) if not self._lost(i, t)]
        ids, tokens = [i for i, _ in known], [t for _, t in known]
        if len(ids) > 1 and is_blank(
            self._marked(tokens[0])
        ):  # of punctuation, which needs no space before it
            ids, tokens = ids[1:], tokens[1:]
        return ids, self.units(tokens)

    def _lost(self, token: int, spelt: str) -> bool:
        """Whether a token is a space that a vocabulary of words does not know."""
        return token == UNKNOWN and is_blank(self._marked(spelt))

    @cached_property
    def spelt_by(self) -> Mapping[str, list[int]]:
        """The tokens that spell a text, with or without a space before it."""
        return _index(self.texts)

    @cached_property
    def folded(self) -> list[str]:
        """What each token spells, large and small letters being the same."""
        return [text.casefold() for text in self.texts]

    @cached_property
    def folded_by(self) -> Mapping[str, list[int]]:
        """The tokens that spell a text, large and small letters being the same."""
        return _index(self.folded)


def _index(texts: Sequence[str]) -> Mapping[str, list[int]]:
    index: dict[str, list[int]] = defaultdict(list)
    for token, text in enumerate(texts):
        if token not in (PAD, START, END) and text:
            index[text].append(token)
    return index
