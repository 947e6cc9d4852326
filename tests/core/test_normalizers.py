import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from regard.core import normalizers
from regard.core.attention import attend, attention
from regard.errors import DtypeError, InputError, ShapeError

INF = float("inf")
NAN = float("nan")

SUM_TO_ONE = {
    "softmax": normalizers.softmax,
    "softmax at a temperature": normalizers.softmax_with(temperature=0.5),
    "softmax with a soft cap": normalizers.softmax_with(soft_cap=5.0),
    "sparsemax": normalizers.sparsemax,
    "entmax15": normalizers.entmax15,
    "entmax 1.25": normalizers.entmax(1.25),
    "entmax 3": normalizers.entmax(3),
    "top_k": normalizers.top_k(3),
    "hardmax": normalizers.hardmax,
}
ALL = SUM_TO_ONE | {
    "softmax with a sink": normalizers.softmax_with(sink=0.0),
    "sigmoid": normalizers.sigmoid,
    "sigmoid with a bias": normalizers.sigmoid_with(-1.0),
}
SHIFT_CHANGES_NOTHING = SUM_TO_ONE.keys() - {"softmax with a soft cap"}
SMOOTH = ALL.keys() - {"hardmax"}

in_sum = pytest.mark.parametrize("normalizer", SUM_TO_ONE.values(), ids=SUM_TO_ONE.keys())
every = pytest.mark.parametrize("normalizer", ALL.values(), ids=ALL.keys())
differentiable = pytest.mark.parametrize("name", sorted(SMOOTH))


def close(library, found, expected):
    np.testing.assert_allclose(library.numbers(found), expected, rtol=1e-12, atol=1e-15)


def rows(seed=0, count=4, keys=6):
    return np.random.default_rng(seed).normal(size=(count, keys)) * 2


def test_softmax_shares_by_exponentials(library):
    found = normalizers.softmax(library.array(np.log([[1, 2, 5], [1, 1, 2]])))
    close(library, found, [[0.125, 0.25, 0.625], [0.25, 0.25, 0.5]])


