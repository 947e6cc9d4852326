"""Beam search against writing down all that could be said, and against a search that never stops early."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from regard.data.tokenization import END, PAD, START
from regard.decoding import beam as beam_module
from regard.decoding.beam import beam_search, length_penalty
from regard.decoding.greedy import greedy
from regard.decoding.hypothesis import Hypothesis

SEEDS = range(5)
ALPHAS = [0.0, 0.6, 1.0, 2.0]


def test_the_length_penalty_is_a_power_of_the_length():
    assert length_penalty(1, 1.0) == 1.0
    assert length_penalty(7, 1.0) == 7.0
    assert length_penalty(16, 0.5) == 4.0
    assert length_penalty(19, 0.0) == 1.0


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize(("vocabulary", "limit"), [(5, 4), (6, 4)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_wide_beam_finds_all_that_can_be_said_best_first(
    seed, vocabulary, limit, alpha, tiny, sentences, everything
):
    model = tiny(seed, vocabulary)
    source, lengths = sentences(seed, vocabulary)
    found = beam_search(model, source, lengths, torch.tensor([limit, limit - 1, 0]), beam=130, alpha=alpha)
    for row, hypotheses in enumerate(found):
        expected = everything(model, source[row, : lengths[row]], (limit, limit - 1, 0)[row], alpha)
        assert [h.tokens for h in hypotheses] == [tokens for tokens, _ in expected]
        for hypothesis, (tokens, log_probability) in zip(hypotheses, expected, strict=True):
            assert hypothesis.log_probability == pytest.approx(log_probability, abs=1e-9)
            score = log_probability / (len(tokens) + 1) ** alpha
            assert hypothesis.score == pytest.approx(score, abs=1e-9)


@torch.no_grad()
def plain_beam(model, source: Tensor, beam: int, alpha: float, limit: int) -> list[tuple[list[int], float]]:
    """Beam search as one would explain it: lists, one sentence, each prefix run anew, to the very end."""
    running: list[tuple[list[int], float]] = [([], 0.0)]
    ended: list[tuple[list[int], float]] = []
    for length in range(limit + 1):
        given = torch.tensor([[START, *tokens] for tokens, _ in running])
        lengths = torch.full((len(running),), len(source))
        features, _ = model(source.expand(len(running), -1), lengths, given)
        said = torch.log_softmax(model.logits(features[:, -1]), dim=-1).tolist()
        continued = [
            (tokens, word, total + said[row][word])
            for row, (tokens, total) in enumerate(running)
            for word in range(len(said[0]))
            if word not in (PAD, START) and (length < limit or word == END)
        ]
        continued.sort(key=lambda entry: -entry[2])
        ended += [(tokens, total) for tokens, word, total in continued[:beam] if word == END]
        running = [([*tokens, word], total) for tokens, word, total in continued if word != END][:beam]
        if not running:
            break
    ended.sort(key=lambda entry: -entry[1] / length_penalty(len(entry[0]) + 1, alpha))
    return ended[:beam]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_stopping_early_never_loses_a_better_hypothesis(seed, beam, alpha, tiny, sentences):
    model = tiny(seed, vocabulary=9)
    source, lengths = sentences(seed, vocabulary=9, count=4)
    limits = torch.tensor([7, 2, 5, 7])
    for row, hypotheses in enumerate(beam_search(model, source, lengths, limits, beam=beam, alpha=alpha)):
        expected = plain_beam(model, source[row, : lengths[row]], beam, alpha, int(limits[row]))
        assert [h.tokens for h in hypotheses] == [tokens for tokens, _ in expected]
        assert [h.log_probability for h in hypotheses] == pytest.approx([total for _, total in expected])
        assert all(len(h.tokens) <= limits[row] for h in hypotheses)
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("alpha", [*ALPHAS, -0.5])
def test_a_sentence_that_is_done_has_nothing_to_hope_for(alpha, tiny, sentences, monkeypatch):
    searches = []
    for seed in SEEDS:
        model, (source, lengths) = tiny(seed, vocabulary=9), sentences(seed, vocabulary=9, count=6)
        limits = torch.tensor([12, 3, 7, 9, 1, 5])
        searches.append((model, source, lengths, limits))
    early = [beam_search(*search, beam=3, alpha=alpha) for search in searches]
    monkeypatch.setattr(beam_module._Ended, "overtaken", lambda self, places, best, *_: best == -math.inf)
    late = [beam_search(*search, beam=3, alpha=alpha) for search in searches]
    assert tokens_of(early) == tokens_of(late)


def tokens_of(searches: list[list[list[Hypothesis]]]) -> list[list[int]]:
    return [h.tokens for found in searches for hypotheses in found for h in hypotheses]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_beam_of_one_without_length_penalty_is_greedy_search(seed, tiny, sentences):
    model = tiny(seed, vocabulary=9)
    source, lengths = sentences(seed, vocabulary=9, count=8)
    limits = lengths + 3
    found = beam_search(model, source, lengths, limits, beam=1, alpha=0.0)
    for (hypothesis,), expected in zip(found, greedy(model, source, lengths, limits), strict=True):
        assert hypothesis.tokens == expected.tokens
        assert hypothesis.score == pytest.approx(expected.score, abs=1e-5)
        np.testing.assert_allclose(hypothesis.weights, expected.weights, atol=1e-6)


@pytest.mark.parametrize("attention", ["general", "additive"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_alignment_of_a_hypothesis_is_that_of_being_made_to_say_it(
    seed, attention, tiny, sentences, forced
):
    model = tiny(seed, vocabulary=9, attention=attention, decoder_layers=2, cell="lstm")
    source, lengths = sentences(seed, vocabulary=9, count=5)
    found = beam_search(model, source, lengths, torch.tensor([6, 1, 3, 6, 4]), beam=4)
    for row, hypotheses in enumerate(found):
        for hypothesis in hypotheses:
            log_probability, weights = forced(model, source[row, : lengths[row]], hypothesis.tokens)
            np.testing.assert_allclose(hypothesis.weights, weights.numpy(), atol=1e-6)
            assert hypothesis.weights.shape == (len(hypothesis.tokens), lengths[row])
            assert hypothesis.log_probability == pytest.approx(log_probability, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_says_what_each_of_its_sentences_says_alone(seed, tiny, sentences):
    model = tiny(seed, vocabulary=9)
    source, lengths = sentences(seed, vocabulary=9, count=7)
    limits = 2 * lengths
    for row, hypotheses in enumerate(beam_search(model, source, lengths, limits, beam=4)):
        part = slice(row, row + 1)
        (alone,) = beam_search(model, source[part, : lengths[row]], lengths[part], limits[part], beam=4)
        assert [h.tokens for h in alone] == [h.tokens for h in hypotheses]
        assert [h.score for h in alone] == pytest.approx([h.score for h in hypotheses], abs=1e-9)
        for one, other in zip(alone, hypotheses, strict=True):
            np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)


def test_a_limit_of_nothing_says_nothing(tiny, sentences, forced):
    model, (source, lengths) = tiny(0), sentences(0)
    for row, hypotheses in enumerate(beam_search(model, source, lengths, torch.zeros(3, dtype=torch.long))):
        assert [h.tokens for h in hypotheses] == [[]]
        assert hypotheses[0].weights.shape == (0, lengths[row])
        expected, _ = forced(model, source[row, : lengths[row]], [])
        assert hypotheses[0].log_probability == pytest.approx(expected)


def test_keys_are_projected_once_however_many_sentences_end_early(tiny, sentences, monkeypatch):
    model = tiny(0, vocabulary=9)
    calls = []
    project = model.decoder.score.project
    monkeypatch.setitem(
        vars(model.decoder.score), "project", lambda keys: calls.append(len(keys)) or project(keys)
    )
    source, lengths = sentences(0, vocabulary=9, count=6)
    beam_search(model, source, lengths, torch.tensor([1, 2, 3, 4, 5, 6]), beam=4)
    assert calls == [6]


@dataclass
class Rows:
    """Something kept for each row."""

    values: Tensor

    def select(self, rows: Tensor) -> Rows:
        return Rows(self.values[rows])


class Table:
    """Says word w after word v with log-probability table[v, w], and looks at nothing in particular."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def encode(self, source: Tensor, lengths: Tensor) -> Rows:
        return Rows(source)

    def start(self, encoded: Rows) -> tuple[Rows, Rows]:
        return encoded, encoded

    def step(self, steps: Rows, state: Rows, words: Tensor) -> tuple[Tensor, Tensor, Rows]:
        return self.table[words].clone(), torch.ones(len(words), steps.values.shape[1]), state


