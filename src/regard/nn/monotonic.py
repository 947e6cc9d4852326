"""Monotonic attention: it goes through the keys from left to right, and never back.

From where the step before stopped, each key j is taken with probability p_j = σ(e_j), or else passed by. In
evaluation the first key with p > 0.5 is taken. In training the weights are the expectation

    q_j = (1 − p_{j−1}) q_{j−1} + α'_j        the probability that this step comes to key j
    α_j = p_j q_j                             the probability that it takes it, α' being the step before's

The weights of a row sum to less than one by the probability that the last key was passed by; from then on
nothing is looked at any more, in training and in evaluation. A key that is hidden is passed by.

`MoChA` takes the key where a chunk ends, and weighs the last keys up to there by a softmax of their own.

Sources: Raffel, Luong, Liu, Weiss and Eck 2017, arXiv:1704.00784; Chiu and Raffel 2018, arXiv:1712.05382.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.core.normalizers import softmax
from regard.errors import InputError, ShapeError
from regard.nn.dropout import of_the_batch
from regard.nn.picking import Asked, Pick, Picker, hide
from regard.nn.precision import wide


def linear_recurrence(decay: Tensor, inputs: Tensor) -> Tensor:
    """Solve x_j = decay_j · x_{j−1} + inputs_j along the last axis, with nothing before the first.

    By doubling, in log₂ K passes: what came from up to r positions before, then up to 2 r. Where decay and
    inputs are not negative, nothing is ever divided or subtracted, so it is as exact as a loop. The
    cumulative products and sums of Raffel et al. 2017, appendix C.1, divide by products that vanish.

    Args:
        decay, inputs: (…, K).
    """
    reach, keys = 1, inputs.shape[-1]
    while reach < keys:
        inputs = inputs + decay * F.pad(inputs[..., :-reach], (reach, 0))
        decay = decay * F.pad(decay[..., :-reach], (reach, 0))
        reach *= 2
    return inputs


def expected_alignment(energies: Tensor, previous: Tensor, mask: Tensor | None = None) -> Tensor:
    """The probability that one step takes each key, over all that it and the steps before may take.

    Args:
        energies: (…, K), unbounded: the log-odds of taking a key that was come to.
        previous: (…, K), the expected alignment of the step before; for the first, a one at the first key.
        mask: booleans that broadcast to the energies, True where a key is.

    Returns:
        (…, K), from 0 to 1, each row with a sum of at most that of previous.

    Source:
        Raffel et al. 2017, eqs. 9–14.
    """
    energies = wide(energies)
    if mask is None:
        taken, passed = torch.sigmoid(energies), torch.sigmoid(-energies)
    else:
        energies = energies.masked_fill(~mask, 0.0)
        taken = torch.sigmoid(energies).masked_fill(~mask, 0.0)
        passed = torch.sigmoid(-energies).masked_fill(~mask, 1.0)
    return taken * linear_recurrence(F.pad(passed[..., :-1], (1, 0)), wide(previous).to(taken.dtype))


def expected_alignments(energies: Tensor, key_mask: Tensor | None = None) -> Tensor:
    """The expected alignments of all steps, where the energies don't depend on them.

    Args:
        energies: (…, Q, K), of Q steps, one after the other.
        key_mask: (…, K) booleans, True where a key is.

    Returns:
        (…, Q, K), each row with a sum of at most that of the row before.

    Source:
        Raffel et al. 2017, eqs. 9–14, by which models are trained.
    """
    _require_key_mask("expected_alignments()", energies, key_mask)
    alignment = torch.zeros_like(wide(energies[..., 0, :]))
    alignment[..., :1] = 1.0
    steps = []
    for row in energies.unbind(dim=-2):
        alignment = expected_alignment(row, alignment, key_mask)
        steps.append(alignment)
    return torch.stack(steps, dim=-2)


def greedy_alignment(energies: Tensor, previous: Tensor, mask: Tensor | None = None) -> Tensor:
    """Take the first key, from that of the step before on, whose probability is above one half.

    Args:
        energies, mask: as for `expected_alignment`.
        previous: (…, K), the greedy alignment of the step before; for the first, a one at the first key.

    Returns:
        (…, K), a one at the key that is taken; zeros where none is, and in all steps after that.

    Source:
        Raffel et al. 2017, section 2.2 and algorithm 1.
    """
    taken = (energies > 0) & (previous.cumsum(dim=-1) > 0)
    if mask is not None:
        taken = taken & mask
    return (taken & (taken.cumsum(dim=-1) == 1)).to(wide(energies).dtype)


def chunkwise(alignment: Tensor, chunk_scores: Tensor, window: int, mask: Tensor | None = None) -> Tensor:
    """Spread what is taken at each key over the chunk of keys that ends there, by a softmax of their scores.

    Args:
        alignment: (…, K), where chunks end: expected, or a single key.
        chunk_scores: (…, K), unbounded.
        window: how many keys a chunk has, its end included.
        mask: booleans that broadcast to the scores, True where a key is.

    Returns:
        (…, K), each row with the sum of the alignment's.

    Source:
        Chiu and Raffel 2018, eqs. 18–23; each chunk has a softmax of its own, so that no sum overflows.
    """
    keys = chunk_scores.shape[-1]
    if not keys:
        return wide(alignment)
    window = min(window, keys)
    before = F.pad(hide(chunk_scores, mask), (window - 1, 0), value=float("-inf"))
    # (…, K, w): at [k, o] the key k − (w − 1) + o
    shares = wide(alignment)[..., None] * softmax(before.unfold(-1, window, 1))
    spread = torch.zeros_like(shares[..., 0])
    for offset in range(window):
        ahead = window - 1 - offset
        spread = spread + F.pad(shares[..., ahead:, offset], (0, ahead))
    return spread


class Monotonic(Picker):
    """Expected monotonic alignments in training, the first key above one half in evaluation.

    Args:
        offset: what the learned number that is added to all scores starts with. Negative: keys are passed by
            at first, so that the expectation reaches all of them; the more, the longer the sentences.
        noise: standard deviation of the normal noise on the scores in training, which makes the
            probabilities that are learned near 0 or 1, as evaluation takes them to be. 0 turns it off.

    Source: Raffel et al. 2017, eqs. 9–14, and sections 2.4 (offset) and 2.5 (noise).
    """

    def __init__(self, *, offset: float = -1.0, noise: float = 1.0) -> None:
        super().__init__()
        if not noise >= 0:
            raise InputError(f"{type(self).__name__}(): noise must not be negative. Got {noise}.")
        self.offset, self.noise = nn.Parameter(torch.tensor(offset)), noise
        self.draws = noise > 0

    def align(self, asked: Asked) -> Tensor:
        """Which key a step takes, (R, K): expected in training, one in evaluation."""
        energies = asked.scores + wide(self.offset)
        if not self.training:
            return greedy_alignment(energies, asked.state.previous, asked.mask)
        if self.noise:
            source = asked.source()
            noise = of_the_batch(asked.scores, lambda empty: empty.normal_(generator=source))
            energies = energies + self.noise * noise
        return expected_alignment(energies, asked.state.previous, asked.mask)

    def weigh(self, asked: Asked) -> Pick:
        """Expected weights in training; one key, or none any more, in evaluation."""
        return asked.answer(self.align(asked))


class MoChA(Monotonic):
    """Monotonic chunkwise attention: a soft look at the last few keys up to the one that is taken.

    Args:
        window: how many keys a chunk has.
        offset, noise: as for `Monotonic`.

    A step needs chunk_scores, from a score function with parameters of its own. In evaluation the chunk is
    picked; the look at its keys stays soft.

    Source: Chiu and Raffel 2018, eqs. 18–23.
    """

    chunked = True

    def __init__(self, window: int = 3, *, offset: float = -1.0, noise: float = 1.0) -> None:
        super().__init__(offset=offset, noise=noise)
        if window < 1:
            raise InputError(f"MoChA(): window must be 1 or more keys. Got {window}.")
        self.window = window

    def weigh(self, asked: Asked) -> Pick:
        """Weights over the chunk, expected over where it ends in training."""
        assert asked.chunk_scores is not None
        taken = self.align(asked)
        weights = chunkwise(taken, asked.chunk_scores, self.window, asked.mask)
        return asked.answer(weights, previous=taken)


def _require_key_mask(where: str, scores: Tensor, key_mask: Tensor | None) -> None:
    wanted = (*scores.shape[:-2], scores.shape[-1])
    if scores.ndim < 2 or (key_mask is not None and tuple(key_mask.shape) != wanted):
        came = None if key_mask is None else tuple(key_mask.shape)
        raise ShapeError(
            f"{where}: energies must be (…, Q, K) and key_mask (…, K). Got {tuple(scores.shape)} and {came}."
        )
