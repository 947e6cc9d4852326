"""What must be said is said as whole words, in the likeliest way that a beam finds."""

from __future__ import annotations

import re

import pytest
import toys

from regard.errors import InputError

KINDS = ["bpe", "word", "character"]


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+|[^\w\s]", text)


def contains(text: str, phrase: str) -> bool:
    words, wanted = words_of(text), words_of(phrase)
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words)))


def says(model, tokens: list[int], phrase: str) -> bool:
    """Whether tokens contain a phrase as whole words, cut as the tokenizer cuts it."""
    ids, _ = model.spelling.phrase(phrase)
    names = [model.tokenizer.tokens[token].replace(" ", "▁") for token in tokens]
    for i in range(len(tokens) - len(ids) + 1):
        before, after = names[:i], names[i + len(ids) :]
        if tokens[i : i + len(ids)] == ids:
            edges = [(before[-1], names[i])] if before else []
            edges += [(names[i + len(ids) - 1], after[0])] if after else []
            if all(left == "▁" or right[0] in "▁," or left[-1] == "," for left, right in edges):
                return True
    return False


@pytest.mark.parametrize("require", [["b"], ["a", "b"], ["a b"], [","], ["b, a"], ["b b", "b a"]])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_beam_finds_the_likeliest_outputs_with_the_phrases_and_none_without(kind, require):
    model = toys.toy(kind, limit=5)
    needed = sum(len(model.spelling.phrase(phrase)[0]) for phrase in require)
    (prediction,) = model.predict(["a"], beam=1000, nbest=1000, require=require)
    found = {(round(option.score, 9), option.text) for option in prediction.alternatives}
    scores = [option.score for option in prediction.alternatives]
    assert scores == sorted(scores, reverse=True)
    assert all(contains(text, phrase) for _, text in found for phrase in require)
    worst = scores[min(100, len(scores) - 1)]
    expected = {
        (round(model.network.said(tokens), 9), toys.spelt(model, tokens))
        for tokens in toys.outputs(model, min(needed + 1, 5))
        if all(says(model, tokens, phrase) for phrase in require)
    }
    likely = {(score, text) for score, text in expected if score >= worst}
    assert likely <= found
    assert likely


@pytest.mark.parametrize("beam", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_every_hypothesis_of_a_narrow_beam_contains_all_phrases(seed, kind, beam):
    model = toys.toy(kind, seed, limit=8)
    require = ["b, a", "ab", "a a b"]
    for prediction in model.predict(["a", "b b", "a"], beam=beam, nbest=beam, require=require):
        assert prediction.alternatives
        for option in prediction.alternatives:
            assert all(contains(option.text, phrase) for phrase in require)
            assert len(option.alignment.query_tokens) == len(option.alignment.weights)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_phrases_are_said_where_there_is_just_enough_room(kind, beam):
    for seed in range(5):
        model = toys.toy(kind, seed, limit=0)
        for require in (["b"], ["b, a", "ab"], ["a", "b", "ab"], ["a a", "a b"]):
            (prediction,) = model.predict(["a"], beam=beam, require=require)
            assert all(contains(prediction.text, phrase) for phrase in require)


def test_a_text_without_phrases_is_searched_as_ever():
    model = toys.toy("bpe", limit=6)
    require = [["b, a"], [], ["ab", "a"]]
    found = model.predict(["a", "a b", "b"], beam=6, nbest=6, require=require)
    alone = [
        model.predict([text], beam=6, nbest=6, require=phrases)[0]
        for text, phrases in zip(["a", "a b", "b"], require, strict=True)
    ]
    (plain,) = model.predict(["a b"], beam=6, nbest=6)
    for prediction, expected in zip(found, alone, strict=True):
        assert [o.text for o in prediction.alternatives] == [o.text for o in expected.alternatives]
        assert [o.score for o in prediction.alternatives] == pytest.approx(
            [o.score for o in expected.alternatives]
        )
    assert [o.text for o in found[1].alternatives] == [o.text for o in plain.alternatives]


def test_phrases_may_overlap_and_a_phrase_begun_in_vain_may_begin_within_itself():
    model = toys.toy("word", limit=5)
    (prediction,) = model.predict(["a"], beam=900, nbest=900, require=["a a b", "a b b"])
    texts = [option.text for option in prediction.alternatives]
    assert {"a a b b", "a a a b b"} <= {*texts}


def test_what_is_given_counts_as_said():
    model = toys.toy("bpe", limit=6)
    (prediction,) = model.predict(["a"], beam=50, nbest=50, prefix="b, a ", require=["b, a"])
    assert "b, a" in [option.text for option in prediction.alternatives]


def test_phrases_and_words_to_avoid_are_kept_to_together():
    model = toys.toy("bpe", limit=12)
    (prediction,) = model.predict(
        ["a"], beam=12, nbest=12, require=["ab", "b a"], forbid=["a b"], block_ngrams=2, min_length=6
    )
    for option in prediction.alternatives:
        assert contains(option.text, "ab")
        assert contains(option.text, "b a")
        assert not contains(option.text, "a b")


def test_what_cannot_be_kept_to_is_an_error_that_names_the_wishes():
    model = toys.toy("word", limit=3)
    with pytest.raises(InputError, match=r"text 2 of 2 that keeps to require, block_ngrams=1\. Loosen"):
        model.predict(["a", "b"], beam=3, require=[[], ["a b", "b a"]], block_ngrams=1)