@pytest.mark.parametrize("name", ["Softmax", "Hardmax"])
def test_softmax_and_hardmax_are_those_of_onnx(name):
    """The operators of version 13 normalise one axis; both give the first of several alike."""
    onnx = pytest.importorskip("onnx")
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    node = onnx.helper.make_node(name, ["x"], ["y"], axis=-1)
    graph = onnx.helper.make_graph([node], "one", [make("x", kind, None)], [make("y", kind, None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    x = np.concatenate([rows(), [[3, 3, 3, 1, 0, -2]]]).astype(np.float32)
    (expected,) = evaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(getattr(normalizers, name.lower())(x), expected, rtol=1e-6)


def test_a_temperature_divides_the_scores(library):
    scores = library.array(np.log([[1, 2, 5]]))
    close(library, normalizers.softmax_with(temperature=0.5)(scores), np.array([[1, 4, 25]]) / 30)
    close(library, normalizers.softmax_with()(scores), np.array([[1, 2, 5]]) / 8)


def test_a_soft_cap_bends_the_scores_before_the_temperature(library):
    scores = rows() * 10
    normalizer = normalizers.softmax_with(soft_cap=4.0, temperature=2.0)
    bent = 4 * np.tanh(scores / 4)
    assert np.abs(bent).max() <= 4
    close(library, normalizer.logits(library.array(scores)), bent / 2)
    shares = np.exp(bent / 2)
    close(library, normalizer(library.array(scores)), shares / shares.sum(-1, keepdims=True))


def test_a_sink_takes_the_share_of_one_more_key(library):
    scores = rows(count=6).reshape(3, 2, 6)
    for sink in (0.0, 2.5, -1.0, np.array([1.0, -2.0, 30.0]).reshape(3, 1, 1)):
        logits = np.concatenate([scores, np.broadcast_to(sink, (3, 2, 1))], axis=-1)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        expected = (shares / shares.sum(-1, keepdims=True))[..., :-1]
        close(library, normalizers.softmax_with(sink=sink)(library.array(scores)), expected)


def test_sparsemax_is_the_nearest_point_of_the_simplex(library):
    found = normalizers.sparsemax(library.array([[0.3, 0.9, -0.5], [2, 0, 0], [1, 1, 1], [0.2, 0.8, -9]]))
    close(library, found, [[0.2, 0.8, 0.0], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.2, 0.8, 0]])


def test_entmax15_of_two_keys_is_the_closed_form(library):
    """Peters, Niculae and Martins 2019, section 3.2: for scores (t, 0), |t| <= 2."""
    t = np.linspace(-1.99, 1.99, 9)
    root = np.sqrt(8 - t**2)
    first = 0.5 + t * root / 8
    found = normalizers.entmax15(library.array(np.stack([t, np.zeros_like(t)], axis=-1)))
    close(library, found, np.stack([first, 1 - first], axis=-1))


def test_entmax_goes_from_softmax_to_hardmax(library):
    scores = library.array(rows())
    softmax, hardmax = (library.numbers(f(scores)) for f in (normalizers.softmax, normalizers.hardmax))
    np.testing.assert_allclose(library.numbers(normalizers.entmax(1 + 1e-9)(scores)), softmax, rtol=1e-6)
    np.testing.assert_allclose(library.numbers(normalizers.entmax(200)(scores)), hardmax, atol=1e-12)
    for alpha, exact in ((1.5, normalizers.entmax15), (2, normalizers.sparsemax)):
        close(library, normalizers.entmax(alpha)(scores), library.numbers(exact(scores)))
        solved = normalizers.entmax(library.array(alpha))(scores)
        close(library, solved, library.numbers(exact(scores)))


@pytest.mark.parametrize("alpha", [1.01, 1.3, 1.8, 2.5, 6])
def test_entmax_solves_its_equation(library, alpha):
    """On the support (p_k)^(alpha - 1) - (alpha - 1) s_k is one threshold; nobody outside exceeds it."""
    scores = rows(count=20, keys=9)
    weights = library.numbers(normalizers.entmax(alpha)(library.array(scores)))
    for row, p in zip((alpha - 1) * scores, weights, strict=True):
        thresholds = row[p > 0] - p[p > 0] ** (alpha - 1)
        np.testing.assert_allclose(thresholds, thresholds[0], atol=1e-12)
        assert (row[p == 0] <= thresholds[0] + 1e-12).all()


def test_each_head_has_an_alpha_of_its_own(library):
    scores = rows(count=6).reshape(3, 2, 6)
    found = normalizers.entmax(np.array([1.2, 1.5, 2.0]).reshape(3, 1, 1))(library.array(scores))
    for head, alpha in enumerate((1.2, 1.5, 2.0)):
        close(library, found[head], normalizers.entmax(alpha)(scores[head]))


def test_sigmoid_gives_each_key_a_weight_of_its_own(library):
    scores = rows()
    close(library, normalizers.sigmoid(library.array(scores)), 1 / (1 + np.exp(-scores)))
    close(library, normalizers.sigmoid_with(-3)(library.array(scores)), 1 / (1 + np.exp(3 - scores)))
    close(library, normalizers.sigmoid(library.array([-700.0, 700.0])), [np.exp(-700.0), 1])


def test_with_minus_log_k_as_bias_the_weights_of_equal_keys_have_nearly_sum_one(library):
    found = normalizers.sigmoid_with(-np.log(1000))(library.array(np.zeros((1, 1000))))
    assert library.numbers(found).sum() == pytest.approx(1, abs=1e-3)


def test_top_k_is_softmax_over_the_k_highest(library):
    found = normalizers.top_k(2)(library.array(np.log([[1, 3, 2], [4, 1, 4]])))
    close(library, found, [[0, 0.6, 0.4], [0.5, 0, 0.5]])


def test_of_several_alike_top_k_takes_exactly_k_the_first_ones(library):
    scores = library.array([[1, 1, 1, 1], [0, 2, 1, 1], [1, 0, 1, 2]])
    close(library, normalizers.top_k(2)(scores)[0], [0.5, 0.5, 0, 0])
    chosen = library.numbers(normalizers.top_k(2)(scores)) > 0
    np.testing.assert_array_equal(chosen, np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]], dtype=bool))


