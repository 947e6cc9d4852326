"""Dropout: each feature for itself, the same however a batch is divided; and masks that last a sentence."""

from __future__ import annotations

from math import comb

import pytest
import torch

from regard.errors import InputError, ShapeError
from regard.nn.dropout import add_dropped, drop, dropout, dropout_seed, variational_mask

RATES = (0.003, 0.1, 0.25, 0.3, 0.9)
DTYPES = (torch.bfloat16, torch.float32, torch.float64)


def test_a_mask_hides_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    mask = variational_mask((200, 500), 0.3, training=True)
    assert mask is not None
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (mask == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert mask.mean().item() == pytest.approx(1.0, abs=0.01)


def test_a_seed_repeats_a_mask():
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(variational_mask((4, 64), 0.5, training=True))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False), (0.0, False)])
def test_where_nothing_is_dropped_no_random_number_is_drawn(rate, training):
    before = torch.get_rng_state()
    assert variational_mask((3, 4), rate, training=training) is None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_dropping_keeps_the_dtype_and_nothing_to_drop_keeps_the_tensor(dtype):
    x = torch.ones(2, 3, dtype=dtype)
    assert drop(x, None) is x
    dropped = drop(x, torch.tensor([0.0, 2.0, 2.0]))
    assert dropped.dtype == dtype
    assert dropped.tolist() == [[0, 2, 2], [0, 2, 2]]


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype)


def surprise(found: int, trials: int, share: float) -> float:
    """By how many standard deviations a count differs from its mean."""
    return abs(found - trials * share) / (trials * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("rate", RATES)
def test_a_share_is_dropped_and_the_rest_grows_by_exactly_as_much(rate):
    torch.manual_seed(0)
    found = dropout(ones(1000, 1000, dtype=torch.float64), rate, training=True)
    (kept,) = found[found != 0].unique().tolist()
    assert 1 - 1 / kept == pytest.approx(rate, rel=0.02)
    assert surprise(int((found == 0).sum()), found.numel(), 1 - 1 / kept) < 4


def test_features_are_dropped_independently():
    torch.manual_seed(1)
    kept = (dropout(ones(4000, 64), 0.3, training=True) != 0).double()
    share = 1 - 77 / 256
    for other in (kept.roll(1, dims=1), kept.roll(1, dims=0), kept.roll(8, dims=1)):
        assert surprise(int((kept * other).sum()), kept.numel(), share**2) < 5
    counts = torch.bincount(kept.sum(1).long(), minlength=65).double()
    sure = [comb(64, n) * share**n * (1 - share) ** (64 - n) for n in range(65)]
    expected = torch.tensor(sure, dtype=torch.float64) * len(kept)
    often = expected > 5
    chi_square = ((counts - expected)[often] ** 2 / expected[often]).sum()
    assert chi_square < often.sum() + 4 * (2 * often.sum()) ** 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_dropped_passes_no_gradient_and_what_is_kept_its_growth(dtype):
    x = ones(6, 40, dtype=dtype).requires_grad_()
    residual = ones(6, 40, dtype=dtype).requires_grad_()
    slope = torch.linspace(-2, 2, 240, dtype=dtype).view(6, 40)
    for seed in range(3):
        with dropout_seed(seed):
            alone = dropout(x, 0.3, training=True)
        with dropout_seed(seed):
            added = add_dropped(residual, x, 0.3, training=True)
        torch.testing.assert_close(added, residual + alone)
        torch.testing.assert_close(*torch.autograd.grad(alone, x, slope), alone.detach() * slope)
        passed, kept = torch.autograd.grad(added, (residual, x), slope)
        assert torch.equal(passed, slope)
        torch.testing.assert_close(kept, alone.detach() * slope)


def test_the_global_generator_repeats_what_is_dropped_outside_a_seed():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append([dropout(ones(5, 30), 0.5, training=True) for _ in range(2)])
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert not torch.equal(drawn[0][0], drawn[0][1])


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_where_nothing_is_dropped_the_tensor_itself_comes_back(rate, training):
    before = torch.get_rng_state()
    x, residual = ones(3, 4), ones(3, 4)
    assert dropout(x, rate, training=training) is x
    assert torch.equal(add_dropped(residual, x, rate, training=training), residual + x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rate", [0.3, 0.003])
@pytest.mark.parametrize("features", [(8,), (3, 5), (7,)])
@pytest.mark.parametrize("parts", [(6,), (3, 3), (1, 5), (2, 2, 2)])
def test_processes_with_a_part_of_the_rows_each_draw_what_one_draws_for_all(rate, features, parts):
    def draw(first: int, rows: int) -> list[torch.Tensor]:
        with dropout_seed(7, first, 6):
            return [dropout(ones(rows, *features), rate, training=True) for _ in range(3)]

    whole = draw(0, 6)
    assert not torch.equal(whole[0], whole[1]) or rate < 0.01
    first = 0
    for rows in parts:
        for mine, every in zip(draw(first, rows), whole, strict=True):
            assert torch.equal(mine, every[first : first + rows])
        first += rows


def test_a_batch_that_stands_twice_is_divided_in_the_same_way():
    def draw(first: int, rows: int) -> torch.Tensor:
        with dropout_seed(3, first, 4, copies=2):
            return dropout(ones(2 * rows, 11), 0.5, training=True)

    whole = draw(0, 4)
    assert not torch.equal(whole[:4], whole[4:])
    for first in (0, 1, 2):
        mine = draw(first, 2)
        assert torch.equal(mine[:2], whole[first : first + 2])
        assert torch.equal(mine[2:], whole[4 + first : 6 + first])
    with dropout_seed(3):
        assert torch.equal(dropout(ones(8, 11), 0.5, training=True), whole)


def test_masks_of_sentences_are_divided_with_the_batch_too():
    def draw(first: int, rows: int) -> torch.Tensor | None:
        with dropout_seed(5, first, 6):
            return variational_mask((1, rows, 9), 0.25, training=True, batch_axis=1)

    whole, part = draw(0, 6), draw(2, 3)
    assert whole is not None
    assert part is not None
    assert torch.equal(part, whole[:, 2:5])
    assert whole.unique().tolist() == pytest.approx([0.0, 4 / 3])


def test_a_seed_ends_with_its_block_even_if_that_fails():
    with pytest.raises(KeyError), dropout_seed(1):
        raise KeyError
    torch.manual_seed(0)
    first = dropout(ones(4, 30), 0.5, training=True)
    assert not torch.equal(first, dropout(ones(4, 30), 0.5, training=True))


def test_no_rows_can_be_dropped_from():
    assert dropout(ones(0, 3), 0.5, training=True).shape == (0, 3)
    with dropout_seed(0):
        assert dropout(ones(2, 0), 0.5, training=True).shape == (2, 0)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(InputError, match=r"rate must be in \[0, 1\)"):
        dropout(ones(2, 2), rate, training=True)


def test_rows_that_the_batch_does_not_have_are_refused():
    with pytest.raises(InputError, match="rows more than first_row"):
        dropout_seed(0, 4, 4).__enter__()
    with dropout_seed(0, 2, 4), pytest.raises(ShapeError, match="don't fit into a batch of 4"):
        dropout(ones(3, 2), 0.5, training=True)
    with dropout_seed(0, copies=2), pytest.raises(ShapeError, match="multiple of 2 rows"):
        dropout(ones(3, 2), 0.5, training=True)
