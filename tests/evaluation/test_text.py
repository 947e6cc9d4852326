import dataclasses
import json
import logging
import random
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from regard.errors import InputError
from regard.evaluation.text import ROUGE_KINDS, Score, bleu, chrf, exact_match, rouge

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "under", "old", "green", "tree", "and", "slept"]


def corpus(sentences, seed=0):
    """References of 4 to 12 words, and hypotheses that lose about every sixth word."""
    generator = random.Random(seed)
    references = [" ".join(generator.choices(WORDS, k=generator.randint(4, 12))) for _ in range(sentences)]
    hypotheses = [" ".join(w for w in r.split() if generator.random() > 0.17) for r in references]
    return hypotheses, references


@pytest.mark.parametrize("score", [bleu, chrf, rouge])
def test_the_same_text_scores_100_without_doubt(score):
    _, references = corpus(20)
    result = score(references, references)
    assert (result.value, result.low, result.high) == pytest.approx((100, 100, 100))


@pytest.mark.parametrize("score", [bleu, chrf, rouge])
def test_nothing_in_common_scores_0_without_doubt(score):
    result = score(["aaaa aaaa aaaa aaaa aaaa"] * 3, ["bbbb bbbb bbbb bbbb bbbb"] * 3)
    assert (result.value, result.low, result.high) == (0, 0, 0)


def test_bleu_is_the_geometric_mean_of_precisions():
    result = bleu(["a b c d e"], ["a b c d f"], tokenize="none")
    assert result.value == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_bleu_punishes_brevity():
    result = bleu(["a b c d"], ["a b c d e"], tokenize="none")
    assert result.value == pytest.approx(100 * 2.718281828459045 ** (1 - 5 / 4))