def test_where_fewer_than_k_keys_may_be_seen_top_k_takes_all(library):
    scores = library.array([[1, -INF, 1]])
    close(library, normalizers.top_k(3)(scores), [[0.5, 0, 0.5]])
    close(library, normalizers.top_k(9)(scores), [[0.5, 0, 0.5]])


def test_hardmax_gives_all_to_the_first_highest(library):
    found = library.numbers(normalizers.hardmax(library.array([[1, 3, 3], [-1, -2, -INF]])))
    np.testing.assert_array_equal(found, [[0, 1, 0], [1, 0, 0]])
    assert not np.signbit(found).any()


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
    for name in SUM_TO_ONE.keys() - {"hardmax", "softmax with a soft cap"}:
        np.testing.assert_allclose(library.numbers(SUM_TO_ONE[name](scores))[0], weights, err_msg=name)
    np.testing.assert_allclose(library.numbers(normalizers.log_sum_exp(scores))[0], log_sum)
    first = np.where(np.cumsum(np.array(weights) > 0) > 1, 0.0, np.ceil(weights))
    np.testing.assert_array_equal(library.numbers(normalizers.hardmax(scores))[0], first)


def test_a_soft_cap_hides_what_is_hidden_and_keeps_plus_infinity(library):
    found = normalizers.softmax_with(soft_cap=1.0)(library.array([[0, -INF, 0], [INF, 5, 0], [-INF] * 3]))
    close(library, found, [[0.5, 0, 0.5], [1, 0, 0], [0, 0, 0]])


def test_a_sink_takes_all_from_nobody(library):
    found = normalizers.softmax_with(sink=3.0)(library.array([[-INF, -INF], [NAN, 0], [INF, 0]]))
    close(library, found, [[0, 0], [NAN, NAN], [1, 0]])


def test_sigmoid_of_the_infinities_is_zero_and_one_and_a_nan_stays_where_it_is(library):
    found = normalizers.sigmoid(library.array([[-INF, INF, NAN, 0]]))
    np.testing.assert_array_equal(library.numbers(found), [[0, 1, NAN, 0.5]])


def strict():
    """Arrays that can do nothing but what the standard says."""
    with warnings.catch_warnings():
        return pytest.importorskip("array_api_strict")


MAKERS_OF_ARRAYS = {
    "numpy": lambda: np.asarray,
    "torch": lambda: pytest.importorskip("torch").tensor,
    "jax": lambda: pytest.importorskip("jax").numpy.asarray,
    "array-api-strict": lambda: strict().asarray,
}


@pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")
@pytest.mark.parametrize("name", MAKERS_OF_ARRAYS)
@every
def test_every_library_has_the_same_weights_and_an_empty_row_gets_zeros(normalizer, name):
    scores = np.concatenate([rows(), [[-INF] * 6, [0, -INF, 1, 1, -INF, 0]]]).astype(np.float32)
    found = np.asarray(normalizer(MAKERS_OF_ARRAYS[name]()(scores)))
    np.testing.assert_allclose(found, normalizer(scores.astype(np.float64)), rtol=2e-5, atol=1e-6)
    assert not found[4].any() and not found[5, [1, 4]].any()


