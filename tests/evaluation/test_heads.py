"""Numbers of heads, against maps whose numbers are known."""

import math

import numpy as np
import pytest

from regard.errors import InputError, ShapeError
from regard.evaluation.heads import MEANINGS, describe, places, similarity


def shifted(size, by):
    """Each query looks at the key so many positions away alone; where there is none, nowhere."""
    return np.eye(size, k=by, dtype=np.float32)


def test_a_head_that_looks_at_the_position_before_is_all_previous():
    found = describe(shifted(6, -1))
    assert found["previous"] == 1 and found["next"] == 0
    assert found["distance"] == 1 and found["entropy"] == 0
    assert describe(shifted(6, 1))["next"] == 1


def test_uniform_weights_have_the_largest_entropy():
    assert describe(np.full((1, 5, 8), 1 / 8))["entropy"] == pytest.approx([math.log(8)])


def test_a_sink_is_told_by_all_but_the_first_position():
    weights = np.eye(4, dtype=np.float32)
    weights[0, 0] = 1
    assert describe(weights)["sink"] == 0
    weights = np.zeros((4, 4), np.float32)
    weights[:, 0] = 1
    assert describe(weights)["sink"] == 1


def test_on_a_repeated_sequence_an_induction_head_looks_one_behind_the_same_token():
    tokens = [7, 3, 9, 4, 7, 3, 9, 4]
    weights = np.zeros((8, 8), np.float32)
    for query in range(4, 8):
        weights[query, query - 3] = 1
    found = describe(weights, tokens=tokens)
    assert found["induction"] == 1 and found["same_token"] == 0
    same = np.zeros((8, 8), np.float32)
    same[range(4, 8), range(4)] = 0.75
    same[range(4, 8), range(4, 8)] = 0.25
    assert describe(same, tokens=tokens)["same_token"] == 0.75


def test_a_token_next_to_its_like_is_no_induction():
    found = places(3, 3, tokens=[5, 5, 6])
    assert found["same_token"] == (np.array([1]), np.array([0]))
    assert "induction" not in found


def test_separators_are_told_by_the_other_positions():
    weights = np.zeros((3, 3), np.float32)
    weights[:, 2] = [0.5, 0.7, 1.0]
    weights[:, 0] = [0.5, 0.3, 0.0]
    assert describe(weights, separators=[2])["separator"] == pytest.approx(0.6)


def test_the_queries_of_a_step_are_counted_from_their_own_position():
    whole = np.tril(np.random.default_rng(0).random((6, 6)).astype(np.float32))
    whole /= whole.sum(-1, keepdims=True)
    found = describe(whole[4:], offset=4, tokens=[1, 2, 1, 2, 1, 2])
    assert found["previous"] == pytest.approx((whole[4, 3] + whole[5, 4]) / 2)
    assert found["same_token"] == pytest.approx((whole[4, 2] + whole[5, 3]) / 2)
    assert found["sink"] == pytest.approx(whole[4:, 0].mean())


def test_rows_that_look_nowhere_do_not_count():
    weights = np.zeros((2, 3, 3), np.float32)
    weights[0, 2] = 1 / 3
    found = describe(weights)
    assert found["entropy"] == pytest.approx([math.log(3), 0])


def test_of_two_texts_only_the_entropy_is_told():
    assert list(describe(np.full((2, 3), 1 / 3), offset=None)) == ["entropy"]


def test_every_number_has_a_meaning():
    found = describe(np.full((4, 4), 0.25), tokens=[1, 2, 1, 2], separators=[3])
    assert list(found) == list(dict.fromkeys([*found])) and set(found) == set(MEANINGS)


def test_alike_heads_have_similarity_one_and_heads_apart_zero():
    rng = np.random.default_rng(0)
    one = rng.dirichlet(np.ones(5), size=4)
    found = similarity(np.stack([one, one, shifted(5, 0)[:4], shifted(5, 1)[:4]]))
    assert found[0, 1] == pytest.approx(1) and found[2, 3] == pytest.approx(0)
    np.testing.assert_array_equal(found, found.T)
    # Jensen–Shannon by its definition, one row at a time
    other = shifted(5, 0)[:4].astype(float)
    middle = (one + other) / 2

    def divergence(p, q):
        return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0)

    expected = [
        1 - math.sqrt((divergence(p, m) + divergence(q, m)) / 2)
        for p, q, m in zip(one, other, middle, strict=True)
    ]
    assert found[0, 2] == pytest.approx(np.mean(expected))


def test_what_cannot_be_described_says_why():
    with pytest.raises(InputError, match=r"neither of them 0; got \(0, 3\)"):
        describe(np.zeros((0, 3)))
    with pytest.raises(InputError, match="separators are positions among 3 keys"):
        describe(np.full((3, 3), 1 / 3), separators=[7])
    with pytest.raises(InputError, match="finite and not below 0"):
        describe(np.full((3, 3), np.nan))
    with pytest.raises(ShapeError, match="2 tokens for 3 keys"):
        describe(np.full((3, 3), 1 / 3), tokens=[1, 2])
