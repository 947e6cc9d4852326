"""Exact hard attention: which key was looked at is summed out, and nothing is drawn.

Each step looks at one key a_t and says a word by that key alone. Not knowing which, a word's probability is
the sum over all keys

    p(y_t | y_<t) = Σ_j p(a_t = j | y_<t) p(y_t | a_t = j)

and the gradient of its logarithm is exact. In `Marginal` (order 0) where a step looks does not depend on
where the step before looked: p(a_t = j) = softmax_j e_tj. In `MonotonicMarginal` (order 1) it never looks
further to the left:

    p(a_t = j | a_{t−1} = i) = exp(e_tj) / Σ_{j' ≥ i} exp(e_tj')   for j ≥ i, else 0

and the forward algorithm sums over all paths. It is computed in log-space and in O(K) a step: since the
numerator is the same for all i, both sums over keys are cumulative ones.

What a step says may depend on the words before, but not on where they were looked up: there is no input
feeding of contexts. `predict` and `observe` go word by word, for search; the functions take whole sequences.

Sources: Wu, Shapiro and Cotterell 2018, "Hard non-monotonic attention for character-level transduction",
arXiv:1808.10024; Wu and Cotterell 2019, "Exact hard monotonic attention for character-level transduction",
arXiv:1905.06319.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.core.normalizers import log_sum_exp, softmax
from regard.errors import DtypeError, ShapeError
from regard.nn.picking import hide, log_softmax, rows_mask
from regard.nn.precision import wide

NEVER = float("-inf")


@dataclass(frozen=True, eq=False)
class Belief:
    """What is known of where the step before looked: log p(a_{t−1} = j | y_<t), log_belief (R, K)."""

    log_belief: Tensor

    def select(self, rows: Tensor) -> Belief:
        """The belief of the given rows, in their order; a row may be repeated."""
        return Belief(self.log_belief[rows])


class Marginal:
    """Exact hard attention of order 0, step by step: any key, whatever was looked at before.

    Source: Wu, Shapiro and Cotterell 2018, section 3.
    """

    def start(self, key_mask: Tensor) -> Belief:
        """The belief before the first word, over sentences whose words are where key_mask (B, K) is True."""
        log_belief = torch.full(key_mask.shape, NEVER, device=key_mask.device)
        log_belief[:, :1] = 0.0
        return Belief(log_belief)

    def predict(self, scores: Tensor, key_mask: Tensor, state: Belief) -> Tensor:
        """Where this step looks, before its word is known.

        Args:
            scores: (R, K), unbounded, of this step. The R = B · k rows are as many hypotheses for each
                sentence, one sentence after the other.
            key_mask: (B, K) booleans, True where there is a word.
            state: from `start`, or from `observe` with the word before.

        Returns:
            log p(a_t = j | y_<t), (R, K), in nats; −∞ for a key that can't be looked at.
        """
        mask = rows_mask(f"{type(self).__name__}.predict()", scores, key_mask)
        return self._prior(hide(scores, mask), state.log_belief)

    def observe(self, log_weights: Tensor, log_likelihoods: Tensor) -> tuple[Tensor, Belief]:
        """Learn the word that was said.

        Args:
            log_weights: (R, K), from `predict`.
            log_likelihoods: (R, K), log p(y_t | a_t = j) in nats, of the word that was said.

        Returns:
            log p(y_t | y_<t), (R,), in nats; the belief about where it was looked up, for the next step.
        """
        joint = _joint(log_weights, log_likelihoods)
        return log_sum_exp(joint), Belief(log_softmax(joint))

    def _prior(self, hidden: Tensor, log_belief: Tensor) -> Tensor:
        return log_softmax(hidden)


class MonotonicMarginal(Marginal):
    """Exact hard attention of order 1, step by step: the same key as the step before, or one to its right.

    Source: Wu and Cotterell 2019, section 3.
    """

    def _prior(self, hidden: Tensor, log_belief: Tensor) -> Tensor:
        return hidden + log_cumulative(log_belief.to(hidden.dtype) - _log_ahead(hidden))


def mixture(log_weights: Tensor, log_likelihoods: Tensor) -> Tensor:
    """The probability of each word, summed over the keys.

    Args:
        log_weights: (R, K), from `predict`.
        log_likelihoods: (R, K, V), log p(y = v | a = j) in nats.

    Returns:
        log p(y = v), (R, V), in nats.
    """
    return log_sum_exp(_joint(log_weights[..., None], log_likelihoods).transpose(-1, -2))


def marginal_log_likelihood(scores: Tensor, log_likelihoods: Tensor, key_mask: Tensor) -> Tensor:
    """How likely each word is when any key may have been looked at, each step on its own.

    Args:
        scores: (B, T, K), unbounded, of each step.
        log_likelihoods: (B, T, K), log p(y_t | a_t = j, y_<t) in nats. A hidden key's may be anything.
        key_mask: (B, K) booleans, True where there is a word.

    Returns:
        log p(y_t | y_<t), (B, T), in nats; −∞ with gradient zero where there is no key.

    Source:
        Wu, Shapiro and Cotterell 2018, section 3: the sum over alignments is a product of sums.
    """
    hidden = _hidden("marginal_log_likelihood()", scores, log_likelihoods, key_mask)
    return log_sum_exp(_joint(log_softmax(hidden), log_likelihoods))


def marginal_posterior(scores: Tensor, log_likelihoods: Tensor, key_mask: Tensor) -> Tensor:
    """Where each word was looked up, now that it is known: p(a_t = j | y), of order 0.

    Args:
        scores, log_likelihoods, key_mask: as for `marginal_log_likelihood`.

    Returns:
        (B, T, K), each row with sum 1; zeros where there is no key.
    """
    hidden = _hidden("marginal_posterior()", scores, log_likelihoods, key_mask)
    return softmax(_joint(hidden, log_likelihoods))


def monotonic_log_likelihood(scores: Tensor, log_likelihoods: Tensor, key_mask: Tensor) -> Tensor:
    """How likely each word is, summed over all monotonic paths: the forward algorithm.

    Args:
        scores, log_likelihoods, key_mask: as for `marginal_log_likelihood`.

    Returns:
        log p(y_t | y_<t), (B, T), in nats; −∞ where there is no key. Their sum over a sentence's words is
        log p(y); what comes behind its end changes nothing before it.

    Source:
        Wu and Cotterell 2019, section 3. The belief is normalised at each step, so that its scale stays.
    """
    hidden = _hidden("monotonic_log_likelihood()", scores, log_likelihoods, key_mask)
    return _forward(hidden, log_likelihoods, key_mask)[0]


def monotonic_posterior(scores: Tensor, log_likelihoods: Tensor, key_mask: Tensor, lengths: Tensor) -> Tensor:
    """Where each word was looked up, now that all are known: p(a_t = j | y), by forward and backward sums.

    Args:
        scores, log_likelihoods, key_mask: as for `monotonic_log_likelihood`.
        lengths: (B,), how many words each sentence has.

    Returns:
        (B, T, K), each row with sum 1; zeros behind a sentence's end and where there is no key.
    """
    hidden = _hidden("monotonic_posterior()", scores, log_likelihoods, key_mask)
    log_beliefs = _forward(hidden, log_likelihoods, key_mask)[1]
    steps = scores.shape[1]
    future = hidden.new_zeros(hidden.shape[0], hidden.shape[2])
    posteriors = []
    for step in reversed(range(steps)):
        if step + 1 < steps:
            later, said = hidden[:, step + 1], log_likelihoods[:, step + 1]
            ahead = _from_here(_joint(later, said) + future) - _log_ahead(later)
            future = torch.where((step + 1 < lengths)[:, None], ahead, 0.0)
        posterior = softmax(log_beliefs[step] + future)
        posteriors.append(posterior * (step < lengths)[:, None])
    return torch.stack(posteriors[::-1], dim=1) if posteriors else torch.zeros_like(hidden)


@torch.no_grad()
def monotonic_viterbi(scores: Tensor, log_likelihoods: Tensor, key_mask: Tensor, lengths: Tensor) -> Tensor:
    """The likeliest monotonic path through the keys, now that all words are known.

    Args:
        scores, log_likelihoods, key_mask, lengths: as for `monotonic_posterior`.

    Returns:
        (B, T) positions of keys, never falling within a sentence; −1 behind its end and where there is no
        key.
    """
    hidden = _hidden("monotonic_viterbi()", scores, log_likelihoods, key_mask)
    best = MonotonicMarginal().start(key_mask).log_belief.to(hidden.dtype)
    identity = torch.arange(hidden.shape[-1], device=hidden.device).expand_as(best)
    pointers = []
    for step in range(hidden.shape[1]):
        reached, came_from = torch.cummax(best - _log_ahead(hidden[:, step]), dim=-1)
        going = (step < lengths)[:, None]
        best = torch.where(going, _joint(hidden[:, step], log_likelihoods[:, step]) + reached, best)
        pointers.append(torch.where(going, came_from, identity))
    positions = torch.full(hidden.shape[:2], -1, device=hidden.device)
    if not pointers or not hidden.shape[-1]:
        return positions
    here = best.argmax(dim=-1, keepdim=True)
    there_is_one = best.amax(dim=-1) > NEVER
    for step in reversed(range(len(pointers))):
        positions[:, step] = torch.where((step < lengths) & there_is_one, here[:, 0], -1)
        here = pointers[step].gather(-1, here)
    return positions


def log_cumulative(x: Tensor) -> Tensor:
    """log Σ_{i ≤ j} exp(x_i) along the last axis, (…, K); −∞ counts nothing and has gradient zero."""
    # PyTorch's own gradient is NaN where it starts with −∞; no sum of exp(least) is seen beside a real one.
    least = torch.finfo(x.dtype).min / 4
    sums = torch.logcumsumexp(x.masked_fill(x == NEVER, least), dim=-1)
    return sums.masked_fill(sums <= least / 2, NEVER)


def _from_here(x: Tensor) -> Tensor:
    """log Σ_{j ≥ i} exp(x_j), (…, K)."""
    return log_cumulative(x.flip(-1)).flip(-1)


def _log_ahead(hidden: Tensor) -> Tensor:
    """log Σ_{j ≥ i} exp(e_j), by which the step from key i is normalised; 0 where nothing is ahead."""
    ahead = _from_here(hidden)
    return ahead.masked_fill(ahead == NEVER, 0.0)


def _joint(log_weights: Tensor, log_likelihoods: Tensor) -> Tensor:
    """Their sum, without a gradient and without a NaN for keys that can't be looked at."""
    likelihoods = wide(log_likelihoods).masked_fill(log_weights == NEVER, 0.0)
    return log_weights + likelihoods


