"""Looking with some queries at a time finds what looking with all of them finds, gradients included."""

import tracemalloc
import warnings

import numpy as np
import pytest

from regard.core import buffered, normalizers, scores, statistics, streaming
from regard.core.attention import attend, attention

B, H, Q, K, D = 2, 4, 11, 13, 6
RANDOM = np.random.default_rng(5)
MASK = RANDOM.random((B, 1, Q, K)) < 0.6
MASK[0, 0, 3] = False
LIMITS = {
    "none": {},
    "causal": {"causal": True},
    "causal from the upper left": {"causal": True, "query_offset": 0},
    "causal before the keys": {"causal": True, "query_offset": -4},
    "window": {"window": 3},
    "causal window": {"causal": True, "window": 4},
    "mask": {"mask": MASK},
    "mask of one query": {"mask": MASK[0, 0, 1]},
    "mask of one key": {"mask": MASK[..., :1]},
    "key mask": {"key_mask": MASK[:, 0, 0]},
    "key mask and causal": {"key_mask": MASK[:, 0, 0], "causal": True},
    "bias": {"bias": np.where(MASK, RANDOM.normal(size=(H, Q, K)), -np.inf)},
    "bias of one row": {"bias": RANDOM.normal(size=(1, K))},
    "grouped": {"grouped": True, "key_mask": MASK[:, 0, 0], "window": 5},
}
ALL = (
    *statistics.STATISTICS,
    statistics.top_k(3),
    statistics.top_k(20, name="more than there are"),
    statistics.mass(MASK[:, 0, 1]),
    statistics.window_mass(2),
    statistics.pooled(4, 5),
    statistics.pooled(3, 3, name="other rectangles"),
    statistics.pooled(2, 20, name="rows in two"),
)
SCORES = {
    "scaled_dot": scores.scaled_dot,
    "cosine": scores.cosine,
    "distance": scores.negative_squared_distance,
    "general": scores.general(RANDOM.normal(size=(D, D))),
    "additive": scores.additive(*(RANDOM.normal(size=size) for size in ((5, D), (5, D), (5,)))),
}


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(streaming, "LARGE", 0)
    monkeypatch.setattr(streaming, "PART", 4 * B * H * K)


def inputs(library, *, heads=H, queries=Q):
    shapes = [(B, H, queries, D), (B, heads, K, D), (B, heads, K, D)]
    return [library.random(*shape, seed=seed) for seed, shape in enumerate(shapes)]


def numbers(library, found):
    """Every array that a statistic is made of."""
    if isinstance(found, statistics.TopKeys):
        return [library.numbers(found.indices), library.numbers(found.weights)]
    if isinstance(found, statistics.PooledMap):
        return [library.numbers(found.mean), library.numbers(found.max)]
    return [library.numbers(found)]


def in_library(library, limits):
    return {
        name: library.array(limit) if isinstance(limit, np.ndarray) else limit
        for name, limit in limits.items()
    }


