"""Dropout masks that last a sentence."""

from __future__ import annotations

import pytest
import torch

from regard.nn.dropout import drop, variational_mask


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
