"""Every known mistake is found by its name in a function that makes it, and none in one that doesn't."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from function_subject import Function, scores, softmax, t
from wrong_attention import MISTAKEN, before_masking, repeated, scaled, several_heads
from wrong_masks import additive_attention

from regard.checking.mistakes import KNOWN, find_mistakes


def wrong(subject: Any, **options: Any) -> set[str]:
    return {mistake.name for mistake in find_mistakes(subject, **options) if mistake.severity == "wrong"}


@pytest.mark.parametrize(
    ("name", "subject", "options"),
    [pytest.param(*case, id=f"{place}-{case[0]}") for place, case in enumerate(MISTAKEN)],
)
def test_a_mistake_is_found_by_its_name(name, subject, options):
    found = find_mistakes(subject, **options)
    assert name in {mistake.name for mistake in found}
    # Nothing else is wrong with it, but for names that can't be told apart.
    assert len([mistake for mistake in found if mistake.severity == "wrong"]) <= 2


PROMISED = """
    softmax_over_queries softmax_over_batch softmax_over_heads no_softmax sum_normalised_without_exp
    softmax_unstable missing_scale scaled_by_dimension scaled_twice scaled_by_model_width query_ignored
    keys_used_as_values query_and_keys_swapped mask_inverted mask_ignored mask_added_as_number
    mask_multiplied_before_softmax mask_after_softmax_without_renormalising masked_nan_leaks
    finite_fill_makes_empty_rows_uniform empty_rows_nan causal_missing causal_off_by_one causal_upper_left
    causal_reversed heads_split_without_transpose heads_merged_without_transpose
    grouped_tiled_not_interleaved dropout_active_in_evaluation inputs_written_to batch_items_mixed
    half_precision_accumulation additive_without_tanh weights_returned_before_masking
    key_mask_applied_to_queries heads_averaged_not_concatenated crashes_on_documented_shapes
