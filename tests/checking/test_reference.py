"""The judge is judged: by regard's own attention, by PyTorch's, and by cases worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import regard
from regard.checking.problems import Problem
from regard.checking.reference import NORMALIZERS, SCORES, reference
from regard.core import normalizers, scores
from regard.errors import InputError


def problem(*, heads: int = 2, key_heads: int = 2, queries: int = 3, keys: int = 5, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    return Problem(
        query=rng.normal(size=(2, heads, queries, 4)),
        keys=rng.normal(size=(2, key_heads, keys, 4)),
        values=rng.normal(size=(2, key_heads, keys, 6)),
        mask=rng.random((2, heads, queries, keys)) < 0.7,
        key_mask=np.array([[True] * keys, [True] * (keys - 2) + [False] * 2]),
    )


def answers(asked: Problem, **options):
    return regard.attention(
        asked.query,
        asked.keys,
        asked.values,
        mask=asked.mask,
        key_mask=asked.key_mask,
        causal=asked.causal,
        grouped=asked.query.shape[1] != asked.keys.shape[1],
        **options,
    )


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_it_agrees_with_attention(score, normalizer):
    asked = problem()
    found = reference(asked, score=score, normalizer=normalizer)
    assert found.context is not None and found.weights is not None
    expected = answers(asked, score=getattr(scores, score), normalizer=getattr(normalizers, normalizer))
    np.testing.assert_allclose(found.context, expected.context, atol=1e-10)
    np.testing.assert_allclose(found.weights, np.asarray(expected.weights), atol=1e-10)


def test_it_agrees_with_attention_where_heads_are_grouped_and_the_future_is_hidden():
    asked = replace(problem(heads=4), causal=True)
    found = reference(asked)
    assert found.context is not None
    np.testing.assert_allclose(found.context, np.asarray(answers(asked).context), atol=1e-12)


def test_it_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    asked = replace(problem(), key_mask=None)
    arrays = [torch.tensor(x) for x in (asked.query, asked.keys, asked.values, asked.mask)]
    expected = torch.nn.functional.scaled_dot_product_attention(*arrays[:3], attn_mask=arrays[3])
    found = reference(asked).context
    assert found is not None
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)


def test_heads_inside_are_split_and_merged_again():
    rng = np.random.default_rng(1)
    query, keys, values = (rng.normal(size=(2, 1, count, 8)) for count in (3, 5, 5))
    apart = [np.stack([x[:, 0, :, :4], x[:, 0, :, 4:]], axis=1) for x in (query, keys, values)]
    expected = reference(Problem(apart[0], apart[1], apart[2])).context
    assert expected is not None
    found = reference(Problem(query, keys, values), heads=2).context
    assert found is not None
    np.testing.assert_array_equal(found, np.concatenate([expected[:, :1], expected[:, 1:]], axis=-1))


def test_a_query_that_may_look_nowhere_gets_zeros():
    asked = problem()
    assert asked.mask is not None
    asked.mask[0, 1, 2] = False
    found = reference(asked)
    assert found.context is not None and found.weights is not None
    assert not found.context[0, 1, 2].any()
    assert not found.weights[0, 1, 2].any()


def test_what_is_not_finite_reaches_only_those_who_see_it():
    asked = problem()
    assert asked.mask is not None
    asked.mask[..., 1] = False
    asked.mask[0, 0, 0, 1] = True
    clean = reference(asked).context
    assert clean is not None
    asked.keys[:, :, 1], asked.values[:, :, 1] = np.nan, np.inf
    found = reference(asked).context
    assert found is not None
    assert np.isnan(found[0, 0, 0]).all()
    found[0, 0, 0] = clean[0, 0, 0]
    np.testing.assert_array_equal(found, clean)


def test_a_case_worked_by_hand():
    query = np.array([[[[2.0, 0.0, 0.0, 0.0]]]])
    keys = np.array([[[[np.log(3.0), 0, 0, 0], [0.0, 1, 1, 1]]]])
    values = np.array([[[[4.0], [8.0]]]])
    found = reference(Problem(query, keys, values))
    assert found.context is not None and found.weights is not None
    np.testing.assert_allclose(found.weights, [[[[0.75, 0.25]]]])
    np.testing.assert_allclose(found.context, [[[[5.0]]]])


def test_a_name_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(InputError, match=r"score additive is not known\. Known: scaled_dot, dot"):
        reference(problem(), score="additive")