@pytest.mark.parametrize("seed", [12345, 7])
@pytest.mark.parametrize(
    ("score", "metric"), [(bleu, BLEU()), (chrf, CHRF())], ids=lambda item: getattr(item, "__name__", "")
)
def test_value_interval_and_signature_are_those_of_sacrebleu(score, metric, seed, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", str(seed))
    hypotheses, references = corpus(60)
    theirs = metric.corpus_score(hypotheses, [references], n_bootstrap=1000)
    ours = score(hypotheses, references, seed=seed)
    assert ours.value == theirs.score
    assert (ours.high - ours.low) / 2 == pytest.approx(theirs._ci, abs=1e-4)
    assert ours.signature == str(metric.get_signature())


def test_chrf_with_word_order_2_is_chrf_plus_plus():
    hypotheses, references = corpus(10)
    result = chrf(hypotheses, references, word_order=2, confidence=False)
    assert result.name == "chrF2++"
    assert result.value == CHRF(word_order=2).corpus_score(hypotheses, [references]).score


@pytest.mark.parametrize("score", [bleu, chrf, rouge])
def test_the_interval_surrounds_the_score_repeats_and_follows_the_seed(score):
    hypotheses, references = corpus(60)
    first = score(hypotheses, references)
    assert first.low < first.value < first.high
    assert score(hypotheses, references) == first
    assert score(hypotheses, references, seed=1).low != first.low


@pytest.mark.parametrize("score", [bleu, chrf, rouge])
def test_more_sentences_give_a_narrower_interval(score):
    few, many = score(*corpus(30)), score(*corpus(480))
    assert many.high - many.low < 0.5 * (few.high - few.low)


@pytest.mark.parametrize("score", [bleu, chrf, rouge])
def test_without_confidence_there_is_no_interval_and_the_signature_says_so(score):
    result = score(*corpus(5), confidence=False)
    assert result.low is None
    assert result.high is None
    assert "bs:" not in result.signature
    assert "95 %" not in str(result)


@pytest.mark.parametrize("score", [bleu, chrf])
def test_case_counts_unless_lowercase_is_asked_for(score):
    hypotheses, references = ["the old cat sat on the mat"], ["The Old Cat Sat On The Mat"]
    assert score(hypotheses, references, confidence=False).value < 100
    lowered = score(hypotheses, references, lowercase=True, confidence=False)
    assert lowered.value == pytest.approx(100)
    assert "case:lc" in lowered.signature


def test_tokenised_text_is_scored_without_a_warning(caplog):
    texts = ["the cat sat on the mat ."] * 150
    with caplog.at_level(logging.DEBUG):
        result = bleu(texts, texts, tokenize="none", confidence=False)
    assert result.value == pytest.approx(100)
    assert "tok:none" in result.signature
    assert caplog.records == []


def test_the_tokenizer_changes_the_score():
    hypotheses, references = ["a cat, a dog and a tree."], ["a cat , a dog and a tree ."]
    assert bleu(hypotheses, references, confidence=False).value == pytest.approx(100)
    assert bleu(hypotheses, references, tokenize="none", confidence=False).value < 100


def test_a_score_prints_in_one_line_with_its_interval_and_signature():
    score = Score("BLEU", 37.84, 36.91, 38.77, "nrefs:1|tok:none")
    assert str(score) == "BLEU 37.8 (95 %: 36.9 to 38.8)  nrefs:1|tok:none"


def test_a_score_survives_json_and_cannot_be_changed():
    score = chrf(*corpus(5))
    assert Score(**json.loads(json.dumps(score.to_dict()))) == score
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.value = 0.0  # pyright: ignore[reportAttributeAccessIssue]


def overlap(said: list[str], wished: list[str], n: int) -> float:
    """F of the n-grams that two texts have in common, as Lin 2004 counts them."""
    grams = [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (said, wished)]
    common, sizes = sum((grams[0] & grams[1]).values()), [sum(each.values()) for each in grams]
    return 2 * common / sum(sizes) if common else 0.0


def longest_common(said: list[str], wished: list[str]) -> int:
    table = [[0] * (len(wished) + 1)]
    for word in said:
        row = [0]
        for j, other in enumerate(wished):
            row.append(table[-1][j] + 1 if word == other else max(row[-1], table[-1][j + 1]))
        table.append(row)
    return table[-1][-1]


@pytest.mark.parametrize("kind", ROUGE_KINDS)
def test_rouge_is_the_mean_f_of_what_two_texts_have_in_common(kind):
    hypotheses, references = corpus(40)
    expected = []
    for said, wished in zip(hypotheses, references, strict=True):
        said, wished = said.split(), wished.split()
        if kind == "rougeL":
            expected.append(2 * longest_common(said, wished) / (len(said) + len(wished)))
        else:
            expected.append(overlap(said, wished, int(kind[-1])))
    assert rouge(hypotheses, references, kind).value == pytest.approx(100 * sum(expected) / 40)


def test_rouge_is_that_of_the_package_as_its_users_call_it():
    hypotheses = ["Foo-bar libraries, running (2nd part)", "", "the cats sat"]
    references = ["library of foo bar; it runs", "something", "the cat sits"]
    for stem in (False, True):
        theirs = RougeScorer(["rouge1"], use_stemmer=stem)
        scores = [theirs.score(r, h)["rouge1"].fmeasure for h, r in zip(hypotheses, references, strict=True)]
        assert rouge(hypotheses, references, stem=stem).value == pytest.approx(100 * sum(scores) / 3)
    assert f"stem:no|tok:rouge|mean:F1|version:rouge-score-{version('rouge-score')}" in (
        rouge(hypotheses, references).signature
    )


def test_the_interval_of_rouge_is_that_of_the_mean():
    hypotheses, references = corpus(400)
    score = rouge(hypotheses, references)
    each = [rouge([h], [r], confidence=False).value for h, r in zip(hypotheses, references, strict=True)]
    assert (score.high - score.low) / 2 == pytest.approx(1.96 * stdev(each) / 20, rel=0.1)


def test_rouge_counts_words_of_other_scripts_where_asked_for():
    texts, others = ["библиотека für Пчёлы"], ["Библиотека fur пчёлы"]
    assert rouge(texts, others, tokenize="unicode", confidence=False).value == pytest.approx(200 / 3)
    with pytest.raises(InputError, match=r"no reference has a word .* use tokenize='unicode'"):
        rouge(["пчёлы"], ["пчёлы"])
    with pytest.raises(InputError, match=r"stem=True is for English, tokenize='unicode' for other scripts"):
        rouge(texts, others, tokenize="unicode", stem=True)


def test_a_kind_of_rouge_that_is_not_known_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"kind='rouge3' is not known\. Known: rouge1, rouge2, rougeL"):
        rouge(["a"], ["a"], "rouge3")  # pyright: ignore[reportArgumentType]


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=1))
def test_exact_match_is_the_share_of_equal_pairs(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    assert exact_match(hypotheses, references) == sum(h == r for h, r in pairs) / len(pairs)


def test_exact_match_sees_every_space():
    assert exact_match(["2024-05-01", "2024-05-01 "], ["2024-05-01", "2024-05-01"]) == 0.5


@pytest.mark.parametrize("score", [bleu, chrf, rouge, exact_match])
def test_unequal_numbers_of_sentences_are_refused_with_both_numbers(score):
    with pytest.raises(InputError, match=r"3 hypotheses but 2 references; one reference is needed"):
        score(["a", "b", "c"], ["a", "b"])


@pytest.mark.parametrize("score", [bleu, chrf, rouge, exact_match])
def test_no_sentences_are_refused(score):
    with pytest.raises(InputError, match="no sentences"):
        score([], [])


@pytest.mark.parametrize("score", [bleu, chrf, rouge, exact_match])
def test_one_text_instead_of_a_list_is_refused(score):
    with pytest.raises(InputError, match="references is one text; give a list"):
        score(["a b c"], "a b c")


@pytest.mark.parametrize("score", [bleu, chrf, rouge, exact_match])
def test_something_that_is_not_a_text_is_refused_with_its_position(score):
    with pytest.raises(InputError, match=r"hypotheses\[1\] is NoneType, not a text"):
        score(["a", None], ["a", "b"])


def test_an_unknown_tokenizer_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"tokenize='moses' is not known. Known: none, .*13a"):
        bleu(["a"], ["a"], tokenize="moses")


def test_the_module_is_light_until_a_score_is_asked_for():
    code = (
        "import sys, regard.evaluation.text, regard.evaluation.alignment; "
        "print(sorted({'sacrebleu', 'rouge_score', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
