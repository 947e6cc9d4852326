"""Pairs as tokens: those that are short enough, cut anew in each epoch where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from regard.data.corpora import Corpus, from_pairs
from regard.data.tokenization import Tokenizer
from regard.errors import CorpusError
from regard.training.material import Material, encode

CORPUS = from_pairs(
    [("tall trees stand there", "one two"), ("tall " * 30, "two"), ("trees", "three " * 30)] * 9
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([*CORPUS.sources(), *CORPUS.targets()], vocabulary=60)


def short() -> Corpus:
    return from_pairs([("tall trees", "two")] * 4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_pairs_with_a_long_side_are_left_out_and_counted(tokenizer, dropout):
    encoded = encode(CORPUS, tokenizer, 20, dropout=dropout)
    assert encoded.kept == CORPUS.pairs[::3]
    assert (len(encoded), encoded.too_long) == (9, 18)
    assert encoded.sources.tolist() == tokenizer.ids([pair.source for pair in encoded.kept])
    assert encoded.targets.tolist() == tokenizer.ids([pair.target for pair in encoded.kept])


def test_with_dropout_each_epoch_is_cut_in_its_own_way_and_again_in_the_same(tokenizer):
    encoded = encode(CORPUS, tokenizer, 20, dropout=0.5, seed=3)
    again = encode(CORPUS, tokenizer, 20, dropout=0.5, seed=3)
    other = encode(CORPUS, tokenizer, 20, dropout=0.5, seed=4)
    cuts = [
        [side.tolist() for side in each.anew(epoch)] for each in (encoded, again, other) for epoch in (0, 1)
    ]
    assert cuts[0] == cuts[2]
    assert cuts[1] == cuts[3]
    assert cuts[0] != cuts[1]
    assert cuts[0] != cuts[4]
    assert max(map(len, cuts[0][0])) <= 20
    for source, pair in zip(cuts[0][0], encoded.kept, strict=True):
        assert tokenizer.join([tokenizer.tokens[i] for i in source]) == pair.source


def test_batches_are_cut_as_their_epoch(tokenizer):
    encoded = encode(CORPUS, tokenizer, 20, dropout=0.5)
    batches = encoded.batches(64, 1)
    for epoch in (0, 1):
        sources, _ = encoded.anew(epoch)
        for batch in batches.epoch(epoch):
            assert np.array_equal(batch.source_lengths, sources.lengths[batch.rows])


def test_validation_is_always_cut_alike(tokenizer):
    material = Material.of(CORPUS, short(), tokenizer, 20, dropout=0.5)
    assert material.training.anew is not None
    assert material.validation.anew is None
    assert str(material) == "9 training pairs, 4 for validation; 18 too long skipped"


def test_a_corpus_of_long_pairs_alone_is_refused(tokenizer):
    with pytest.raises(
        CorpusError, match=r"every pair has a side of more than 1 tokens; raise data\.longest"
    ):
        encode(CORPUS, tokenizer, 1)
