"""REINFORCE: learning from draws by how well they went.

The gradient of an expected reward over what is drawn is the expectation of

    (reward − baseline) · ∇ log p(what was drawn)

for any baseline that does not depend on the draw. A good one leaves little variance: a moving average of past
rewards (`MovingAverage`), or the reward of what the model would have picked itself, which is called
self-critical: the reward of a second pass in evaluation, without a gradient.

Sources: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement
learning"; Xu et al. 2015, section 4.1, arXiv:1502.03044; self-critical: Rennie et al. 2017, section 3,
arXiv:1612.00563.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import InputError


def reinforce_loss(
    log_probability: Tensor,
    reward: Tensor,
    baseline: Tensor | float = 0.0,
    *,
    entropy: Tensor | None = None,
    entropy_weight: float = 0.0,
) -> Tensor:
    """What to make small so that what was drawn and went well becomes likelier.

    Its gradient is an estimate of that of −E[reward]. Its value says nothing. It has no gradient for the
    reward and the baseline: a reward that has parameters of its own goes into the loss beside this.

    Args:
        log_probability: (…), in nats, of each draw, from `regard.nn.picking.Pick`.
        reward: (…), larger is better; of everything that a draw can still change, see `reward_to_go`.
        baseline: (…) or one number, what is to be expected: `MovingAverage.value`, or the reward of the
            model's own picks.
        entropy: (…), in nats, of what was drawn from.
        entropy_weight: how much a large entropy is wished for, lest it settles on one key too early.

    Returns:
        (…), one for each draw; leave out those of padding, and sum.
    """
    advantage = torch.as_tensor(reward - baseline).detach()
    loss = -advantage * log_probability
    return loss if entropy is None else loss - entropy_weight * entropy


def reward_to_go(rewards: Tensor) -> Tensor:
    """The sum of each step's reward and all later ones, which are what its draw can change.

    Args:
        rewards: (…, T), of each step; zero behind a sentence's end.
    """
    return rewards.flip(-1).cumsum(-1).flip(-1)


@dataclass(frozen=True)
class MovingAverage:
    """An exponential moving average of rewards as a baseline: b ← d · b + (1 − d) · mean reward.

    Take ``value`` as the baseline before the rewards it is subtracted from are in it.

    Args:
        value: b, so far.
        decay: d, from 0 to below 1.
        updates: how many times rewards came; the first take the place of the value.

    Source: Xu et al. 2015, section 4.1, with d = 0.9.
    """

    value: float = 0.0
    decay: float = 0.9
    updates: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InputError(f"MovingAverage(): decay must be from 0 to below 1. Got {self.decay}.")

    def update(self, rewards: Tensor) -> MovingAverage:
        """The average with rewards (…) in it, or this one where there are none."""
        if not rewards.numel():
            return self
        mean = float(rewards.detach().double().mean())
        value = self.decay * self.value + (1 - self.decay) * mean if self.updates else mean
        return MovingAverage(value, self.decay, self.updates + 1)
