"""A query that may look nowhere gets zeros: weights, context and gradient; its log-normalizer is −∞."""

import numpy as np
import pytest

from regard.core import scores
from regard.core.attention import attend, attention

NOWHERE = [[True, False, True], [False, False, False], [True, True, True]]
BIAS = np.where(NOWHERE, 0.5, -np.inf)

WAYS_TO_EMPTY_ROW_1 = {
    "by a mask": lambda a: {"mask": a(NOWHERE)},
    "by a bias of minus infinity": lambda a: {"bias": a(BIAS)},
    "by a mask and a key mask together": lambda a: {
        "mask": a([[True, True, True], [False, True, True], [True, True, True]]),
        "key_mask": a([True, False, False]),
    },
    "by causal and a key mask together": lambda a: {"causal": True, "key_mask": a([False, False, True])},
    "by a window and a mask together": lambda a: {
        "window": 1,
        "mask": a([[True, True, True], [True, False, True], [True, True, True]]),
    },
    "by a bias and a mask together": lambda a: {
        "bias": a([[0, 0, 0], [0, -np.inf, -np.inf], [0, 0, 0]]),
        "mask": a([[True, True, True], [False, True, True], [True, True, True]]),
    },
    "by causal before the first key": lambda a: {"causal": True, "query_offset": -2},
}


def arrays(library):
    return [library.random(3, 4, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("way", WAYS_TO_EMPTY_ROW_1)
def test_a_query_that_may_look_nowhere_gets_zeros(library, way):
    limits = WAYS_TO_EMPTY_ROW_1[way](library.array)
    looked = attention(*arrays(library), **limits, statistics=["entropy", "max_weight", "argmax"])
    assert not library.numbers(looked.context)[1].any()
    assert not library.numbers(looked.weights)[1].any()
    assert library.numbers(looked.log_normalizer)[1] == -np.inf
    statistics = {name: library.numbers(found)[1] for name, found in looked.statistics.items()}
    assert statistics == {"entropy": 0, "max_weight": 0, "argmax": -1}
    assert not library.numbers(attend(*arrays(library), **limits))[1].any()
    without_weights = attention(*arrays(library), **limits, weights=False)
    assert not library.numbers(without_weights.context)[1].any()
    for found in (looked.context, looked.weights):
        assert np.isfinite(library.numbers(found)).all()


@pytest.mark.parametrize("way", WAYS_TO_EMPTY_ROW_1)
@pytest.mark.parametrize("score", ["scaled_dot", "additive"])
def test_a_query_that_may_look_nowhere_has_gradient_zero_and_gives_none(way, score):
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (
        torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)
    )
    w, v = torch.randn(5, 4, generator=generator), torch.randn(5, generator=generator)
    chosen = scores.additive(w, w, v) if score == "additive" else scores.scaled_dot
    looked = attention(query, keys, values, score=chosen, **WAYS_TO_EMPTY_ROW_1[way](torch.tensor))
    assert looked.weights is not None
    (looked.context[1].sum() + looked.weights[1].sum()).backward()
    for array in (query, keys, values):
        assert array.grad is not None and not array.grad.any()


def test_the_gradient_of_all_is_that_of_the_queries_that_may_look(library):
    torch = pytest.importorskip("torch")
    query, keys, values = (torch.tensor(library.numbers(array)) for array in arrays(library))
    mask = torch.tensor(NOWHERE)
    gradients = []
    for rows in ([0, 1, 2], [0, 2]):
        inputs = [array.clone().requires_grad_() for array in (query, keys, values)]
        attend(inputs[0][rows], inputs[1], inputs[2], mask=mask[rows]).square().sum().backward()
        gradients.append([array.grad for array in inputs])
    for with_empty, without in zip(*gradients, strict=True):
        torch.testing.assert_close(with_empty, without)


def test_a_row_of_log_normalizers_with_an_empty_one_has_a_finite_gradient():
    torch = pytest.importorskip("torch")
    query, keys = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    looked = attention(query, keys, keys, mask=NOWHERE)
    looked.log_normalizer[looked.log_normalizer.isfinite()].sum().backward()
    assert query.grad is not None and keys.grad is not None
    assert query.grad.isfinite().all() and keys.grad.isfinite().all()


def test_a_normalizer_that_knows_no_empty_rows_has_finite_gradients_all_the_same():
    torch = pytest.importorskip("torch")
    query, keys, values = (torch.randn(3, 4, requires_grad=True) for _ in range(3))
    normalizer = lambda found: found.exp() / found.exp().sum(-1, keepdim=True)  # noqa: E731
    attend(query, keys, values, normalizer=normalizer, mask=NOWHERE).sum().backward()
    for array in (query, keys, values):
        assert array.grad is not None and array.grad.isfinite().all() and array.grad[0].any()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_empty_query_that_is_not_a_number_gets_zeros_too(library, number):
    query, keys, values = arrays(library)
    query[1] = number
    looked = attention(query, keys, values, mask=library.array(NOWHERE))
    assert not library.numbers(looked.context)[1].any()
    assert not library.numbers(looked.weights)[1].any()
    assert library.numbers(looked.log_normalizer)[1] == -np.inf
    assert np.isfinite(library.numbers(looked.context)).all()


def test_an_empty_query_that_is_not_a_number_reaches_no_gradient():
    torch = pytest.importorskip("torch")
    query, keys, values = (torch.randn(3, 4) for _ in range(3))
    query[1] = float("nan")
    inputs = [array.requires_grad_() for array in (query, keys, values)]
    attend(*inputs, mask=NOWHERE).sum().backward()
    assert all(array.grad is not None and array.grad.isfinite().all() for array in inputs)


def test_scores_of_minus_infinity_alone_leave_a_query_nowhere_to_look(library):
    def hopeless(query, keys):
        found = scores.dot(query, keys)
        return found * 0 - float("inf")

    looked = attention(*arrays(library), score=hopeless)
    assert not library.numbers(looked.context).any()
    assert (library.numbers(looked.log_normalizer) == -np.inf).all()


def test_a_batch_item_that_is_all_padding_gets_zeros_and_leaves_the_others_alone(library):
    query, keys, values = (library.random(2, 3, 4, seed=seed) for seed in range(3))
    key_mask = library.array([[True, True, False], [False, False, False]])
    context = library.numbers(attend(query, keys, values, key_mask=key_mask))
    assert not context[1].any()
    np.testing.assert_allclose(
        context[0], library.numbers(attend(query[0], keys[0, :2], values[0, :2])), rtol=1e-12
    )