@differentiable
def test_an_empty_row_has_gradient_zero_and_spoils_no_other(name):
    torch = pytest.importorskip("torch")
    normalizer = ALL[name]
    scores = torch.tensor([[-INF, -INF], [0.0, 0.1], [INF, 0.0]], requires_grad=True)
    direction = torch.tensor([1.0, 2.0])
    (normalizer(scores) * direction).sum().backward()
    assert scores.grad is not None
    alone = torch.tensor([[0.0, 0.1]], requires_grad=True)
    (normalizer(alone) * direction).sum().backward()
    torch.testing.assert_close(scores.grad[1:2], alone.grad)
    assert alone.grad is not None and alone.grad.any()
    assert not scores.grad[0].any() and scores.grad[2].isfinite().all()


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_query_that_may_look_nowhere_gets_zeros_and_gives_no_gradient(library, name):
    mask = [[True, True, False], [False] * 3]
    inputs = [library.random(2, 4), library.random(3, 4, seed=1), library.random(3, 5, seed=2)]
    found = attention(*inputs, normalizer=ALL[name], mask=mask)
    assert not library.numbers(found.weights)[1].any() and not library.numbers(found.context)[1].any()
    assert not library.numbers(found.weights)[0, 2] and library.numbers(found.weights)[0].any()
    if library.name == "torch":
        inputs = [array.requires_grad_() for array in inputs]
        attend(*inputs, normalizer=ALL[name], mask=mask)[1].sum().backward()
        assert not any(array.grad.any() for array in inputs)


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"entmax 3"}))
def test_in_jax_too_a_query_that_may_look_nowhere_gets_zeros_and_gives_no_gradient(name):
    jax = pytest.importorskip("jax")
    mask = np.array([[True, True, False], [False] * 3])
    inputs = [jax.numpy.asarray(rows(seed, 3, 4)) for seed in range(3)]

    def of_the_empty_row(query, keys, values):
        context = attend(query[:2], keys, values, normalizer=ALL[name], mask=mask)
        return context[1].sum(), context

    gradient = jax.grad(of_the_empty_row, argnums=(0, 1, 2), has_aux=True)
    gradients, found = jax.jit(gradient)(*inputs)
    assert not found[1].any() and found[0].any()
    for gradient in gradients:
        assert not gradient.any()


@every
def test_one_key_gets_what_it_would_get_of_any_score(library, normalizer):
    found = library.numbers(normalizer(library.array([[3.0], [-INF], [-1e30]])))
    assert found.shape == (3, 1) and found[1] == 0
    if normalizer in SUM_TO_ONE.values():
        np.testing.assert_array_equal(found, [[1], [0], [1]])


@every
def test_without_keys_there_is_nothing_to_share(library, normalizer):
    assert tuple(normalizer(library.array(np.zeros((2, 0)))).shape) == (2, 0)


def test_the_log_sum_of_nothing_is_minus_infinity(library):
    found = normalizers.log_sum_exp(library.array(np.zeros((2, 0))))
    np.testing.assert_array_equal(library.numbers(found), [-INF, -INF])


finite = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6),
    elements=st.floats(-50, 50).map(lambda number: round(number, 2)),
)
few = settings(max_examples=25, deadline=None, derandomize=True)


@in_sum
@given(scores=finite)
@few
def test_weights_are_not_negative_and_sum_to_one(normalizer, scores):
    weights = normalizer(scores)
    assert weights.shape == scores.shape and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)


@every
@given(scores=finite)
@few
def test_weights_are_from_zero_to_one_and_in_the_order_of_the_scores(normalizer, scores):
    weights = normalizer(scores)
    assert (weights >= 0).all() and (weights <= 1 + 1e-12).all()
    order = np.argsort(scores, axis=-1, kind="stable")
    ordered = np.take_along_axis(weights, order, axis=-1)
    risen = np.diff(np.take_along_axis(scores, order, axis=-1)) > 0
    assert (np.diff(ordered)[risen] >= -1e-12).all()


@pytest.mark.parametrize("name", sorted(SHIFT_CHANGES_NOTHING))
@given(scores=finite, shift=st.floats(-1000, 1000))
@few
def test_adding_a_constant_to_a_row_changes_nothing(name, scores, shift):
    scores = np.round(scores)
    shift = round(shift)
    np.testing.assert_allclose(ALL[name](scores + shift), ALL[name](scores), atol=1e-12)


