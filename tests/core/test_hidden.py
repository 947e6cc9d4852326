"""A NaN or infinity in a masked key or value reaches neither the result nor anybody else's gradient."""

import numpy as np
import pytest

from regard.core import scores
from regard.core.attention import attend, attention

NUMBERS = [float("nan"), float("inf"), float("-inf")]
SEEN_BY_NOBODY = [[True, True, False], [True, False, False], [False, True, False], [True, True, False]]
SEEN_BY_THE_LAST = [[True, True, False], [True, False, False], [False, True, False], [True, True, True]]


def arrays(library, **changes):
    found = {name: library.random(4 if name == "query" else 3, 2, seed=seed) for seed, name in enumerate(
        ("query", "keys", "values")
    )}  # fmt: skip
    for name, (position, number) in changes.items():
        found[name][position] = number
    return found.values()


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("where", ["mask", "key_mask", "bias", "causal"])
def test_what_is_hidden_from_all_changes_nothing(library, number, where):
    hide = {
        "mask": {"mask": library.array(SEEN_BY_NOBODY)},
        "key_mask": {"key_mask": library.array([True, True, False])},
        "bias": {"bias": library.array(np.where(SEEN_BY_NOBODY, 0.0, -np.inf))},
        "causal": {"causal": True, "query_offset": -2},
    }[where]
    clean = attention(*arrays(library), **hide, statistics=["entropy"])
    dirty = attention(*arrays(library, keys=(2, number), values=(2, number)), **hide, statistics=["entropy"])
    for one, other in (
        (dirty.context, clean.context),
        (dirty.weights, clean.weights),
        (dirty.log_normalizer, clean.log_normalizer),
        (dirty.statistics["entropy"], clean.statistics["entropy"]),
    ):
        np.testing.assert_allclose(library.numbers(one), library.numbers(other), rtol=1e-12)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ["keys", "values"])
def test_what_one_query_may_see_reaches_no_other(library, number, name):
    mask = library.array(SEEN_BY_THE_LAST)
    clean = library.numbers(attend(*arrays(library), mask=mask))
    dirty = library.numbers(attend(*arrays(library, **{name: (2, number)}), mask=mask))
    np.testing.assert_allclose(dirty[:3], clean[:3], rtol=1e-12)
    if name == "values" or np.isnan(number):
        assert not np.isfinite(dirty[3]).any()


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ["query", "keys", "values"])
def test_a_mask_that_hides_nothing_changes_nothing_not_even_infinities(library, number, name):
    found = arrays(library, **{name: ((1, 0), number)})
    without = attention(*found)
    within = attention(*found, mask=library.array(np.ones((4, 3), dtype=bool)))
    np.testing.assert_allclose(library.numbers(within.context), library.numbers(without.context))
    np.testing.assert_allclose(library.numbers(within.weights), library.numbers(without.weights))
    np.testing.assert_allclose(
        library.numbers(within.log_normalizer), library.numbers(without.log_normalizer)
    )


def test_infinities_of_both_signs_that_one_query_sees_make_a_nan(library):
    query, keys, values = arrays(library, values=((0, 0), float("inf")))
    values[1, 0] = float("-inf")
    mask = library.array([[True, False, True], [False, True, True], [True, True, True], [False, False, True]])
    context = library.numbers(attend(query, keys, values, mask=mask))
    np.testing.assert_array_equal(context[:3, 0], [np.inf, -np.inf, np.nan])
    assert np.isfinite(context[3]).all() and np.isfinite(context[:, 1]).all()


def test_a_mask_of_one_column_hides_whole_queries(library):
    mask = library.array([[True], [False], [True], [False]])
    context = library.numbers(attend(*arrays(library, values=((1, 0), float("nan"))), mask=mask))
    np.testing.assert_array_equal(np.isnan(context), [[True, False], [False] * 2, [True, False], [False] * 2])
    assert not context[[1, 3]].any()


@pytest.mark.parametrize("number", NUMBERS)
def test_the_padding_of_one_text_reaches_no_other_text(library, number):
    query, keys, values = (library.random(2, 3, 4, seed=seed) for seed in range(3))
    key_mask = library.array([[True, True, True], [True, True, False]])
    clean = attend(query, keys, values, key_mask=key_mask)
    keys[1, 2], values[1, 2] = number, number
    np.testing.assert_allclose(
        library.numbers(attend(query, keys, values, key_mask=key_mask)), library.numbers(clean), rtol=1e-12
    )


def test_a_bias_that_is_not_a_number_where_a_mask_hides_changes_nothing(library):
    mask, bias = library.array(SEEN_BY_NOBODY), library.array(np.where(SEEN_BY_NOBODY, 1.0, np.nan))
    clean = attend(*arrays(library), mask=mask)
    np.testing.assert_allclose(
        library.numbers(attend(*arrays(library), mask=mask, bias=bias)), library.numbers(clean)
    )


CHOICES = {
    "scaled_dot": lambda torch: scores.scaled_dot,
    "general": lambda torch: scores.general(torch.ones(2, 2, dtype=torch.float64)),
    "additive": lambda torch: scores.additive(
        torch.ones(5, 2).double(), torch.ones(5, 2).double(), torch.ones(5).double()
    ),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ["keys", "values", "bias"])
@pytest.mark.parametrize("mask", [SEEN_BY_NOBODY, SEEN_BY_THE_LAST])
def test_what_is_hidden_reaches_no_gradient(choice, number, name, mask):
    torch = pytest.importorskip("torch")
    rows = [0, 1, 2]

    def gradients(number):
        generator = torch.Generator().manual_seed(0)
        inputs = {
            axis: torch.randn(size, 2, generator=generator, dtype=torch.float64)
            for axis, size in (("query", 4), ("keys", 3), ("values", 3))
        }
        inputs["bias"] = torch.zeros(4, 3, dtype=torch.float64)
        if name == "bias":
            inputs["bias"][~torch.tensor(mask)] = number
        else:
            inputs[name][2] = number
        inputs = {axis: array.requires_grad_() for axis, array in inputs.items()}
        context = attend(**inputs, mask=torch.tensor(mask), score=CHOICES[choice](torch))
        context[rows].square().sum().backward()
        return [array.grad for array in inputs.values()]

    for dirty, clean in zip(gradients(number), gradients(0.0), strict=True):
        torch.testing.assert_close(dirty, clean)


def test_a_padded_query_of_nan_spoils_no_gradient_when_its_context_is_left_out():
    torch = pytest.importorskip("torch")
    texts = torch.randn(2, 4, 3)
    texts[1, 3] = float("nan")
    texts.requires_grad_()
    context = attend(texts, texts, texts, key_mask=[[True] * 4, [True, True, True, False]])
    assert context[1, 3].isnan().all()
    (context[0].sum() + context[1, :3].sum()).backward()
    assert texts.grad is not None and texts.grad.isfinite().all()


def test_a_sum_that_overflows_is_no_harm(library):
    query, keys, _ = arrays(library)
    huge = library.array(np.full((3, 2), 1.5e308))
    context = library.numbers(attend(query, keys, huge, mask=library.array(SEEN_BY_NOBODY)))
    np.testing.assert_allclose(context, np.full((4, 2), 1.5e308))
