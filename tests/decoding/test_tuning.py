"""The best length penalty is the one with which the outputs score best."""

from __future__ import annotations

import pytest
import toys

from regard.decoding.tuning import Tried, Tuning, tune_length_penalty
from regard.errors import InputError
from regard.evaluation.text import bleu

TEXTS = ["a b", "b", "a"]


def length(outputs, references) -> float:
    return sum(len(output.split()) for output in outputs)


def test_each_penalty_is_scored_on_what_is_found_with_it():
    model = toys.toy("word", 3, limit=9)
    tuning = tune_length_penalty(model, TEXTS, ["b a b"] * 3, penalties=[0.0, 1.0, 3.0], beam=6)
    for tried in tuning.tried:
        found = model.predict(TEXTS, beam=6, length_penalty=tried.length_penalty)
        outputs = [prediction.text for prediction in found]
        assert tried.score == bleu(outputs, ["b a b"] * 3, confidence=False).value
        assert tried.length == length(outputs, []) / 9
    assert [tried.length_penalty for tried in tuning.tried] == [0.0, 1.0, 3.0]


def test_larger_penalties_give_longer_outputs_and_the_best_is_what_is_measured_best():
    model = toys.toy("word", 3, limit=9)
    tuning = tune_length_penalty(model, TEXTS, TEXTS, penalties=[0.0, 1.0, 3.0], beam=20, measure=length)
    lengths = [tried.length for tried in tuning.tried]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
    assert tuning.best.score == max(tried.score for tried in tuning.tried)


def test_of_equals_the_nearest_to_one_is_best_and_the_table_says_so():
    tuning = Tuning((Tried(0.0, 5.0, 0.9), Tried(0.8, 5.0, 1.0), Tried(2.0, 4.0, 1.1)))
    assert tuning.best.length_penalty == 0.8
    assert str(tuning).splitlines() == [
        "penalty   score  length",
        "   0.00    5.00   0.900",
        "   0.80    5.00   1.000  best",
        "   2.00    4.00   1.100",
    ]
    assert tuning.to_dict()["best"] == 0.8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: tune_length_penalty(model, ["a"], []), "1 sources but 0 references"),
        (lambda model: tune_length_penalty(model, [], []), "at least one in all"),
        (lambda model: tune_length_penalty(model, ["a"], ["a"], penalties=[]), "penalties is empty"),
        (lambda model: tune_length_penalty(model, ["a"], ["a"], beam=1), "a beam of 1 compares no outputs"),
    ],
)
def test_what_cannot_be_tuned_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(toys.toy("word"))
