"""Scores, weights and statistics are float32 or wider; the context has the values' dtype."""

import numpy as np
import pytest

from regard.core import scores
from regard.core.attention import attend, attention
from regard.errors import DtypeError

WIDE = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("masked", [False, True])
def test_the_context_has_the_dtype_of_the_values_and_all_else_is_wide(library, dtype, masked):
    if (library.name, dtype) == ("numpy", "bfloat16"):
        pytest.importorskip("ml_dtypes")
    arrays = [library.random(3, 4, seed=seed, dtype=dtype) for seed in range(3)]
    looked = attention(*arrays, causal=masked, statistics=["entropy", "max_weight"])
    assert library.dtype(looked.context) == dtype
    assert library.dtype(attend(*arrays, causal=masked)) == dtype
    for found in (looked.weights, looked.log_normalizer, *looked.statistics.values()):
        assert library.dtype(found) == WIDE[dtype]


@pytest.mark.parametrize("score", ["general", "additive"])
def test_scores_with_parameters_in_half_precision_are_computed_wide(library, score):
    w = library.random(4, 4, seed=5, dtype="float16")
    v = library.random(4, seed=6, dtype="float16")
    chosen = scores.general(w) if score == "general" else scores.additive(w, w, v)
    arrays = [library.random(3, 4, seed=seed, dtype="float16") for seed in range(3)]
    looked = attention(*arrays, score=chosen)
    assert library.dtype(looked.weights) == "float32"
    assert library.dtype(looked.context) == "float16"


def test_half_precision_sums_to_one_over_many_keys(library):
    query, keys = library.random(2, 8, dtype="float16"), library.random(4096, 8, seed=1, dtype="float16")
    weights = library.numbers(attention(query, keys, keys).weights)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_half_precision_scores_beyond_its_range_stay_finite(library):
    query = library.array([[1000.0] * 8], dtype="float16")
    keys = library.array([[1000.0] * 8, [999.0] * 8], dtype="float16")
    looked = attention(query, keys, keys, score=scores.dot)
    np.testing.assert_array_equal(library.numbers(looked.weights), [[1, 0]])
    assert np.isfinite(library.numbers(looked.log_normalizer)).all()


def test_scores_beyond_all_range_share_the_weight(library):
    query = library.array([[1e200, 0]])
    keys = library.array([[1e200, 0], [1, 0], [1e200, 0]])
    looked = attention(query, keys, keys, score=scores.dot)
    np.testing.assert_array_equal(library.numbers(looked.weights), [[0.5, 0, 0.5]])


@pytest.mark.parametrize("odd", ["query", "keys", "values"])
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float16", "float32")])
def test_mixed_floating_dtypes_are_an_error_that_names_them(library, odd, dtypes):
    arrays = {name: library.random(3, 3, dtype=dtypes[name == odd]) for name in ("query", "keys", "values")}
    with pytest.raises(DtypeError, match=rf"attend\(\): all need one floating dtype.*{odd} {dtypes[1]}"):
        attend(**arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integers_and_lists_take_the_dtype_of_the_others(library, dtype):
    keys = library.random(3, 2, dtype=dtype)
    context = attend([1, 0], keys, library.array([[1, 2], [3, 4], [5, 6]], "int64"))
    assert library.dtype(context) == dtype


def test_integers_alone_become_float64(library):
    arrays = [library.array([[1, 0], [0, 1]], dtype) for dtype in ("int64", "int32", "uint8")]
    assert library.dtype(attend(*arrays)) == "float64"


def test_lists_of_integers_and_of_floats_go_together():
    assert attend([1, 0], [[0.5, 1.5], [1, 2]], [[1], [2]]).dtype == np.float64


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
@pytest.mark.parametrize("odd", ["query", "keys", "values"])
def test_what_is_no_real_number_is_an_error(library, dtype, odd):
    arrays = {
        name: library.array(np.ones((3, 3)), dtype if name == odd else "float32")
        for name in ("query", "keys", "values")
    }
    with pytest.raises(DtypeError, match=rf"attend\(\): {odd} must be integers or float16.*Got {dtype}"):
        attend(**arrays)


def test_words_are_an_error():
    with pytest.raises(DtypeError, match="keys must be"):
        attend([1.0], [["a"], ["b"]], [[1.0], [2.0]])


def test_arrays_of_two_libraries_are_an_error():
    torch = pytest.importorskip("torch")
    with pytest.raises(DtypeError, match=r"attend\(\): all arrays .* query torch.Tensor, keys numpy.ndarray"):
        attend(torch.ones(2, 3), np.ones((2, 3)), torch.ones(2, 3))
    with pytest.raises(DtypeError, match="must come from one library"):
        attend(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), mask=torch.ones(2, 2) > 0)


def test_a_bias_takes_the_dtype_of_the_scores(library):
    arrays = [library.random(3, 3, seed=seed, dtype="float32") for seed in range(3)]
    looked = attention(*arrays, bias=np.zeros((3, 3)))
    assert library.dtype(looked.weights) == "float32"
    np.testing.assert_allclose(
        library.numbers(looked.context), library.numbers(attend(*arrays)), rtol=1e-6, atol=1e-6
    )


def test_a_bias_too_small_for_the_scores_hides(library):
    arrays = [library.random(3, 3, seed=seed, dtype="float32") for seed in range(3)]
    bias = np.where(np.eye(3) > 0, 0.0, np.finfo(np.float64).min)
    np.testing.assert_array_equal(library.numbers(attention(*arrays, bias=bias).weights), np.eye(3))


def test_autocast_does_not_round_the_scores():
    torch = pytest.importorskip("torch")
    query, keys, values = (torch.randn(3, 64, generator=torch.Generator().manual_seed(s)) for s in range(3))
    expected = attend(query, keys, values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(attend(query, keys, values), expected, rtol=0, atol=0)


def test_masks_and_bias_may_be_lists_or_numpy_arrays_beside_any_library(library):
    arrays = [library.random(2, 2, seed=seed) for seed in range(3)]
    mask = np.broadcast_to(np.array([True, False]), (2, 2))
    looked = attention(*arrays, mask=mask, key_mask=[True, True], bias=[[0, 1], [1, 0]])
    np.testing.assert_array_equal(library.numbers(looked.weights), [[1, 0], [1, 0]])
