"""Positions against loops over the formulas, and what they promise to attention."""

import math

import numpy as np
import pytest

from regard.core import positions, scores
from regard.core.attention import attention
from regard.errors import DtypeError, InputError, ShapeError


def test_sinusoidal_is_the_formula_of_the_paper():
    found = positions.sinusoidal(7, 6)
    for position in range(7):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            np.testing.assert_allclose(found[position, 2 * pair], math.sin(angle), atol=1e-15)
            np.testing.assert_allclose(found[position, 2 * pair + 1], math.cos(angle), atol=1e-15)


def test_sinusoidal_can_have_all_sines_first():
    found = positions.sinusoidal(5, 4, base=100, interleaved=False)
    np.testing.assert_array_equal(found[:, [0, 2, 1, 3]], positions.sinusoidal(5, 4, base=100))


def test_sinusoidal_goes_on_where_a_cache_ends():
    whole = positions.sinusoidal(9, 8)
    np.testing.assert_array_equal(positions.sinusoidal(4, 8, offset=5), whole[5:])
    np.testing.assert_array_equal(positions.sinusoidal([[5, 0], [8, 1]], 8), whole[[[5, 0], [8, 1]]])


def test_sinusoidal_is_of_the_library_and_dtype_that_it_shall_be_like(library):
    for dtype in ("float16", "float32", "float64"):
        found = positions.sinusoidal(3, 4, like=library.random(1, dtype=dtype))
        assert library.dtype(found) == dtype
        np.testing.assert_allclose(library.numbers(found), positions.sinusoidal(3, 4), atol=1e-3)
    found = positions.sinusoidal(library.array([2, 5], "int64"), 4)
    np.testing.assert_allclose(library.numbers(found), positions.sinusoidal(6, 4)[[2, 5]], rtol=1e-15)


def test_learned_positions_are_rows_of_a_table(library):
    table = library.random(6, 3)
    rows = library.numbers(table)
    np.testing.assert_array_equal(library.numbers(positions.learned(table, 4)), rows[:4])
    np.testing.assert_array_equal(library.numbers(positions.learned(table, 2, offset=4)), rows[4:])
    asked = library.array([[5, 0], [1, 1]], "int64")
    np.testing.assert_array_equal(library.numbers(positions.learned(table, asked)), rows[[[5, 0], [1, 1]]])


@pytest.mark.parametrize(("asked", "offset", "missing"), [(7, 0, 6), (2, 5, 6), ([0, -1], 0, -1)])
def test_a_position_without_a_row_is_an_error(library, asked, offset, missing):
    with pytest.raises(InputError, match=rf"positions 0 to 5, but was asked for position {missing};"):
        positions.learned(library.random(6, 3), asked, offset=offset)


