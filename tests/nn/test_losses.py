"""The loss in blocks is the plain one: same value, same gradients; and the plain one is PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from regard.data.tokenization import PAD
from regard.errors import ShapeError
from regard.nn import losses
from regard.nn.losses import (
    blocked_cross_entropy,
    blocked_row_losses,
    consistent_cross_entropy,
    smoothed_consistent_cross_entropy,
    smoothed_cross_entropy,
)

SMOOTHINGS = (0.0, 0.1, 0.7)


Leaves = tuple[Tensor, Tensor, Tensor]


def example(
    rows: int = 37, features: int = 5, vocabulary: int = 11, dtype: torch.dtype = torch.float64
) -> tuple[Leaves, Tensor]:
    """Features, projection and wanted tokens, about a third of them padding."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((rows, features), (vocabulary, features), (vocabulary,))
    a, b, c = (torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes)
    wanted = torch.randint(1, vocabulary, (rows,), generator=generator)
    wanted[torch.rand(rows, generator=generator) < 0.3] = PAD
    return (a.requires_grad_(), b.requires_grad_(), c.requires_grad_()), wanted


def value_and_gradients(
    loss: Callable[..., Tensor], leaves: Leaves, wanted: Tensor, smoothing: float, scale: float = 1.0
) -> tuple[Tensor, tuple[Tensor, ...]]:
    total = loss(*leaves, wanted, smoothing)
    return total, torch.autograd.grad(total * scale, leaves)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of four rows and groups of eight, so that few rows make several, and an incomplete one."""
    monkeypatch.setattr(losses, "BLOCK_ROWS", 4)
    monkeypatch.setattr(losses, "HELD", 8 * 11)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_plain_loss_is_the_definition(smoothing):
    (features, weight, bias), wanted = example()
    logits = features @ weight.T + bias
    probabilities = torch.full_like(logits, smoothing / logits.shape[1])
    probabilities[torch.arange(len(wanted)), wanted] += 1 - smoothing
    per_row = -(probabilities * torch.log_softmax(logits, dim=-1)).sum(-1)
    expected = per_row[wanted != PAD].sum()
    torch.testing.assert_close(smoothed_cross_entropy(features, weight, bias, wanted, smoothing), expected)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("rows", [1, 4, 37])
def test_the_loss_in_blocks_is_that_of_torch_with_its_gradients(smoothing, rows):
    leaves, wanted = example(rows)
    wanted[0] = 3
    features, weight, bias = leaves
    expected = F.cross_entropy(
        F.linear(features, weight, bias),
        wanted,
        ignore_index=PAD,
        label_smoothing=smoothing,
        reduction="sum",
    )
    total, gradients = value_and_gradients(blocked_cross_entropy, leaves, wanted, smoothing, scale=3.0)
    torch.testing.assert_close(total, expected)
    for found, wished in zip(gradients, torch.autograd.grad(3.0 * expected, leaves), strict=True):
        torch.testing.assert_close(found, wished)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_gradients_are_those_of_finite_differences(smoothing):
    leaves, wanted = example(rows=9, features=3, vocabulary=5)
    assert torch.autograd.gradcheck(lambda a, b, c: blocked_cross_entropy(a, b, c, wanted, smoothing), leaves)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_padding_counts_nothing_and_gets_no_gradient(smoothing):
    leaves, wanted = example()
    real = wanted != PAD
    total, gradients = value_and_gradients(blocked_cross_entropy, leaves, wanted, smoothing)
    alone = (leaves[0][real].detach().requires_grad_(), leaves[1], leaves[2])
    same, expected = value_and_gradients(blocked_cross_entropy, alone, wanted[real], smoothing)
    torch.testing.assert_close(total, same)
    assert (gradients[0][~real] == 0).all()
    torch.testing.assert_close(gradients[0][real], expected[0])
    torch.testing.assert_close(gradients[1:], expected[1:])


def test_padding_alone_costs_nothing():
    leaves, wanted = example()
    total, gradients = value_and_gradients(blocked_cross_entropy, leaves, torch.full_like(wanted, PAD), 0.1)
    assert total == 0.0
    assert all((gradient == 0).all() for gradient in gradients)


def test_smoothing_takes_from_the_wanted_word_what_it_gives_to_all():
    leaves, wanted = example()
    plain = blocked_cross_entropy(*leaves, wanted, 0.0)
    features, weight, bias = leaves
    even = -torch.log_softmax(F.linear(features, weight, bias), dim=-1).mean(-1)[wanted != PAD].sum()
    torch.testing.assert_close(blocked_cross_entropy(*leaves, wanted, 0.2), 0.8 * plain + 0.2 * even)


@pytest.mark.usefixtures("small_blocks")
def test_huge_logits_give_a_finite_loss():
    leaves, wanted = example(dtype=torch.float32)
    a, b, c = ((leaf.detach() * 1e4).requires_grad_() for leaf in leaves)
    total, gradients = value_and_gradients(blocked_cross_entropy, (a, b, c), wanted, 0.1)
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_loss_in_bfloat16_is_close_and_its_gradients_have_the_types_of_the_weights():
    leaves, wanted = example(rows=200, features=16, vocabulary=50, dtype=torch.float32)
    exact, wished = value_and_gradients(smoothed_cross_entropy, leaves, wanted, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        total, gradients = value_and_gradients(blocked_cross_entropy, leaves, wanted, 0.1)
        reference = smoothed_cross_entropy(*leaves, wanted, 0.1)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=2e-3, atol=0.0)
    torch.testing.assert_close(total, reference, rtol=1e-4, atol=0.0)  # which rounds elsewhere
    for found, wish in zip(gradients, wished, strict=True):
        assert found.dtype == torch.float32
        assert (found - wish).norm() < 0.01 * wish.norm()


def test_features_in_bfloat16_get_gradients_in_bfloat16():
    (features, weight, bias), wanted = example(dtype=torch.float32)
    leaves = (features.detach().bfloat16().requires_grad_(), weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        _, gradients = value_and_gradients(blocked_cross_entropy, leaves, wanted, 0.1)
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("rows", [1, 4, 37])
def test_the_losses_of_rows_are_those_of_torch_with_their_gradients(smoothing, rows):
    leaves, wanted = example(rows)
    wanted = wanted.clamp(min=1)
    features, weight, bias = leaves
    scales = torch.linspace(-1, 2, rows, dtype=torch.float64)
    expected = F.cross_entropy(
        F.linear(features, weight, bias), wanted, label_smoothing=smoothing, reduction="none"
    )
    found = blocked_row_losses(*leaves, wanted, smoothing)
    torch.testing.assert_close(found, expected)
    slopes = (torch.autograd.grad((losses * scales).sum(), leaves) for losses in (found, expected))
    torch.testing.assert_close(*slopes)


@pytest.mark.usefixtures("small_blocks")
def test_the_gradients_of_the_losses_of_rows_are_those_of_finite_differences():
    leaves, wanted = example(rows=9, features=3, vocabulary=5)
    wanted = wanted.clamp(min=1)
    assert torch.autograd.gradcheck(lambda a, b, c: blocked_row_losses(a, b, c, wanted, 0.1), leaves)


def test_no_rows_have_no_losses():
    leaves, wanted = example()
    found = blocked_row_losses(leaves[0][:0], leaves[1], leaves[2], wanted[:0], 0.1)
    assert found.shape == (0,)
    assert not any(slope.any() for slope in torch.autograd.grad(found.sum(), leaves))


def test_the_losses_of_rows_in_bfloat16_are_close_and_float32():
    leaves, wanted = example(rows=200, features=16, vocabulary=50, dtype=torch.float32)
    wanted = wanted.clamp(min=1)
    exact = blocked_row_losses(*leaves, wanted, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found = blocked_row_losses(*leaves, wanted, 0.1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.1)
    slopes = torch.autograd.grad(found.sum(), leaves)
    for slope, wish in zip(slopes, torch.autograd.grad(exact.sum(), leaves), strict=True):
        assert slope.dtype == torch.float32
        assert (slope - wish).norm() < 0.01 * wish.norm()


def twice(
    rows: int = 37, features: int = 5, vocabulary: int = 11, dtype: torch.dtype = torch.float64
) -> tuple[Leaves, Tensor]:
    """Twice as many features as wanted tokens, the second near the first."""
    (a, b, c), wanted = example(rows, features, vocabulary, torch.float64)
    noise = torch.randn(rows, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = torch.cat((a.detach(), a.detach() + 0.5 * noise)).to(dtype)
    b, c = (x.detach().to(dtype).requires_grad_() for x in (b, c))
    return (both.requires_grad_(), b, c), wanted


def test_the_consistent_loss_is_half_of_the_papers_equation_4():
    (features, weight, bias), wanted = twice()
    real = wanted != PAD
    p1, p2 = (torch.softmax(part[real] @ weight.T + bias, -1) for part in features.tensor_split(2))
    said = torch.arange(int(real.sum())), wanted[real]
    likelihood = -p1[said].log() - p2[said].log()
    divergence = ((p1 * (p1 / p2).log()) + (p2 * (p2 / p1).log())).sum(-1) / 2
    expected = (likelihood + 3.0 * divergence).sum() / 2
    for way in (smoothed_consistent_cross_entropy, consistent_cross_entropy):
        torch.testing.assert_close(way(features, weight, bias, wanted, 0.0, 3.0), expected)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(("smoothing", "consistency"), [(0.0, 0.0), (0.1, 0.0), (0.0, 1.0), (0.1, 5.0)])
@pytest.mark.parametrize("rows", [1, 4, 37])
def test_the_consistent_loss_in_blocks_is_the_plain_one_with_its_gradients(
    rows, smoothing, consistency, has_bias
):
    leaves, wanted = twice(rows)
    wanted[0] = 3
    values, slopes = [], []
    for way in (consistent_cross_entropy, smoothed_consistent_cross_entropy):
        given = leaves if has_bias else (*leaves[:2], None)
        values.append(way(*given, wanted, smoothing, consistency))
        slopes.append(torch.autograd.grad(3.0 * values[-1], [x for x in given if x is not None]))
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*slopes)


@pytest.mark.usefixtures("small_blocks")
def test_the_gradients_of_the_consistent_loss_are_those_of_finite_differences():
    leaves, wanted = twice(rows=7, features=3, vocabulary=5)
    assert torch.autograd.gradcheck(
        lambda a, b, c: consistent_cross_entropy(a, b, c, wanted, 0.1, 2.0), leaves
    )


def test_without_consistency_the_loss_is_the_mean_of_both():
    (features, weight, bias), wanted = twice()
    first, second = (
        blocked_cross_entropy(part, weight, bias, wanted, 0.1) for part in features.tensor_split(2)
    )
    found = consistent_cross_entropy(features, weight, bias, wanted, 0.1, 0.0)
    torch.testing.assert_close(found, (first + second) / 2)


def test_where_both_sights_are_the_same_consistency_costs_nothing():
    (features, weight, bias), wanted = example()
    same = torch.cat((features, features))
    found = consistent_cross_entropy(same, weight, bias, wanted, 0.1, 9.0)
    torch.testing.assert_close(found, blocked_cross_entropy(features, weight, bias, wanted, 0.1))


def test_features_that_are_not_seen_twice_are_refused():
    (features, weight, bias), wanted = example()
    with pytest.raises(ShapeError, match=r"must be \(2N, E\)"):
        consistent_cross_entropy(features, weight, bias, wanted, 0.1, 1.0)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_without_a_bias_the_losses_in_blocks_are_the_plain_one_with_its_gradients(smoothing):
    (features, weight, _), wanted = example()
    wanted = wanted.clamp(min=1)
    expected = smoothed_cross_entropy(features, weight, None, wanted, smoothing)
    wished = torch.autograd.grad(expected, (features, weight))
    for way in (blocked_cross_entropy, blocked_row_losses):
        found = way(features, weight, None, wanted, smoothing).sum()
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, (features, weight)), wished)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("consistency", [None, 0.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_network_of_narrow_weights_gets_close_gradients(dtype, consistency, groups, monkeypatch):
    rows, features, vocabulary = 300, 64, 500
    monkeypatch.setattr(losses, "HELD", 2 * rows * vocabulary // groups)
    (a, b, c), wanted = twice(rows, features, vocabulary)
    narrow = [(x.detach() * size).to(dtype) for x, size in ((a, 1.0), (b, 0.2), (c, 0.5))]
    if consistency is None:
        narrow[0] = narrow[0][:rows]
        ways, options = (blocked_cross_entropy, smoothed_cross_entropy), (0.1,)
    else:
        ways, options = (consistent_cross_entropy, smoothed_consistent_cross_entropy), (0.1, consistency)
    exact = [x.double().requires_grad_() for x in narrow]
    narrow = [x.requires_grad_() for x in narrow]
    found, expected = ways[0](*narrow, wanted, *options), ways[1](*exact, wanted, *options)
    assert found.dtype == torch.float32
    close = 4e-3 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.double(), expected, rtol=close, atol=0.0)
    close *= 3 if consistency else 1  # it compares logits that are rounded apart
    slopes = zip(torch.autograd.grad(found, narrow), torch.autograd.grad(expected, exact), strict=True)
    for slope, wish in slopes:
        assert slope.dtype == dtype
        slope = slope.double()
        assert (slope - wish).norm() < close * wish.norm()
        assert torch.cosine_similarity(slope.flatten(), wish.flatten(), dim=0) > 0.9999


def test_a_word_whose_share_is_lost_in_rounding_still_costs_what_it_does():
    (features, weight, bias), wanted = example(dtype=torch.float32)
    leaves = ((features.detach() * 100).requires_grad_(), weight, bias)
    expected, wished = value_and_gradients(smoothed_cross_entropy, leaves, wanted, 0.1)
    shares = torch.softmax(F.linear(*leaves), dim=-1)[torch.arange(len(wanted)), wanted]
    assert (shares[wanted != PAD] == 0).any()
    total, gradients = value_and_gradients(blocked_cross_entropy, leaves, wanted, 0.1)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(gradients, wished, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("way", ["cross entropy", "R-Drop", "of each row"])
def test_batches_of_other_numbers_of_words_ask_for_the_same_products(way):
    (features, weight, bias), _ = example(rows=2 * losses.BLOCK_ROWS)
    sizes = []
    for count in (losses.BLOCK_ROWS + 1, losses.BLOCK_ROWS + 50, 2 * losses.BLOCK_ROWS):
        wanted = torch.ones(count, dtype=torch.long)
        with _Sizes() as seen:
            if way == "R-Drop":
                both = torch.cat((features[:count], features[:count]))
                consistent_cross_entropy(both, weight, bias, wanted, 0.1, 1.0).backward()
            elif way == "cross entropy":
                blocked_cross_entropy(features[:count], weight, bias, wanted, 0.1).backward()
            else:
                blocked_row_losses(features[:count], weight, bias, wanted, 0.1).sum().backward()
        sizes.append(seen.sizes)
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0]


class _Sizes(TorchDispatchMode):
    """Notes the sizes of all products."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[torch.Size, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.sizes.append(tuple(x.shape for x in args))
        return func(*args, **(kwargs or {}))
