"""Words cut anew: as Algorithm 1 of the paper says, as often as it says, and the same again from one seed."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.tokenization import END, PAD, SPACE, SPECIAL_TOKENS, START, UNKNOWN, Tokenizer
from regard.errors import RecipeError

TEXTS = [
    "the tall trees stand there, taller than those other trees",
    "zwei schöne Bäume stehen dort, schöner als die anderen Bäume",
    "there are aaaa and aaaaaa, bananas and bandanas",
] * 4
WORDS = ["trees", "there", "bananas", "aaaaaa", "schöner", "the"]


@cache
def tokenizer(vocabulary: int = 120, split: bool = True) -> Tokenizer:
    return Tokenizer.train(TEXTS, vocabulary=vocabulary, split_punctuation=split)


@cache
def ranks() -> dict[tuple[str, str], int]:
    merges = json.loads(tokenizer().backend.to_str())["model"]["merges"]
    return {tuple(pair): rank for rank, pair in enumerate(merges)}


def by_the_paper(word: tuple[str, ...], dropout: float) -> dict[tuple[str, ...], float]:
    """Algorithm 1, every possible draw followed and its probability added up: ways to cut a word."""
    merges = sorted((ranks()[pair], place) for place, pair in enumerate(pairwise(word)) if pair in ranks())
    ways: Counter[tuple[str, ...]] = Counter()
    for dropped, (_, place) in enumerate(merges):  # the best that is left, all before it having been dropped
        merged = (*word[:place], word[place] + word[place + 1], *word[place + 2 :])
        for way, probability in by_the_paper(merged, dropout).items():
            ways[way] += dropout**dropped * (1 - dropout) * probability
    ways[word] += dropout ** len(merges)
    return ways


def as_spelt(ids: list[int]) -> tuple[str, ...]:
    return tuple(tokenizer().tokens[i] for i in ids)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_each_way_to_cut_a_word_is_as_likely_as_algorithm_1_makes_it(word, dropout):
    count = 20_000
    found = Counter(map(as_spelt, tokenizer().ids([word] * count, dropout=dropout, seed=1)))
    expected = by_the_paper(tuple(SPACE + word), dropout)
    assert sum(expected.values()) == pytest.approx(1)
    assert found.keys() <= expected.keys()
    assert len(expected) > 2
    for way, probability in expected.items():
        deviation = np.sqrt(count * probability * (1 - probability))
        assert abs(found[way] - count * probability) < 5 * deviation + 1, way


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    texts=st.lists(
        st.lists(st.sampled_from([*"abehnrst, .☃ä" + SPACE, "tree", "<unk>", "<s>"]), max_size=20).map(
            "".join
        ),
        max_size=6,
    ),
    split=st.booleans(),
    dropout=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_texts_cut_anew_are_spelt_as_before_and_without_dropout_cut_as_before(texts, split, dropout):
    cutter = tokenizer(split=split)
    cut = cutter.cut(texts)
    assert cut.ids.tolist() == cutter.ids(texts)
    assert cutter.recut(cut, 0.0, np.random.default_rng(0)).tolist() == cutter.ids(texts)
    for before, after in zip(cutter.ids(texts), cutter.ids(texts, dropout=dropout, seed=1), strict=True):
        assert cutter.join([cutter.tokens[i] for i in after]) == cutter.join(
            [cutter.tokens[i] for i in before]
        )
        assert not {PAD, START, END} & set(after)


def test_everything_dropped_leaves_characters_and_no_merge_crosses_from_word_to_word():
    text = "the trees, there"
    (ids,) = tokenizer().ids([text], dropout=1.0)
    assert as_spelt(ids) == tuple(SPACE + text.replace(" ", SPACE))
    cutter = tokenizer(split=False)
    starts = [token.startswith(SPACE) or SPACE not in token for token in cutter.tokens]
    for ids in cutter.ids(["stand there the trees"] * 500, dropout=0.3, seed=0):
        assert all(starts[i] for i in ids)


def test_one_seed_gives_one_cut_and_another_seed_another():
    texts = TEXTS * 5
    one, again, other = (tokenizer().ids(texts, dropout=0.1, seed=seed) for seed in ([7, 3], [7, 3], [7, 4]))
    assert one == again
    assert one != other
    assert one != tokenizer().ids(texts)


def test_occurrences_of_one_word_are_drawn_one_by_one_also_across_blocks(monkeypatch):
    whole = Counter(map(as_spelt, tokenizer().ids(["bananas"] * 5000, dropout=0.5, seed=2)))
    monkeypatch.setattr("regard.data.bpe_dropout.WORDS_AT_A_TIME", 7)
    parts = Counter(map(as_spelt, tokenizer().ids(["bananas"] * 5000, dropout=0.5, seed=2)))
    assert len(whole) > 5
    for way in whole.keys() | parts.keys():
        assert abs(whole[way] - parts[way]) < 5 * np.sqrt(whole[way] + parts[way]) + 2


def test_unknown_characters_stay_unknown():
    for ids in tokenizer().ids(["☃trees☃☃"] * 20, dropout=0.5, seed=0):
        assert ids.count(UNKNOWN) == 3


def test_no_texts_and_empty_texts_have_no_tokens():
    assert tokenizer().ids([], dropout=0.1) == []
    assert tokenizer().ids(["", "the", "", ""], dropout=0.1)[::2] == [[], []]


def test_texts_taken_from_cut_ones_are_cut_likewise():
    texts = ["the trees", "", "bananas, aaaa", "Bäume"]
    rows = np.array([2, 1, 0, 2])
    taken = tokenizer().cut(texts).take(rows)
    again = tokenizer().cut([texts[row] for row in rows])
    assert taken.ids.tolist() == again.ids.tolist()
    assert taken.first.tolist() == again.first.tolist()
    assert len(taken) == 4


def test_a_text_that_would_become_too_long_stays_as_it_is():
    texts = ["the trees stand there"] * 200 + ["", "☃☃☃☃☃☃☃☃☃☃"]
    cut = tokenizer().cut(texts)
    longest = 12
    for dropout in (0.2, 1.0):
        free = tokenizer().recut(cut, dropout, np.random.default_rng(0)).tolist()
        bounded = tokenizer().recut(cut, dropout, np.random.default_rng(0), longest).tolist()
        assert any(len(ids) > longest for ids in free)
        for one, other, before in zip(free, bounded, cut.ids.tolist(), strict=True):
            assert other == (one if len(one) <= longest else before)


def test_a_pair_that_merges_twice_goes_by_its_first_rank():
    from regard.data.bpe_dropout import Merges

    merges = Merges([("a", "b"), ("b", "a"), ("a", "b")], {"a": 0, "b": 1, "ab": 2, "ba": 3})
    assert merges.ranks(np.array([0, 1, 0, 2]), np.array([1, 0, 0, 3])).tolist()[:2] == [0, 1]
    assert (merges.ranks(np.array([0, 2]), np.array([0, 3])) > 1000).all()


def test_ranks_are_those_of_the_merges_for_every_pair_of_tokens():
    cutter = tokenizer()
    left, right = (part.ravel() for part in np.meshgrid(np.arange(len(cutter)), np.arange(len(cutter))))
    found = cutter._merges.ranks(left, right)
    for a, b, rank in zip(left.tolist(), right.tolist(), found.tolist(), strict=True):
        expected = ranks().get((cutter.tokens[a], cutter.tokens[b]))
        assert rank == expected or (expected is None and rank > len(SPECIAL_TOKENS) + len(ranks()))


def test_dropout_that_cannot_be_meant_is_refused():
    with pytest.raises(RecipeError, match=r"probability from 0 to 1; got 1\.5"):
        tokenizer().ids(["the"], dropout=1.5)
    for kind in ("word", "character"):
        with pytest.raises(RecipeError, match="needs a tokenizer of subwords"):
            Tokenizer.train(TEXTS, kind).ids(["the"], dropout=0.1)
