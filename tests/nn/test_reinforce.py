"""The pieces of REINFORCE; that they make up an unbiased gradient is tested in test_hard.py."""

from __future__ import annotations

import pytest
import torch

from regard.errors import InputError
from regard.nn.reinforce import MovingAverage, reinforce_loss, reward_to_go


def test_a_draw_that_went_better_than_expected_becomes_likelier():
    log_probability = torch.tensor([-1.0, -2.0], requires_grad=True)
    reinforce_loss(log_probability, torch.tensor([3.0, 1.0]), baseline=2.0).sum().backward()
    assert log_probability.grad is not None
    assert log_probability.grad.tolist() == [-1.0, 1.0]


def test_reward_and_baseline_get_no_gradient():
    reward, baseline = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    assert not reinforce_loss(torch.tensor([-1.0, -2.0]), reward, baseline).requires_grad


def test_the_entropy_is_wished_for_by_its_weight():
    nothing, entropy = torch.zeros(2), torch.tensor([0.5, 2.0])
    loss = reinforce_loss(nothing, nothing, entropy=entropy, entropy_weight=0.1)
    torch.testing.assert_close(loss, -0.1 * entropy)


def test_a_step_is_rewarded_for_itself_and_all_that_follow():
    assert reward_to_go(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[7.0, 6.0, 4.0]]


def test_a_moving_average_starts_with_the_first_rewards_and_forgets_slowly():
    first = MovingAverage().update(torch.tensor([1.0, 3.0]))
    second = first.update(torch.tensor([[12.0]]))
    assert (first.value, first.updates) == (2.0, 1)
    assert second.value == pytest.approx(0.9 * 2.0 + 0.1 * 12.0)
    assert second.update(torch.empty(0)) is second


def test_a_decay_that_never_forgets_is_refused():
    with pytest.raises(InputError, match=r"decay must be from 0 to below 1\. Got 1\.0"):
        MovingAverage(decay=1.0)
