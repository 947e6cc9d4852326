from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.evaluation.words import carries_spaces, in_words, words_of
from regard.record import AttentionRecord

WORDPIECES = ("[CLS]", "over", "##tak", "##ing", "each", "##", "[SEP]")


def record_of(queries, keys=None, **more) -> AttentionRecord:
    keys = queries if keys is None else keys
    weights = np.random.default_rng(1).dirichlet(np.ones(len(keys)), len(queries))
    return AttentionRecord(weights, queries, keys, **more)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (WORDPIECES, "[CLS]|overtaking|each|##|[SEP]"),
        ((" over", "taking", " don", "'t", " 2", "0", "2", "."), "overtaking|don|'t|202|."),
        (("The", " law", "<|endoftext|>", "It", "s"), "The|law|<|endoftext|>|Its"),
        ((" a", "\n", "b", " ", "c"), "a|\n|b| c"),
        ((" hi", " <F0><9F>", "<98>", "<80>", "!"), "hi|😀|!"),
        ((" hi", " <F0><9F>", "<98>"), "hi|<F0><9F><98>"),
        (("<C3>", "<9C>", "ber", "all", " <E6>", "<88><91>", "<E5>", "<96>", "<9C>"), "Überall|我|喜"),
        (("<s>", "▁un", "believ", "able", "▁", "我", "喜", "</s>"), "<s>|unbelievable|▁我|喜|</s>"),
        (("pho", "to</w>", "<|endoftext|>", "x</w>"), "photo|<|endoftext|>|x"),
        (("lo@@", "w@@", "er", "bed"), "lower|bed"),
    ],
)
def test_tokens_are_joined_by_the_marks_of_their_tokenizer(tokens, words):
    found = in_words(record_of(tokens))
    spelt = tuple(word.replace("<|endoftext|>", "<>") for word in found.key_tokens)
    wanted = tuple(words.replace("<|endoftext|>", "<>").split("|"))
    assert [word.lstrip("▁ ") or word for word in spelt] == [word.lstrip("▁ ") or word for word in wanted]


@pytest.mark.parametrize("tokens", [("a", "b"), ("#", "##"), (), ("the", "law", " "), ("@@",)])
def test_words_stay_words(tokens):
    record = record_of(tokens)
    assert words_of(record) is None and in_words(record) is record


def test_what_looks_at_a_word_looks_at_any_of_its_tokens_and_a_word_looks_as_they_do_on_average():
    record = record_of(WORDPIECES)
    found = in_words(record)
    of = [0, 1, 1, 1, 2, 3, 4]
    wanted = np.zeros((5, 5))
    for query, row in enumerate(record.weights):
        for key, weight in enumerate(row):
            wanted[of[query], of[key]] += weight / of.count(of[query])
    np.testing.assert_allclose(found.weights, wanted, atol=1e-6)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)


def test_links_copies_and_heads_go_with_the_words():
    weights = np.full((2, 3, 3, 4), 0.25)
    record = AttentionRecord(
        weights,
        ("ein", "Snow", "##board"),
        ("a", "snow", "##board", "##s"),
        axes=("layer", "head", "query", "key"),
        sure=[(1, 1), (2, 2)],
        possible=[(0, 3)],
        copied=[2],
        statistics={"entropy": np.ones((2, 3))},
    )
    found = in_words(record)
    assert found.weights.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(found.weights[1, 2], [[0.25, 0.75]] * 2)
    assert (found.sure, found.possible, found.copied) == ({(1, 1)}, {(0, 1)}, {1})
    assert found.statistics["entropy"].shape == (2, 3)


def test_the_marks_of_one_side_count_for_both():
    found = in_words(record_of(("It",), (" walk", "ing")))
    assert (found.query_tokens, found.key_tokens) == (("It",), ("walking",))


def test_means_of_rectangles_stay_as_they_are():
    record = AttentionRecord(np.ones((1, 1)), ("a", "##b"), ("a", "##b"), pooled=(2, 2))
    assert in_words(record) is record


def test_tokens_of_gpts_carry_the_spaces_between_words():
    assert carries_spaces(["The", " law"]) and carries_spaces(["▁the"])
    assert not carries_spaces(["the", "law", " "]) and not carries_spaces([])


PIECES = st.sampled_from(
    [
        "",
        " ",
        "▁",
        "a",
        " a",
        "##a",
        "b</w>",
        "c@@",
        "<F0>",
        "<9F>",
        " <C3>",
        "<s>",
        ".",
        "我",
        "\u0301",
        "\n",
    ]
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(tokens=st.lists(PIECES, min_size=1, max_size=9))
def test_every_token_is_part_of_one_word_and_the_words_keep_their_order(tokens):
    words = words_of(record_of(tuple(tokens)))
    if words is None:
        return
    steps = np.diff(words.keys)
    assert words.keys[0] == 0 and set(steps) <= {0, 1}
    assert len(words.of_keys) == words.keys[-1] + 1 and all(word or "" in tokens for word in words.of_keys)
