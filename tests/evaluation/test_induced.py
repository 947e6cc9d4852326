"""Links induced from texts: against plain loops over every alignment, and against links drawn by hand."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from regard.errors import InputError
from regard.evaluation import induced
from regard.evaluation.alignment import alignment_error_rate, read_links
from regard.evaluation.induced import Direction, WordAligner, induced_links
from regard.evaluation.symmetry import intersection

HANSARDS = Path(__file__).parents[2] / "../shared/data/hansards-en-fr"
TEXTS = (
    ["the house", "the book", "a book", "the green house", "a"],
    ["das haus", "das buch", "ein buch", "das grüne haus", "ein"],
)


def words(texts):
    return [text.split() for text in texts]


def model_1_by_loops(given, generated, iterations):
    """Brown et al. 1993 with dictionaries: t[e][f], nobody being the word ''."""
    pairs = [(["", *e], f) for e, f in zip(given, generated, strict=True)]
    t = {(e, f): 1.0 for es, fs in pairs for e in es for f in fs}
    totals = {e: sum(v for (a, _), v in t.items() if a == e) for e, _ in t}
    t = {(e, f): v / totals[e] for (e, f), v in t.items()}
    for _ in range(iterations):
        counts = dict.fromkeys(t, 0.0)
        for es, fs in pairs:
            for f in fs:
                total = sum(t[e, f] for e in es)
                for e in es:
                    counts[e, f] += t[e, f] / total
        totals = {e: sum(v for (a, _), v in counts.items() if a == e) for e, _ in t}
        t = {(e, f): v / totals[e] for (e, f), v in counts.items()}
    return t


def table_of(direction):
    """The table of translations with words for numbers."""
    given = {0: "", **{n: word for word, n in direction.given_words.items()}}
    generated = {n: word for word, n in direction.generated_words.items()}
    base = len(generated) + 1
    return {
        (given[key // base], generated[key % base]): value
        for key, value in zip(direction.keys.tolist(), direction.table.tolist(), strict=True)
    }


def test_model_1_learns_what_a_loop_over_words_learns():
    given, generated = map(words, TEXTS)
    found = table_of(Direction(given, generated).learn(5, 0))
    expected = model_1_by_loops(given, generated, 5)
    assert found.keys() == expected.keys()
    for pair, value in expected.items():
        assert found[pair] == pytest.approx(value, abs=1e-5), pair


@pytest.mark.parametrize("seed", range(5))
def test_posteriors_are_sums_over_every_possible_alignment(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 5, 2)
    translations = random.random((1, height, 1 + width)).astype(np.float32)
    jumps = random.random(2 * induced.FARTHEST + 1) + 0.1
    expected, distances = np.zeros((height, 1 + width)), np.zeros(len(jumps))
    for choice in itertools.product(range(width + 1), repeat=int(height)):
        probability, last, steps = 1.0, 0, []
        for j, i in enumerate(choice):
            if i == 0:
                probability *= induced.NOBODY * translations[0, j, 0]
                continue
            row = jumps[np.clip(np.arange(1, width + 1) - last, -induced.FARTHEST, induced.FARTHEST) + 8]
            probability *= (1 - induced.NOBODY) * row[i - 1] / row.sum() * translations[0, j, i]
            steps.append(i - last + induced.FARTHEST)
            last = i
        expected[np.arange(height), choice] += probability
        np.add.at(distances, steps, probability)
    real = np.ones((1, height), bool)
    found, jumped = induced._markov_posteriors(translations, real, jumps)
    total = expected[0].sum()
    np.testing.assert_allclose(found[0], expected / total, atol=1e-5)
    np.testing.assert_allclose(jumped[0], distances / total, atol=1e-5)


def test_what_stands_behind_the_end_of_a_text_changes_nothing():
    random = np.random.default_rng(1)
    translations = random.random((2, 6, 5)).astype(np.float32)
    jumps = random.random(2 * induced.FARTHEST + 1) + 0.1
    real = np.arange(6) < np.array([[4], [6]])
    found, jumped = induced._markov_posteriors(translations, real, jumps)
    alone = [
        induced._markov_posteriors(translations[b : b + 1, :n], real[b : b + 1, :n], jumps)
        for b, n in ((0, 4), (1, 6))
    ]
    np.testing.assert_allclose(found[0, :4], alone[0][0][0], atol=1e-6)
    np.testing.assert_allclose(found[1], alone[1][0][0], atol=1e-6)
    np.testing.assert_allclose(jumped, alone[0][1] + alone[1][1], rtol=1e-5, atol=1e-6)


def test_digamma_is_the_derivative_of_the_logarithm_of_gamma():
    x = np.array([0.01, 0.3, 1.0, 2.5, 7.0, 1234.5])
    step = 1e-5
    slopes = [(math.lgamma(v + step * v) - math.lgamma(v - step * v)) / (2 * step * v) for v in x]
    np.testing.assert_allclose(induced._digamma(x), slopes, rtol=1e-6, atol=1e-6)


def test_words_that_go_together_are_linked():
    vocabulary = (
        ["eins", "zwei", "drei", "vier", "fünf", "sechs"],
        ["one", "two", "three", "four", "five", "six"],
    )
    random = np.random.default_rng(3)
    chosen = [random.permutation(6)[: random.integers(2, 6)] for _ in range(200)]
    sources, targets = ([[side[i] for i in each] for each in chosen] for side in vocabulary)
    found = induced_links(sources, targets)
    assert [sorted(each) for each in found] == [[(i, i) for i in range(len(each))] for each in chosen]


def test_links_name_the_target_word_first_and_turn_round_with_the_sides():
    aligner = WordAligner.learn(*map(words, TEXTS), iterations=0)
    found = aligner.links([["green", "house"]], [["das", "grüne", "haus"]], symmetry=intersection)
    assert (1, 0) in found[0]
    assert all(0 <= target < 3 and 0 <= source < 2 for target, source in found[0])


def test_a_text_without_words_has_no_links_and_unknown_words_break_nothing():
    aligner = WordAligner.learn(*map(words, TEXTS))
    found = aligner.links([[], ["house"], ["never", "seen"]], [["haus"], [], ["nie", "gesehen"]])
    assert found[:2] == [frozenset(), frozenset()]
    assert WordAligner.learn([], []).links([["a"]], [["b"]]) == [frozenset()]


def test_as_many_targets_as_sources_are_needed():
    with pytest.raises(InputError, match="2 sources but 1 targets"):
        induced_links([["a"], ["b"]], [["c"]])


@pytest.fixture(scope="module")
def hansards():
    if not HANSARDS.is_dir():
        pytest.skip("../shared/data/hansards-en-fr is absent")
    parts = {
        n: words((HANSARDS / n).read_text(encoding="utf-8").splitlines()) for n in ("gold.en", "gold.fr")
    }
    for name in ("train.en", "train.fr"):
        parts[name] = words((HANSARDS / name).read_text(encoding="utf-8").split("\n")[:-1])
    return parts


def test_the_error_rates_of_the_hansards_are_those_that_are_known(hansards):
    texts = [hansards[f"train.{side}"] + hansards[f"gold.{side}"] for side in ("en", "fr")]
    gold = [hansards[f"gold.{side}"] for side in ("en", "fr")]
    sure, possible = read_links(HANSARDS / "gold.align", transpose=True)

    def error_rate(aligner, symmetry):
        return alignment_error_rate(aligner.links(*gold, symmetry=symmetry), sure, possible).error_rate

    model_1 = WordAligner.learn(*texts, iterations=0)
    assert error_rate(model_1, lambda forward, _: frozenset(forward)) == pytest.approx(0.37, abs=0.01)
    assert error_rate(model_1, lambda _, backward: frozenset(backward)) == pytest.approx(0.32, abs=0.01)
    assert error_rate(model_1, intersection) == pytest.approx(0.25, abs=0.01)
    markov = WordAligner.learn(*texts)
    assert error_rate(markov, induced.grow_diag_final_and) < 0.16
