"""What is drawn has the distribution that was asked for, and a seed draws it again."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
import toys

from regard.decoding import sampling as sampling_module
from regard.decoding.sampling import Sampling, narrowed, sample
from regard.errors import InputError

LOGITS = torch.tensor([[2.0, -1.0, 0.5, 0.4, -math.inf, 3.0]], dtype=torch.float64)


def by_hand(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> dict[int, float]:
    """The distribution as one would explain it: lists, sorted, cut off."""
    shares = [(math.exp(x / temperature), word) for word, x in enumerate(LOGITS[0].tolist())]
    shares = sorted(shares, key=lambda share: (-share[0], share[1]))[: top_k or None]
    total = sum(share for share, _ in shares)
    kept, before = {}, 0.0
    for share, word in shares:
        if before < top_p and share:
            kept[word] = share
        before += share / total
    return {word: share / sum(kept.values()) for word, share in kept.items()}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("top_k", "top_p"), [(0, 1.0), (2, 1.0), (6, 1.0), (99, 1.0), (0, 0.7), (3, 0.9), (0, 1e-9)]
)
def test_words_are_drawn_from_what_was_asked_for(temperature, top_k, top_p):
    log_probabilities = torch.log_softmax(LOGITS, dim=-1)
    probabilities, words = narrowed(
        log_probabilities, Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    )
    found = {int(w): float(p) for w, p in zip(words[0], probabilities[0], strict=True) if p > 0}
    assert found == pytest.approx(by_hand(temperature, top_k, top_p))


def test_a_nucleus_of_few_words_is_that_of_all_sorted(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    sharp = torch.tensor([[9.0], [1.0], [0.1]], dtype=torch.float64)
    said = torch.log_softmax(sharp * torch.randn(3, 500, generator=generator, dtype=torch.float64), dim=1)
    for share in (0.5, 0.9, 0.999):
        few = distributions(said, Sampling(top_p=share))
        monkeypatch.setattr(sampling_module, "FEW", 500)
        assert few == [pytest.approx(each) for each in distributions(said, Sampling(top_p=share))]
        monkeypatch.undo()


def distributions(said, sampling: Sampling) -> list[dict[int, float]]:
    probabilities, words = narrowed(said, sampling)
    return [
        {w: p for w, p in zip(*row, strict=True) if p > 0}
        for row in zip(words.tolist(), probabilities.tolist(), strict=True)
    ]


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6}, {"top_k": 2}, {"top_p": 0.6}])
def test_outputs_come_as_often_as_their_probability_says(options):
    model = toys.toy("word", limit=3)
    sampling = Sampling(samples=4000, seed=5, **options)
    source, lengths = torch.tensor([[4, 5]]), torch.tensor([2])
    (found,) = sample(model.network, source, lengths, torch.tensor([3]), sampling)
    counts = Counter(tuple(hypothesis.tokens) for hypothesis in found)
    expected = dict(outcomes(model, sampling, limit=3))
    assert sum(expected.values()) == pytest.approx(1.0)
    assert {*counts} <= {*expected}
    for tokens, probability in expected.items():
        deviation = math.sqrt(probability * (1 - probability) / len(found))
        assert abs(counts[tokens] / len(found) - probability) <= 5 * deviation + 1e-9


def outcomes(model, sampling: Sampling, limit: int):
    """All outputs with the probability of drawing them."""
    waiting = [((), 2, 1.0)]
    while waiting:
        said, last, probability = waiting.pop()
        if len(said) == limit:
            yield said, probability
            continue
        probabilities, words = narrowed(model.network.table[last][None], sampling)
        for p, word in zip(probabilities[0].tolist(), words[0].tolist(), strict=True):
            if p and word == 3:
                yield said, probability * p
            elif p:
                waiting.append(((*said, word), word, probability * p))


def test_the_log_probability_is_the_models_own_and_the_best_sample_comes_first():
    model = toys.toy("word")
    (prediction,) = model.predict(["a b"], samples=20, nbest=20, temperature=3.0, top_k=4, seed=1)
    names = model.tokenizer.tokens
    scores = [option.score for option in prediction.alternatives]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 20
    for option in prediction.alternatives:
        words = option.text.replace(",", " ,").split()
        tokens = [names.index("," if word == "," else f"▁{word}") for word in words]
        assert option.score == pytest.approx(model.network.said(tokens))
    assert model.predict(["a b"], samples=20, temperature=3.0, top_k=4, seed=1)[0].text == prediction.text


def test_a_seed_draws_the_same_again_whatever_else_is_in_the_batch():
    model = toys.toy("bpe", limit=12)
    texts = ["a", "a b b", "b", "a"]
    drawn = model.predict(texts, samples=3, nbest=3, seed=7)
    again = model.predict(texts, samples=3, nbest=3, seed=7)
    assert said(drawn) == said(again)
    for number, text in enumerate(texts):
        assert said(model.predict([text], samples=3, nbest=3, seed=7, first=number)) == [said(drawn)[number]]
    assert said(drawn)[0] != said(drawn)[3]
    assert said(drawn) != said(model.predict(texts, samples=3, nbest=3, seed=8))
    assert said(model.predict(texts, samples=3, nbest=3)) != said(model.predict(texts, samples=3, nbest=3))


def said(predictions) -> list[list[str]]:
    return [[option.text for option in prediction.alternatives] for prediction in predictions]


def test_one_word_to_choose_from_is_greedy_search():
    model = toys.toy("bpe", limit=12)
    greedy = [prediction.text for prediction in model.predict(["a", "b b"], beam=1)]
    assert [p.text for p in model.predict(["a", "b b"], samples=1, top_k=1)] == greedy
    assert [p.text for p in model.predict(["a", "b b"], samples=1, top_p=1e-9)] == greedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples is at least 1; got 0"),
        ({"samples": 1, "temperature": 0.0}, "temperature is greater than 0"),
        ({"samples": 1, "temperature": math.nan}, "temperature is greater than 0"),
        ({"samples": 1, "top_k": -1}, "top_k is at least 1"),
        ({"samples": 1, "top_p": 0.0}, "top_p is a share"),
        ({"samples": 1, "top_p": 1.5}, "top_p is a share"),
        ({"samples": 1, "seed": -1}, "seed is from 0"),
        ({"temperature": 2.0, "seed": 1}, "temperature, seed without samples"),
        ({"samples": 2, "beam": 4}, "samples=2 and beam=4 contradict each other"),
        ({"samples": 2, "nbest": 3}, "nbest=3 with samples=2"),
        ({"samples": 2, "require": ["a"]}, "samples=2 and require contradict each other"),
        ({"forbid": ["b"], "require": ["a b"]}, "forbid has 'b', which is part of 'a b' in require"),
        ({"forbid": ["b ,"], "prefix": "a b, b"}, "forbid has 'b ,', which is part of the prefix 'a b, b'"),
        ({"require": ["xyz"]}, "require has 'xyz', which the model cannot say"),
        ({"require": "a"}, "require is a list of phrases"),
        ({"forbid": [["a"], ["b"]]}, "1 texts but 2 lists of forbid"),
        ({"forbid": [["a"], "b"]}, "a list of lists"),
        ({"forbid": [" "]}, "a phrase of forbid is empty"),
        ({"prefix": ["a", "b"]}, "1 texts but 2 prefixes"),
        ({"min_length": -1}, "min_length is not negative"),
        ({"block_ngrams": -1}, "block_ngrams is not negative"),
    ],
)
def test_wishes_that_cannot_be_meant_are_refused_by_their_names(options, message):
    model = toys.toy("word")
    model.network.step = None  # nothing is said before
    with pytest.raises(InputError, match=message):
        model.predict(["a"], **options)
