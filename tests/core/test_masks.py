import numpy as np
import pytest

from regard.core import masks
from regard.core.attention import attend, attention
from regard.errors import DtypeError, InputError, ShapeError


def test_causal_lets_the_last_query_stand_at_the_last_key():
    np.testing.assert_array_equal(masks.causal(2, 4), [[1, 1, 1, 0], [1, 1, 1, 1]])


def test_an_offset_of_zero_lets_the_first_query_stand_at_the_first_key():
    np.testing.assert_array_equal(masks.causal(2, 4, query_offset=0), [[1, 0, 0, 0], [1, 1, 0, 0]])


def test_an_offset_says_where_the_first_query_stands():
    np.testing.assert_array_equal(masks.causal(2, 4, query_offset=1), [[1, 1, 0, 0], [1, 1, 1, 0]])


def test_more_queries_than_keys_need_an_offset():
    with pytest.raises(ShapeError, match="4 queries but only 2 keys"):
        masks.causal(4, 2)
    expected = [[1, 0], [1, 1], [1, 1], [1, 1]]
    np.testing.assert_array_equal(masks.causal(4, 2, query_offset=0), expected)
    np.testing.assert_array_equal(masks.causal(4, 2, query_offset=-2), [[0, 0], [0, 0], [1, 0], [1, 1]])


def test_a_causal_window_is_the_latest_keys_the_own_position_included():
    expected = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(masks.window(5, 5, 3) & masks.causal(5, 5), expected)


def test_a_window_alone_is_as_wide_on_both_sides():
    expected = [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]
    np.testing.assert_array_equal(masks.window(5, 5, 2), expected)
    np.testing.assert_array_equal(masks.window(5, 5, 1), np.eye(5))


def test_a_window_stands_where_the_query_stands():
    np.testing.assert_array_equal(masks.window(2, 4, 2), [[0, 1, 1, 1], [0, 0, 1, 1]])
    np.testing.assert_array_equal(masks.window(2, 4, 2, query_offset=0), [[1, 1, 0, 0], [1, 1, 1, 0]])


@pytest.mark.parametrize("query_offset", [None, 0, 1, -1, 7])
@pytest.mark.parametrize("window", [None, 1, 2, 9])
@pytest.mark.parametrize("causal", [False, True])
def test_the_options_of_attend_are_these_masks(library, query_offset, window, causal):
    if not causal and window is None:
        return
    arrays = [library.random(3, 4), library.random(5, 4, seed=1), library.random(5, 2, seed=2)]
    mask = np.ones((3, 5), dtype=bool)
    if causal:
        mask &= masks.causal(3, 5, query_offset=query_offset)
    if window is not None:
        mask &= masks.window(3, 5, window, query_offset=query_offset)
    found = attend(*arrays, causal=causal, window=window, query_offset=query_offset)
    np.testing.assert_array_equal(library.numbers(found), library.numbers(attend(*arrays, mask=mask)))


def test_causal_sees_the_present_and_no_future(library):
    arrays = [library.random(4, 4, seed=seed) for seed in range(3)]
    weights = library.numbers(attention(*arrays, causal=True).weights)
    np.testing.assert_array_equal(weights > 0, np.tril(np.ones((4, 4))))


def test_a_decoder_that_goes_step_by_step_sees_what_it_sees_at_once(library):
    query, keys, values = (library.random(5, 4, seed=seed) for seed in range(3))
    at_once = library.numbers(attend(query, keys, values, causal=True))
    for step in range(5):
        alone = attend(query[step : step + 1], keys[: step + 1], values[: step + 1], causal=True)
        np.testing.assert_allclose(library.numbers(alone)[0], at_once[step], rtol=1e-12)


def test_a_dilated_window_has_gaps():
    expected = [[1, 0, 1, 0, 0, 0], [0, 1, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0]]
    np.testing.assert_array_equal(masks.dilated(3, 6, 2, 2, query_offset=0), expected)
    np.testing.assert_array_equal(
        masks.dilated(2, 5, 2, 3) & masks.causal(2, 5), [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1]]
    )


