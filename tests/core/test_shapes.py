"""What cannot be meant is an error that names the argument, the axis and the sizes, before any computing."""

from typing import Any

import numpy as np
import pytest

from regard.core import scores
from regard.core.attention import attend, attention
from regard.errors import DtypeError, InputError, ShapeError

ERRORS = {
    "one value is needed for each key": (
        [(2, 4, 64), (2, 5, 64), (2, 4, 64)],
        {},
        "attend(): keys have 5 positions but values have 4; one value is needed for each key. "
        "Got keys (2, 5, 64), values (2, 4, 64).",
    ),
    "leading axes differ": (
        [(3, 4, 8), (2, 5, 8), (2, 5, 8)],
        {},
        "attend(): axis -3 is 3 in query, 2 in keys, 2 in values; leading axes must be equal or 1 "
        "(fewer key heads than query heads need grouped=True). "
        "Got query (3, 4, 8), keys (2, 5, 8), values (2, 5, 8).",
    ),
    "leading axes of the values differ": (
        [(2, 4, 8), (2, 5, 8), (3, 5, 8)],
        {},
        "axis -3 is 2 in query, 2 in keys, 3 in values",
    ),
    "a batch axis further out differs": (
        [(4, 2, 4, 8), (3, 2, 5, 8), (3, 2, 5, 8)],
        {"grouped": True},
        "axis -4 is 4 in query, 3 in keys, 3 in values; leading axes must be equal or 1. ",
    ),
    "features differ": (
        [(4, 8), (5, 7), (5, 8)],
        {},
        "dot score: the query has 8 features but the keys have 7; both need the same",
    ),
    "a number is no query": ([(), (5, 7), (5, 8)], {}, "query must be (…, Q, D) or (D,). Got ()."),
    "keys need two axes": ([(7,), (7,), (5, 8)], {}, "keys must be (…, K, D). Got (7,)."),
    "values need two axes": ([(7,), (5, 7), (5,)], {}, "values must be (…, K, V). Got (5,)."),
    "grouped heads do not divide": (
        [(6, 4, 8), (4, 5, 8), (4, 5, 8)],
        {"grouped": True},
        "attend(): 6 query heads cannot share 4 key heads evenly",
    ),
    "grouped without heads": (
        [(4, 8), (5, 8), (5, 8)],
        {"grouped": True},
        "grouped=True needs an axis of heads",
    ),
    "grouped values of other heads": (
        [(4, 4, 8), (2, 5, 8), (1, 5, 8)],
        {"grouped": True},
        "keys have 2 heads but values have 1",
    ),
    "a mask of too many queries": (
        [(4, 8), (5, 8), (5, 8)],
        {"mask": (3, 5)},
        "attend(): mask must be (…, Q, K), here (4, 5), or have axes of size 1; "
        "its axis -2 is 3 but there are 4 queries. Got (3, 5).",
    ),
    "a mask of too many keys": (
        [(4, 8), (5, 8), (5, 8)],
        {"mask": (4, 6)},
        "its axis -1 is 6 but there are 5 keys. Got (4, 6).",
    ),
    "a mask the wrong way round": (
        [(4, 8), (5, 8), (5, 8)],
        {"mask": (5, 4)},
        "its axis -1 is 4 but there are 5 keys",
    ),
    "a mask of more axes than the scores": (
        [(4, 8), (5, 8), (5, 8)],
        {"mask": (2, 4, 5)},
        "mask must be (…, Q, K), here (4, 5), or have axes of size 1. Got (2, 4, 5).",
    ),
    "a mask of another batch": (
        [(2, 4, 8), (2, 5, 8), (2, 5, 8)],
        {"mask": (3, 1, 5)},
        "its axis -3 is 3 but there are 2 in the scores. Got (3, 1, 5).",
    ),
    "a bias of too many keys": ([(4, 8), (5, 8), (5, 8)], {"bias": (4, 6)}, "attend(): bias must be"),
    "a key mask of too many keys": (
        [(2, 4, 8), (2, 5, 8), (2, 5, 8)],
        {"key_mask": (2, 6)},
        "attend(): key_mask must be (2, 5)",
    ),
    "a key mask with an axis of queries": (
        [(4, 8), (5, 8), (5, 8)],
        {"key_mask": (4, 5)},
        "a mask with an axis of queries goes to mask=. Got (4, 5).",
    ),
    "a key mask of another batch": (
        [(2, 4, 8), (2, 5, 8), (2, 5, 8)],
        {"key_mask": (3, 5)},
        "key_mask must be (2, 5)",
    ),
    "more queries than keys": ([(6, 8), (5, 8), (5, 8)], {"causal": True}, "6 queries but only 5 keys"),
    "more queries than keys in a window": ([(6, 8), (5, 8), (5, 8)], {"window": 2}, "query_offset="),
}


@pytest.mark.parametrize("case", ERRORS)
def test_arrays_that_do_not_fit_are_an_error_that_names_the_axis(library, case):
    shapes, options, message = ERRORS[case]
    arrays = [library.array(np.ones(shape)) for shape in shapes]
    options = {
        name: library.array(np.ones(option, dtype=bool if "mask" in name else float))
        if isinstance(option, tuple)
        else option
        for name, option in options.items()
    }
    with pytest.raises(ShapeError) as caught:
        attend(*arrays, **options)
    assert message in str(caught.value)


def test_an_error_names_the_function_that_was_called():
    with pytest.raises(ShapeError, match=r"^attention\(\): keys have 2"):
        attention(np.ones((3, 2)), np.ones((2, 2)), np.ones((1, 2)))


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ShapeError, match="the lists in keys differ in length"):
        attend([1, 0], [[1, 0], [1]], [[1], [2]])


