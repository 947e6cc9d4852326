"""Nothing but the array API is used: `attend` computes on a library that has nothing else, as NumPy does."""

import numpy as np
import pytest

from regard.core import normalizers, scores, statistics, streaming
from regard.core.attention import attend, attention

xp = pytest.importorskip("array_api_strict")

B, H, Q, K, D = 2, 4, 5, 7, 6
RANDOM = np.random.default_rng(3)
MASK = RANDOM.random((B, 1, Q, K)) < 0.6
MASK[0, 0, 2] = False
LIMITS = {
    "none": {},
    "causal": {"causal": True},
    "window": {"window": 2, "query_offset": 1},
    "mask": {"mask": MASK},
    "key mask": {"key_mask": MASK[:, 0, 0]},
    "bias": {"bias": np.where(MASK, RANDOM.normal(size=(H, Q, K)), -np.inf)},
    "grouped": {"grouped": True},
}
SCORES = {
    "dot": scores.dot,
    "cosine": scores.cosine,
    "negative_squared_distance": scores.negative_squared_distance,
    "general": scores.general(RANDOM.normal(size=(D, D))),
    "additive": scores.additive(*(RANDOM.normal(size=size) for size in ((5, D), (5, D), (5,)))),
}
NORMALIZERS = {
    "softmax": normalizers.softmax,
    "softmax_with": normalizers.softmax_with(temperature=2.0, soft_cap=5.0, sink=0.5),
    "sparsemax": normalizers.sparsemax,
    "entmax15": normalizers.entmax15,
    "sigmoid": normalizers.sigmoid,
    "hardmax": normalizers.hardmax,
    "top_k": normalizers.top_k(2),
}


def arrays(heads=H, dtype="float64"):
    random = np.random.default_rng(0)
    shapes = [(B, H, Q, D), (B, heads, K, D), (B, heads, K, 3)]
    return [random.normal(size=shape).astype(dtype) for shape in shapes]


def statistics_of_all_kinds(array):
    return [
        *statistics.STATISTICS,
        statistics.top_k(3),
        statistics.mass(array(MASK[:, 0, 1])),
        statistics.window_mass(2),
        statistics.pooled(2, 3),
    ]


def numbers(found):
    if isinstance(found, statistics.TopKeys):
        return [*numbers(found.indices), *numbers(found.weights)]
    if isinstance(found, statistics.PooledMap):
        return [*numbers(found.mean), *numbers(found.max)]
    return [np.asarray(found)]


def both(inputs, streamed=False, **options):
    """The same on both libraries, each number beside its twin."""
    looked = []
    for array in (xp.asarray, np.asarray):
        own = {name: array(one) if isinstance(one, np.ndarray) else one for name, one in options.items()}
        asked = statistics_of_all_kinds(array)
        found = attention(*map(array, inputs), **own, weights=not streamed, statistics=asked)
        context = attend(*map(array, inputs), **own)
        assert type(context) is type(array(1.0)) or array is np.asarray
        looked.append([context, found.context, found.log_normalizer, *found.statistics.values()])
    for strict, plain in zip(*looked, strict=True):
        yield from zip(numbers(strict), numbers(plain), strict=True)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("limit", LIMITS)
def test_all_limits_and_statistics_are_those_of_numpy(monkeypatch, limit, streamed):
    if streamed:
        monkeypatch.setattr(streaming, "LARGE", 0)
        monkeypatch.setattr(streaming, "PART", 2 * B * H * K)
    inputs = arrays(2 if limit == "grouped" else H)
    for strict, plain in both(inputs, streamed, **LIMITS[limit]):
        np.testing.assert_allclose(strict, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("score", SCORES)
def test_all_scores_are_those_of_numpy(score):
    for strict, plain in both(arrays(), score=SCORES[score], causal=True):
        np.testing.assert_allclose(strict, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_all_normalizers_are_those_of_numpy(normalizer):
    for strict, plain in both(arrays(), normalizer=NORMALIZERS[normalizer], mask=MASK):
        np.testing.assert_allclose(strict, plain, rtol=1e-12, atol=1e-14)


def test_single_precision_stays_and_numpy_masks_are_taken():
    query, keys, values = (xp.asarray(array) for array in arrays(dtype="float32"))
    found = attend(query, keys, values, mask=MASK)
    assert found.dtype == xp.float32
    np.testing.assert_allclose(
        np.asarray(found), attend(*arrays(dtype="float32"), mask=MASK), rtol=1e-5, atol=1e-6
    )


def test_what_is_hidden_reaches_nobody():
    query, keys, values = arrays()
    clean = attend(*map(xp.asarray, (query, keys, values)), key_mask=np.arange(K) < K - 1)
    keys[..., -1, :], values[..., -1, :] = np.nan, np.inf
    dirty = attend(*map(xp.asarray, (query, keys, values)), key_mask=np.arange(K) < K - 1)
    np.testing.assert_allclose(np.asarray(dirty), np.asarray(clean), rtol=1e-12)
