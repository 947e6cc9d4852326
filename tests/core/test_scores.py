import numpy as np
import pytest

from regard.core import normalizers, scores
from regard.core.attention import attend, attention
from regard.core.parameters import require_function
from regard.errors import DtypeError, InputError, ShapeError

B, Q, K, D_Q, D_K, A = 2, 3, 5, 4, 6, 7


def test_dot_is_the_dot_product_of_every_query_with_every_key(library):
    query, keys = library.random(2, 3, 4), library.random(2, 5, 4, seed=1)
    expected = np.einsum("bqd,bkd->bqk", library.numbers(query), library.numbers(keys))
    np.testing.assert_allclose(library.numbers(scores.dot(query, keys)), expected)
    np.testing.assert_allclose(library.numbers(scores.scaled_dot(query, keys)), expected / 2)


def test_general_is_query_times_matrix_times_key(library):
    query, keys, w = library.random(2, 3, 4), library.random(2, 5, 6, seed=1), library.random(4, 6, seed=2)
    expected = np.einsum("bqd,de,bke->bqk", *(library.numbers(array) for array in (query, w, keys)))
    np.testing.assert_allclose(library.numbers(scores.general(w)(query, keys)), expected)


def additive_parts(library):
    shapes = [(2, 3, 4), (2, 5, 6), (7, 4), (7, 6), (7,)]
    return [library.random(*shape, seed=seed) for seed, shape in enumerate(shapes)]


def test_additive_is_a_small_network_over_query_and_key(library):
    query, keys, w_query, w_keys, v = parts = additive_parts(library)
    numbers = [library.numbers(part) for part in parts]
    expected = np.zeros((2, 3, 5))
    for b, q, k in np.ndindex(expected.shape):
        hidden = numbers[2] @ numbers[0][b, q] + numbers[3] @ numbers[1][b, k]
        expected[b, q, k] = numbers[4] @ np.tanh(hidden)
    np.testing.assert_allclose(library.numbers(scores.additive(w_query, w_keys, v)(query, keys)), expected)


def test_additive_takes_what_is_already_projected(library):
    query, keys, w_query, w_keys, v = additive_parts(library)
    expected = library.numbers(scores.additive(w_query, w_keys, v)(query, keys))
    projected = scores.additive(w_query, None, v)(query, keys @ w_keys.T)
    np.testing.assert_allclose(library.numbers(projected), expected)
    projected = scores.additive(None, w_keys, v)(query @ w_query.T, keys)
    np.testing.assert_allclose(library.numbers(projected), expected)


