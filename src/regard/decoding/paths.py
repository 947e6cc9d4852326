"""A search that never turns back: each row says one word after the other, and somebody chooses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from regard.data.tokenization import END, START
from regard.decoding.constraints import NEVER, Place, Rules
from regard.decoding.hypothesis import Hypothesis, require_numbers
from regard.models.interface import EncoderDecoder

NO_RULES = Rules()
FEW = 0.75
"""When no more of the sentences are left, those that are done are taken out of the batch."""

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""(log-probabilities (R, V), the numbers of the rows (R,), step) to the words (R,) that are said."""


@dataclass
class _Trace:
    """What the rows that were left said at each step, and where they looked."""

    rows: list[np.ndarray] = field(default_factory=list)
    words: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: Tensor, words: Tensor, weights: Tensor) -> None:
        self.rows.append(rows.numpy())
        self.words.append(words.numpy())
        self.weights.append(weights.float().numpy())

    def gather(self, count: int, counts: list[int], keys: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (R, T) and weights (R, T, S) of all rows, of which so many are said."""
        longest = max(counts, default=0)
        tokens = np.zeros((count, longest), dtype=np.int64)
        weights = np.zeros((count, longest, keys), dtype=np.float32)
        steps = zip(self.rows[:longest], self.words, self.weights, strict=False)
        for step, (rows, words, looked) in enumerate(steps):
            tokens[rows, step] = words
            weights[rows, step] = looked
        return tokens, weights


@torch.inference_mode()
def follow(
    model: EncoderDecoder,
    source: Tensor,
    lengths: Tensor,
    limits: Tensor,
    choose: Choose,
    *,
    times: int = 1,
    rules: Rules = NO_RULES,
) -> list[list[Hypothesis]]:
    """So many outputs of each sentence, word by word.

    Args:
        model: in evaluation mode.
        source: (B, S) tokens, padded behind; lengths: (B,).
        limits: (B,), the most tokens each output may have.
        choose: chooses the next word of each row. Where nothing may be said, the end is taken.
        times: outputs of each sentence; they are its rows, one sentence after the other.
        rules: what outputs keep to; what is said in spite of them has a log-probability of −∞.
    """
    sentences = torch.arange(len(source)).repeat_interleave(times)
    total, counts = None, torch.zeros(len(sentences), dtype=torch.long)
    rows, running = torch.arange(len(sentences)), torch.ones(len(sentences), dtype=torch.bool)
    steps, state = model.start(model.encode(source, lengths))
    if times > 1:
        state = state.select(sentences)
    remembered, trace = rules.start(sentences), _Trace()
    words = torch.full_like(sentences, START)
    for step in range(int(limits.max()) + 1):
        said, weights, state = model.step(steps, state, words)
        total = said.new_zeros(len(sentences)) if total is None else total
        at = sentences[rows]
        rules.apply(said, remembered, Place(step, at, limits[at] - step))
        possible = said.amax(dim=1) != NEVER
        words = torch.where(possible, choose(said, rows, step), END)
        gained = said.gather(1, words[:, None])[:, 0]
        require_numbers(gained[running])
        total[rows] += torch.where(running, gained, 0.0)
        running = running & (words != END)
        counts[rows] += running
        trace.add(rows, words, weights)
        left = running.view(-1, times).any(dim=1)
        if not left.any():
            break
        parents = torch.arange(len(rows))
        if int(left.sum()) <= FEW * len(left):
            kept = left.nonzero()[:, 0]
            parents = left.repeat_interleave(times).nonzero()[:, 0]
            steps, state = steps.select(kept), state.select(parents)
            words, rows, running = words[parents], rows[parents], running[parents]
        remembered = rules.advance(remembered, parents, words)
    assert total is not None
    said_counts, scores = counts.tolist(), total.tolist()
    tokens, looked = trace.gather(len(sentences), said_counts, source.shape[1])
    found = [
        Hypothesis(tokens[i, :n].tolist(), scores[i], scores[i], looked[i, :n, : int(lengths[s])].copy())
        for i, (n, s) in enumerate(zip(said_counts, sentences.tolist(), strict=True))
    ]
    return [found[i : i + times] for i in range(0, len(found), times)]
