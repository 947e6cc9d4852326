"""Attention of a decoder over a batch of sentences, asked step by step.

Three ideas, each of its own: a score over keys that are prepared once a sentence (`regard.nn.scores`,
`regard.nn.coverage`); what makes weights of scores, either softly, a normalizer, or by picking
(`regard.nn.picking`); and what is carried from step to step, an `AttentionState`. With a normalizer and a
score that remembers nothing, what comes out is what `regard.core.attention` computes with both, and a test
says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import InputError
from regard.nn.picking import Picker, PickState
from regard.nn.scores import NEVER, Score
from regard.nn.shared import Shared

Normalizer = Callable[[Tensor], Tensor]
"""scores (…, K), −∞ where a key is hidden, to weights (…, K)."""


def softmax(scores: Tensor) -> Tensor:
    """The softmax of scores (…, K) of which none is a row of −∞, where PyTorch's own is right, and fast."""
    return torch.softmax(scores, dim=-1)


@dataclass(frozen=True, eq=False)
class AttentionState:
    """What attention carries from step to step, a row for each hypothesis.

    Attributes:
        remembered: (R, K), what a score remembers of where was looked; None where it remembers nothing.
        picked: what a mechanism that picks remembers; None where none does.
    """

    remembered: Tensor | None = None
    picked: PickState | None = None

    def select(self, rows: Tensor) -> AttentionState:
        """The state of the given rows, in their order; a row may be repeated."""
        return AttentionState(
            None if self.remembered is None else self.remembered[rows],
            None if self.picked is None else self.picked.select(rows),
        )


@dataclass(frozen=True, eq=False)
class Looked:
    """What one step saw.

    Attributes:
        context: (R, D), the average of the keys by the weights.
        weights: (R, K), in float32 or wider.
        state: for the next step.
        log_probability: (R,), in nats, of the key that was drawn; None where nothing was.
        entropy: (R,), in nats, of what it was drawn from; None where nothing was drawn.
    """

    context: Tensor
    weights: Tensor
    state: AttentionState
    log_probability: Tensor | None = None
    entropy: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Mechanism:
    """How to look: a score, and what makes weights of it.

    Args:
        score: compares queries with keys.
        weigher: a normalizer, or a `Picker`.
        chunk_score: the second score of a picker that is chunked; it remembers what the first one does.

    Raises:
        InputError: a chunk_score is missing, or there is no picker that takes it.
    """

    score: Score
    weigher: Normalizer | Picker = softmax
    chunk_score: Score | None = None

    def __post_init__(self) -> None:
        chunked = isinstance(self.weigher, Picker) and self.weigher.chunked
        if chunked != (self.chunk_score is not None):
            raise InputError(
                f"Mechanism(): chunk_score= goes with a picker that is chunked, and with no other weigher. "
                f"Got chunk_score={self.chunk_score!r}, weigher={self.weigher!r}."
            )

    def over(self, keys: Tensor, key_mask: Tensor) -> SentenceAttention:
        """Get ready to look at keys (B, K, D), which are also the values, where key_mask (B, K) is True."""
        keys = keys.masked_fill(~key_mask[..., None], 0.0)  # lest a NaN behind a sentence's end reach it
        chunk_score = self.chunk_score
        return SentenceAttention(
            self, keys, key_mask, self.score.prepare(keys), chunk_score and chunk_score.prepare(keys)
        )


class SentenceAttention:
    """Attention over one batch of sentences, ready to be asked at each step; `Mechanism.over` makes it.

    Args:
        mechanism: how to look.
        keys: (B, K, D), also the values, zero where there is no word.
        key_mask: (B, K), True where there is a word. Where a sentence has none, weights and context are zero.
        prepared: what the score made of the keys.
        prepared_chunks: the same of the second score, where there is one.
    """

    def __init__(
        self,
        mechanism: Mechanism,
        keys: Tensor,
        key_mask: Tensor,
        prepared: Tensor,
        prepared_chunks: Tensor | None = None,
    ) -> None:
        self.mechanism, self.keys, self.key_mask = mechanism, keys, key_mask
        self.prepared, self.prepared_chunks = prepared, prepared_chunks
        score, weigher, chunk_score = mechanism.score, mechanism.weigher, mechanism.chunk_score
        self.scores, self.values = score.over(prepared), Shared(keys.transpose(1, 2))
        self.chunk_scores = None
        if chunk_score is not None and prepared_chunks is not None:
            self.chunk_scores = chunk_score.over(prepared_chunks)
        empty = ~key_mask.any(dim=1, keepdim=True)
        # in float32, which widens the narrower scores that it is added to
        self.bias = torch.zeros(key_mask.shape, device=key_mask.device).masked_fill_(
            ~key_mask & ~empty, NEVER
        )
        self.empty = empty if torch.compiler.is_exporting() or empty.any() else None
        self.generator = None
        if isinstance(weigher, Picker) and weigher.draws and weigher.training:
            # Seeded from the global generator, so that a run's saved random state repeats what is drawn.
            self.generator = torch.Generator(keys.device).manual_seed(int(torch.randint(2**62, ())))

    def start(self) -> AttentionState:
        """The state before the first step, a row for each sentence."""
        weigher = self.mechanism.weigher
        picked = weigher.start(self.key_mask) if isinstance(weigher, Picker) else None
        return AttentionState(self.mechanism.score.start(self.key_mask), picked)

    def __call__(self, query: Tensor, state: AttentionState) -> Looked:
        """Look once.

        Args:
            query: (R, D), as many rows for each sentence, one sentence after the other: R = B · Q.
            state: of as many rows, from `start` or of the step before.
        """
        queries = query.unflatten(0, (self.bias.shape[0], -1))
        before = state.remembered
        if before is not None:
            before = before.unflatten(0, queries.shape[:2])
        scores, weigher = self.scores(queries, before), self.mechanism.weigher
        if isinstance(weigher, Picker):
            chunk_scores = (
                None if self.chunk_scores is None else self.chunk_scores(queries, before).flatten(0, 1)
            )
            return self._pick(weigher, query, scores, chunk_scores, state)
        weights = weigher(scores + self.bias[:, None])
        if self.empty is not None:
            weights = weights.masked_fill(self.empty[:, None], 0.0)
        return Looked(*self._seen(weights, state))

    def _pick(
        self,
        picker: Picker,
        query: Tensor,
        scores: Tensor,
        chunk_scores: Tensor | None,
        state: AttentionState,
    ) -> Looked:
        assert state.picked is not None
        pick = picker.step(
            query,
            scores.flatten(0, 1),
            self.key_mask,
            state.picked,
            generator=self.generator,
            chunk_scores=chunk_scores,
        )
        context, weights, state = self._seen(pick.weights.view_as(scores), state)
        state = AttentionState(state.remembered, pick.state)
        return Looked(context, weights, state, pick.log_probability, pick.entropy)

    def _seen(self, weights: Tensor, state: AttentionState) -> tuple[Tensor, Tensor, AttentionState]:
        """Context and weights, a row for each query, and what the score will remember of them."""
        context, weights = self.values(weights).flatten(0, 1), weights.flatten(0, 1)
        remembered = self.mechanism.score.remember(state.remembered, weights)
        return context, weights, AttentionState(remembered, state.picked)

    def select(self, rows: Tensor) -> SentenceAttention:
        """Attention over the sentences of the given rows, in their order; nothing is prepared again."""
        chunks = None if self.prepared_chunks is None else self.prepared_chunks[rows]
        return SentenceAttention(
            self.mechanism, self.keys[rows], self.key_mask[rows], self.prepared[rows], chunks
        )
