import numpy as np
import pytest

from regard.core import statistics

WEIGHTS = [[0.5, 0.25, 0.25, 0], [0.25, 0.25, 0.25, 0.25], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_entropy_is_from_zero_to_the_logarithm_of_the_keys(library):
    expected = [1.5 * np.log(2), np.log(4), 0, 0]
    np.testing.assert_allclose(library.numbers(statistics.entropy(library.array(WEIGHTS))), expected)


def test_the_largest_weight_of_a_query_that_looks_nowhere_is_zero(library):
    found = library.numbers(statistics.max_weight(library.array(WEIGHTS)))
    np.testing.assert_array_equal(found, [0.5, 0.25, 1, 0])


def test_a_query_that_looks_nowhere_looks_most_at_no_key(library):
    found = library.numbers(statistics.argmax(library.array(WEIGHTS)))
    np.testing.assert_array_equal(found, [0, 0, 2, -1])


def test_entropy_has_a_finite_gradient_where_a_weight_is_zero():
    torch = pytest.importorskip("torch")
    weights = torch.tensor(WEIGHTS, requires_grad=True)
    statistics.entropy(weights).sum().backward()
    assert weights.grad is not None and weights.grad.isfinite().all()