def compare(library, streamed, whole):
    assert streamed.weights is None
    for name in ("context", "log_normalizer"):
        np.testing.assert_allclose(
            *(library.numbers(getattr(one, name)) for one in (streamed, whole)), rtol=1e-10, atol=1e-14
        )
    assert list(streamed.statistics) == list(whole.statistics)
    for name, found in whole.statistics.items():
        pairs = zip(numbers(library, streamed.statistics[name]), numbers(library, found), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("limit", LIMITS)
def test_all_statistics_are_those_of_the_whole_map(library, limit):
    arrays = inputs(library, heads=2 if limit == "grouped" else H)
    limits = in_library(library, LIMITS[limit])
    streamed = attention(*arrays, **limits, weights=False, statistics=ALL)
    compare(library, streamed, attention(*arrays, **limits, statistics=ALL))
    np.testing.assert_allclose(
        library.numbers(attend(*arrays, **limits)), library.numbers(streamed.context), rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("normalizer", ["softmax", "sparsemax", "sigmoid", "hardmax"])
def test_every_score_and_normalizer_can_be_streamed(library, score, normalizer):
    arrays, limits = inputs(library), in_library(library, LIMITS["causal window"])
    choice = {"score": SCORES[score], "normalizer": getattr(normalizers, normalizer), "statistics": ALL}
    streamed = attention(*arrays, **limits, **choice, weights=False)
    compare(library, streamed, attention(*arrays, **limits, **choice))


@pytest.mark.parametrize("limit", ["none", "causal", "mask", "bias"])
@pytest.mark.parametrize("name", ["query", "keys", "values"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_do_the_same(library, limit, name, number):
    arrays, limits = inputs(library), in_library(library, LIMITS[limit])
    arrays[("query", "keys", "values").index(name)][0, 1, -1, 2] = number
    streamed = attention(*arrays, **limits, weights=False, statistics=["entropy"])
    compare(library, streamed, attention(*arrays, **limits, statistics=["entropy"]))


def test_scores_that_overflow_do_the_same(library):
    query, keys, values = inputs(library)
    large = [query**2 * 1e200, keys**2 * 1e200, values]
    for limits in ({}, {"causal": True}):
        streamed = attention(*large, **limits, weights=False, statistics=["max_weight"])
        compare(library, streamed, attention(*large, **limits, statistics=["max_weight"]))


def test_a_score_that_depends_on_where_a_query_stands_is_not_split(library):
    table = library.random(Q, K, seed=9)

    def with_a_table(query, keys):
        return scores.dot(query, keys) + table

    def from_the_end(query, keys):
        behind = library.array(np.arange(keys.shape[-2]) - np.arange(query.shape[-2])[:, None])
        return scores.dot(query, keys) + behind

    arrays = inputs(library)
    for score in (with_a_table, from_the_end):
        streamed = attention(*arrays, score=score, weights=False, statistics=ALL)
        compare(library, streamed, attention(*arrays, score=score, statistics=ALL))


@pytest.mark.parametrize("says_so", [False, True])
def test_a_score_that_says_it_is_pairwise_is_not_asked_for_keys_out_of_reach(library, says_so):
    asked = []

    def own(query, keys):
        asked.append(keys.shape[-2])
        return scores.dot(query, keys) / 2

    own.pairwise = says_so
    query, keys, values = inputs(library)
    found = attend(query, keys, values, score=own, window=2)
    expected = attend(query / 2, keys, values, score=scores.dot, window=2)
    np.testing.assert_allclose(library.numbers(found), library.numbers(expected), rtol=1e-10)
    assert (min(asked) < K) == says_so


def test_a_single_query_and_a_missing_axis_are_no_exception(library):
    query, keys, values = library.random(D), library.random(B, K, D), library.random(K, D)
    streamed = attention(query, keys, values, weights=False, statistics=ALL[:-4])
    compare(library, streamed, attention(query, keys, values, statistics=ALL[:-4]))


def test_gradients_are_those_of_the_plain_version():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    arrays = [
        torch.randn(B, H, size, D, generator=generator, dtype=torch.float64).requires_grad_()
        for size in (Q, K, K)
    ]
    bias = torch.randn(H, Q, K, generator=generator, dtype=torch.float64).requires_grad_()
    matrix = torch.randn(D, D, generator=generator, dtype=torch.float64).requires_grad_()
    asked = ["entropy", "received_max", "mean_distance", statistics.pooled(4, 5), statistics.top_k(2)]

    def gradients(weights):
        looked = attention(
            *arrays,
            bias=bias,
            score=scores.general(matrix),
            mask=torch.tensor(MASK),
            weights=weights,
            statistics=asked,
        )
        found = looked.statistics
        total = looked.context.square().sum() + found["entropy"].sum() + found["received_max"].square().sum()
        total = total + found["pooled"].mean.square().sum() + found["top_k"].weights.square().sum()
        total = total + found["mean_distance"].square().sum()
        return torch.autograd.grad(total, [*arrays, bias, matrix])

    for streamed, plain in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(streamed, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(monkeypatch, threads):
    monkeypatch.setattr(buffered, "workers", lambda: threads)
    arrays = [np.random.default_rng(seed).normal(size=(3, 200, 16)).astype("float32") for seed in range(3)]
    streamed = attention(*arrays, causal=True, weights=False, statistics=["entropy"])
    whole = attention(*arrays, causal=True, statistics=["entropy"])
    np.testing.assert_allclose(streamed.context, whole.context, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        streamed.statistics["entropy"], whole.statistics["entropy"], rtol=1e-5, atol=1e-6
    )


def test_infinities_in_a_thread_give_no_warning():
    # Of one feature: with several, an infinity may meet its opposite in a sum, or not, by its order.
    query, keys, values = (np.random.default_rng(seed).normal(size=(200, 1)) for seed in range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(attend(query * 1e200, keys * 1e200, values, causal=True)).all()


def test_a_large_map_is_never_held(monkeypatch):
    monkeypatch.undo()
    arrays = [np.random.default_rng(seed).normal(size=(4096, 16)).astype("float32") for seed in range(3)]
    asked = ["entropy", "received_max", statistics.top_k(3), statistics.pooled(64, 64)]
    tracemalloc.start()
    attention(*arrays, causal=True, weights=False, statistics=asked)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4096 * 4096 * 4 / 2
