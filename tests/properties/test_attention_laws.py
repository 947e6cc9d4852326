"""The laws of attention, over random inputs."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regard.core import normalizers, scores
from regard.core.attention import attend, attention

NUMBERS = st.floats(-50, 50, width=64)
SIZES = st.integers(1, 5)
SCORES = st.sampled_from([scores.dot, scores.scaled_dot])
same = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


def law(*strategies):
    """The same examples in every run, and none that fails because the machine is busy."""
    return lambda test: settings(derandomize=True, deadline=None, max_examples=60)(given(*strategies)(test))


@st.composite
def problems(draw, batch=()):
    """A query, keys, values, and a mask that leaves rows empty now and then."""
    q, k, d, v = (draw(SIZES) for _ in range(4))
    query, keys, values = (
        draw(arrays(np.float64, (*batch, *shape), elements=NUMBERS)) for shape in ((q, d), (k, d), (k, v))
    )
    return query, keys, values, draw(arrays(np.bool_, (*batch, q, k)))


@law(problems(), SCORES)
def test_weights_are_not_negative_and_sum_to_one_or_are_all_zero(problem, score):
    query, keys, values, mask = problem
    weights = attention(query, keys, values, mask=mask, score=score).weights
    assert weights is not None and (weights >= 0).all()
    same(weights.sum(-1), mask.any(-1))
    assert not weights[~mask].any()


@law(problems(), SCORES, st.randoms(use_true_random=False))
def test_the_order_of_the_keys_does_not_matter(problem, score, random):
    query, keys, values, mask = problem
    order = list(range(len(keys)))
    random.shuffle(order)
    found = attend(query, keys[order], values[order], mask=mask[:, order], score=score)
    same(found, attend(query, keys, values, mask=mask, score=score))


@law(problems(), SCORES, NUMBERS)
def test_adding_a_constant_to_the_scores_of_a_query_changes_nothing(problem, score, constant):
    query, keys, values, mask = problem
    bias = np.arange(len(query))[:, None] * constant
    found = attend(query, keys, values, mask=mask, bias=bias, score=score)
    same(found, attend(query, keys, values, mask=mask, score=score))


@law(problems(), SCORES)
def test_adding_a_constant_adds_it_to_the_log_normalizer(problem, score):
    query, keys, values, mask = problem
    found = attention(query, keys, values, mask=mask, bias=np.full((1, 1), 7.0), score=score)
    expected = attention(query, keys, values, mask=mask, score=score).log_normalizer + 7
    same(found.log_normalizer, expected)


@law(problems())
def test_every_query_is_alone(problem):
    query, keys, values, mask = problem
    together = attend(query, keys, values, mask=mask)
    for row, single in enumerate(query):
        alone = attend(single, keys, values, mask=mask[row])
        same(together[row], alone)


@law(problems(batch=(3,)))
def test_every_text_of_a_batch_is_alone(problem):
    together = attend(*problem[:3], mask=problem[3])
    for item in range(3):
        query, keys, values, mask = (array[item] for array in problem)
        same(together[item], attend(query, keys, values, mask=mask))


@law(problems(), SCORES)
def test_hiding_a_key_is_leaving_it_out(problem, score):
    query, keys, values, mask = problem
    key_mask = mask[0]
    found = attend(query, keys, values, key_mask=key_mask, score=score)
    left = attend(query, keys[key_mask], values[key_mask], score=score)
    same(found, left)


@law(problems(), st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_what_is_hidden_reaches_no_context(problem, number, data):
    query, keys, values, mask = problem
    key = data.draw(st.integers(0, len(keys) - 1))
    clean = attend(query, keys, values, mask=mask)
    keys, values = keys.copy(), values.copy()
    keys[key], values[key] = number, number
    found = attend(query, keys, values, mask=mask)
    same(found[~mask[:, key]], clean[~mask[:, key]])


@law(problems(), st.floats(1, 1e300))
def test_large_scores_stay_finite(problem, size):
    query, keys, values, mask = problem
    looked = attention(query * size, keys, values, mask=mask)
    assert np.isfinite(looked.context).all()
    assert looked.weights is not None and np.isfinite(looked.weights).all()


@law(problems())
def test_the_context_lies_between_the_values(problem):
    query, keys, values, _ = problem
    context = attend(query, keys, values)
    assert (context >= values.min(0) - 1e-9).all() and (context <= values.max(0) + 1e-9).all()


@law(problems(), st.integers(1, 6), st.integers(-6, 6))
def test_a_causal_window_is_what_its_words_say(problem, window, offset):
    query, keys, values, _ = problem
    weights = attention(query * 0, keys, values, causal=True, window=window, query_offset=offset).weights
    assert weights is not None
    for (q, k), weight in np.ndenumerate(weights):
        assert (weight > 0) == (q + offset - window < k <= q + offset)


@law(problems())
def test_entropy_and_largest_weight_keep_their_bounds(problem):
    query, keys, values, mask = problem
    found = attention(query, keys, values, mask=mask, statistics=["entropy", "max_weight", "argmax"])
    entropy, most, where = (found.statistics[name] for name in ("entropy", "max_weight", "argmax"))
    seen = mask.sum(-1)
    assert (entropy >= -1e-12).all() and (entropy <= np.log(np.maximum(seen, 1)) + 1e-9).all()
    assert ((where >= 0) == (seen > 0)).all() and (most[seen > 0] >= 1 / seen[seen > 0] - 1e-12).all()


@law(arrays(np.float64, (3, 4), elements=st.floats(allow_nan=False)))
def test_softmax_of_any_numbers_is_a_distribution_or_zeros(found):
    weights = normalizers.softmax(found)
    same(weights.sum(-1), ~np.isneginf(found).all(-1))


@law(problems())
def test_numpy_and_pytorch_agree(problem):
    torch = pytest.importorskip("torch")
    assume(problem[0].size)
    query, keys, values, mask = problem
    found = attend(*(torch.tensor(array) for array in (query, keys, values)), mask=torch.tensor(mask))
    same(found.numpy(), attend(query, keys, values, mask=mask))