def test_a_dilation_of_one_is_a_window():
    np.testing.assert_array_equal(masks.dilated(4, 7, 3, 1), masks.window(4, 7, 3))


@pytest.mark.parametrize("query_offset", [None, 0, -2, 3])
def test_a_dilated_window_is_what_a_loop_finds(query_offset):
    first = 5 if query_offset is None else query_offset
    expected = [[abs(q + first - k) in (0, 3, 6) for k in range(9)] for q in range(4)]
    np.testing.assert_array_equal(masks.dilated(4, 9, 3, 3, query_offset=query_offset), expected)


def test_a_query_sees_the_keys_of_its_own_block():
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(masks.block(5, 5, 2), expected)


def test_a_query_sees_as_many_blocks_before_as_it_is_told():
    expected = [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(masks.block(2, 5, 2, previous=1), expected)
    expected = [[0, 0, 0], [1, 1, 0], [1, 1, 0]]
    np.testing.assert_array_equal(masks.block(3, 3, 2, query_offset=-1), expected)


def test_a_query_sees_the_keys_of_its_own_document(library):
    ids = library.array([[0, 0, 1, -1], [7, 3, 7, 7]], "int64")
    found = masks.document(ids)
    assert library.dtype(found) == "bool"
    expected = [
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
        [[1, 0, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]],
    ]
    np.testing.assert_array_equal(library.numbers(found), expected)


def test_queries_and_keys_have_documents_of_their_own(library):
    queries, keys = library.array([[[1, 2]], [[2, -1]]], "int64"), np.array([2, 2, -1])
    found = library.numbers(masks.document(queries, keys))
    np.testing.assert_array_equal(found, [[[[0, 0, 0], [1, 1, 0]]], [[[1, 1, 0], [0, 0, 0]]]])


def test_packed_documents_look_as_they_do_alone(library):
    query, keys, values = (library.random(7, 4, seed=seed) for seed in range(3))
    mask = masks.document(library.array([0, 0, 0, 1, 1, 1, 1], "int64"))
    packed = library.numbers(attend(query, keys, values, mask=mask, causal=True))
    for part in (slice(0, 3), slice(3, 7)):
        alone = attend(query[part], keys[part], values[part], causal=True)
        np.testing.assert_allclose(packed[part], library.numbers(alone), rtol=1e-12)


def test_a_prefix_is_seen_by_all_and_what_follows_by_later_ones():
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    np.testing.assert_array_equal(masks.prefix(4, 4, 2), expected)
    np.testing.assert_array_equal(masks.prefix(4, 4, 0), masks.causal(4, 4))


def test_every_text_can_have_a_prefix_of_its_own(library):
    found = library.numbers(masks.prefix(2, 3, library.array([0, 3, 1], "int64"), query_offset=0))
    expected = [[[1, 0, 0], [1, 1, 0]], [[1, 1, 1], [1, 1, 1]], [[1, 0, 0], [1, 1, 0]]]
    np.testing.assert_array_equal(found, expected)
    listed = masks.prefix(2, 3, [0, 3, 1], query_offset=0, like=library.random(1))
    np.testing.assert_array_equal(library.numbers(listed), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.dilated(2, 2, 0, 1), "dilated mask: size must be at least 1. Got 0"),
        (lambda: masks.dilated(2, 2, 1, 0), "dilated mask: dilation must be at least 1. Got 0"),
        (lambda: masks.block(2, 2, 0), "block mask: size must be at least 1. Got 0"),
        (lambda: masks.block(2, 2, 1, previous=-1), "block mask: previous must be at least 0. Got -1"),
        (lambda: masks.prefix(2, 2, 3), "prefix mask: length must be from 0 to the number of keys, 2"),
        (lambda: masks.prefix(2, 2, [-1]), "prefix mask: length must be from 0 to the number of keys, 2"),
        (lambda: masks.block(2, 2, 1.5), "block mask: size must be a whole number. Got 1.5"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_an_error(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_documents_that_are_no_integers_or_do_not_fit_are_an_error():
    with pytest.raises(DtypeError, match=r"query_ids must be integers\. Got float64"):
        masks.document([0.5])
    with pytest.raises(DtypeError, match=r"length must be integers\. Got float64"):
        masks.prefix(2, 2, 1.5)
    with pytest.raises(ShapeError, match=r"equal or 1. Got query_ids \(2, 1\), key_ids \(3, 1\)"):
        masks.document(np.zeros((2, 1), int), np.zeros((3, 1), int))


@pytest.mark.parametrize(
    "make",
    [
        masks.causal,
        lambda *sizes: masks.dilated(*sizes, 2, 2),
        lambda *sizes: masks.block(*sizes, 2),
        lambda *sizes: masks.prefix(*sizes, 1),
    ],
)
def test_every_mask_by_position_wants_to_know_where_more_queries_than_keys_stand(make):
    with pytest.raises(ShapeError, match="3 queries but only 2 keys"):
        make(3, 2)


def test_masks_are_of_the_library_of_the_array_they_shall_be_like(library):
    like = library.random(1)
    for mask in (
        masks.causal(2, 3, like=like),
        masks.window(2, 3, 1, like=like),
        masks.dilated(2, 3, 1, 2, like=like),
        masks.block(2, 3, 2, like=like),
        masks.prefix(2, 3, 1, like=like),
    ):
        assert type(mask) is type(like)
        assert library.dtype(mask) == "bool"


def test_masks_are_combined_by_and_or_not(library):
    like = library.random(1)
    both = masks.causal(4, 4, like=like) & ~masks.window(4, 4, 1, like=like)
    np.testing.assert_array_equal(library.numbers(both), np.tril(np.ones((4, 4)), -1))


def test_padding_hides_what_is_behind_each_text(library):
    mask = masks.padding(library.array([0, 2, 3], "int64"), 3)
    assert library.dtype(mask) == "bool"
    np.testing.assert_array_equal(library.numbers(mask), [[0, 0, 0], [1, 1, 0], [1, 1, 1]])


def test_padding_takes_a_list():
    np.testing.assert_array_equal(masks.padding([1, 2], 2), [[1, 0], [1, 1]])


@pytest.mark.parametrize("lengths", [[4], [-1]])
def test_a_length_that_cannot_be_is_an_error(lengths):
    with pytest.raises(InputError, match="from 0 to the number of keys, 3"):
        masks.padding(lengths, 3)


def test_lengths_that_are_no_integers_are_an_error():
    with pytest.raises(DtypeError, match=r"lengths must be integers\. Got float64"):
        masks.padding([1.5], 3)


def test_a_mask_of_torch_mha_is_turned_round(library):
    mask = library.array([[True, False], [False, False]])
    np.testing.assert_array_equal(library.numbers(masks.from_torch_mha(mask)), [[0, 1], [1, 1]])


def test_the_heads_of_a_mask_of_torch_mha_get_their_own_axis(library):
    mask = np.random.default_rng(0).random((6, 4, 5)) < 0.5
    found = library.numbers(masks.from_torch_mha(library.array(mask), heads=3))
    np.testing.assert_array_equal(found, ~mask.reshape(2, 3, 4, 5))
    with pytest.raises(ShapeError, match=r"heads=4 the mask must be \(B · 4, Q, K\). Got \(6, 4, 5\)"):
        masks.from_torch_mha(library.array(mask), heads=4)


def test_a_mask_of_torch_mha_that_is_added_to_the_scores_is_an_error_that_names_bias(library):
    with pytest.raises(DtypeError, match=r"True where a query may not look.*goes to bias= as it is"):
        masks.from_torch_mha(library.random(2, 2))
