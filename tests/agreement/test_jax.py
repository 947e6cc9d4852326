"""`attend` agrees with `jax.nn.dot_product_attention`, and computes JAX's arrays, under jit and grad too."""

import numpy as np
import pytest

from regard.core import masks, scores, statistics, streaming
from regard.core.attention import attend, attention

jax = pytest.importorskip("jax")
B, H, Q, K, D = 2, 4, 5, 7, 8


def inputs(*, key_heads=H, queries=Q):
    random = np.random.default_rng(0)
    shapes = [(B, H, queries, D), (B, key_heads, K, D), (B, key_heads, K, D)]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def theirs(query, keys, values, **options):
    """JAX wants (B, positions, H, D)."""
    moved = [np.moveaxis(array, 1, 2) for array in (query, keys, values)]
    return np.moveaxis(np.asarray(jax.nn.dot_product_attention(*moved, **options)), 2, 1)


MASK = np.random.default_rng(1).random((B, 1, Q, K)) < 0.7
MASK[..., 0] = True
BIAS = np.random.default_rng(2).normal(size=(1, H, Q, K)).astype(np.float32)
LENGTHS = np.array([7, 3])
WAYS = {
    "plain": ({}, {}, {}),
    "mask": ({}, {"mask": MASK}, {"mask": MASK}),
    "bias": ({}, {"bias": BIAS}, {"bias": BIAS}),
    "causal": ({"queries": K}, {"causal": True}, {"is_causal": True}),
    "lengths": ({}, {"key_mask": masks.padding(LENGTHS, K)}, {"key_value_seq_lengths": LENGTHS}),
    "window": ({"queries": K}, {"window": 3}, {"local_window_size": 2}),
    "causal window": (
        {"queries": K},
        {"window": 3, "causal": True},
        {"local_window_size": (2, 0), "is_causal": True},
    ),
    "grouped": ({"key_heads": 2}, {"grouped": True}, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_attend_agrees_with_dot_product_attention(way):
    shapes, ours, options = WAYS[way]
    arrays = inputs(**shapes)
    expected = theirs(*arrays, **options)
    for make, kind in ((np.asarray, np.ndarray), (jax.numpy.asarray, jax.Array)):
        found = attend(*(make(array) for array in arrays), **ours)
        assert isinstance(found, kind)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4, atol=1e-5)


def test_attend_goes_through_jit():
    arrays = [jax.numpy.asarray(array) for array in inputs()]
    found = jax.jit(lambda *a: attend(*a, causal=True, key_mask=masks.padding(LENGTHS, K)))(*arrays)
    expected = attend(*arrays, causal=True, key_mask=masks.padding(LENGTHS, K))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_hidden_reaches_no_gradient_under_jit():
    key_mask = np.array([[True] * K, [True] * (K - 2) + [False] * 2])

    def loss(query, keys, values):
        return (attend(query, keys, values, key_mask=key_mask) ** 2).sum()

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    clean = inputs()
    dirty = [array.copy() for array in clean]
    dirty[1][1, :, -1], dirty[2][1, :, -2] = np.nan, np.inf
    for found, expected in zip(gradient(*dirty), gradient(*clean), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_empty_row_gets_zeros_with_gradient_zero():
    query, keys, values = (jax.numpy.asarray(array[0, 0]) for array in inputs())
    mask = np.ones((Q, K), dtype=bool)
    mask[2] = False
    looked = attention(query, keys, values, mask=mask, statistics=["entropy", "argmax"])
    assert not np.asarray(looked.context)[2].any() and not np.asarray(looked.weights)[2].any()
    assert looked.log_normalizer[2] == -np.inf and looked.statistics["argmax"][2] == -1
    gradient = jax.jit(jax.grad(lambda *a: attend(*a, mask=mask)[2].sum(), argnums=(0, 1, 2)))
    gradients = gradient(query, keys, values)
    assert not any(np.asarray(gradient).any() for gradient in gradients)


def test_jax_and_pytorch_have_the_same_gradients():
    torch = pytest.importorskip("torch")
    arrays = [array[0] for array in inputs()]
    w_query, w_keys = np.random.default_rng(3).normal(size=(2, 6, D)).astype(np.float32)
    score = scores.additive(w_query, w_keys, np.ones(6, dtype=np.float32))

    def loss(query, keys, values):
        return (attend(query, keys, values, score=score, causal=True) ** 2).sum()

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    loss(*tensors).backward()
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*arrays)
    for found, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=1e-3, atol=1e-4)


def test_bfloat16_and_lists_and_integers_go_with_jax():
    ones = jax.numpy.ones((3, 2), dtype="bfloat16")
    looked = attention([1, 0], ones, ones)
    assert looked.context.dtype == "bfloat16" and looked.log_normalizer.dtype == "float32"
    whole = jax.numpy.asarray([[1, 0], [0, 1]])
    assert attend(whole, whole, whole).dtype == "float32"


ASKED = ["entropy", "received_max", "mean_distance", statistics.pooled(2, 3), statistics.top_k(2)]
LIMITS = {
    "causal": {"causal": True},
    "window": {"window": 2, "key_mask": masks.padding(LENGTHS, K)},
    "mask and bias": {"mask": MASK, "bias": BIAS},
}


@pytest.mark.parametrize(
    ("limit", "compiled"), [("causal", False), ("mask and bias", True), ("window", True)]
)
def test_streaming_finds_the_same_with_the_same_gradients(monkeypatch, limit, compiled):
    monkeypatch.setattr(streaming, "LARGE", 0)
    monkeypatch.setattr(streaming, "PART", 2 * B * H * K)

    def total(weights, *arrays):
        looked = attention(*arrays, **LIMITS[limit], weights=weights, statistics=ASKED)
        found = looked.statistics
        numbers = [
            looked.context,
            found["entropy"],
            found["received_max"],
            found["mean_distance"],
            found["pooled"].mean,
            found["pooled"].max,
            found["top_k"].weights,
        ]
        return sum((number**2).sum() for number in numbers), (numbers, found["top_k"].indices)

    arrays = [jax.numpy.asarray(array) for array in inputs()]
    results = []
    for weights in (False, True):
        way = jax.value_and_grad(lambda *a, w=weights: total(w, *a), argnums=(0, 1, 2), has_aux=True)
        results.append(jax.tree_util.tree_leaves((jax.jit(way) if compiled else way)(*arrays)))
    for streamed, plain in zip(*results, strict=True):
        np.testing.assert_allclose(streamed, plain, rtol=2e-4, atol=2e-5)


def test_streaming_under_jit_holds_no_map():
    arrays = [jax.numpy.zeros((4096, 8)) for _ in range(3)]
    program = jax.jit(lambda *a: attend(*a, causal=True)).lower(*arrays).compile()
    memory = program.memory_analysis()
    if memory is None:
        pytest.skip("this backend does not say")
    assert memory.temp_size_in_bytes < 4096 * 4096 * 4 / 2
