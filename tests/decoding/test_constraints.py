"""A minimum length and a given beginning hold for every search, and what is searched stays the best."""

from __future__ import annotations

import math

import pytest
import torch
import toys

from regard.data.tokenization import END, PAD, START
from regard.decoding.constraints import NEVER, MinimumLength, Place, Rules

KINDS = ["bpe", "word", "character"]
SEARCHES = [{"beam": 1}, {"beam": 4}, {"samples": 4, "seed": 3}]


def place(length: int, rows: int, left: int = 9) -> Place:
    return Place(length, torch.arange(rows), torch.full((rows,), left))


def test_without_rules_only_padding_and_start_are_impossible():
    table = torch.zeros(2, 6)
    Rules().apply(table, (), place(0, 2))
    assert (table == NEVER)[0].tolist() == [i in (PAD, START) for i in range(6)]


def test_where_no_room_is_left_only_the_end_is_possible():
    table = torch.zeros(2, 6)
    Rules().apply(table, (), Place(3, torch.arange(2), torch.tensor([0, 1])))
    assert (table[0] == NEVER).tolist() == [i != END for i in range(6)]
    assert (table[1] == NEVER).tolist() == [i in (PAD, START) for i in range(6)]


def test_what_is_given_comes_before_every_rule():
    rules = Rules([MinimumLength(5)], [[END, 4], []])
    table = torch.zeros(2, 6)
    rules.apply(table, rules.start(torch.arange(2)), place(0, 2))
    assert (table[0] == NEVER).tolist() == [i != END for i in range(6)]
    assert table[1, END] == NEVER
    assert table[1, 4] == 0


@pytest.mark.parametrize("options", SEARCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_output_has_fewer_tokens_than_the_minimum(kind, options, monkeypatch):
    for minimum in (0, 3, 7):
        model = toys.toy(kind, limit=4)
        nbest = options.get("samples", options.get("beam"))
        found: list[int] = []
        spell = type(model)._spelt

        def spelt(self, source, hypothesis, *rest, found=found, spell=spell):
            found.append(len(hypothesis.tokens))
            return spell(self, source, hypothesis, *rest)

        monkeypatch.setattr(type(model), "_spelt", spelt)
        model.predict(["a", "b b"], min_length=minimum, nbest=nbest, **options)
        monkeypatch.undo()
        assert found
        assert min(found) >= minimum
        assert max(found) <= (4 if minimum == 0 else minimum + 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_beam_finds_all_outputs_that_begin_as_given(kind):
    model = toys.toy(kind)
    ids, _ = model.spelling.phrase("a")
    (prediction,) = model.predict(["b"], nbest=5000, prefix="a")
    expected = sorted(
        model.network.said(tokens)
        for tokens in toys.outputs(model, len(ids) + 4)
        if tokens[: len(ids)] == ids
    )
    assert sorted(option.score for option in prediction.alternatives) == pytest.approx(expected)


@pytest.mark.parametrize("options", SEARCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_output_begins_as_its_text_is_told(kind, options):
    model = toys.toy(kind)
    prefixes = ["b, a", "", "ab "]
    nbest = options.get("samples", options.get("beam"))
    found = model.predict(["a", "a", "a"], prefix=prefixes, nbest=nbest, **options)
    for prediction, prefix in zip(found, prefixes, strict=True):
        for option in prediction.alternatives:
            assert f"{option.text} ".startswith(prefix)
            assert math.isfinite(option.score)
            assert len(option.alignment.weights) == len(option.alignment.query_tokens)
    (together,) = model.predict(["a"], prefix="ab ", nbest=nbest, **options, first=2)
    assert [o.text for o in together.alternatives] == [o.text for o in found[2].alternatives]


def test_the_score_of_an_output_includes_what_was_given():
    model = toys.toy("word")
    (prediction,) = model.predict(["b"], prefix="b a", beam=3)
    names = model.tokenizer.tokens
    tokens = [
        names.index(f"▁{word}") if word != "," else names.index(",") for word in prediction.text.split()
    ]
    assert prediction.score == pytest.approx(model.network.said(tokens))


def test_the_model_goes_on_with_the_last_word_unless_a_space_ends_it():
    model = toys.toy("bpe", texts=("ab b, ab a, b",) * 3)
    texts = {
        prefix: {option.text for option in model.predict(["a"], nbest=5000, prefix=prefix)[0].alternatives}
        for prefix in ("a", "a ")
    }
    assert "ab" in texts["a"]
    assert not any(text.startswith(("ab", "aa", "a,")) for text in texts["a "])
    assert {"a", "a b", "a ,"} <= texts["a "]


def test_a_beginning_is_spelt_as_it_was_given_whatever_the_model_can_spell():
    model = toys.toy("bpe", unknown=True)
    (prediction,) = model.predict(["b"], prefix="zß ")
    assert prediction.text.startswith("zß")
    assert prediction.alignment.query_tokens[0] == "zß"
    assert not prediction.alignment.copied


def test_an_empty_text_gives_an_empty_one_whatever_is_wished():
    model = toys.toy("bpe")
    (prediction,) = model.predict([" "], prefix="a", require=["b"], min_length=3)
    assert prediction.text == ""