def _forward(hidden: Tensor, log_likelihoods: Tensor, key_mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """log p(y_t | y_<t), (B, T), and of each step log p(a_t = j | y_≤t), (B, K)."""
    marginal = MonotonicMarginal()
    state = marginal.start(key_mask)
    words, log_beliefs = [], []
    for step in range(hidden.shape[1]):
        log_weights = marginal.predict(hidden[:, step], key_mask, state)
        word, state = marginal.observe(log_weights, log_likelihoods[:, step])
        words.append(word)
        log_beliefs.append(state.log_belief)
    return torch.stack(words, dim=1) if words else hidden.sum(-1), log_beliefs


def _hidden(where: str, scores: Tensor, log_likelihoods: Tensor, key_mask: Tensor) -> Tensor:
    """The scores (B, T, K), −∞ where a key is hidden, once everything is known to fit."""
    if key_mask.dtype != torch.bool:
        raise DtypeError(f"{where}: key_mask must be boolean, True where a key is. Got {key_mask.dtype}.")
    fits = scores.ndim == 3 and log_likelihoods.shape == scores.shape
    if not fits or tuple(key_mask.shape) != (scores.shape[0], scores.shape[2]):
        raise ShapeError(
            f"{where}: scores and log_likelihoods must be (B, T, K) and key_mask (B, K). Got "
            f"{tuple(scores.shape)}, {tuple(log_likelihoods.shape)} and {tuple(key_mask.shape)}."
        )
    return hide(scores, key_mask[:, None])
