import numpy as np
import pytest

from regard.core import normalizers
from regard.errors import DtypeError

INF = float("inf")
NAN = float("nan")


def test_softmax_shares_by_exponentials(library):
    found = normalizers.softmax(library.array(np.log([[1, 2, 5], [1, 1, 2]])))
    np.testing.assert_allclose(library.numbers(found), [[0.125, 0.25, 0.625], [0.25, 0.25, 0.5]])


@pytest.mark.parametrize(
    ("row", "weights", "log_sum"),
    [
        ([0, -INF, 0], [0.5, 0, 0.5], np.log(2)),
        ([-INF, -INF, -INF], [0, 0, 0], -INF),
        ([INF, 0, -INF], [1, 0, 0], np.finfo(np.float64).max),
        ([INF, 1, INF], [0.5, 0, 0.5], np.finfo(np.float64).max),
        ([1e300, -1e300, 0], [1, 0, 0], 1e300),
        ([-1e300, -1e300, -INF], [0.5, 0.5, 0], -1e300),
        ([NAN, 0, 0], [NAN, NAN, NAN], NAN),
    ],
)
@pytest.mark.parametrize("beside", [[], [[0, -INF, 0]]])
def test_a_row_of_unusual_scores_gets_what_it_means(library, row, weights, log_sum, beside):
    scores = library.array([row, *beside])
    np.testing.assert_allclose(library.numbers(normalizers.softmax(scores))[0], weights)
    np.testing.assert_allclose(library.numbers(normalizers.log_sum_exp(scores))[0], log_sum)


def test_an_empty_row_has_gradient_zero_and_spoils_no_other():
    torch = pytest.importorskip("torch")
    scores = torch.tensor([[-INF, -INF], [0.0, 1.0], [INF, 0.0]], requires_grad=True)
    (normalizers.softmax(scores) * torch.tensor([1.0, 2.0])).sum().backward()
    assert scores.grad is not None
    alone = torch.tensor([[0.0, 1.0]], requires_grad=True)
    (normalizers.softmax(alone) * torch.tensor([1.0, 2.0])).sum().backward()
    torch.testing.assert_close(scores.grad[1:2], alone.grad)
    assert not scores.grad[0].any() and not scores.grad[2].any()


def test_the_slow_way_and_the_fast_way_of_pytorch_agree_with_gradients():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    direction = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    gradients, weights = [], []
    for beside in ([], [[-INF] * 7]):
        scores = torch.cat([found, torch.tensor(beside, dtype=torch.float64).reshape(-1, 7)]).requires_grad_()
        weights.append(normalizers.softmax(scores)[:5])
        (weights[-1] * direction).sum().backward()
        assert scores.grad is not None
        gradients.append(scores.grad[:5])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-14, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-15)


def test_the_gradient_of_the_log_sum_is_the_softmax():
    torch = pytest.importorskip("torch")
    scores = torch.randn(
        4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    normalizers.log_sum_exp(scores).sum().backward()
    torch.testing.assert_close(scores.grad, normalizers.softmax(scores))


def test_without_keys_there_is_nothing_to_share(library):
    scores = library.array(np.zeros((2, 0)))
    assert tuple(normalizers.softmax(scores).shape) == (2, 0)
    np.testing.assert_array_equal(library.numbers(normalizers.log_sum_exp(scores)), [-INF, -INF])


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("int64", "float64")],
)
def test_the_weights_are_float32_or_wider(library, dtype, wide):
    scores = library.array([[1, 2, 3]], dtype)
    assert library.dtype(normalizers.softmax(scores)) == wide
    assert library.dtype(normalizers.log_sum_exp(scores)) == wide


def test_scores_are_not_written_to(library):
    scores = library.array([[1, -INF, INF], [-INF] * 3])
    before = library.numbers(scores).copy()
    normalizers.softmax(scores)
    normalizers.log_sum_exp(scores)
    np.testing.assert_array_equal(library.numbers(scores), before)


def test_booleans_are_no_scores(library):
    with pytest.raises(DtypeError, match="softmax: scores must be"):
        normalizers.softmax(library.array([[True, False]]))