@every
@given(data=st.data(), keys=st.integers(1, 7))
@few
def test_the_order_of_the_keys_does_not_matter(normalizer, data, keys):
    numbers = data.draw(st.lists(st.integers(-500, 500), min_size=keys, max_size=keys, unique=True))
    order = data.draw(st.permutations(range(keys)))
    scores = np.array([numbers]) / 100
    np.testing.assert_allclose(normalizer(scores[:, order]), normalizer(scores)[:, order], atol=1e-12)


@every
@given(scores=finite, data=st.data())
@few
def test_a_hidden_key_is_as_one_that_is_not_there(normalizer, scores, data):
    hidden = data.draw(st.integers(0, scores.shape[-1]))
    with_it = np.insert(scores, hidden, -INF, axis=-1)
    weights = normalizer(with_it)
    assert not weights[..., hidden].any()
    np.testing.assert_allclose(np.delete(weights, hidden, axis=-1), normalizer(scores), atol=1e-12)


@differentiable
def test_gradients_are_the_derivatives(name):
    torch = pytest.importorskip("torch")
    scores = torch.tensor(rows(), requires_grad=True)
    assert torch.autograd.gradcheck(ALL[name], (scores,))
    hidden = torch.tensor([False, True, False, False, False, True])
    assert torch.autograd.gradcheck(lambda s: ALL[name](s.masked_fill(hidden, -INF)), (scores,))


def test_gradients_reach_what_a_normalizer_is_made_from():
    torch = pytest.importorskip("torch")
    scores = torch.tensor(rows(count=6).reshape(3, 2, 6))
    scores[0, 0, 2] = scores[1, 1] = -INF
    parameter = torch.tensor([1.3, 1.7, 2.6], dtype=torch.float64).reshape(3, 1, 1).requires_grad_()
    for make in (
        normalizers.entmax,
        normalizers.sigmoid_with,
        lambda p: normalizers.softmax_with(temperature=p),
        lambda p: normalizers.softmax_with(soft_cap=p),
        lambda p: normalizers.softmax_with(sink=p),
    ):
        assert torch.autograd.gradcheck(lambda p, make=make: make(p)(scores), (parameter,))
    alone = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda alpha: normalizers.entmax(alpha)(scores), (alone,))


def test_the_gradient_through_hardmax_is_zero_and_not_missing():
    torch = pytest.importorskip("torch")
    scores = torch.tensor(rows(), requires_grad=True)
    (normalizers.hardmax(scores) * torch.arange(6)).sum().backward()
    assert scores.grad is not None and not scores.grad.any()


@pytest.mark.parametrize("name", sorted(SMOOTH - {"entmax 3"}))
def test_jax_has_pytorchs_gradients_under_jit_and_vmap(name):
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    numbers = np.concatenate([rows(), [[-INF] * 6, [0, -INF, 1, 1, -INF, 0.5]]]).astype(np.float32)
    direction = rows(1, count=6).astype(np.float32)
    scores = torch.tensor(numbers, requires_grad=True)
    (ALL[name](scores) * torch.tensor(direction)).sum().backward()
    gradient = jax.jit(jax.grad(lambda s: (ALL[name](s) * direction).sum()))(numbers)
    np.testing.assert_allclose(gradient, scores.grad, rtol=1e-4, atol=1e-5)
    mapped = jax.jit(jax.vmap(ALL[name]))(numbers)
    np.testing.assert_allclose(mapped, ALL[name](jax.numpy.asarray(numbers)), atol=1e-6)