@pytest.mark.parametrize("name", ["mask", "key_mask"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_a_mask_of_numbers_is_an_error_that_names_bias(library, name, dtype):
    arrays = [library.random(3, 3, seed=seed) for seed in range(3)]
    mask = library.array(np.ones(3 if name == "key_mask" else (3, 3)), dtype)
    with pytest.raises(DtypeError, match=rf"attend\(\): {name} must be boolean.*Got {dtype}.*bias="):
        attend(*arrays, **{name: mask})


def test_a_bias_of_booleans_is_an_error_that_names_mask(library):
    arrays = [library.random(3, 3, seed=seed) for seed in range(3)]
    with pytest.raises(DtypeError, match="booleans go to mask="):
        attend(*arrays, bias=library.array(np.ones((3, 3), dtype=bool)))


@pytest.mark.parametrize("window", [0, -1, 1.5, True, "2"])
def test_a_window_that_cannot_be_meant_is_an_error(window):
    with pytest.raises(InputError, match="window must be"):
        attend(np.ones((3, 3)), np.ones((3, 3)), np.ones((3, 3)), window=window)


def test_a_query_offset_that_is_no_whole_number_is_an_error():
    options: dict[str, Any] = {"causal": True, "query_offset": 0.5}
    with pytest.raises(InputError, match=r"query_offset must be a whole number\. Got 0\.5"):
        attend(np.ones((3, 3)), np.ones((3, 3)), np.ones((3, 3)), **options)


def test_a_query_offset_without_causal_or_window_is_an_error():
    with pytest.raises(InputError, match="needs causal=True or window="):
        attend(np.ones((3, 3)), np.ones((3, 3)), np.ones((3, 3)), query_offset=0)


def test_nothing_is_computed_before_the_shapes_are_known_to_fit():
    def never(query, keys):
        raise AssertionError("the score was called")

    cannot_be: list[dict[str, Any]] = [
        {"mask": np.ones((9, 9), dtype=bool)},
        {"key_mask": np.ones(9, dtype=bool)},
        {"window": 0},
    ]
    for options in cannot_be:
        with pytest.raises((ShapeError, InputError)):
            attend(np.ones((3, 3)), np.ones((3, 3)), np.ones((3, 3)), score=never, **options)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 6)],
        [(2, 3, 4, 8), (2, 1, 5, 8), (1, 3, 5, 6)],
        [(2, 3, 4, 8), (5, 8), (5, 6)],
        [(4, 8), (2, 3, 5, 8), (3, 5, 6)],
        [(4, 8), (5, 8), (2, 3, 5, 6)],
    ],
)
def test_leading_axes_that_are_equal_one_or_missing_broadcast(library, shapes):
    query, keys, values = (library.random(*shape, seed=seed) for seed, shape in enumerate(shapes))
    expected = library.numbers(
        attend(*(library.array(np.broadcast_to(library.numbers(array), (2, 3, *array.shape[-2:])))
                 for array in (query, keys, values)))
    )  # fmt: skip
    np.testing.assert_allclose(library.numbers(attend(query, keys, values)), expected, rtol=1e-12)


def test_a_key_mask_with_an_axis_a_text_serves_all_heads(library):
    query, keys, values = (library.random(2, 3, 4, 8, seed=seed) for seed in range(3))
    key_mask = np.array([[True, True, False, True], [True, False, False, True]])
    expected = library.numbers(attend(query, keys, values, mask=library.array(key_mask[:, None, None, :])))
    for shape in ((2, 4), (2, 1, 4)):
        found = attend(query, keys, values, key_mask=library.array(key_mask.reshape(shape)))
        np.testing.assert_array_equal(library.numbers(found), expected)


def test_grouped_heads_are_interleaved(library):
    query = library.random(2, 4, 3, 8)
    keys, values = library.random(2, 2, 5, 8, seed=1), library.random(2, 2, 5, 6, seed=2)
    grouped = library.numbers(attend(query, keys, values, grouped=True))
    for head in range(4):
        alone = attend(query[:, head], keys[:, head // 2], values[:, head // 2])
        np.testing.assert_allclose(grouped[:, head], library.numbers(alone), rtol=1e-12)


def test_grouped_with_as_many_key_heads_changes_nothing(library):
    arrays = [library.random(2, 4, 3, 8, seed=seed) for seed in range(3)]
    np.testing.assert_array_equal(
        library.numbers(attend(*arrays, grouped=True)), library.numbers(attend(*arrays))
    )


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 1, 5), (2, 2, 5), (2, 4, 5)])
def test_a_key_mask_of_grouped_heads_has_one_row_for_each_key_head_or_query_head(library, shape):
    query = library.random(2, 4, 3, 8)
    keys, values = library.random(2, 2, 5, 8, seed=1), library.random(2, 2, 5, 6, seed=2)
    key_mask = np.random.default_rng(3).random(shape) < 0.6
    each = key_mask if len(shape) == 3 else np.broadcast_to(key_mask, (2, 5))[:, None]
    full = np.repeat(each, 4 // each.shape[1], axis=1)
    np.testing.assert_allclose(
        library.numbers(attend(query, keys, values, grouped=True, key_mask=library.array(key_mask))),
        library.numbers(attend(query, keys, values, grouped=True, mask=library.array(full[:, :, None, :]))),
    )


def test_different_features_go_together_through_a_matrix(library):
    context = attend(
        library.random(2, 3),
        library.random(5, 4),
        library.random(5, 6),
        score=scores.general(np.ones((3, 4))),
    )
    assert tuple(context.shape) == (2, 6)
