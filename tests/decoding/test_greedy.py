"""Greedy search says the likeliest word each time, and a batch is only a way to save time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from regard.data.tokenization import END, PAD, START
from regard.decoding.greedy import greedy

SEEDS = range(6)


@torch.no_grad()
def by_hand(model, source, limit: int) -> list[int]:
    """The likeliest word each time, running along all words so far anew."""
    tokens: list[int] = []
    while len(tokens) < limit:
        features, _ = model(source[None], torch.tensor([len(source)]), torch.tensor([[START, *tokens]]))
        logits = model.logits(features)[0, -1].tolist()
        best = max((i for i in range(len(logits)) if i not in (PAD, START)), key=logits.__getitem__)
        if best == END:
            break
        tokens.append(best)
    return tokens


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_search_says_the_likeliest_word_each_time(seed, cell, tiny, sentences, forced):
    model = tiny(seed, vocabulary=9, cell=cell)
    source, lengths = sentences(seed, vocabulary=9, count=5)
    limits = torch.tensor([0, 1, 5, 9, 3])
    found = greedy(model, source, lengths, limits)
    for row, hypothesis in enumerate(found):
        sentence = source[row, : lengths[row]]
        assert hypothesis.tokens == by_hand(model, sentence, int(limits[row]))
        log_probability, weights = forced(model, sentence, hypothesis.tokens)
        assert hypothesis.log_probability == pytest.approx(log_probability, abs=1e-5)
        assert hypothesis.score == hypothesis.log_probability
        np.testing.assert_allclose(hypothesis.weights, weights.numpy(), atol=1e-6)
        assert hypothesis.weights.shape == (len(hypothesis.tokens), lengths[row])
        assert hypothesis.weights.dtype == np.float32


@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_says_what_each_of_its_sentences_says_alone(seed, tiny, sentences):
    model = tiny(seed, vocabulary=9)
    source, lengths = sentences(seed, vocabulary=9, count=7)
    limits = 2 * lengths
    for row, hypothesis in enumerate(greedy(model, source, lengths, limits)):
        part = slice(row, row + 1)
        (alone,) = greedy(model, source[part, : lengths[row]], lengths[part], limits[part])
        assert alone.tokens == hypothesis.tokens
        assert alone.log_probability == pytest.approx(hypothesis.log_probability, abs=1e-5)
        np.testing.assert_allclose(alone.weights, hypothesis.weights, atol=1e-6)


def test_padding_and_start_are_never_said(tiny, sentences):
    model = tiny(0)
    with torch.no_grad():
        model.output.bias[[PAD, START]] = 50.0
    hypotheses = greedy(model, *sentences(0), torch.tensor([6, 6, 6]))
    assert all(token not in (PAD, START) for hypothesis in hypotheses for token in hypothesis.tokens)
    assert all(math.isfinite(hypothesis.log_probability) for hypothesis in hypotheses)