def drawn(library, *shapes):
    """Arrays of these shapes, and their numbers."""
    made = [library.random(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    return made, [library.numbers(array) for array in made]


def one_by_one(function, shape):
    """What the function gives for each of the indices, in naive loops."""
    expected = np.zeros(shape)
    for index in np.ndindex(shape):
        expected[index] = function(*index)
    return expected


def agree(library, found, expected):
    np.testing.assert_allclose(library.numbers(found), expected, rtol=1e-12, atol=1e-14)


def test_concat_is_a_small_network_over_query_and_key_in_one_row(library):
    (query, keys, w, v), (q, k, w_, v_) = drawn(library, (B, Q, D_Q), (B, K, D_K), (A, D_Q + D_K), (A,))
    expected = one_by_one(lambda b, i, j: v_ @ np.tanh(w_ @ np.concatenate([q[b, i], k[b, j]])), (B, Q, K))
    agree(library, scores.concat(w, v)(query, keys), expected)
    agree(library, scores.additive(w[:, :D_Q], w[:, D_Q:], v)(query, keys), expected)


def test_cosine_is_that_of_the_angle(library):
    (query, keys), (q, k) = drawn(library, (B, Q, D_Q), (B, K, D_Q))
    expected = one_by_one(
        lambda b, i, j: q[b, i] @ k[b, j] / np.linalg.norm(q[b, i]) / np.linalg.norm(k[b, j]), (B, Q, K)
    )
    agree(library, scores.cosine(query, keys), expected)
    agree(library, scores.scaled_cosine(0.1)(query, keys), expected / 0.1)
    temperatures = np.array([0.1, 2.0]).reshape(B, 1, 1)
    agree(library, scores.scaled_cosine(temperatures)(query, keys), expected / temperatures)


def test_the_length_of_a_vector_does_not_change_its_cosine(library):
    (query, keys), _ = drawn(library, (Q, D_Q), (K, D_Q))
    expected = library.numbers(scores.cosine(query, keys))
    for size in (1e-200, 1e200):
        agree(library, scores.cosine(query * size, keys * (1 / size)), expected)


def test_a_vector_of_zeros_has_cosine_zero_and_gradient_zero(library):
    query = library.array([[0, 0, 0], [1, 2, 2]])
    keys = library.array([[3, 0, 0], [0, 0, 0]])
    agree(library, scores.cosine(query, keys), [[0, 0], [1 / 3, 0]])
    if library.name == "torch":
        query, keys = query.requires_grad_(), keys.requires_grad_()
        scores.cosine(query, keys).sum().backward()
        assert not query.grad[0].any() and not keys.grad[1].any()
        assert query.grad[1].any() and query.grad.isfinite().all() and keys.grad.isfinite().all()


def test_negative_squared_distance_and_its_gaussian(library):
    (query, keys), (q, k) = drawn(library, (B, Q, D_Q), (B, K, D_Q))
    expected = one_by_one(lambda b, i, j: -((q[b, i] - k[b, j]) ** 2).sum(), (B, Q, K))
    agree(library, scores.negative_squared_distance(query, keys), expected)
    agree(library, scores.gaussian(0.5)(query, keys), expected / (2 * 0.25))
    widths = np.array([0.5, 3.0]).reshape(B, 1, 1)
    agree(library, scores.gaussian(widths)(query, keys), expected / (2 * widths**2))


def test_vectors_far_from_the_origin_keep_their_distance(library):
    query = library.array([[1e4, 1e4]], "float32")
    keys = library.array([[1e4, 1e4], [1e4 + 0.5, 1e4]], "float32")
    np.testing.assert_array_equal(
        library.numbers(scores.negative_squared_distance(query, keys)), [[0, -0.25]]
    )


def test_softmax_of_a_gaussian_is_nadarayas_and_watsons_estimator(library):
    (query, keys, values), (q, k, v) = drawn(library, (Q, 1), (K, 1), (K, 1))
    kernel = np.exp(-((q - k.T) ** 2) / (2 * 0.7**2))
    expected = (kernel @ v) / kernel.sum(-1, keepdims=True)
    agree(library, attend(query, keys, values, score=scores.gaussian(0.7)), expected)


def test_a_learned_query_asks_the_keys_alone(library):
    (query, keys, v, direction, w), (_, k, v_, direction_, w_) = drawn(
        library, (B, Q, D_Q), (B, K, D_K), (D_K,), (A,), (A, D_K)
    )
    expected = one_by_one(lambda b, _, j: v_ @ k[b, j], (B, 1, K))
    agree(library, scores.learned_query(v)(query, keys), expected)
    expected = one_by_one(lambda b, _, j: direction_ @ np.tanh(w_ @ k[b, j]), (B, 1, K))
    agree(library, scores.learned_query(direction, w)(query, keys), expected)


def test_a_learned_query_pools_a_sequence(library):
    (keys, v), (k, v_) = drawn(library, (B, K, D_K), (D_K,))
    nobody = library.array(np.zeros((B, 1, 1)))
    found = attention(nobody, keys, keys, score=scores.learned_query(v))
    shares = np.exp(k @ v_)
    weights = shares / shares.sum(-1, keepdims=True)
    agree(library, found.weights, weights[:, None])
    agree(library, found.context, np.einsum("bk,bkd->bd", weights, k)[:, None])


def test_location_looks_at_the_query_alone(library):
    (query, keys, w), (q, _, w_) = drawn(library, (B, Q, D_Q), (B, K, D_K), (9, D_Q))
    expected = one_by_one(lambda b, i, j: w_[j] @ q[b, i], (B, Q, K))
    agree(library, scores.location(w)(query, keys), expected)


def hidden_layer(library):
    return drawn(library, (B, Q, D_Q), (B, K, D_K), (A, D_Q), (A, D_K), (A,))


def test_location_aware_adds_a_convolution_of_the_previous_weights(library):
    (query, keys, *layer), (q, k, w_query, w_keys, v) = hidden_layer(library)
    (filters, u, previous), (filters_, u_, previous_) = drawn(library, (4, 3), (A, 4), (B, Q, K))
    padded = np.pad(previous_, ((0, 0), (0, 0), (1, 1)))

    def match(b, i, j):
        found = [sum(row[offset] * padded[b, i, j + offset] for offset in range(3)) for row in filters_]
        return v @ np.tanh(w_query @ q[b, i] + w_keys @ k[b, j] + u_ @ found)

    found = scores.location_aware(*layer, filters, u, previous)(query, keys)
    agree(library, found, one_by_one(match, (B, Q, K)))


def test_the_convolution_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    weights, filters = torch.rand(2, 1, 8), torch.randn(3, 5)
    expected = torch.nn.functional.conv1d(weights, filters[:, None], padding="same")
    v = torch.eye(3)
    for channel in range(3):
        score = scores.location_aware(None, None, v[channel], filters, torch.eye(3), weights)
        found = score(torch.zeros(2, 1, 3), torch.zeros(2, 8, 3))
        torch.testing.assert_close(found[:, 0], expected[:, channel].tanh())


def test_coverage_adds_what_was_looked_at_before(library):
    (query, keys, *layer), (q, k, w_query, w_keys, v) = hidden_layer(library)
    (w, summed), (w_, summed_) = drawn(library, (A,), (B, 1, K))
    expected = one_by_one(
        lambda b, i, j: v @ np.tanh(w_query @ q[b, i] + w_keys @ k[b, j] + w_ * summed_[b, 0, j]), (B, Q, K)
    )
    agree(library, scores.coverage(*layer, w, summed)(query, keys), expected)
    nothing = scores.coverage(*layer, w, library.array(np.zeros((1, K))))
    agree(library, nothing(query, keys), library.numbers(scores.additive(*layer)(query, keys)))


def test_a_decoder_hands_on_what_it_looked_at(library):
    """Coverage that pushes away from what was seen: the weights wander over the keys."""
    keys = library.array(np.zeros((K, 1)))
    summed = library.array(np.zeros((1, K)))
    tilt = library.array(np.linspace(0.5, 0, K))
    seen = []
    for _ in range(K):
        score = scores.coverage(None, None, [9.0], [-1.0], summed)
        found = attention(
            library.array([[0.0]]), keys, keys, score=score, bias=tilt, normalizer=normalizers.hardmax
        )
        summed = summed + found.weights
        seen.append(int(library.numbers(found.weights).argmax()))
    assert seen == list(range(K))


def every_maker(parameters=None):
    """Scores with all their parameters, by name, and how many features query and keys have."""
    p = parameters or (lambda *shape, seed=0: np.random.default_rng(seed).normal(size=shape))
    layer = (p(A, D_Q), p(A, D_K, seed=1), p(A, seed=2))
    positive = p(1, 1) ** 2 + 0.5
    return {
        "general": (scores.general, (p(D_Q, D_K),)),
        "additive": (scores.additive, layer),
        "concat": (scores.concat, (p(A, D_Q + D_K), p(A, seed=1))),
        "scaled_cosine": (scores.scaled_cosine, (positive,)),
        "gaussian": (scores.gaussian, (positive,)),
        "learned_query": (scores.learned_query, (p(A), p(A, D_K, seed=1))),
        "location": (scores.location, (p(K, D_Q),)),
        "location_aware": (
            scores.location_aware,
            (*layer, p(2, 3, seed=3), p(A, 2, seed=4), p(B, Q, K, seed=5)),
        ),
        "coverage": (scores.coverage, (*layer, p(A, seed=3), p(B, Q, K, seed=4))),
    }


SAME_FEATURES = {"dot", "scaled_dot", "cosine", "negative_squared_distance", "scaled_cosine", "gaussian"}
BARE = {name: getattr(scores, name) for name in ("dot", "scaled_dot", "cosine", "negative_squared_distance")}


def test_all_makers_are_known_as_such():
    assert {maker.__name__ for maker in scores.MAKERS} == every_maker().keys()


@pytest.mark.parametrize("name", sorted(every_maker().keys() | BARE.keys()))
def test_gradients_are_the_derivatives_towards_query_keys_and_parameters(name):
    torch = pytest.importorskip("torch")
    make, parameters = every_maker().get(name, (lambda: BARE[name], ()))
    width = D_Q if name in SAME_FEATURES else D_K
    generator = np.random.default_rng(9)
    inputs = [generator.normal(size=(B, Q, D_Q)), generator.normal(size=(B, K, width)), *parameters]
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    assert torch.autograd.gradcheck(
        lambda query, keys, *parameters: make(*parameters)(query, keys), tensors, check_batched_grad=False
    )


@pytest.mark.parametrize("name", sorted(every_maker().keys() | BARE.keys()))
def test_jax_has_numpys_scores_and_pytorchs_gradients(name):
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    make, parameters = every_maker().get(name, (lambda: BARE[name], ()))
    width = D_Q if name in SAME_FEATURES else D_K
    generator = np.random.default_rng(9)
    inputs = [generator.normal(size=(B, Q, D_Q)), generator.normal(size=(B, K, width)), *parameters]
    inputs = [array.astype(np.float32) for array in inputs]

    def total(query, keys, *parameters):
        return (make(*parameters)(query, keys) ** 2).sum()

    expected = make(*inputs[2:])(*inputs[:2])
    found = jax.jit(lambda query, keys, *parameters: make(*parameters)(query, keys))(*inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    total(*tensors).backward()
    gradients = jax.jit(jax.grad(total, argnums=tuple(range(len(inputs)))))(*inputs)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        expected = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")
@pytest.mark.parametrize("name", sorted(every_maker().keys() | BARE.keys()))
def test_nothing_but_the_standard_is_needed(name):
    strict = pytest.importorskip("array_api_strict")
    make, parameters = every_maker().get(name, (lambda: BARE[name], ()))
    width = D_Q if name in SAME_FEATURES else D_K
    generator = np.random.default_rng(9)
    inputs = [generator.normal(size=(B, Q, D_Q)), generator.normal(size=(B, K, width))]
    found = make(*map(strict.asarray, parameters))(*map(strict.asarray, inputs))
    np.testing.assert_allclose(np.asarray(found), make(*parameters)(*inputs), rtol=1e-12)
    # NumPy's parameters go beside them as well.
    np.testing.assert_array_equal(
        np.asarray(make(*parameters)(*map(strict.asarray, inputs))), np.asarray(found)
    )


KNOW_WHERE = {"location", "location_aware", "coverage"}


@pytest.mark.parametrize("name", sorted(every_maker().keys() | BARE.keys()))
def test_what_says_it_is_pairwise_gives_the_same_piece_by_piece(library, name):
    make, parameters = every_maker().get(name, (lambda: BARE[name], ()))
    score = make(*parameters)
    assert scores.is_pairwise(score) == (name not in KNOW_WHERE)
    if name not in KNOW_WHERE:
        width = D_Q if name in SAME_FEATURES else D_K
        query, keys = library.random(B, Q, D_Q, seed=7), library.random(B, K, width, seed=8)
        whole = library.numbers(score(query, keys))
        agree(library, score(query[:, :1], keys[:, 2:]), whole[:, :1, 2:])


def test_a_function_of_ones_own_is_pairwise_where_it_says_so():
    def own(query, keys):
        return scores.dot(query, keys) ** 2

    assert not scores.is_pairwise(own)
    own.pairwise = True
    assert scores.is_pairwise(own)


def test_any_function_of_query_and_keys_will_do(library):
    (query, keys), (q, k) = drawn(library, (Q, D_Q), (K, D_Q))
    found = attention(query, keys, keys, score=lambda query, keys: (query @ keys.T) ** 3)
    shares = np.exp((q @ k.T) ** 3 - ((q @ k.T) ** 3).max(-1, keepdims=True))
    agree(library, found.weights, shares / shares.sum(-1, keepdims=True))


@pytest.mark.parametrize(
    ("name", "function", "makers", "message"),
    [
        (
            "score",
            scores.additive,
            scores.MAKERS,
            r"scores.additive makes a score, .* score=scores.additive\(w_query, w_keys, v\)",
        ),
        (
            "normalizer",
            normalizers.entmax,
            normalizers.MAKERS,
            r"normalizers.entmax makes a normalizer, .* normalizer=normalizers.entmax\(alpha\)",
        ),
        ("score", "dot", scores.MAKERS, r"attend\(\): score is a function, .* Got 'dot'"),
    ],
)
def test_what_is_no_score_and_no_normalizer_is_an_error_that_says_what_to_do(name, function, makers, message):
    with pytest.raises(DtypeError, match=message):
        require_function("attend()", name, function, makers)


def test_parameters_may_be_lists(library):
    query, keys = library.random(2, 2), library.random(3, 2, seed=1)
    eye = [[1, 0], [0, 1]]
    np.testing.assert_allclose(
        library.numbers(scores.general(eye)(query, keys)), library.numbers(scores.dot(query, keys))
    )
    found = scores.additive(eye, eye, [1, 1])(query, keys)
    assert tuple(found.shape) == (2, 3)


def test_parameters_of_fractions_are_not_rounded_by_integer_queries():
    w = np.array([[0.5, 0.0], [0.0, 0.25]])
    np.testing.assert_allclose(scores.general(w)(np.array([[1, 1]]), np.array([[2, 4]])), [[2.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scores.general(np.ones(3)), r"general score: w must be \(D_q, D_k\). Got \(3,\)"),
        (lambda: scores.additive(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 1))), r"v must be \(A,\)"),
        (lambda: scores.additive(np.ones(3), None, np.ones(2)), r"w_query must be \(A, D\). Got \(3,\)"),
        (
            lambda: scores.additive(None, np.ones((4, 3)), np.ones(2)),
            "w_keys has 4 hidden features but v has 2",
        ),
        (lambda: scores.concat(np.ones((3, 4)), np.ones(2)), "w has 3 hidden features but v has 2"),
        (lambda: scores.learned_query(np.ones((1, 2))), r"learned_query score: v must be \(A,\)"),
        (lambda: scores.location(np.ones(2)), r"location score: w must be \(K_max, D\)"),
        (
            lambda: scores.coverage(None, None, np.ones(2), np.ones(3), np.ones(4)),
            "w_coverage has 3 hidden features but v has 2",
        ),
        (
            lambda: scores.location_aware(None, None, [1], np.ones((1, 4)), np.ones((1, 1)), np.ones(4)),
            r"filters must have an odd width, with the key itself in the middle. Got \(1, 4\)",
        ),
        (
            lambda: scores.location_aware(None, None, [1], np.ones((2, 3)), np.ones((1, 3)), np.ones(4)),
            "there are 2 filters but w_location takes 3",
        ),
        (lambda: scores.gaussian([1.0, 2.0]), r"one a head is \(H, 1, 1\). Got \(2,\)"),
    ],
)
def test_parameters_of_the_wrong_shape_are_an_error_at_once(make, message):
    with pytest.raises(ShapeError, match=message):
        make()


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (scores.general(np.ones((4, 4))), "w takes 4 features but the query of shape"),
        (scores.general(np.ones((3, 4))), "w takes 4 features but the keys of shape"),
        (
            scores.additive(np.ones((2, 4)), None, np.ones(2)),
            "w_query takes 4 features but the query of shape",
        ),
        (scores.additive(np.ones((2, 3)), None, np.ones(2)), "v takes 2 features but the keys of shape"),
        (
            scores.additive(np.ones((2, 3)), np.ones((2, 4)), np.ones(2)),
            "w_keys takes 4 features but the keys of shape",
        ),
        (
            scores.concat(np.ones((2, 5)), np.ones(2)),
            "w takes 5 features but the query has 3 and the keys have 3",
        ),
        (scores.learned_query(np.ones(2)), "v takes 2 features but the keys of shape"),
        (scores.location(np.ones((4, 3))), "w knows 4 positions but there are 5 keys; each needs a row"),
        (scores.location(np.ones((5, 2))), "w takes 2 features but the query of shape"),
        (
            scores.coverage(None, None, np.ones(3), np.ones(3), np.ones(4)),
            r"summed_weights must be \(…, Q, K\), here \(2, 5\), .* Got \(4,\)",
        ),
        (
            scores.location_aware(None, None, np.ones(3), [[1]], np.ones((3, 1)), np.ones((3, 5))),
            r"previous_weights must be .* of its own, \(B, 1, K\). Got \(3, 5\)",
        ),
        (scores.scaled_cosine(np.ones((2, 1, 1))), r"temperature must have axes of size 1 or those"),
    ],
)
def test_a_parameter_that_does_not_fit_is_an_error_that_names_it(score, message):
    with pytest.raises(ShapeError, match=message):
        attend(np.ones((2, 3)), np.ones((5, 3)), np.ones((5, 1)), score=score)


def test_gradients_reach_the_parameters():
    torch = pytest.importorskip("torch")
    w_query, w_keys, v = (torch.randn(*shape, requires_grad=True) for shape in ((7, 4), (7, 6), (7,)))
    score = scores.additive(w_query, w_keys, v)
    attend(torch.randn(3, 4), torch.randn(5, 6), torch.randn(5, 2), score=score).square().sum().backward()
    for parameter in (w_query, w_keys, v):
        assert parameter.grad is not None and parameter.grad.any()


@pytest.mark.parametrize("score", [scores.cosine, scores.negative_squared_distance, scores.gaussian(1.0)])
def test_query_and_keys_of_different_widths_are_an_error(score):
    with pytest.raises(ShapeError, match="the query has 3 features but the keys have 4; both need the same"):
        attend(np.ones((2, 3)), np.ones((5, 4)), np.ones((5, 1)), score=score)


@pytest.mark.parametrize("make", [scores.scaled_cosine, scores.gaussian])
@pytest.mark.parametrize("number", [0, -1.0, float("nan")])
def test_a_scale_that_is_not_above_zero_is_an_error(make, number):
    with pytest.raises(InputError, match=r"must be above 0\. Got"):
        make(number)
