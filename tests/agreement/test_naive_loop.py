"""`attention` agrees with a loop over single numbers, written from the definitions alone."""

import math
from itertools import product

import numpy as np
import pytest

from regard.core import scores
from regard.core.attention import attention

B, H, Q, K, D, V = 2, 4, 3, 5, 6, 4


def loop(query, keys, values, score, hidden, bias):
    """One context, one row of weights and one log-normalizer for each query, in float64, number by number."""
    lead, queries = query.shape[:-2], query.shape[-2]
    context = np.zeros((*lead, queries, values.shape[-1]))
    weights = np.zeros((*lead, queries, keys.shape[-2]))
    logs = np.full((*lead, queries), -math.inf)
    for *item, q in np.ndindex(*lead, queries):
        item = tuple(item)
        found = {
            k: score(query[item][q], keys[item][k]) + bias[item][q][k]
            for k in range(keys.shape[-2])
            if not hidden[item][q][k]
        }
        if not found:
            continue
        total = math.fsum(math.exp(s) for s in found.values())
        logs[(*item, q)] = math.log(total)
        for k, s in found.items():
            weights[(*item, q, k)] = math.exp(s) / total
            context[(*item, q)] += weights[(*item, q, k)] * values[item][k]
    return context, weights, logs


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def library_of(name):
    if name == "numpy":
        return lambda array: array, lambda array: array
    if name == "torch":
        torch = pytest.importorskip("torch")
        return torch.tensor, lambda tensor: tensor.numpy()
    jax = pytest.importorskip("jax")
    return jax.numpy.asarray, np.asarray


W, W_QUERY, W_KEYS, DIRECTION = random(10, D, D), random(11, 7, D), random(12, 7, D), random(13, 7)
SCORES = {
    "dot": (lambda make: scores.dot, lambda q, k: sum(a * b for a, b in zip(q, k, strict=True))),
    "scaled_dot": (
        lambda make: scores.scaled_dot,
        lambda q, k: sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(D),
    ),
    "general": (
        lambda make: scores.general(make(W)),
        lambda q, k: sum(q[i] * W[i, j] * k[j] for i, j in product(range(D), range(D))),
    ),
    "additive": (
        lambda make: scores.additive(make(W_QUERY), make(W_KEYS), make(DIRECTION)),
        lambda q, k: sum(
            DIRECTION[a] * math.tanh(sum(W_QUERY[a, i] * q[i] + W_KEYS[a, i] * k[i] for i in range(D)))
            for a in range(7)
        ),
    ),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [*product(["numpy", "torch"], SCORES), ("jax", "additive")],
)
@pytest.mark.parametrize("causal", [False, True])
def test_attention_agrees_with_a_loop_over_single_numbers(name, kind, causal):
    make, numbers = library_of(name)
    query, keys, values = random(0, B, H, Q, D), random(1, B, H, K, D), random(2, B, H, K, V)
    mask = np.random.default_rng(3).random((H, Q, K)) < 0.7
    mask[1, 2] = False
    key_mask = np.random.default_rng(4).random((B, K)) < 0.8
    bias = random(5, B, 1, Q, K)
    window = 3 if causal else None
    hidden = np.zeros((B, H, Q, K), dtype=bool)
    for b, h, q, k in np.ndindex(hidden.shape):
        position = q + K - Q
        hidden[b, h, q, k] = not mask[h, q, k] or not key_mask[b, k]
        if causal and not position - 3 < k <= position:
            hidden[b, h, q, k] = True
    score, single = SCORES[kind]
    expected = loop(query, keys, values, single, hidden, np.broadcast_to(bias, (B, H, Q, K)))

    looked = attention(
        *(make(array) for array in (query, keys, values)),
        score=score(make),
        mask=make(mask),
        key_mask=make(key_mask),
        bias=make(bias),
        causal=causal,
        window=window,
    )
    rtol, atol = (1e-4, 1e-5) if name == "jax" else (1e-10, 1e-12)
    for found, wanted in zip((looked.context, looked.weights, looked.log_normalizer), expected, strict=True):
        np.testing.assert_allclose(numbers(found), wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_grouped_attention_agrees_with_the_loop(name):
    make, numbers = library_of(name)
    query, keys, values = random(0, B, H, Q, D), random(1, B, 2, K, D), random(2, B, 2, K, V)
    nothing = np.zeros((B, H, Q, K))
    heads = [0, 0, 1, 1]
    expected, _, _ = loop(
        query, keys[:, heads], values[:, heads], SCORES["scaled_dot"][1], nothing > 0, nothing
    )
    looked = attention(*(make(array) for array in (query, keys, values)), grouped=True)
    np.testing.assert_allclose(numbers(looked.context), expected, rtol=1e-10)
