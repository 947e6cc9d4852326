"""What a run works with: a vocabulary, and the pairs that it cuts into tokens."""

from __future__ import annotations

from dataclasses import dataclass

from regard.data.corpora import Corpus, Pair
from regard.data.tokenization import Tokenizer
from regard.errors import CorpusError


@dataclass(frozen=True)
class EncodedPairs:
    """A corpus cut into tokens.

    Args:
        corpus: as it was read.
        kept: its pairs that are short enough on both sides.
        sources, targets: the token ids of these, without start and end.
    """

    corpus: Corpus
    kept: tuple[Pair, ...]
    sources: list[list[int]]
    targets: list[list[int]]

    @property
    def too_long(self) -> int:
        """How many pairs were left out."""
        return len(self.corpus) - len(self.kept)


def encode(corpus: Corpus, tokenizer: Tokenizer, longest: int) -> EncodedPairs:
    """Cut the pairs of a corpus into tokens, leaving out those with a side of more than `longest`.

    Raises:
        CorpusError: none is left.
    """
    sources, targets = tokenizer.ids(corpus.sources()), tokenizer.ids(corpus.targets())
    kept = [i for i in range(len(sources)) if len(sources[i]) <= longest and len(targets[i]) <= longest]
    if not kept:
        raise CorpusError(
            f"{corpus.name}: every pair has a side of more than {longest} tokens; raise data.longest."
        )
    pairs = tuple(corpus.pairs[i] for i in kept)
    return EncodedPairs(corpus, pairs, [sources[i] for i in kept], [targets[i] for i in kept])


@dataclass(frozen=True)
class Material:
    """What a run works with: the vocabulary, the pairs to train on, and those to validate on."""

    tokenizer: Tokenizer
    training: EncodedPairs
    validation: EncodedPairs

    @classmethod
    def of(cls, training: Corpus, validation: Corpus, tokenizer: Tokenizer, longest: int) -> Material:
        """Cut both corpora into tokens; CorpusError where one has no pair that is short enough."""
        return cls(tokenizer, encode(training, tokenizer, longest), encode(validation, tokenizer, longest))

    @property
    def empty(self) -> int:
        """How many pairs were left out because a side is empty."""
        return self.training.corpus.empty + self.validation.corpus.empty

    @property
    def too_long(self) -> int:
        """How many pairs were left out because a side is too long."""
        return self.training.too_long + self.validation.too_long

    def __str__(self) -> str:
        parts = [f"{len(self.training.kept):,} training pairs, {len(self.validation.kept):,} for validation"]
        if self.empty:
            parts.append(f"{self.empty:,} with an empty side skipped")
        if self.too_long:
            parts.append(f"{self.too_long:,} too long skipped")
        return "; ".join(parts)