def search_table(table: Tensor, **options) -> list[Hypothesis]:
    (hypotheses,) = beam_search(Table(table), torch.tensor([[4, 5]]), torch.tensor([2]), **options)
    return hypotheses


def test_what_is_impossible_is_never_among_the_hypotheses():
    table = torch.full((6, 6), -math.inf)
    table[START, 4] = table[4, 5] = table[5, END] = 0.0  # only one thing can be said
    (hypothesis,) = search_table(table, limits=torch.tensor([8]), beam=4)
    assert hypothesis.tokens == [4, 5]
    assert hypothesis.score == 0.0
    assert search_table(table, limits=torch.tensor([1]), beam=4) == []


def test_padding_and_start_are_never_said():
    table = torch.full((6, 6), -3.0)
    table[:, [PAD, START]] = -0.1
    for hypothesis in search_table(table, limits=torch.tensor([3]), beam=30):
        assert not {PAD, START, END} & set(hypothesis.tokens)


def test_a_beam_wider_than_the_vocabulary_is_filled_as_words_come():
    table = torch.log_softmax(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    found = search_table(table, limits=torch.tensor([2]), beam=100, alpha=0.0)
    assert len(found) == 1 + 3 + 9
    assert len({tuple(h.tokens) for h in found}) == len(found)
    best = search_table(table, limits=torch.tensor([2]), beam=4, alpha=0.0)
    assert best[0].tokens == found[0].tokens


def test_a_longer_output_wins_where_the_penalty_makes_up_for_its_length():
    table = torch.full((6, 6), -math.inf)
    table[START, END], table[START, 4] = math.log(0.4), math.log(0.6)
    table[4, END], table[4, 5], table[5, END] = math.log(0.4), math.log(0.6), 0.0
    best = {
        alpha: search_table(table, limits=torch.tensor([4]), beam=2, alpha=alpha)[0].tokens
        for alpha in (0.0, 1.0)
    }
    assert best == {0.0: [], 1.0: [4, 5]}


@pytest.mark.parametrize("alpha", [*ALPHAS, -0.5])
@pytest.mark.parametrize("nbest", [1, 2, 3])
def test_the_best_few_are_the_first_of_all(nbest, alpha, tiny, sentences):
    steps = []
    for seed in SEEDS:
        model, (source, lengths) = tiny(seed, vocabulary=9), sentences(seed, vocabulary=9, count=6)
        count_steps(model, steps)
        options = {"beam": 4, "alpha": alpha, "limits": torch.tensor([12, 3, 7, 9, 1, 5])}
        few = beam_search(model, source, lengths, nbest=nbest, **options)
        taken = len(steps)
        whole = beam_search(model, source, lengths, **options)
        assert taken <= len(steps) - taken
        steps.clear()
        assert tokens_of([few]) == tokens_of([[hypotheses[:nbest] for hypotheses in whole]])


def count_steps(model, steps: list[int]) -> None:
    step = model.step
    model.step = lambda *given: steps.append(1) or step(*given)


@pytest.mark.parametrize("count", [1, 3, 10, 64, 100])
@pytest.mark.parametrize("width", [100, 640, 1000, 6400, 12345])
def test_the_largest_of_many_are_found_by_blocks(width, count):
    generator = torch.Generator().manual_seed(width + count)
    values = torch.randn(3, width, generator=generator)
    values[1, : width // 2] = -math.inf
    values[2, 5:] = -math.inf
    found, places = beam_module.largest(values, count)
    expected = values.sort(dim=1, descending=True).values[:, :count]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(values.gather(1, places), expected)
    assert all(len({*row}) == count for row in places[:2].tolist())


def test_what_could_only_overtake_much_later_is_not_waited_for():
    table = torch.full((6, 6), -math.inf)
    table[START, END], table[START, 4] = math.log(0.8), math.log(0.2)
    table[4, 5], table[5, 4], table[4, END] = -0.01, -0.01, -0.01
    best = {
        lookahead: search_table(
            table, limits=torch.tensor([30]), beam=2, alpha=1.0, nbest=1, lookahead=lookahead
        )[0].tokens
        for lookahead in (0, 1, 40)
    }
    assert best[0] == best[40]
    assert len(best[0]) > len(best[1])
