import dataclasses

import numpy as np
import pytest

from regard.core import normalizers, scores
from regard.core.attention import Attention, attend, attention
from regard.errors import DtypeError, InputError, ShapeError

QUERY = [1, 0, 1]
KEYS = [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
VALUES = [[1, 2], [3, 4], [5, 6]]
CONTEXT = [3.84102497, 4.84102497]


def test_the_worked_example_comes_out_from_plain_lists():
    context = attend(QUERY, KEYS, VALUES, score=scores.dot)
    assert context.shape == (2,)
    np.testing.assert_allclose(context, CONTEXT, rtol=1e-8)


@pytest.mark.parametrize("dtype", ["int64", "float64", "float32"])
def test_the_worked_example_comes_out_from_arrays(library, dtype):
    arrays = [library.array(data, dtype) for data in (QUERY, KEYS, VALUES)]
    np.testing.assert_allclose(library.numbers(attend(*arrays, score=scores.dot)), CONTEXT, rtol=1e-6)


def test_the_worked_example_comes_out_when_the_query_is_one_of_several(library):
    queries = library.array([[0, 1, 0], QUERY, [5, 5, 5]])
    context = attend(queries, library.array(KEYS), library.array(VALUES), score=scores.dot)
    assert context.shape == (3, 2)
    np.testing.assert_allclose(library.numbers(context)[1], CONTEXT, rtol=1e-8)


def test_a_query_a_thousand_times_as_large_stays_finite(library):
    query = library.array(QUERY) * 1000
    context = attend(query, library.array(KEYS), library.array(VALUES), score=scores.dot)
    np.testing.assert_array_equal(library.numbers(context), [5, 6])


def test_one_query_gives_one_context_and_one_row_of_weights(library):
    looked = attention(
        library.random(4),
        library.random(3, 4, seed=1),
        library.random(3, 2, seed=2),
        statistics=["entropy", "max_weight", "argmax"],
    )
    assert tuple(looked.context.shape) == (2,)
    assert looked.weights is not None and tuple(looked.weights.shape) == (3,)
    assert tuple(looked.log_normalizer.shape) == ()
    assert all(tuple(found.shape) == () for found in looked.statistics.values())


def test_one_query_looks_at_every_text_of_a_batch(library):
    looked = attention(library.random(4), library.random(5, 3, 4), library.random(5, 3, 2))
    assert tuple(looked.context.shape) == (5, 2)
    assert looked.weights is not None and tuple(looked.weights.shape) == (5, 3)
    assert tuple(looked.log_normalizer.shape) == (5,)


def test_attention_gives_the_context_that_attend_gives(library):
    arrays = [library.random(2, 4, 3, seed=seed) for seed in range(3)]
    looked = attention(*arrays, causal=True)
    np.testing.assert_allclose(
        library.numbers(looked.context), library.numbers(attend(*arrays, causal=True)), rtol=1e-12
    )


def test_the_context_is_the_average_of_the_values_by_the_weights(library):
    query, keys, values = (library.random(2, 4, 3, seed=seed) for seed in range(3))
    looked = attention(query, keys, values)
    weights = library.numbers(looked.weights)
    np.testing.assert_allclose(library.numbers(looked.context), weights @ library.numbers(values))


def test_the_log_normalizer_is_the_logarithm_of_the_sum_of_exponentials(library):
    query, keys = library.random(4, 3), library.random(5, 3, seed=1)
    looked = attention(query, keys, keys, score=scores.dot)
    expected = np.log(np.exp(library.numbers(query) @ library.numbers(keys).T).sum(-1))
    np.testing.assert_allclose(library.numbers(looked.log_normalizer), expected)


@pytest.mark.parametrize("weights", [True, False])
def test_the_record_has_the_same_type_with_and_without_weights(library, weights):
    arrays = [library.random(4, 3, seed=seed) for seed in range(3)]
    looked = attention(*arrays, weights=weights, statistics=["entropy"])
    assert isinstance(looked, Attention)
    assert (looked.weights is not None) == weights
    assert tuple(looked.statistics["entropy"].shape) == (4,)
    np.testing.assert_allclose(library.numbers(looked.context), library.numbers(attend(*arrays)), rtol=1e-12)


def test_the_record_cannot_be_changed():
    looked = attention(QUERY, KEYS, VALUES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        looked.context = None  # pyright: ignore[reportAttributeAccessIssue]


def test_an_unknown_statistic_is_an_error_that_lists_the_known_ones():
    with pytest.raises(InputError, match=r"entropi is not a statistic.*argmax, entropy, .*top_k"):
        attention(QUERY, KEYS, VALUES, statistics=["entropi"])


def test_nothing_that_is_handed_in_is_written_to(library):
    query, keys, values, bias = (library.random(4, 4, seed=seed) for seed in range(4))
    mask, key_mask = library.array(np.eye(4) > 0), library.array([True, False, True, True])
    keys[1, 2] = float("nan")
    arrays = [query, keys, values, bias, mask, key_mask]
    before = [library.numbers(array).copy() for array in arrays]
    attention(
        query, keys, values, bias=bias, mask=mask, key_mask=key_mask, causal=True, statistics=["entropy"]
    )
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(library.numbers(array), copy)


def test_any_function_is_a_score(library):
    def last_key_only(query, keys):
        return query[..., :1] * 0 + library.array([0, 0, 50.0])

    looked = attention(library.random(2, 4), library.random(3, 4), library.random(3, 2), score=last_key_only)
    np.testing.assert_allclose(library.numbers(looked.weights), [[0, 0, 1]] * 2, atol=1e-12)


def test_a_score_from_the_keys_alone_serves_every_query(library):
    looked = attention(
        library.random(2, 4),
        library.random(3, 4),
        library.random(3, 2),
        score=lambda query, keys: keys[..., None, :, 0],
    )
    assert looked.weights is not None and tuple(looked.weights.shape) == (2, 3)
    assert tuple(looked.context.shape) == (2, 2)


def test_any_function_is_a_normalizer_and_empty_rows_are_still_zero(library):
    def plain_softmax(found):
        shares = 2.718281828459045**found
        return shares / shares.sum(-1)[..., None]

    arrays = [library.random(3, 3, seed=seed) for seed in range(3)]
    mask = library.array([[True, False, True], [False] * 3, [True] * 3])
    np.testing.assert_allclose(
        library.numbers(attend(*arrays, mask=mask, normalizer=plain_softmax)),
        library.numbers(attend(*arrays, mask=mask, normalizer=normalizers.softmax)),
    )


def test_a_score_of_the_wrong_shape_is_an_error_that_names_it():
    def wrong(query, keys):
        return query

    with pytest.raises(
        ShapeError, match=r"attend\(\): the score must .* here \(1, 2\)\. wrong returned \(1, 3\)"
    ):
        attend(QUERY, KEYS[:2], VALUES[:2], score=wrong)


def test_a_score_that_returns_no_array_is_an_error():
    with pytest.raises(ShapeError, match="returned float"):
        attend(QUERY, KEYS, VALUES, score=lambda query, keys: 1.0)


def test_a_normalizer_of_the_wrong_shape_is_an_error():
    with pytest.raises(ShapeError, match="the normalizer must return weights"):
        attend(QUERY, KEYS, VALUES, normalizer=lambda found: found[..., :1])


@pytest.mark.parametrize("queries", [0, 3])
def test_without_keys_every_query_gets_zeros(library, queries):
    looked = attention(
        library.random(queries, 4),
        library.random(0, 4),
        library.random(0, 2),
        statistics=["entropy", "max_weight", "argmax"],
    )
    np.testing.assert_array_equal(library.numbers(looked.context), np.zeros((queries, 2)))
    assert looked.weights is not None and tuple(looked.weights.shape) == (queries, 0)
    np.testing.assert_array_equal(library.numbers(looked.log_normalizer), np.full(queries, -np.inf))
    np.testing.assert_array_equal(library.numbers(looked.statistics["argmax"]), np.full(queries, -1))
    np.testing.assert_array_equal(library.numbers(looked.statistics["max_weight"]), np.zeros(queries))


def test_without_queries_the_context_is_empty(library):
    looked = attention(library.random(2, 0, 4), library.random(2, 5, 4), library.random(2, 5, 3), causal=True)
    assert tuple(looked.context.shape) == (2, 0, 3)
    assert looked.weights is not None and tuple(looked.weights.shape) == (2, 0, 5)


def test_without_keys_a_mask_of_one_column_changes_nothing(library):
    mask = library.array([[True], [True]])
    context = attend(library.random(2, 4), library.random(0, 4), library.random(0, 3), mask=mask)
    np.testing.assert_array_equal(library.numbers(context), np.zeros((2, 3)))


def test_a_score_that_is_a_name_is_an_error_that_points_to_the_functions():
    with pytest.raises(DtypeError, match=r"score is a function, such as those in regard\.scores\. Got 'dot'"):
        attend(np.eye(2), np.eye(2), np.eye(2), score="dot")  # pyright: ignore[reportArgumentType]