"""


def test_every_promised_name_is_known():
    assert set(KNOWN) >= set(PROMISED.split())


def test_every_known_mistake_is_made_by_a_function_above():
    assert set(KNOWN) == {name for name, _, _ in MISTAKEN}


def test_every_known_mistake_is_explained_with_its_remedy():
    for name, known in KNOWN.items():
        assert known.explanation.endswith("."), name
        assert known.remedy.endswith("."), name


def attention(query, keys, values, mask=None, key_mask=None, causal=False):
    """Right in every respect that is tried."""
    seen = np.ones((*query.shape[:-1], keys.shape[-2]), dtype=bool)
    if mask is not None:
        seen = seen & mask
    if key_mask is not None:
        seen = seen & key_mask[..., None, :]
    if causal:
        seen = seen & np.tril(np.ones(seen.shape[-2:], dtype=bool), k=keys.shape[-2] - query.shape[-2])
    there = np.expand_dims(seen.any(-2), -1)
    keys, values = np.where(there, keys, 0), np.where(there, values, 0)
    s = np.where(seen, query.astype(float) @ keys.swapaxes(-1, -2) / np.sqrt(query.shape[-1]), -np.inf)
    top = s.max(-1, keepdims=True)
    e = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = e.sum(-1, keepdims=True)
    weights = e / np.where(total == 0, 1, total)
    return weights @ values, weights


def dot_attention(query, keys, values):
    return softmax(query @ t(keys)) @ values


def luong_attention(query, keys, values):
    return softmax(query @ t(keys)) @ values


def cosine_attention(query, keys, values):
    query, keys = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, keys))
    return softmax(query @ t(keys) / 0.1) @ values


def unscaled(query, keys, values):
    return softmax(query @ t(keys)) @ values


def self_attention(x):
    return softmax(scores(x, x)) @ x


def causal_self_attention(x):
    return softmax(np.where(np.tril(np.ones(scores(x, x).shape[-2:])) > 0, scores(x, x), -np.inf)) @ x


def padded_self_attention(query, key_mask=None):
    s = scores(query, query)
    if key_mask is not None:
        s = np.where(key_mask[:, None, :] & key_mask[:, :, None], s, -np.inf)
    weights = softmax(s)
    return np.where(np.isnan(weights), 0, weights) @ query


def one_query(query, keys, values):
    return softmax(keys @ query / np.sqrt(len(query))) @ values


RIGHT = [
    (Function(attention), {}),
    (Function(attention), {"causal": True}),
    (Function(attention, axes="QD"), {}),
    (Function(dot_attention), {}),
    (Function(luong_attention), {}),
    (Function(unscaled), {"score": "dot"}),
    (Function(cosine_attention), {}),
    (Function(cosine_attention), {"score": "cosine"}),
    (Function(self_attention, inputs="self"), {}),
    (Function(self_attention, inputs="self", axes="QD"), {}),
    (Function(causal_self_attention, inputs="self"), {}),
    (Function(causal_self_attention, inputs="self", causal="always"), {"causal": True}),
    (Function(several_heads(), inputs="self", heads=2), {}),
    (Function(repeated, axes="BHQD", grouped=True), {}),
    (Function(one_query, axes="D"), {}),
    (Function(additive_attention, width=4), {}),
    (Function(additive_attention, width=4), {"score": "additive"}),
]


@pytest.mark.parametrize(
    ("subject", "options"),
    [pytest.param(*case, id=f"{place}-{case[0].name}") for place, case in enumerate(RIGHT)],
)
def test_nothing_is_found_in_a_right_function(subject, options):
    assert find_mistakes(subject, **options) == []


def test_what_hides_padding_on_both_sides_is_not_wrong():
    assert not wrong(Function(padded_self_attention, inputs="self"))


def test_a_square_that_is_not_scaled_is_right_or_wrong_by_what_it_is_called():
    assert wrong(Function(unscaled)) == {"missing_scale"}
    assert wrong(Function(dot_attention)) == set()
    assert wrong(Function(dot_attention), score="scaled_dot") == {"missing_scale"}


def both(query, keys, values):
    return softmax(query @ t(keys), axis=-2) @ values


def dot_over_queries(query, keys, values):
    return both(query, keys, values)


def three_at_once(query, keys, values):
    return softmax(query @ t(keys), axis=-2) @ keys


def with_a_mask(query, keys, values, mask=None):
    s = query @ t(keys)
    return softmax(s if mask is None else s + mask, axis=-2) @ values


def needing_a_mask(query, keys, values, mask):
    return softmax(np.where(mask, -1e9, query @ t(keys))) @ values


def late_and_unscaled(query, keys, values):
    s = query @ t(keys)
    return softmax(np.where(np.tri(*s.shape[-2:], k=1 + s.shape[-1] - s.shape[-2]) > 0, s, -1e9)) @ values


TOGETHER = [
    (both, {}, {"softmax_over_queries", "missing_scale"}),
    (dot_over_queries, {}, {"softmax_over_queries", "missing_scale"}),
    (three_at_once, {}, {"softmax_over_queries", "missing_scale", "keys_used_as_values"}),
    (with_a_mask, {}, {"softmax_over_queries", "missing_scale", "mask_added_as_number"}),
    (needing_a_mask, {}, {"mask_inverted", "missing_scale"}),
    (late_and_unscaled, {"causal": True}, {"causal_off_by_one", "missing_scale"}),
]


@pytest.mark.parametrize(("function", "options", "expected"), TOGETHER)
def test_mistakes_made_together_are_all_named(function, options, expected):
    assert wrong(Function(function), **options) == expected


@pytest.mark.parametrize("axes", ["QD", "BQD", "BHQD", "BQHD"])
def test_the_layout_of_the_axes_makes_no_difference(axes):
    assert wrong(Function(both if axes != "BQHD" else heads_second, axes=axes)) == {
        "softmax_over_queries",
        "missing_scale",
    }


def heads_second(query, keys, values):
    query, keys, values = (x.swapaxes(1, 2) for x in (query, keys, values))
    return both(query, keys, values).swapaxes(1, 2)


def test_names_that_cannot_be_told_apart_are_both_given():
    assert wrong(Function(scaled(lambda q: 1 / q.shape[-1]))) == {"scaled_by_dimension", "scaled_twice"}


def test_what_has_projections_is_judged_with_identities_in_their_place():
    w = np.random.default_rng(3).normal(size=(3, 4, 4))

    def projected(x):
        return both(*(x @ one for one in w))

    def plain(x):
        return both(x, x, x)

    identities = Function(plain, inputs="self", width=4)
    subject = Function(projected, inputs="self", width=4, projected=True, identities=identities)
    assert {"softmax_over_queries", "missing_scale"} <= wrong(subject)


def test_with_nothing_to_compare_with_the_weights_that_come_back_are_judged():
    w = np.random.default_rng(3).normal(size=(3, 4, 4))

    def projected(x):
        query, keys, values = (x @ one for one in w)
        weights = softmax(scores(query, keys), axis=-2)
        return weights @ values, weights

    subject = Function(projected, inputs="self", width=4, projected=True)
    assert wrong(subject) == {"softmax_over_queries"}


def test_wrong_mistakes_come_before_fragile_ones():
    found = [mistake.severity for mistake in find_mistakes(Function(before_masking))]
    assert found == sorted(found, reverse=True)
    assert set(found) == {"wrong", "fragile"}


def test_what_raises_for_fewer_queries_only_is_fragile_where_the_future_is_hidden():
    def square_only(query, keys, values):
        s = scores(query, keys)
        return softmax(np.where(np.tri(5) > 0, s, -np.inf)) @ values

    found = find_mistakes(Function(square_only, axes="BQD"), causal=True)
    assert [(mistake.name, mistake.severity) for mistake in found] == [
        ("crashes_on_documented_shapes", "fragile")
    ]


def test_a_function_that_nothing_explains_is_given_up_soon():
    def odd(query, keys, values):
        return np.sin(scores(query, keys)) @ np.cos(values)

    begin = time.perf_counter()
    find_mistakes(Function(odd, axes="BHQD"))
    assert time.perf_counter() - begin < 3


def test_a_score_with_weights_inside_and_values_as_they_are_need_not_be_scaled():
    w = np.random.default_rng(3).normal(size=(4, 4))

    def attention_with_weights(query, keys, values):
        return unscaled(query @ w, keys, values)

    def and_of_values(query, keys, values):
        return unscaled(query @ w, keys, values @ w)

    identities = Function(unscaled, width=4)
    options: dict[str, Any] = {"width": 4, "projected": True, "identities": identities}
    assert wrong(Function(attention_with_weights, **options)) == set()
    assert wrong(Function(and_of_values, **options)) == {"missing_scale"}