def turned(x: np.ndarray, base: float, features: int, interleaved: bool, first: int = 0) -> np.ndarray:
    """Each pair of features as a complex number, times e^(i · angle)."""
    found = x.copy()
    for place in range(x.shape[-2]):
        for pair in range(features // 2):
            angle = (place + first) * base ** (-2 * pair / features)
            one, other = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + features // 2)
            number = (x[..., place, one] + 1j * x[..., place, other]) * np.exp(1j * angle)
            found[..., place, one], found[..., place, other] = number.real, number.imag
    return found


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("features", [None, 4])
def test_rotary_turns_each_pair_of_features(library, interleaved, features):
    x = library.random(2, 3, 5, 8)
    found = positions.rotary(x, base=500, features=features, interleaved=interleaved, offset=3)
    expected = turned(library.numbers(x), 500, features or 8, interleaved, first=3)
    np.testing.assert_allclose(library.numbers(found), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("interleaved", [True, False])
def test_rotary_scores_depend_on_the_distance_alone(library, interleaved):
    query, keys = library.random(4, 6), library.random(4, 6, seed=1)

    def found(offset):
        both = (positions.rotary(x, offset=offset, interleaved=interleaved) for x in (query, keys))
        return library.numbers(scores.dot(*both))

    np.testing.assert_allclose(found(0), found(1000), rtol=1e-10)


def test_every_text_can_have_rotary_positions_of_its_own(library):
    x = library.random(2, 3, 4, 6)
    asked = library.array([[[5, 6, 7, 8]], [[0, 1, 2, 3]]], "int64")
    found = library.numbers(positions.rotary(x, asked))
    np.testing.assert_allclose(found[0], library.numbers(positions.rotary(x[0], offset=5)), rtol=1e-14)
    np.testing.assert_allclose(found[1], library.numbers(positions.rotary(x[1])), rtol=1e-14)


def test_rotary_keeps_the_dtype_and_is_exact_far_from_the_start(library):
    x = library.random(1, 8, dtype="float32")
    far = positions.rotary(x, offset=1_000_000)
    assert library.dtype(far) == "float32"
    expected = turned(library.numbers(x).astype("float64"), 10_000, 8, True, first=1_000_000)
    np.testing.assert_allclose(library.numbers(far), expected, rtol=1e-5, atol=1e-6)
    half = positions.rotary(library.random(3, 8, dtype="float16"))
    assert library.dtype(half) == "float16"


def test_positions_write_to_nothing_that_is_handed_in(library):
    x = library.random(2, 4)
    before = library.numbers(x).copy()
    positions.rotary(x, offset=1)
    np.testing.assert_array_equal(library.numbers(x), before)


@pytest.mark.parametrize("heads", [1, 2, 8, 16])
def test_alibi_slopes_are_powers_of_one_base(heads):
    expected = [(2 ** (-8 / heads)) ** (head + 1) for head in range(heads)]
    np.testing.assert_allclose(positions.alibi_slopes(heads), expected, rtol=1e-12)


def test_alibi_slopes_of_other_numbers_are_those_of_two_powers():
    eight, sixteen = positions.alibi_slopes(8), positions.alibi_slopes(16)
    np.testing.assert_array_equal(positions.alibi_slopes(12), [*eight, *sixteen[[0, 2, 4, 6]]])
    np.testing.assert_array_equal(positions.alibi_slopes(3), [1 / 16, 1 / 256, 1 / 4])


@pytest.mark.parametrize("query_offset", [None, 0, 2])
def test_alibi_falls_with_the_distance(library, query_offset):
    found = positions.alibi(3, 4, 6, query_offset=query_offset, like=library.random(1, dtype="float32"))
    assert library.dtype(found) == "float32"
    first = 2 if query_offset is None else query_offset
    slopes = positions.alibi_slopes(3)
    expected = [[[-m * abs(q + first - k) for k in range(6)] for q in range(4)] for m in slopes]
    np.testing.assert_allclose(library.numbers(found), expected, rtol=1e-6)


def test_alibi_is_a_bias_for_every_head(library):
    query, keys, values = (library.random(2, 4, 5, 3, seed=seed) for seed in range(3))
    bias = positions.alibi(4, 5, 5, like=query)
    found = attention(query, keys, values, bias=bias, causal=True).weights
    logits = library.numbers(scores.scaled_dot(query, keys)) + positions.alibi(4, 5, 5)
    logits[..., ~np.tri(5, dtype=bool)] = -np.inf
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(library.numbers(found), expected, rtol=1e-12)


def test_near_distances_have_buckets_of_their_own(library):
    distances = library.array(np.arange(-9, 10), "int64")
    both = library.numbers(positions.t5_buckets(distances, buckets=8, max_distance=8))
    np.testing.assert_array_equal(both, [3, 3, 3, 3, 3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7, 7, 7, 7, 7])
    past = library.numbers(positions.t5_buckets(distances, bidirectional=False, buckets=4, max_distance=8))
    np.testing.assert_array_equal(past, [3, 3, 3, 3, 3, 3, 2, 2, 1, 0, *9 * [0]])


def test_t5_bias_is_the_row_of_the_bucket(library):
    table = library.random(8, 2)
    found = library.numbers(positions.t5_bias(table, 3, 5, max_distance=20))
    assert found.shape == (2, 3, 5)
    for query in range(3):
        for key in range(5):
            bucket = positions.t5_buckets([key - query - 2], buckets=8, max_distance=20)[0]
            np.testing.assert_array_equal(found[:, query, key], library.numbers(table)[bucket])


def shaw(query, keys, values, key_table, value_table, clip, first, causal):
    """Shaw et al. 2018, eq. 1 to 5, by loops; and the weights."""
    contexts, weights = np.zeros((len(query), values.shape[1])), np.zeros((len(query), len(keys)))
    for i, q in enumerate(query):
        far = [max(-clip, min(clip, j - i - first)) + clip for j in range(len(keys))]
        logits = np.array(
            [q @ (k + key_table[r]) / math.sqrt(len(q)) for k, r in zip(keys, far, strict=True)]
        )
        if causal:
            logits[i + first + 1 :] = -np.inf
        weights[i] = np.exp(logits) / np.exp(logits).sum()
        for weight, value, r in zip(weights[i], values, far, strict=True):
            contexts[i] += weight * (value + value_table[r])
    return contexts, weights


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("query_offset", [None, 0, 1])
@pytest.mark.parametrize("clip", [0, 1, 3, 9])
def test_shaw_is_the_formula_of_the_paper(library, clip, query_offset, causal):
    query, keys, values = (
        library.random(2, 3, 4),
        library.random(2, 6, 4, seed=1),
        library.random(2, 6, 5, seed=2),
    )
    key_table, value_table = library.random(2 * clip + 1, 4, seed=3), library.random(2 * clip + 1, 5, seed=4)
    bias = positions.shaw_bias(query, 6, key_table, query_offset=query_offset)
    offset = query_offset if causal else None
    look = attention(query, keys, values, bias=bias, causal=causal, query_offset=offset)
    added = positions.shaw_context(look.weights, value_table, query_offset=query_offset)
    first = 3 if query_offset is None else query_offset
    for text in range(2):
        arrays = (library.numbers(x) for x in (query[text], keys[text], values[text], key_table, value_table))
        contexts, weights = shaw(*arrays, clip, first, causal)
        np.testing.assert_allclose(library.numbers(look.weights[text]), weights, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(library.numbers((look.context + added)[text]), contexts, rtol=1e-10)


def test_shaw_adds_nothing_where_a_query_may_look_nowhere(library):
    query, table = library.random(3, 4), library.random(5, 4)
    mask = library.array([[True] * 3, [False] * 3, [True] * 3])
    look = attention(query, query, query, bias=positions.shaw_bias(query, 3, table), mask=mask)
    assert not library.numbers(positions.shaw_context(look.weights, table))[1].any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: positions.sinusoidal(3, 5), InputError, "must be even and at least 2. Got 5"),
        (lambda x: positions.sinusoidal(-1, 4), InputError, "must be at least 0. Got -1"),
        (lambda x: positions.sinusoidal(2.5, 4), InputError, "a whole number. Got 2.5"),
        (lambda x: positions.sinusoidal(3, 4, base=1), InputError, "base must be above 1. Got 1"),
        (lambda x: positions.learned(x[0], 1), ShapeError, r"table must be \(P, D\).* Got \(6,\)"),
        (lambda x: positions.learned(x, [0.5]), DtypeError, "must be integers. Got float64"),
        (lambda x: positions.rotary(x[0]), ShapeError, r"x must be \(…, L, D\). Got \(6,\)"),
        (lambda x: positions.rotary(x, features=3), InputError, "must be even and at least 2. Got 3"),
        (lambda x: positions.rotary(x, features=8), InputError, "8 features cannot be turned, x has 6"),
        (lambda x: positions.rotary(x, [1, 2, 3]), ShapeError, r"here \(4,\).* Got \(3,\) for x \(4, 6\)"),
        (lambda x: positions.alibi_slopes(0), InputError, "heads must be at least 1. Got 0"),
        (lambda x: positions.alibi(2, 4, 3), ShapeError, "4 queries but only 3 keys"),
        (lambda x: positions.t5_buckets([0.5]), DtypeError, "distances must be integers"),
        (lambda x: positions.t5_buckets([1], buckets=7), InputError, "even and at least 4. Got 7"),
        (lambda x: positions.t5_buckets([1], max_distance=8), InputError, "must be above 8"),
        (lambda x: positions.t5_bias(x[0], 2, 2), ShapeError, r"table must be \(N, H\)"),
        (lambda x: positions.shaw_bias(x, 4, x), ShapeError, r"\(2C \+ 1, D\).* Got \(4, 6\)"),
        (lambda x: positions.shaw_bias(x, 4, x[:3, :5]), ShapeError, "table takes 5 features"),
        (lambda x: positions.shaw_context(x, x), ShapeError, r"\(2C \+ 1, V\).* Got \(4, 6\)"),
    ],
)
def test_positions_that_cannot_be_meant_are_an_error(library, call, error, message):
    with pytest.raises(error, match=message):
        call(library.random(4, 6))
