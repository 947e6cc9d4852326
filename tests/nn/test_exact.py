"""Exact hard attention against sums over all paths, one path after the other."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from regard.errors import DtypeError, ShapeError
from regard.nn.exact import (
    Marginal,
    MonotonicMarginal,
    log_cumulative,
    marginal_log_likelihood,
    marginal_posterior,
    mixture,
    monotonic_log_likelihood,
    monotonic_posterior,
    monotonic_viterbi,
)

T, K, V = 4, 3, 5
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]]).bool()
LENGTHS = torch.tensor([4, 3, 4, 4, 1])
B = len(MASK)
THERE = MASK.any(-1)


def random(*shape: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=source, dtype=torch.float64)).requires_grad_()


def paths(
    scores: Tensor, likelihoods: Tensor, mask: Tensor, *, monotonic: bool
) -> dict[tuple[int, ...], float]:
    """The probability of each path through the keys together with the words, for one sentence (T, K)."""
    steps, keys = scores.shape
    scores, likelihoods = scores.detach(), likelihoods.detach()
    found: dict[tuple[int, ...], float] = {}
    shown = [j for j in range(keys) if mask[j]]
    for path in product(shown, repeat=steps):
        probability, before = 1.0, 0
        for step, j in enumerate(path):
            open_keys = [k for k in shown if k >= before or not monotonic]
            if j not in open_keys:
                probability = 0.0
                break
            total = sum(math.exp(scores[step, k]) for k in open_keys)
            probability *= math.exp(scores[step, j] + likelihoods[step, j]) / total
            before = j
        if probability:
            found[path] = probability
    return found


def looked_at(found: dict[tuple[int, ...], float], steps: int) -> Tensor:
    """The posterior (T, K) of those paths."""
    posterior = torch.zeros(steps, K, dtype=torch.float64)
    for path, probability in found.items():
        for step, j in enumerate(path):
            posterior[step, j] += probability / sum(found.values())
    return posterior


@pytest.mark.parametrize("monotonic", [False, True])
def test_the_likelihood_is_the_sum_over_all_paths(monotonic):
    scores, likelihoods = random(B, T, K), random(B, T, K, seed=1)
    likelihood = monotonic_log_likelihood if monotonic else marginal_log_likelihood
    found = likelihood(scores, likelihoods, MASK)
    for row, length in enumerate(LENGTHS.tolist()):
        summed = sum(
            paths(scores[row, :length], likelihoods[row, :length], MASK[row], monotonic=monotonic).values()
        )
        expected = math.log(summed) if summed else -math.inf
        assert found[row, :length].sum().item() == pytest.approx(expected)


@pytest.mark.parametrize("monotonic", [False, True])
def test_the_posterior_is_the_share_of_the_paths_through_a_key(monotonic):
    scores, likelihoods = random(B, T, K), random(B, T, K, seed=1)
    if monotonic:
        found = monotonic_posterior(scores, likelihoods, MASK, LENGTHS)
    else:
        found = marginal_posterior(scores, likelihoods, MASK)
    for row, length in enumerate(LENGTHS.tolist()):
        every = paths(scores[row, :length], likelihoods[row, :length], MASK[row], monotonic=monotonic)
        torch.testing.assert_close(found[row, :length].detach(), looked_at(every, length))
        if monotonic:
            assert (found[row, length:] == 0).all()


@pytest.mark.parametrize("monotonic", [False, True])
def test_the_posterior_is_the_gradient_of_the_likelihood(monotonic):
    scores, likelihoods = random(B, T, K), random(B, T, K, seed=1)
    if monotonic:
        words = monotonic_log_likelihood(scores, likelihoods, MASK)
        posterior = monotonic_posterior(scores, likelihoods, MASK, LENGTHS)
    else:
        words, posterior = marginal_log_likelihood(scores, likelihoods, MASK), None
        posterior = (
            marginal_posterior(scores, likelihoods, MASK) * (torch.arange(T) < LENGTHS[:, None])[..., None]
        )
    real = (torch.arange(T) < LENGTHS[:, None]) & THERE[:, None]
    (gradient,) = torch.autograd.grad(words[real].sum(), likelihoods)
    torch.testing.assert_close(gradient, posterior.detach())


def test_the_likeliest_path_is_the_likeliest_of_all():
    for seed in range(5):
        scores, likelihoods = random(B, T, K, seed=seed), random(B, T, K, seed=seed + 10)
        found = monotonic_viterbi(scores, likelihoods, MASK, LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            every = paths(scores[row, :length], likelihoods[row, :length], MASK[row], monotonic=True)
            best = max(every, key=lambda path: every[path]) if every else (-1,) * length
            assert found[row].tolist() == [*best, *[-1] * (T - length)]


@pytest.mark.parametrize("marginal", [Marginal(), MonotonicMarginal()])
def test_word_by_word_it_is_the_same_as_the_sentence_at_once(marginal):
    scores, words = random(B, T, K), random(B, T, K, V, seed=1).log_softmax(-1)
    said = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(2))
    likelihoods = words.gather(-1, said[..., None, None].expand(B, T, K, 1))[..., 0]
    monotonic = isinstance(marginal, MonotonicMarginal)
    whole = (monotonic_log_likelihood if monotonic else marginal_log_likelihood)(scores, likelihoods, MASK)
    state = marginal.start(MASK)
    for step in range(T):
        log_weights = marginal.predict(scores[:, step], MASK, state)
        torch.testing.assert_close(log_weights.exp().sum(-1), THERE.double())
        every = mixture(log_weights, words[:, step])
        torch.testing.assert_close(every.exp().sum(-1), THERE.double())
        word, state = marginal.observe(log_weights, likelihoods[:, step])
        torch.testing.assert_close(word, whole[:, step])
        torch.testing.assert_close(word, every.gather(-1, said[:, step, None])[:, 0])


def test_the_belief_of_several_hypotheses_can_be_selected_and_asked_at_once():
    marginal = MonotonicMarginal()
    rows = torch.tensor([0, 0, 2, 2])
    _, state = marginal.observe(
        marginal.predict(random(B, K), MASK, marginal.start(MASK)), random(B, K, seed=1)
    )
    scores = random(4, K, seed=2)
    together = marginal.predict(scores, MASK[[0, 2]], state.select(rows))
    apart = marginal.predict(scores, MASK[rows], state.select(rows))
    torch.testing.assert_close(together, apart, rtol=0, atol=0)


@pytest.mark.parametrize("likelihood", [marginal_log_likelihood, monotonic_log_likelihood])
def test_the_gradient_is_that_of_finite_differences(likelihood):
    def run(scores: Tensor, likelihoods: Tensor) -> Tensor:
        return likelihood(scores, likelihoods, MASK[THERE])

    rows = int(THERE.sum())
    assert torch.autograd.gradcheck(run, (random(rows, T, K), random(rows, T, K, seed=1)))


def test_the_gradient_of_the_posterior_is_that_of_finite_differences():
    def run(scores: Tensor, likelihoods: Tensor) -> Tensor:
        return monotonic_posterior(scores, likelihoods, MASK, LENGTHS)

    assert torch.autograd.gradcheck(run, (random(B, T, K), random(B, T, K, seed=1)))


@pytest.mark.parametrize("likelihood", [marginal_log_likelihood, monotonic_log_likelihood])
def test_what_is_hidden_has_no_say_and_no_gradient(likelihood):
    hidden = ~MASK[:, None].expand(B, T, K)
    clean = [random(B, T, K), random(B, T, K, seed=1)]
    spoilt = [x.detach().masked_fill(hidden, torch.nan).requires_grad_() for x in clean]
    found, expected = (likelihood(scores, likelihoods, MASK) for scores, likelihoods in (spoilt, clean))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert (found[~THERE] == -math.inf).all()
    for gradient in torch.autograd.grad(found[THERE].sum() + found[~THERE].sum(), spoilt):
        assert (gradient[hidden] == 0).all()
        assert gradient.isfinite().all()


def test_hundreds_of_keys_and_large_scores_stay_finite_in_float32():
    scores = (20 * random(2, 30, 300)).detach()
    likelihoods = (20 * random(2, 30, 300, seed=1)).detach()
    mask = torch.arange(300) < torch.tensor([300, 120])[:, None]
    narrow = [scores.float().requires_grad_(), likelihoods.float().requires_grad_()]
    found = monotonic_log_likelihood(narrow[0], narrow[1], mask)
    torch.testing.assert_close(
        found.double(), monotonic_log_likelihood(scores, likelihoods, mask), rtol=1e-4, atol=1e-2
    )
    for gradient in torch.autograd.grad(found.sum(), narrow):
        assert gradient.isfinite().all()


def test_a_word_that_no_key_can_say_is_impossible_and_not_a_nan():
    likelihoods = random(1, T, K).detach()
    likelihoods[0, 1] = -math.inf
    likelihoods.requires_grad_()
    scores = random(1, T, K, seed=1)
    found = monotonic_log_likelihood(scores, likelihoods, MASK[:1])
    assert found[0, 1] == -math.inf
    assert not found.isnan().any()


def test_a_cumulative_sum_of_logarithms_starts_with_nothing_and_has_its_gradient():
    x = torch.tensor([[-torch.inf, -torch.inf, 0.5, -torch.inf, 2.0]], dtype=torch.float64)
    found = log_cumulative(x)
    expected = [-math.inf, -math.inf, 0.5, 0.5, math.log(math.exp(0.5) + math.exp(2.0))]
    assert found[0].tolist() == pytest.approx(expected)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(log_cumulative(x)[:, 2:].sum(), x)
    share = math.exp(0.5 - expected[-1])
    assert gradient[0].tolist() == pytest.approx([0, 0, 2 + share, 0, 1 - share])


def test_half_precision_is_computed_with_in_float32():
    scores, likelihoods = random(B, T, K).bfloat16(), random(B, T, K, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = monotonic_log_likelihood(scores, likelihoods, MASK)
    torch.testing.assert_close(found, monotonic_log_likelihood(scores.float(), likelihoods.float(), MASK))


@pytest.mark.parametrize("steps, keys", [(0, K), (T, 0)])
def test_no_steps_or_no_keys_give_nothing(steps, keys):
    nothing = torch.zeros(2, steps, keys)
    mask, lengths = torch.ones(2, keys, dtype=torch.bool), torch.full((2,), steps)
    for likelihood in (marginal_log_likelihood, monotonic_log_likelihood):
        assert likelihood(nothing, nothing, mask).tolist() == [[-math.inf] * steps] * 2
    assert monotonic_posterior(nothing, nothing, mask, lengths).shape == nothing.shape
    assert monotonic_viterbi(nothing, nothing, mask, lengths).tolist() == [[-1] * steps] * 2


def test_bad_input_is_refused_with_the_shapes_in_the_message():
    scores = random(B, T, K)
    with pytest.raises(ShapeError, match=r"Got \(5, 4, 3\), \(5, 4, 2\) and \(5, 3\)"):
        marginal_log_likelihood(scores, scores[..., 1:], MASK)
    with pytest.raises(ShapeError, match=r"and key_mask \(B, K\)"):
        monotonic_posterior(scores, scores, MASK[:, 1:], LENGTHS)
    with pytest.raises(DtypeError, match=r"monotonic_viterbi\(\): key_mask must be boolean"):
        monotonic_viterbi(scores, scores, MASK.double(), LENGTHS)
    with pytest.raises(ShapeError, match=r"MonotonicMarginal\.predict\(\): scores must be \(R, K\)"):
        marginal = MonotonicMarginal()
        marginal.predict(scores[0], MASK, marginal.start(MASK))
