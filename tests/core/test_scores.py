import numpy as np
import pytest

from regard.core import scores
from regard.core.attention import attend
from regard.errors import ShapeError


def test_dot_is_the_dot_product_of_every_query_with_every_key(library):
    query, keys = library.random(2, 3, 4), library.random(2, 5, 4, seed=1)
    expected = np.einsum("bqd,bkd->bqk", library.numbers(query), library.numbers(keys))
    np.testing.assert_allclose(library.numbers(scores.dot(query, keys)), expected)
    np.testing.assert_allclose(library.numbers(scores.scaled_dot(query, keys)), expected / 2)


def test_general_is_query_times_matrix_times_key(library):
    query, keys, w = library.random(2, 3, 4), library.random(2, 5, 6, seed=1), library.random(4, 6, seed=2)
    expected = np.einsum("bqd,de,bke->bqk", *(library.numbers(array) for array in (query, w, keys)))
    np.testing.assert_allclose(library.numbers(scores.general(w)(query, keys)), expected)


def additive_parts(library):
    shapes = [(2, 3, 4), (2, 5, 6), (7, 4), (7, 6), (7,)]
    return [library.random(*shape, seed=seed) for seed, shape in enumerate(shapes)]


def test_additive_is_a_small_network_over_query_and_key(library):
    query, keys, w_query, w_keys, v = parts = additive_parts(library)
    numbers = [library.numbers(part) for part in parts]
    expected = np.zeros((2, 3, 5))
    for b, q, k in np.ndindex(expected.shape):
        hidden = numbers[2] @ numbers[0][b, q] + numbers[3] @ numbers[1][b, k]
        expected[b, q, k] = numbers[4] @ np.tanh(hidden)
    np.testing.assert_allclose(library.numbers(scores.additive(w_query, w_keys, v)(query, keys)), expected)


def test_additive_takes_what_is_already_projected(library):
    query, keys, w_query, w_keys, v = additive_parts(library)
    expected = library.numbers(scores.additive(w_query, w_keys, v)(query, keys))
    projected = scores.additive(w_query, None, v)(query, keys @ w_keys.T)
    np.testing.assert_allclose(library.numbers(projected), expected)
    projected = scores.additive(None, w_keys, v)(query @ w_query.T, keys)
    np.testing.assert_allclose(library.numbers(projected), expected)


def test_parameters_may_be_lists(library):
    query, keys = library.random(2, 2), library.random(3, 2, seed=1)
    eye = [[1, 0], [0, 1]]
    np.testing.assert_allclose(
        library.numbers(scores.general(eye)(query, keys)), library.numbers(scores.dot(query, keys))
    )
    found = scores.additive(eye, eye, [1, 1])(query, keys)
    assert tuple(found.shape) == (2, 3)


def test_parameters_of_fractions_are_not_rounded_by_integer_queries():
    w = np.array([[0.5, 0.0], [0.0, 0.25]])
    np.testing.assert_allclose(scores.general(w)(np.array([[1, 1]]), np.array([[2, 4]])), [[2.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scores.general(np.ones(3)), r"general score: w must be \(D_q, D_k\). Got \(3,\)"),
        (lambda: scores.additive(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 1))), r"v must be \(A,\)"),
        (lambda: scores.additive(np.ones(3), None, np.ones(2)), r"w_query must be \(A, D\). Got \(3,\)"),
        (
            lambda: scores.additive(None, np.ones((4, 3)), np.ones(2)),
            "w_keys has 4 hidden features but v has 2",
        ),
    ],
)
def test_parameters_of_the_wrong_shape_are_an_error_at_once(make, message):
    with pytest.raises(ShapeError, match=message):
        make()


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (scores.general(np.ones((4, 4))), "w takes 4 features but the query of shape"),
        (scores.general(np.ones((3, 4))), "w takes 4 features but the keys of shape"),
        (
            scores.additive(np.ones((2, 4)), None, np.ones(2)),
            "w_query takes 4 features but the query of shape",
        ),
        (scores.additive(np.ones((2, 3)), None, np.ones(2)), "v takes 2 features but the keys of shape"),
        (
            scores.additive(np.ones((2, 3)), np.ones((2, 4)), np.ones(2)),
            "w_keys takes 4 features but the keys of shape",
        ),
    ],
)
def test_a_parameter_that_does_not_fit_is_an_error_that_names_it(score, message):
    with pytest.raises(ShapeError, match=message):
        attend(np.ones((2, 3)), np.ones((5, 3)), np.ones((5, 1)), score=score)


def test_gradients_reach_the_parameters():
    torch = pytest.importorskip("torch")
    w_query, w_keys, v = (torch.randn(*shape, requires_grad=True) for shape in ((7, 4), (7, 6), (7,)))
    score = scores.additive(w_query, w_keys, v)
    attend(torch.randn(3, 4), torch.randn(5, 6), torch.randn(5, 2), score=score).square().sum().backward()
    for parameter in (w_query, w_keys, v):
        assert parameter.grad is not None and parameter.grad.any()
