"""How good a model is: its outputs against references, its links against those drawn by hand."""

from __future__ import annotations

import json
from copy import copy

import pytest

import regard
from regard.data.corpora import from_pairs
from regard.errors import InputError
from regard.evaluation.text import rouge
from regard.training.validation import evaluate, validation_score


@pytest.fixture(scope="module")
def model(trained):
    return regard.load(trained)


def backwards(length):
    """The links of a text with the same backwards."""
    return {(query, length - 1 - query) for query in range(length)}


def test_a_model_that_says_the_references_has_full_marks(model, pairs):
    sources = [source for source, _ in pairs[:20]]
    said = [prediction.text for prediction in model.predict(sources, beam=1)]
    found = evaluate(model, from_pairs(zip(sources, said, strict=True)), beam=1)
    assert (found.exact_match, found.sentences) == (1.0, 20)
    assert found.chrf.value == pytest.approx(100)
    assert found.predictions == tuple(said)
    assert found.alignment is None
    assert found.bleu.low is not None


def test_scores_read_as_text_and_as_json(model, pairs):
    found = evaluate(
        model, from_pairs(pairs[:20]), links=[(backwards(len(s.split())), set()) for s, _ in pairs[:20]]
    )
    lines = str(found).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["20", "BLEU", "chrF2", "exact", "AER"]
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(values) == {"sentences", "bleu", "chrf", "exact_match", "alignment_error_rate", "alignment"}
    assert values["alignment_error_rate"] == values["alignment"]["error_rate"]
    assert "alignment_error_rate" not in evaluate(model, from_pairs(pairs[:2])).to_dict()


def test_summaries_are_scored_by_rouge_where_it_is_asked_for_or_decided_training(model, pairs):
    corpus = from_pairs(pairs[:20])
    found = evaluate(model, corpus, with_rouge=True, beam=1)
    expected = [rouge(found.predictions, corpus.targets(), kind) for kind in ("rouge1", "rouge2", "rougeL")]
    assert list(found.rouge) == expected
    assert [found.to_dict()[kind] for kind in ("rouge1", "rouge2", "rougeL")] == [
        s.to_dict() for s in expected
    ]
    assert [line.split(" ")[0] for line in str(found).splitlines()[3:6]] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    assert not evaluate(model, corpus, beam=1).rouge
    summaries = copy(model)
    summaries.recipe = model.recipe.with_settings(["evaluation.metric=rougeL"])
    assert list(evaluate(summaries, corpus, beam=1).rouge) == expected
    assert not evaluate(summaries, corpus, beam=1, with_rouge=False).rouge
    for kind, score in zip(("rouge1", "rouge2", "rougeL"), expected, strict=True):
        found_alone = validation_score(model, corpus.sources(), corpus.targets(), kind, "13a")
        assert found_alone == pytest.approx(score.value)


def test_the_error_rate_is_that_of_the_links_of_the_references(model, pairs):
    corpus = from_pairs(pairs[:30])
    looked = [record.links() for record in model.align(corpus.sources(), corpus.targets())]
    perfect = evaluate(model, corpus, links=[(links, set()) for links in looked], confidence=False)
    assert perfect.alignment is not None
    assert perfect.alignment.error_rate == 0.0
    assert perfect.alignment.sure == sum(len(target.split()) for target in corpus.targets())


def test_output_words_without_a_gold_link_are_not_judged(model, pairs):
    corpus = from_pairs(pairs[:30])
    looked = [record.links() for record in model.align(corpus.sources(), corpus.targets())]
    first = [({link for link in links if link[0] == 0}, set()) for links in looked]
    found = evaluate(model, corpus, links=first, confidence=False)
    assert found.alignment is not None
    assert (found.alignment.error_rate, found.alignment.predicted) == (0.0, 30)


def test_not_as_many_links_as_pairs_is_an_error(model, pairs):
    with pytest.raises(InputError, match="3 pairs but 2 gold alignments; one is needed for each"):
        evaluate(model, from_pairs(pairs[:3]), links=[(set(), set())] * 2)


@pytest.mark.parametrize("link", [(2, 0), (0, 2), (-1, 0)])
def test_a_link_to_a_word_that_is_not_there_is_an_error_that_names_the_pair(model, link):
    corpus = from_pairs([("1 2", "2 1"), ("3 4", "4 3")])
    with pytest.raises(InputError) as error:
        evaluate(model, corpus, links=[({(0, 1)}, set()), ({(1, 0)}, {link})])
    assert str(error.value) == (
        f"evaluate(): pair 2 has a gold link from output word {link[0]} to input word {link[1]}, but only "
        "2 output words and 2 input words, counted from 0."
    )


def test_the_validation_score_is_from_0_to_100_for_each_metric(model, pairs):
    sources = [source for source, _ in pairs[:20]]
    said = [prediction.text for prediction in model.predict(sources, beam=1)]
    right = said[:15] + ["7 7 7 7 7 7 7 7"] * 5
    assert validation_score(model, sources, right, "exact_match", "13a") == 75.0
    assert 0 < validation_score(model, sources, right, "bleu", "13a") < 100
    assert 0 < validation_score(model, sources, right, "chrf", "13a") < 100
    assert validation_score(model, sources, said, "chrf", "13a") == pytest.approx(100)
