"""What must not be said is not said, however it could be spelt, and all else is."""

from __future__ import annotations

import re

import pytest
import torch
import toys

from regard.data.tokenization import END, START
from regard.decoding import avoided

KINDS = ["bpe", "word", "character"]


def words_of(text: str) -> list[str]:
    """What stands between spaces and punctuation, and punctuation, found without any tokens."""
    return re.findall(r"[^\W_]+|[^\w\s]", text)


def contains(text: str, phrase: str) -> bool:
    words, wanted = words_of(text), words_of(phrase)
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words)))


def repeats(words: list[str], n: int) -> bool:
    ngrams = [tuple(word.casefold() for word in words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(ngrams)) < len(ngrams)


def scores(model, **options) -> list[float]:
    """The scores of all that a beam finds which is wide enough for everything."""
    (prediction,) = model.predict(["a"], nbest=5000, **options)
    return sorted(option.score for option in prediction.alternatives)


@pytest.fixture
def patient(monkeypatch):
    """Words go on however unlikely it is."""
    monkeypatch.setattr(avoided, "GOES_ON", 0.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("forbid", [["a"], ["b , a", "ab"], [","], ["a b"]])
@pytest.mark.parametrize("kind", KINDS)
def test_all_is_said_but_texts_with_a_forbidden_phrase(kind, forbid):
    model = toys.toy(kind)
    expected = sorted(
        model.network.said(tokens)
        for tokens in toys.outputs(model)
        if not any(contains(toys.spelt(model, tokens), phrase) for phrase in forbid)
    )
    assert scores(model, forbid=forbid) == pytest.approx(expected)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_all_is_said_but_texts_that_repeat_an_ngram_of_words(kind, n):
    model = toys.toy(kind)
    expected = sorted(
        model.network.said(tokens)
        for tokens in toys.outputs(model)
        if not repeats(words_of(toys.spelt(model, tokens)), n)
    )
    assert scores(model, block_ngrams=n) == pytest.approx(expected)


@pytest.mark.usefixtures("patient")
def test_words_that_stand_between_spaces_are_meant_where_the_text_is_tokenised_already():
    model = toys.toy("bpe", texts=("ab, b", "b, a") * 3, vocabulary=9, split_punctuation=False)
    expected = sorted(
        model.network.said(tokens)
        for tokens in toys.outputs(model)
        if not repeats(toys.spelt(model, tokens).split(), 2) and "b," not in toys.spelt(model, tokens).split()
    )
    assert scores(model, block_ngrams=2, forbid=["b,"]) == pytest.approx(expected)


@pytest.mark.parametrize("options", [{"beam": 1}, {"beam": 3}, {"samples": 3, "seed": 1}])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_no_search_says_what_must_not_be_said(kind, options, seed):
    model = toys.toy(kind, seed, limit=40)
    options = {"nbest": options.get("samples", options.get("beam")), **options}
    for prediction in model.predict(["a", "b a"], block_ngrams=3, forbid=["ab", "b ,"], **options):
        for option in prediction.alternatives:
            assert not repeats(words_of(option.text), 3)
            assert not repeats(option.text.split(), 3)
            assert not contains(option.text, "ab")
            assert not contains(option.text, "b ,")


def test_large_and_small_letters_make_no_new_ngram_but_another_word():
    model = toys.toy("word", texts=("A b a B",) * 3)
    texts = [option.text for option in model.predict(["a"], nbest=5000, block_ngrams=1)[0].alternatives]
    assert "A b" in texts
    assert not {"A a", "b B", "a A"} & {*texts}
    texts = [option.text for option in model.predict(["a"], nbest=5000, forbid=["A"])[0].alternatives]
    assert "a b" in texts
    assert not any("A" in text for text in texts)


def test_each_text_may_have_its_own_phrases():
    model = toys.toy("word")
    forbid = [["a"], [], ["b", "ab"]]
    found = model.predict(["a", "a", "a"], nbest=5000, forbid=forbid)
    alone = [model.predict(["a"], nbest=5000, forbid=phrases)[0] for phrases in forbid]
    for prediction, expected in zip(found, alone, strict=True):
        assert [o.text for o in prediction.alternatives] == [o.text for o in expected.alternatives]


def test_a_word_that_begins_as_a_forbidden_one_is_said_where_several_hypotheses_are_kept():
    model = toys.toy("character")
    texts = {option.text for option in model.predict(["a"], nbest=5000, forbid=["a"])[0].alternatives}
    assert {"ab", "b ab"} <= texts
    assert "a" not in texts


def test_a_word_that_hardly_ever_goes_on_is_given_up_and_another_one_said():
    model = toys.toy("character")
    names = model.tokenizer.tokens
    a, b = (names.index(name) for name in "ab")
    odds = torch.full((len(names), len(names)), -20.0, dtype=torch.float64)
    odds[START, a], odds[START, b] = 10.0, 5.0
    odds[[a, b], END] = 10.0
    odds[a, b] = 1.0
    model.network.table = torch.log_softmax(odds, dim=-1)
    assert model.predict(["a"])[0].text == "a"
    for options in ({"beam": 1}, {"beam": 2}, {"beam": 5}):
        assert model.predict(["a"], forbid=["a"], **options)[0].text == "b"
    odds[a, b] = 9.0  # now it may well be another word
    model.network.table = torch.log_softmax(odds, dim=-1)
    assert model.predict(["a"], beam=2, forbid=["a"])[0].text == "ab"


def test_a_word_copied_from_the_source_is_no_forbidden_one():
    model = toys.toy("word", unknown=True)
    options = {"nbest": 5000, "forbid": ["xyz"]}
    (prediction,) = model.predict(["xyz"], **options)
    assert not any("xyz" in option.text for option in prediction.alternatives)
    assert any("<unk>" in option.text for option in prediction.alternatives)
    (prediction,) = model.predict(["xyz"], nbest=5000)
    assert any("xyz" in option.text for option in prediction.alternatives)
