"""Hard attention that is drawn in training and picked in evaluation, and three ways to learn it.

Which key is looked at is a discrete choice, through which no gradient passes. Either the choice is drawn, and
its log-probability is made larger or smaller by how well it went (`Sampled`, with `regard.nn.reinforce`): no
bias, much variance. Or it is softened by a temperature (`GumbelSoftmax`), or made hard on the way forward and
soft on the way back (`StraightThrough`, or both at once): little variance, some bias.

Sources: Xu et al. 2015, "Show, attend and tell", section 4.1, arXiv:1502.03044; Jang, Gu and Poole 2017,
arXiv:1611.01144; Maddison, Mnih and Teh 2017, arXiv:1611.00712; Bengio, Léonard and Courville 2013,
arXiv:1308.3432.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from regard.core.normalizers import softmax
from regard.errors import InputError
from regard.nn.dropout import of_the_batch
from regard.nn.picking import Asked, Pick, Picker, hide, log_softmax, pick


class Drawn(NamedTuple):
    """What `sample` drew: weights (…, K) with one one in a row; log-probability and entropy (…,) in nats."""

    weights: Tensor
    log_probability: Tensor
    entropy: Tensor


def gumbel_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent draws from the standard Gumbel distribution, of the shape and dtype of ``like``."""
    waiting = of_the_batch(like, lambda empty: empty.exponential_(generator=generator))
    return -waiting.clamp_(min=torch.finfo(like.dtype).tiny).log_()


def sample(scores: Tensor, mask: Tensor | None = None, *, generator: torch.Generator) -> Drawn:
    """Draw a key from the softmax of the scores.

    Args:
        scores: (…, K), unbounded.
        mask: booleans that broadcast to the scores, True where a row may look.
        generator: where chance comes from.

    Returns:
        a one at the key that was drawn, without a gradient; the logarithm of its probability, and the entropy
        of all, with one. An empty row gets zeros.

    Source:
        Xu et al. 2015, eqs. 8–9. Drawn by adding Gumbel noise to the scores: Jang et al. 2017, eq. 1.
    """
    scores = hide(scores, mask)
    picked = pick(scores + gumbel_noise(scores, generator))
    log_weights = log_softmax(scores)
    log_probability = log_weights.masked_fill(picked == 0, 0.0).sum(dim=-1)
    # 0 · log 0 is 0 here, for the gradient too
    finite = log_weights.masked_fill(log_weights == float("-inf"), 0.0)
    return Drawn(picked, log_probability, -(softmax(scores) * finite).sum(dim=-1))


def gumbel_softmax(
    scores: Tensor, mask: Tensor | None = None, *, temperature: float = 1.0, generator: torch.Generator
) -> Tensor:
    """Draw weights that come near to a single key as the temperature falls: softmax((score + noise) / τ).

    Args:
        scores, mask, generator: as for `sample`.
        temperature: τ, above 0. At 0 they would be those that `sample` draws; the nearer, the less bias and
            the more variance has the gradient.

    Returns:
        (…, K), each row with sum 1, with a gradient; zeros for an empty row.

    Raises:
        InputError: the temperature is not above 0.

    Source:
        Jang et al. 2017, eq. 2; Maddison et al. 2017, eq. 10.
    """
    _require_temperature("gumbel_softmax()", temperature)
    scores = hide(scores, mask)
    return softmax((scores + gumbel_noise(scores, generator)) / temperature)


def straight_through(picked: Tensor, weights: Tensor) -> Tensor:
    """Numbers of one tensor, gradient of another: what was picked, as if it had been the weights.

    Args:
        picked: (…, K), what the way forward sees.
        weights: (…, K), what the way back goes through.

    Source:
        Bengio et al. 2013, section 4; with Gumbel noise: Jang et al. 2017, section 2.2.
    """
    return picked + (weights - weights.detach())


class Sampled(Picker):
    """In training a key drawn from the softmax of the scores, to be learned with `regard.nn.reinforce`.

    In evaluation the key with the highest score. Source: Xu et al. 2015, section 4.1.
    """

    draws = True

    def weigh(self, asked: Asked) -> Pick:
        """One key: drawn in training, the likeliest in evaluation."""
        if not self.training:
            return asked.answer(pick(asked.scores, asked.mask))
        return asked.drawn(*sample(asked.scores, asked.mask, generator=asked.source()))


class GumbelSoftmax(Picker):
    """In training nearly one key, with noise: the Gumbel-softmax of the scores. In evaluation the highest.

    Args:
        temperature: how far from one key it is, above 0; may be changed between steps.
        straight_through: look at exactly one key in training, with the gradient of nearly one.

    Source: Jang et al. 2017.
    """

    draws = True

    def __init__(self, temperature: float = 1.0, *, straight_through: bool = False) -> None:
        super().__init__()
        _require_temperature("GumbelSoftmax()", temperature)
        self.temperature, self.straight_through = temperature, straight_through

    def weigh(self, asked: Asked) -> Pick:
        """Relaxed weights, or one key with their gradient, in training; one key in evaluation."""
        if not self.training:
            return asked.answer(pick(asked.scores, asked.mask))
        weights = gumbel_softmax(
            asked.scores, asked.mask, temperature=self.temperature, generator=asked.source()
        )
        if self.straight_through:
            weights = straight_through(pick(weights, asked.mask), weights)
        return asked.answer(weights)


class StraightThrough(Picker):
    """In training a key drawn from the softmax of the scores, with the gradient of the softmax itself.

    That gradient is right on average where what follows is linear in the weights, and biased elsewhere. In
    evaluation the key with the highest score. Source: Bengio et al. 2013, section 4.
    """

    draws = True

    def weigh(self, asked: Asked) -> Pick:
        """One key: drawn in training, the likeliest in evaluation."""
        if not self.training:
            return asked.answer(pick(asked.scores, asked.mask))
        scores = hide(asked.scores, asked.mask)
        picked = pick(scores + gumbel_noise(scores, asked.source()))
        return asked.answer(straight_through(picked, softmax(scores)))


def _require_temperature(where: str, temperature: float) -> None:
    if not temperature > 0:
        raise InputError(f"{where}: temperature must be above 0. Got {temperature}.")
