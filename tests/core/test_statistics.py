import numpy as np
import pytest

from regard.core import statistics
from regard.core.attention import attention
from regard.errors import DtypeError, InputError, ShapeError

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


ROWS = np.array([[0.5, 0.25, 0.25, 0], [0.25, 0.25, 0.25, 0.25], [0, 0, 1, 0]])


def of(library, *asked, rows=ROWS, **options):
    """Statistics of just these weights: their logarithms are the scores."""
    with np.errstate(divide="ignore"):
        bias = library.array(np.log(rows))
    queries, keys = rows.shape
    zeros = [library.array(np.zeros((size, 1))) for size in (queries, keys, keys)]
    return attention(*zeros, bias=bias, weights=False, statistics=asked, **options).statistics


def test_a_key_receives_the_sum_the_mean_and_the_largest_of_its_column(library):
    found = of(library, "received_sum", "received_mean", "received_max")
    np.testing.assert_allclose(library.numbers(found["received_sum"]), ROWS.sum(0))
    np.testing.assert_allclose(library.numbers(found["received_mean"]), ROWS.mean(0))
    np.testing.assert_allclose(library.numbers(found["received_max"]), ROWS.max(0))


def test_the_mean_distance_counts_keys_from_the_position_of_the_query(library):
    last_at_last = of(library, "mean_distance")["mean_distance"]
    np.testing.assert_allclose(library.numbers(last_at_last), [0.75, 1.0, 1.0])
    first_at_first = of(library, "mean_distance", query_offset=0)["mean_distance"]
    np.testing.assert_allclose(library.numbers(first_at_first), [0.75, 1.0, 0.0])


def test_the_mass_is_the_weight_on_the_keys_that_count(library):
    keys = library.array([True, False, False, True])
    found = of(library, "first_mass", statistics.mass(keys, name="ends"), statistics.window_mass(2))
    np.testing.assert_allclose(library.numbers(found["first_mass"]), [0.5, 0.25, 0])
    np.testing.assert_allclose(library.numbers(found["ends"]), [0.5, 0.5, 0])
    np.testing.assert_allclose(library.numbers(found["window_mass"]), [1.0, 0.75, 1.0])


def test_the_top_keys_come_largest_first_and_of_several_alike_the_first_first(library):
    found = of(library, statistics.top_k(3))["top_k"]
    np.testing.assert_array_equal(library.numbers(found.indices), [[0, 1, 2], [0, 1, 2], [2, -1, -1]])
    np.testing.assert_allclose(library.numbers(found.weights), [[0.5, 0.25, 0.25], [0.25] * 3, [1, 0, 0]])


def test_many_keys_are_ranked_as_few_are():
    random = np.random.default_rng(0)
    rows = random.random((3, 2000))
    rows[1] = np.round(rows[1], 2)
    rows[2, 5:] = 0
    found = of_numpy(rows, statistics.top_k(6))
    order = np.argsort(-rows, axis=-1, kind="stable")[:, :6]
    order[2, 5:] = -1
    np.testing.assert_array_equal(found.indices, order)


def of_numpy(rows, asked):
    with np.errstate(divide="ignore"):
        bias = np.log(rows)
    zeros = [np.zeros((size, 1)) for size in (len(rows), rows.shape[1], rows.shape[1])]
    return attention(*zeros, bias=bias, weights=False, statistics=[asked]).statistics["top_k"]


def test_a_pooled_map_has_the_mean_and_the_largest_weight_of_each_rectangle(library):
    found = of(library, statistics.pooled(2, 3))["pooled"]
    corners = [ROWS[:2, :3], ROWS[:2, 3:], ROWS[2:, :3], ROWS[2:, 3:]]
    for pooled, pool in ((found.mean, np.mean), (found.max, np.max)):
        expected = np.reshape([pool(corner) for corner in corners], (2, 2))
        np.testing.assert_allclose(library.numbers(pooled), expected)


def test_a_query_that_may_look_nowhere_adds_nothing(library):
    names = ["received_sum", "mean_distance", "first_mass", statistics.top_k(2), "log_normalizer"]
    found = of(library, *names, rows=np.array([[0.0, 0.0], [0.5, 0.5]]))
    np.testing.assert_allclose(library.numbers(found["received_sum"]), [0.5, 0.5])
    np.testing.assert_allclose(library.numbers(found["mean_distance"]), [0, 0.5])
    np.testing.assert_allclose(library.numbers(found["first_mass"]), [0, 0.5])
    np.testing.assert_array_equal(library.numbers(found["top_k"].indices), [[-1, -1], [0, 1]])
    np.testing.assert_array_equal(library.numbers(found["log_normalizer"]), [-np.inf, 0])


def test_statistics_that_cannot_be_meant_are_errors(library):
    with pytest.raises(InputError, match=r"top_k: k must be at least 1\. Got 0"):
        statistics.top_k(0)
    with pytest.raises(InputError, match=r"pooled: rows must be a whole number\. Got 1\.5"):
        statistics.pooled(1.5, 2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"two statistics have the name top_k.*name="):
        of(library, statistics.top_k(2), statistics.top_k(3))
    with pytest.raises(InputError, match=r"top_k needs to know more: .*statistics\.top_k"):
        of(library, "top_k")
    with pytest.raises(ShapeError, match=r"mass must be \(4\)"):
        of(library, statistics.mass(library.array([True, False])))
    with pytest.raises(DtypeError, match="mass must be boolean"):
        of(library, statistics.mass(library.array([1.0, 0, 0, 0])))
    with pytest.raises(ShapeError, match=r"4 queries but only 3 keys.*query_offset="):
        of(library, "mean_distance", rows=ROWS.T)
