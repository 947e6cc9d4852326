"""Estimates of a gradient through a choice, against the gradient summed over all choices.

Two choices of one key out of four, one after the other, with a payoff that depends on both.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from regard.nn.hard import GumbelSoftmax, Sampled, StraightThrough, gumbel_softmax, sample, straight_through
from regard.nn.picking import Picker
from regard.nn.reinforce import MovingAverage, reinforce_loss, reward_to_go

K, N = 4, 40_000
SCORES = torch.tensor([[0.3, -0.8, 1.1, 0.2], [-0.4, 0.9, 0.1, -1.2]], dtype=torch.float64)
EARLY = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
LATE = torch.tensor(
    [[0.5, 2.0, -1.0, 0.0], [1.5, -0.5, 0.3, 2.2], [-1.1, 0.4, 0.9, 1.0], [2.0, 0.1, -2.0, 0.7]],
    dtype=torch.float64,
)


def exact(payoff: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The gradient (2, K) of the expected payoff, summed over all sixteen pairs of keys."""
    scores = SCORES.clone().requires_grad_()
    shares = scores.softmax(-1)
    ones = torch.eye(K, dtype=torch.float64)
    chances = torch.einsum("i,j->ij", shares[0], shares[1])
    payoffs = payoff(ones[:, None].expand(K, K, K), ones.expand(K, K, K))
    return torch.autograd.grad((chances * payoffs).sum(), scores)[0]


def spread(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard error over the first axis."""
    return samples.mean(0), samples.std(0) / len(samples) ** 0.5


def points_the_same_way(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def drawn(mechanism: Picker, seed: int = 0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Scores (N, 2, K), log-probabilities (N, 2), and the weights (N, K) of each choice, N times over."""
    source = torch.Generator().manual_seed(seed)
    scores = SCORES.expand(N, 2, K).clone().requires_grad_()
    mask = torch.ones(N, K, dtype=torch.bool)
    state = mechanism.train().start(mask)
    picks = []
    for step in range(2):
        picks.append(mechanism.step(scores[:, step], scores[:, step], mask, state, generator=source))
        state = picks[-1].state
    return scores, torch.stack([p.log_probability for p in picks], dim=1), [p.weights for p in picks]


def linear(first: Tensor, second: Tensor) -> Tensor:
    return first @ EARLY + torch.einsum("...i,ij,...j->...", first, LATE, second)


def curved(first: Tensor, second: Tensor) -> Tensor:
    """A payoff whose value between two keys is not between theirs."""
    features = first @ LATE + 0.5 * second @ LATE.T
    return torch.tanh(features).sum(-1) - 0.2 * features.square().sum(-1)


@pytest.mark.parametrize("baseline", ["none", "moving average", "self-critical", "steps"])
def test_reinforce_points_where_the_exact_gradient_does(baseline):
    scores, log_probability, (first, second) = drawn(Sampled())
    early, late = first @ EARLY, torch.einsum("ni,ij,nj->n", first, LATE, second)
    reward = reward_to_go(torch.stack([early, late], dim=1))
    value: Tensor | float = 0.0
    if baseline == "moving average":
        value = MovingAverage().update(torch.tensor([0.4, 0.8])).update(torch.tensor([1.0])).value
    elif baseline == "self-critical":
        own = SCORES.argmax(-1)
        value = reward_to_go(torch.stack([EARLY[own[0]], LATE[own[0], own[1]]]))
    elif baseline == "steps":
        value = reward.mean(0)
    loss = reinforce_loss(log_probability, reward, value)
    mean, error = spread(-torch.autograd.grad(loss.sum(), scores)[0])
    expected = exact(linear)
    assert ((mean - expected).abs() < 4 * error).all()
    assert points_the_same_way(mean, expected) > 0.99


def test_a_baseline_leaves_less_variance():
    scores, log_probability, (first, second) = drawn(Sampled())
    reward = 10.0 + linear(first, second)[:, None]
    errors = []
    for baseline in (0.0, MovingAverage().update(reward).value):
        loss = reinforce_loss(log_probability, reward, baseline).sum()
        errors.append(spread(torch.autograd.grad(loss, scores, retain_graph=True)[0])[1].mean())
    assert errors[1] < errors[0] / 5


def test_gumbel_softmax_comes_near_the_exact_gradient_as_its_temperature_falls():
    expected = exact(curved)
    found = []
    for temperature in (1.0, 0.3, 0.1):
        scores, _, weights = drawn(GumbelSoftmax(temperature))
        mean, _ = spread(torch.autograd.grad(curved(*weights).sum(), scores)[0])
        found.append(points_the_same_way(mean, expected))
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.98


@pytest.mark.parametrize("mechanism", [StraightThrough(), GumbelSoftmax(0.5, straight_through=True)])
def test_straight_through_is_biased_yet_points_less_than_a_right_angle_away(mechanism):
    scores, _, weights = drawn(mechanism)
    mean, _ = spread(torch.autograd.grad(curved(*weights).sum(), scores)[0])
    assert points_the_same_way(mean, exact(curved)) > 0.5


def test_straight_through_is_right_on_average_where_the_payoff_is_linear():
    scores, _, weights = drawn(StraightThrough())
    mean, error = spread(torch.autograd.grad(linear(*weights).sum(), scores)[0])
    expected = exact(linear)
    assert ((mean - expected).abs() < 4 * error).all()
    assert points_the_same_way(mean, expected) > 0.999


def test_straight_through_sees_one_key_and_has_the_gradient_of_the_weights():
    weights = SCORES.clone().requires_grad_()
    picked = torch.eye(K, dtype=torch.float64)[:2]
    found = straight_through(picked, weights.softmax(-1))
    assert torch.equal(found, picked)
    gradients = [torch.autograd.grad((w * LATE[:2]).sum(), weights)[0] for w in (found, weights.softmax(-1))]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("draw", ["sample", "gumbel"])
def test_keys_are_drawn_as_often_as_the_softmax_says(draw):
    scores = SCORES[0].expand(N, K)
    mask = torch.tensor([True, True, False, True])
    source = torch.Generator().manual_seed(3)
    if draw == "sample":
        weights = sample(scores, mask, generator=source).weights
    else:
        weights = (gumbel_softmax(scores, mask, temperature=1e-3, generator=source) > 0.5).double()
    expected = SCORES[0].masked_fill(~mask, -torch.inf).softmax(-1)
    mean, error = spread(weights)
    assert ((mean - expected).abs() <= 4 * error).all()
    assert mean[2] == 0


def test_the_probability_and_the_entropy_are_those_of_the_softmax():
    scores = SCORES.clone()
    scores[1, 2] = -torch.inf
    found = sample(scores, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Categorical(logits=scores)
    torch.testing.assert_close(found.log_probability, expected.log_prob(found.weights.argmax(-1)))
    finite = torch.special.entr(scores.softmax(-1)).sum(-1)
    torch.testing.assert_close(found.entropy, finite)


def test_relaxed_weights_sum_to_one_at_any_temperature():
    for temperature in (100.0, 1.0, 1e-6):
        weights = gumbel_softmax(
            1e4 * SCORES.float(), temperature=temperature, generator=torch.Generator().manual_seed(0)
        )
        torch.testing.assert_close(weights.sum(-1), torch.ones(2))
