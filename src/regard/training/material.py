"""What a run works with: a vocabulary, and the pairs that it cuts into tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from regard.data.batches import Batches
from regard.data.bpe_dropout import CutTexts
from regard.data.corpora import Corpus, Pair
from regard.data.large import LargeCorpus
from regard.data.links import WordLinks
from regard.data.ragged import Ragged
from regard.data.shards import ShardedBatches, Shards
from regard.data.tokenization import Tokenizer
from regard.errors import CorpusError


@dataclass(frozen=True)
class EncodedPairs:
    """A corpus cut into tokens.

    Args:
        corpus: as it was read.
        kept: its pairs that are short enough on both sides.
        sources, targets: the token ids of these, without start and end.
        anew: gives them as they are cut in an epoch, where that is not always the same.
    """

    corpus: Corpus
    kept: tuple[Pair, ...]
    sources: Ragged
    targets: Ragged
    anew: Callable[[int], tuple[Ragged, Ragged]] | None = None

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def too_long(self) -> int:
        """How many pairs were left out."""
        return len(self.corpus) - len(self.kept)

    def batches(self, tokens: int, seed: int, links: WordLinks | None = None) -> Batches:
        """These pairs, dealt out in batches of about so many positions on their longer side.

        Args:
            tokens: so many.
            seed: of the order.
            links: between their words, if they are known.
        """
        return Batches(self.sources, self.targets, tokens=tokens, seed=seed, anew=self.anew, links=links)


@dataclass(frozen=True)
class ShardedPairs:
    """A corpus larger than memory, cut into tokens on disk.

    Args:
        corpus: how it is read.
        shards: its pairs that are short enough on both sides.
        tokenizer: that cut them.
        longest: tokens that a side may have.
        dropout: of merges, which makes the cut of each epoch another one.
    """

    corpus: LargeCorpus
    shards: Shards
    tokenizer: Tokenizer
    longest: int
    dropout: float

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def kept(self) -> Iterable[Pair]:
        """The pairs as texts, read anew; those too long on a side among them."""
        return self.corpus

    @property
    def too_long(self) -> int:
        """How many pairs were left out."""
        return self.shards.too_long

    def batches(self, tokens: int, seed: int, links: None = None) -> ShardedBatches:
        """These pairs, dealt out in batches of about so many positions on their longer side; no links."""
        return ShardedBatches(
            self.shards,
            self.tokenizer,
            tokens=tokens,
            seed=seed,
            dropout=self.dropout,
            longest=self.longest,
        )


def sharded(
    corpus: LargeCorpus,
    tokenizer: Tokenizer,
    longest: int,
    *,
    folder: Path,
    dropout: float = 0.0,
    progress: Callable[[int], None] = lambda _: None,
) -> ShardedPairs:
    """Cut the pairs of a large corpus into tokens on disk, unless that was done before.

    Args:
        corpus: the pairs.
        tokenizer: what cuts them.
        longest: tokens that a side may have.
        folder: of the shards.
        dropout: of merges, while training.
        progress: is told how many pairs have been cut.

    Raises:
        InputError: pyarrow is missing, or no pair is short enough.
        TrainingError: the disk is full.
    """
    about = {"corpus": corpus.recorded(), "tokenizer": _digest(tokenizer), "longest": longest}
    shards = Shards.open(folder)
    if shards is None or shards.about != about:
        shards = Shards.write(folder, corpus, tokenizer, longest=longest, about=about, progress=progress)
    return ShardedPairs(corpus, shards, tokenizer, longest, dropout)


def known_corpus(
    folder: Path, mark: Any, tokenizer: Tokenizer, stream: Callable[[], Iterable[Pair | None]]
) -> LargeCorpus | None:
    """The large corpus that shards were made from, where its mark and the tokenizer are still the same."""
    shards = Shards.open(folder)
    if (
        shards is None
        or shards.about["corpus"]["mark"] != mark
        or shards.about["tokenizer"] != _digest(tokenizer)
    ):
        return None
    return LargeCorpus.known(shards.about["corpus"], stream)


def _digest(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.backend.to_str().encode()).hexdigest()


def encode(
    corpus: Corpus, tokenizer: Tokenizer, longest: int, *, dropout: float = 0.0, seed: int = 0
) -> EncodedPairs:
    """Cut the pairs of a corpus into tokens, leaving out those with a side of more than `longest`.

    Args:
        corpus: the pairs.
        tokenizer: what cuts them.
        longest: tokens that a side may have.
        dropout: of merges, which makes the cut of each epoch another one; see `bpe_dropout`.
        seed: of these.

    Raises:
        CorpusError: none is left.
    """
    if dropout:
        sides = tokenizer.cut(corpus.sources()), tokenizer.cut(corpus.targets())
        sources, targets = sides[0].ids, sides[1].ids
    else:
        sides = None
        sources, targets = (Ragged.of(tokenizer.ids(texts)) for texts in (corpus.sources(), corpus.targets()))
    (kept,) = np.nonzero((sources.lengths <= longest) & (targets.lengths <= longest))
    if not len(kept):
        raise CorpusError(
            f"{corpus.name}: every pair has a side of more than {longest} tokens; raise data.longest."
        )
    pairs = tuple(corpus.pairs[i] for i in kept.tolist())
    anew = None
    if sides is not None:
        anew = _cut_anew(tokenizer, sides[0].take(kept), sides[1].take(kept), longest, dropout, seed)
    return EncodedPairs(corpus, pairs, sources.take(kept), targets.take(kept), anew)


def _cut_anew(
    tokenizer: Tokenizer, sources: CutTexts, targets: CutTexts, longest: int, dropout: float, seed: int
) -> Callable[[int], tuple[Ragged, Ragged]]:
    @lru_cache(maxsize=1)  # the first epoch is asked for by who chooses shapes and counts batches too
    def anew(epoch: int) -> tuple[Ragged, Ragged]:
        random = np.random.default_rng([seed, epoch])
        return (
            tokenizer.recut(sources, dropout, random, longest),
            tokenizer.recut(targets, dropout, random, longest),
        )

    return anew


@dataclass(frozen=True)
class Material:
    """What a run works with: the vocabulary, the pairs to train on, and those to validate on."""

    tokenizer: Tokenizer
    training: EncodedPairs | ShardedPairs
    validation: EncodedPairs

    @classmethod
    def of(
        cls,
        training: Corpus,
        validation: Corpus,
        tokenizer: Tokenizer,
        longest: int,
        *,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> Material:
        """Cut both corpora into tokens, see `encode`; CorpusError where one has no pair that is short enough.

        BPE-dropout is for training alone.
        """
        return cls(
            tokenizer,
            encode(training, tokenizer, longest, dropout=dropout, seed=seed),
            encode(validation, tokenizer, longest),
        )

    @property
    def empty(self) -> int:
        """How many pairs were left out because a side is empty."""
        return self.training.corpus.empty + self.validation.corpus.empty

    @property
    def too_long(self) -> int:
        """How many pairs were left out because a side is too long."""
        return self.training.too_long + self.validation.too_long

    def __str__(self) -> str:
        parts = [f"{len(self.training):,} training pairs, {len(self.validation):,} for validation"]
        if self.empty:
            parts.append(f"{self.empty:,} with an empty side skipped")
        if self.too_long:
            parts.append(f"{self.too_long:,} too long skipped")
        return "; ".join(parts)