def test_jax_has_the_gradient_of_a_learned_alpha():
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    numbers, direction = rows().astype(np.float32), rows(1).astype(np.float32)
    alpha = torch.tensor(1.4, requires_grad=True)
    (normalizers.entmax(alpha)(torch.tensor(numbers)) * torch.tensor(direction)).sum().backward()
    gradient = jax.jit(
        jax.grad(lambda a: (normalizers.entmax(a)(jax.numpy.asarray(numbers)) * direction).sum())
    )
    np.testing.assert_allclose(gradient(1.4), alpha.grad, rtol=1e-4)


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
    scores = torch.tensor(rows(), requires_grad=True)
    normalizers.log_sum_exp(scores).sum().backward()
    torch.testing.assert_close(scores.grad, normalizers.softmax(scores))


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("int64", "float64")],
)
@every
def test_the_weights_are_float32_or_wider(library, normalizer, dtype, wide):
    scores = library.array([[1, 2, 3]], dtype)
    assert library.dtype(normalizer(scores)) == wide
    assert library.dtype(normalizers.log_sum_exp(scores)) == wide


@in_sum
def test_many_keys_in_single_precision_still_sum_to_one(library, normalizer):
    scores = np.random.default_rng(0).normal(size=(2, 5000)) * [[1e-3], [1]]
    found = library.numbers(normalizer(library.array(scores, "float32"))).astype(np.float64)
    np.testing.assert_allclose(found.sum(-1), 1, atol=2e-6)


@every
def test_scores_are_not_written_to(library, normalizer):
    scores = library.array([[1, -INF, INF], [-INF] * 3])
    before = library.numbers(scores).copy()
    normalizer(scores)
    normalizers.log_sum_exp(scores)
    np.testing.assert_array_equal(library.numbers(scores), before)


@every
def test_lists_will_do(normalizer):
    np.testing.assert_array_equal(normalizer([[1, 2, 3]]), normalizer(np.array([[1.0, 2.0, 3.0]])))


@every
def test_booleans_are_no_scores(library, normalizer):
    with pytest.raises(DtypeError, match="scores must be"):
        normalizer(library.array([[True, False]]))


def test_a_normalizer_shows_what_it_was_made_from():
    assert repr(normalizers.entmax(1.3)) == "Entmax(alpha=1.3)"
    assert repr(normalizers.top_k(5)) == "TopK(k=5)"
    assert repr(normalizers.softmax_with(sink=0)) == "Softmax(temperature=1.0, soft_cap=None, sink=0)"
    assert normalizers.sigmoid_with(-2.0).bias == -2.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: normalizers.entmax(1), InputError, "entmax: alpha must be above 1. Got 1"),
        (lambda: normalizers.entmax([[1.5], [0.5]]), InputError, "entmax: alpha must be above 1"),
        (lambda: normalizers.entmax(NAN), InputError, "alpha must be above 1. Got nan"),
        (lambda: normalizers.entmax("many"), DtypeError, "entmax: alpha must be integers or float16"),
        (lambda: normalizers.entmax([1.5, 1.2]), ShapeError, r"one a head is \(H, 1, 1\). Got \(2,\)"),
        (lambda: normalizers.softmax_with(temperature=0), InputError, "temperature must be above 0. Got 0"),
        (lambda: normalizers.softmax_with(soft_cap=-1.0), InputError, "soft_cap must be above 0. Got -1.0"),
        (lambda: normalizers.softmax_with(sink=True), DtypeError, "sink must be integers or float16"),
        (lambda: normalizers.softmax_with(sink=[0.0, 0.0]), ShapeError, "sink is one number for each row"),
        (lambda: normalizers.top_k(0), InputError, "k must be a whole number from 1 up. Got 0"),
        (lambda: normalizers.top_k(2.0), InputError, "k must be a whole number from 1 up. Got 2.0"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_an_error_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_parameter_that_does_not_fit_the_scores_is_an_error():
    normalizer = normalizers.entmax(np.full((3, 1, 1), 1.5))
    with pytest.raises(
        ShapeError, match=r"alpha must have axes of size 1 or those of the scores \(2, 4, 5\)"
    ):
        normalizer(np.zeros((2, 4, 5)))
