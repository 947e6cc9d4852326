"""Copying: a distribution over words, the loss in blocks, and the share that was copied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from regard.data.tokenization import PAD
from regard.nn import pointer
from regard.nn.losses import smoothed_cross_entropy
from regard.nn.pointer import (
    blocked_pointer_cross_entropy,
    copy_share,
    looked_at,
    pointer_cross_entropy,
    pointer_log_probabilities,
)

SMOOTHINGS = (0.0, 0.1, 0.7)
VOCABULARY = 11


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of four rows, so that few rows make several blocks and an incomplete one."""
    monkeypatch.setattr(pointer, "BLOCK_ROWS", 4)


def looks(
    batch: int = 3, steps: int = 5, keys: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (B, T, S), source tokens (B, S) that repeat, and wanted ones (B, T), some of them padding."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(batch, steps, keys, generator=generator, dtype=torch.float64)
    source = torch.randint(1, 7, (batch, keys), generator=generator)
    wanted = torch.randint(1, VOCABULARY, (batch, steps), generator=generator)
    source[:, -1], scores[..., -1] = PAD, float("-inf")
    wanted[0, -2:] = PAD
    return torch.softmax(scores, dim=-1).to(dtype), source, wanted


Leaves = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def example(rows: int = 37, dtype: torch.dtype = torch.float64) -> tuple[Leaves, Tensor]:
    """Features, projection, gates, copied weights, a third of them zero; and wanted tokens."""
    generator = torch.Generator().manual_seed(1)
    sizes = ((rows, 5), (VOCABULARY, 5), (VOCABULARY,), (rows,))
    leaves = [torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes]
    copied = torch.rand(rows, generator=generator, dtype=torch.float64)
    leaves.append(copied.masked_fill(torch.rand(rows, generator=generator) < 0.3, 0.0).to(dtype))
    wanted = torch.randint(1, VOCABULARY, (rows,), generator=generator)
    wanted[torch.rand(rows, generator=generator) < 0.3] = PAD
    wanted[0] = 3
    features, weight, bias, gates, looked = (leaf.requires_grad_() for leaf in leaves)
    return (features, weight, bias, gates, looked), wanted


def value_and_gradients(
    loss: Callable[..., Tensor], leaves: Leaves, wanted: Tensor, smoothing: float, scale: float = 1.0
) -> tuple[Tensor, tuple[Tensor, ...]]:
    total = loss(*leaves, wanted, smoothing)
    return total, torch.autograd.grad(total * scale, leaves)


def test_the_words_have_the_probabilities_of_saying_and_of_pointing_added():
    weights, source, _ = looks()
    weights, source = weights[:, 0], source
    logits = torch.randn(3, VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gates = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64)
    found = pointer_log_probabilities(logits, gates, weights, source).exp()
    for row in range(3):
        g = 1 / (1 + torch.exp(-gates[row]))
        expected = g * torch.softmax(logits[row], -1)
        for key, token in enumerate(source[row].tolist()):
            expected[token] += (1 - g) * weights[row, key]
        torch.testing.assert_close(found[row], expected)
    torch.testing.assert_close(found.sum(-1), torch.ones(3, dtype=torch.float64))


def test_what_is_looked_at_is_the_weight_of_all_places_where_the_word_stands():
    weights, source, wanted = looks()
    found = looked_at(weights, source, wanted)
    for (b, t), token in zip(
        torch.cartesian_prod(torch.arange(3), torch.arange(5)), wanted.flatten(), strict=True
    ):
        places = [] if token == PAD else [s for s in range(6) if source[b, s] == token]
        assert found[b, t] == pytest.approx(sum(float(weights[b, t, s]) for s in places))


@pytest.mark.parametrize("gate", [-30.0, -1.0, 0.0, 4.0, 30.0])
def test_the_share_of_copying_is_its_part_of_the_probability(gate):
    spoken = torch.tensor([0.2, 1e-9, 0.5, 1.0], dtype=torch.float64)
    copied = torch.tensor([0.7, 0.4, 0.0, 1e-9], dtype=torch.float64)
    g = torch.sigmoid(torch.tensor(gate, dtype=torch.float64))
    rest = torch.sigmoid(torch.tensor(-gate, dtype=torch.float64))
    expected = rest * copied / (g * spoken + rest * copied)
    found = copy_share(spoken.log(), torch.full((4,), gate, dtype=torch.float64), copied)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_plain_loss_is_of_the_words_probabilities(smoothing):
    weights, source, wanted = looks()
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(15, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(VOCABULARY, 5, generator=generator, dtype=torch.float64)
    bias = torch.randn(VOCABULARY, generator=generator, dtype=torch.float64)
    gates = torch.randn(15, generator=generator, dtype=torch.float64)
    logits = features @ weight.T + bias
    places = source[:, None].expand(-1, 5, -1).flatten(0, 1)
    said = pointer_log_probabilities(logits, gates, weights.flatten(0, 1), places)
    rows = wanted.flatten() != PAD
    expected = -(1 - smoothing) * said[rows, wanted.flatten()[rows]].sum()
    expected -= smoothing * torch.log_softmax(logits, -1)[rows].mean(-1).sum()
    copied = looked_at(weights, source, wanted).flatten()
    found = pointer_cross_entropy(features, weight, bias, gates, copied, wanted.flatten(), smoothing)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", [pointer_cross_entropy, blocked_pointer_cross_entropy])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_who_never_copies_has_the_loss_of_who_cannot(loss, smoothing):
    (features, weight, bias, gates, copied), wanted = example()
    found = loss(features, weight, bias, torch.full_like(gates, 100.0), copied, wanted, smoothing)
    expected = smoothed_cross_entropy(features, weight, bias, wanted, smoothing)
    torch.testing.assert_close(found, expected, check_dtype=False, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("rows", [1, 4, 37])
def test_the_loss_in_blocks_is_the_plain_one_with_its_gradients(smoothing, rows):
    leaves, wanted = example(rows)
    expected, wished = value_and_gradients(pointer_cross_entropy, leaves, wanted, smoothing, scale=3.0)
    total, gradients = value_and_gradients(
        blocked_pointer_cross_entropy, leaves, wanted, smoothing, scale=3.0
    )
    torch.testing.assert_close(total, expected)
    for found, one in zip(gradients, wished, strict=True):
        torch.testing.assert_close(found, one)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_gradients_are_those_of_finite_differences(smoothing):
    leaves, wanted = example(9)
    with torch.no_grad():
        leaves[-1].clamp_(min=0.1)

    def loss(*inputs: Tensor) -> Tensor:
        return blocked_pointer_cross_entropy(*inputs, wanted, smoothing)

    assert torch.autograd.gradcheck(loss, leaves)


def test_a_projection_without_bias_is_one_with_zeros():
    (features, weight, bias, gates, copied), wanted = example()
    found = blocked_pointer_cross_entropy(features, weight, None, gates, copied, wanted, 0.1)
    zeros = torch.zeros_like(bias)
    torch.testing.assert_close(
        found, blocked_pointer_cross_entropy(features, weight, zeros, gates, copied, wanted, 0.1)
    )
    assert all(g.isfinite().all() for g in torch.autograd.grad(found, (features, weight, gates, copied)))


def test_under_autocast_the_gradients_are_near_those_of_float32():
    leaves, wanted = example(300, torch.float32)
    expected, wished = value_and_gradients(pointer_cross_entropy, leaves, wanted, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        total = blocked_pointer_cross_entropy(*leaves, wanted, 0.1)
    gradients = torch.autograd.grad(total, leaves)
    torch.testing.assert_close(total, expected, rtol=2e-3, atol=0.0)
    for found, one in zip(gradients, wished, strict=True):
        assert found.dtype == one.dtype
        assert F.cosine_similarity(found.flatten(), one.flatten(), dim=0) > 0.9999


def test_a_word_that_is_neither_said_nor_looked_at_much_gives_no_number_problem():
    features, weight = torch.tensor([[1.0]]), torch.tensor([[0.0]] * 4 + [[-95.0]])
    gates, copied = torch.tensor([20.0], requires_grad=True), torch.tensor([1e-40], requires_grad=True)
    wanted = torch.tensor([4])
    loss = blocked_pointer_cross_entropy(features, weight, None, gates, copied, wanted, 0.0)
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (gates, copied)))
