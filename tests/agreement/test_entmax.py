"""sparsemax, 1.5-entmax and α-entmax agree with the `entmax` package, and with exact arithmetic."""

import numpy as np
import pytest

from regard.core import normalizers
from regard.core.attention import attend

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("entmax")

EXACT = {"sparsemax": theirs.sparsemax, "entmax15": theirs.entmax15}
ALPHAS = (1.01, 1.2, 1.5, 1.8, 2, 2.5, 4)


def drawn(*shape, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


def weights_and_gradient(normalizer, scores, direction):
    scores = scores.clone().requires_grad_()
    weights = normalizer(scores)
    (weights * direction).sum().backward()
    return weights, scores.grad


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("name", EXACT)
def test_weights_and_gradients_are_those_of_the_exact_algorithms(name, scale):
    scores, direction = drawn(20, 17, scale=scale), drawn(20, 17, seed=1)
    found = weights_and_gradient(getattr(normalizers, name), scores, direction)
    expected = weights_and_gradient(EXACT[name], scores, direction)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_weights_and_gradients_are_those_of_the_bisection(alpha):
    scores, direction = drawn(20, 17), drawn(20, 17, seed=1)
    found = weights_and_gradient(normalizers.entmax(alpha), scores, direction)
    expected = weights_and_gradient(lambda s: theirs.entmax_bisect(s, alpha, n_iter=100), scores, direction)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_the_gradient_towards_alpha_is_theirs():
    scores, direction = drawn(6, 3, 17), drawn(6, 3, 17, seed=1)
    gradients = []
    for entmax in (lambda s, a: normalizers.entmax(a)(s), theirs.entmax_bisect):
        alpha = torch.tensor([1.1, 1.3, 1.5, 1.9, 2.4, 3.0], dtype=torch.float64).reshape(6, 1, 1)
        rows = alpha.expand(6, 3, 1).clone().requires_grad_()
        (entmax(scores, rows) * direction).sum().backward()
        gradients.append(rows.grad)
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)


def test_attend_takes_it_in_and_gives_the_same_gradients():
    query, keys, values = (drawn(2, 3, 5, 4, seed=seed, scale=1.0) for seed in range(3))
    scale = 4**-0.5
    gradients = []
    for ours in (True, False):
        inputs = [array.clone().requires_grad_() for array in (query, keys, values)]
        alpha = torch.tensor([1.2, 1.5, 1.9], dtype=torch.float64).reshape(3, 1, 1).requires_grad_()
        if ours:
            context = attend(*inputs, normalizer=normalizers.entmax(alpha), causal=True)
        else:
            hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
            scores = (inputs[0] @ inputs[1].mT * scale).masked_fill(hidden, -1e9)
            context = theirs.entmax_bisect(scores, alpha.expand(2, 3, 5, 1), n_iter=100) @ inputs[2]
        context.square().sum().backward()
        gradients.append([array.grad for array in (*inputs, alpha)])
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-7), ("float64", 1e-15)])
@pytest.mark.parametrize("alpha", [1.0001, 1.1, 1.5, 2, 3])
def test_weights_are_right_to_the_last_digits(alpha, dtype, tolerance):
    """Solved once more with 50 digits, from scores that both dtypes hold exactly."""
    mpmath = pytest.importorskip("mpmath")
    scores = np.round(np.random.default_rng(0).normal(size=(3, 9)) * 32) / 16
    found = normalizers.entmax(alpha)(scores.astype(dtype))
    with mpmath.workdps(50):
        for row, weights in zip(scores, found, strict=True):
            expected = precisely(mpmath, row, alpha)
            np.testing.assert_allclose(weights, expected, rtol=0, atol=tolerance)


def precisely(mpmath, row, alpha):
    power = mpmath.mpf(alpha) - 1
    numbers = [power * mpmath.mpf(float(score)) for score in row]
    low, high = max(numbers) - 1, max(numbers)
    for _ in range(160):
        middle = (low + high) / 2
        total = sum((number - middle) ** (1 / power) for number in numbers if number > middle)
        low, high = (middle, high) if total >= 1 else (low, middle)
    return [float((number - low) ** (1 / power)) if number > low else 0.0 for number in numbers]
