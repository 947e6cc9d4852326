"""What all hard attention shares: the state between two steps, what a step gives, and the picking itself.

A `Picker` takes the scores of one decoder step and says where it looks. In training it does what can be
learned from: it draws, or relaxes, or takes an expectation. In evaluation it picks, always the same. Which of
both is `torch.nn.Module.training`; everything else that a step depends on is an argument, and everything that
the next one depends on is in the state that it returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from regard.core.normalizers import log_sum_exp
from regard.errors import DtypeError, InputError, ShapeError
from regard.nn.precision import wide


@dataclass(frozen=True, eq=False)
class PickState:
    """What a mechanism remembers between two steps, a row for each hypothesis.

    Attributes:
        previous: (R, K), where the step before looked; before the first step, at the first key. For
            `regard.nn.monotonic.MoChA` where its chunk ended.
        step: (R,), how many steps there were.
    """

    previous: Tensor
    step: Tensor

    def select(self, rows: Tensor) -> PickState:
        """The state of the given rows, in their order; a row may be repeated."""
        return PickState(self.previous[rows], self.step[rows])


@dataclass(frozen=True, eq=False)
class Pick:
    """Where one step looks.

    Attributes:
        weights: (R, K), in float32 or wider; a one in each row where a single key was picked.
        log_probability: (R,), in nats, of what was drawn, for `regard.nn.reinforce`; 0 where nothing was.
        entropy: (R,), in nats, of what it was drawn from; 0 where nothing was drawn.
        state: for the next step.
    """

    weights: Tensor
    log_probability: Tensor
    entropy: Tensor
    state: PickState


@dataclass(frozen=True, eq=False)
class Asked:
    """The arguments of a step, checked: query (R, D), scores (R, K) in float32 or wider, mask (R, K)."""

    query: Tensor
    scores: Tensor
    mask: Tensor
    state: PickState
    generator: torch.Generator | None
    chunk_scores: Tensor | None

    def answer(self, weights: Tensor, *, previous: Tensor | None = None) -> Pick:
        """A pick of these weights, of which nothing was drawn; previous is what the next step remembers."""
        state = PickState(weights if previous is None else previous, self.state.step + 1)
        nothing = weights.new_zeros(len(weights))
        return Pick(weights, nothing, nothing, state)

    def drawn(self, weights: Tensor, log_probability: Tensor, entropy: Tensor) -> Pick:
        """A pick of weights that were drawn with this probability."""
        return replace(self.answer(weights), log_probability=log_probability, entropy=entropy)

    def source(self) -> torch.Generator:
        """The generator, which `Picker.step` has seen to be there."""
        assert self.generator is not None
        return self.generator


class Picker(nn.Module):
    """A mechanism that picks keys step by step.

    Attributes:
        draws: whether a step in training is random and needs ``generator=``.
        chunked: whether a step needs ``chunk_scores=``.
    """

    draws = False
    chunked = False

    def start(self, key_mask: Tensor) -> PickState:
        """The state before the first step over sentences whose words are where key_mask (B, K) is True."""
        previous = torch.zeros(key_mask.shape, device=key_mask.device)
        previous[:, :1] = 1.0
        return PickState(previous, torch.zeros(len(key_mask), dtype=torch.int64, device=key_mask.device))

    def step(
        self,
        query: Tensor,
        scores: Tensor,
        key_mask: Tensor,
        state: PickState,
        *,
        generator: torch.Generator | None = None,
        chunk_scores: Tensor | None = None,
    ) -> Pick:
        """Say where one step looks.

        Args:
            query: (R, D), what asks. The R = B · k rows are as many hypotheses for each sentence, one
                sentence after the other.
            scores: (R, K), unbounded, in any floating dtype. A hidden key's may be anything, NaN included.
            key_mask: (B, K) booleans, True where there is a word. Where a sentence has none, the weights are
                zero.
            state: of the step before, or from `start`.
            generator: where chance comes from, when the mechanism draws in training.
            chunk_scores: (R, K), the second scores of a chunked mechanism.

        Raises:
            InputError: a generator or the chunk_scores are needed and missing.
            ShapeError: rows or keys do not fit together.
            DtypeError: the mask is not boolean.
        """
        where = f"{type(self).__name__}.step()"
        if self.training and self.draws and generator is None:
            raise InputError(
                f"{where}: it draws in training and needs generator=. Make one with "
                f"torch.Generator().manual_seed(…) and hand it to every step, or call eval() to pick."
            )
        if self.chunked and chunk_scores is None:
            raise InputError(
                f"{where}: it weighs the keys of a chunk by scores of their own; hand chunk_scores="
            )
        mask = rows_mask(where, scores, key_mask)
        if chunk_scores is not None and chunk_scores.shape != scores.shape:
            raise ShapeError(
                f"{where}: chunk_scores must have the shape of scores {tuple(scores.shape)}. "
                f"Got {tuple(chunk_scores.shape)}."
            )
        if state.previous.shape != scores.shape:
            raise ShapeError(
                f"{where}: the state is of {tuple(state.previous.shape)} but scores are "
                f"{tuple(scores.shape)}; select() the state's rows as those of the query."
            )
        return self.weigh(Asked(query, wide(scores), mask, state, generator, chunk_scores))

    def weigh(self, asked: Asked) -> Pick:
        """What `step` gives once its arguments are checked; each mechanism's own."""
        raise NotImplementedError


def rows_mask(where: str, scores: Tensor, key_mask: Tensor) -> Tensor:
    """The mask (R, K) of the rows of scores (R, K), from that of their sentences (B, K)."""
    if key_mask.dtype != torch.bool:
        raise DtypeError(f"{where}: key_mask must be boolean, True where a key is. Got {key_mask.dtype}.")
    sentences = len(key_mask) if key_mask.ndim else 0
    fits = scores.ndim == key_mask.ndim == 2 and scores.shape[1] == key_mask.shape[1]
    if not fits or len(scores) % max(sentences, 1):
        raise ShapeError(
            f"{where}: scores must be (R, K) and key_mask (B, K), with R a multiple of B. "
            f"Got {tuple(scores.shape)} and {tuple(key_mask.shape)}."
        )
    if len(scores) == sentences:
        return key_mask
    return key_mask.repeat_interleave(len(scores) // max(sentences, 1), dim=0)


def hide(scores: Tensor, mask: Tensor | None) -> Tensor:
    """scores (…, K) in float32 or wider, −∞ without a gradient where the mask, broadcast, is False."""
    scores = wide(scores)
    return scores if mask is None else scores.masked_fill(~mask, float("-inf"))


def log_softmax(hidden: Tensor) -> Tensor:
    """The logarithm of softmax for scores (…, K) with −∞ where a key is hidden; empty rows stay −∞."""
    normalizer = log_sum_exp(hidden)[..., None]
    return hidden - normalizer.masked_fill(normalizer == float("-inf"), 0.0)


def pick(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Pick the key with the highest score.

    Args:
        scores: (…, K), unbounded; log-probabilities do as well.
        mask: booleans that broadcast to the scores, True where a row may look.

    Returns:
        (…, K), in float32 or wider: a one at the highest score, zero elsewhere and in empty rows. It has no
        gradient.
    """
    scores = hide(scores.detach(), mask)
    picked = torch.zeros_like(scores)
    if not scores.shape[-1]:
        return picked
    alive = (scores != float("-inf")).any(dim=-1, keepdim=True)
    return picked.scatter_(-1, scores.argmax(dim=-1, keepdim=True), alive.to(scores.dtype))
