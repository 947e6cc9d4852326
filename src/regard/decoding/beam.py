"""Beam search over a batch of sentences at once, with the alignment of every hypothesis.

At each step every sentence keeps its k likeliest unfinished hypotheses; those that end are put aside with the
score

    log P(y | x) / ((5 + |y|) / 6)^α

and a sentence is done when it has k of them and no unfinished one can overtake the k-th, or at its limit.

Source: Graves 2012, arXiv:1211.3711; length penalty: Wu et al. 2016, eq. 14, arXiv:1609.08144.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from regard.data.tokenization import END, START
from regard.decoding.greedy import Hypothesis, never_said
from regard.models.interface import EncoderDecoder


def length_penalty(length: int, alpha: float) -> float:
    """What a log-probability of so many tokens, the end included, is divided by."""
    return ((5 + length) / 6) ** alpha


@dataclass
class _Sentence:
    """The search for one sentence: its best ended hypotheses so far, best first."""

    beam: int
    alpha: float
    limit: int
    ended: list[tuple[float, float, int, int]] = field(default_factory=list)
    """(score, log-probability, number of tokens without end, row of the last of them)"""

    def end(self, log_probability: float, length: int, row: int) -> None:
        """Put aside a hypothesis that ended after `length` tokens, the last of them said in `row`."""
        score = log_probability / length_penalty(length + 1, self.alpha)
        self.ended.append((score, log_probability, length, row))
        self.ended.sort(key=lambda entry: -entry[0])
        del self.ended[self.beam :]

    def done(self, best_running: float, length: int) -> bool:
        """Whether nothing that still runs, `length` tokens long, can come among the first k."""
        if best_running == float("-inf"):
            return True
        if len(self.ended) < self.beam:
            return False
        soonest, latest = length + 1, max(length, self.limit) + 1
        reach = max(best_running / length_penalty(tokens, self.alpha) for tokens in (soonest, latest))
        return reach <= self.ended[-1][0]


@dataclass
class _History:
    """What each step said and where it looked. Rows are numbered as they go into the next step."""

    words: list[np.ndarray] = field(default_factory=list)
    parents: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)

    def hypothesis(self, entry: tuple[float, float, int, int], keys: int) -> Hypothesis:
        """Follow an ended hypothesis back to its start; `keys` is the length of its source."""
        score, log_probability, length, row = entry
        words, weights = [], np.empty((length, keys), dtype=np.float32)
        for step in range(length - 1, -1, -1):
            words.append(int(self.words[step][row]))
            row = int(self.parents[step][row])
            weights[step] = self.weights[step][row, :keys]
        return Hypothesis(words[::-1], log_probability, score, weights)


@torch.inference_mode()
def beam_search(
    model: EncoderDecoder,
    source: Tensor,
    lengths: Tensor,
    limits: Tensor,
    *,
    beam: int = 5,
    alpha: float = 1.0,
) -> list[list[Hypothesis]]:
    """The best hypotheses of each sentence, at most `beam` of them, best first.

    Args:
        model: in evaluation mode.
        source: (B, S) tokens, padded behind; lengths: (B,).
        limits: (B,), the most tokens each output may have.
        beam: k, hypotheses kept at each step.
        alpha: α of the length penalty; 0 for none.
    """
    sentences = [_Sentence(beam, alpha, int(limit)) for limit in limits]
    active = list(range(len(source)))
    steps, state = model.start(model.encode(source, lengths))
    state = state.select(torch.arange(len(source)).repeat_interleave(beam))
    words = torch.full((len(source) * beam,), START)
    scores = torch.full((len(source), beam), float("-inf"))
    scores[:, 0] = 0.0
    history = _History()
    for length in range(int(limits.max()) + 1):
        log_probabilities, weights, state = model.step(steps, state, words)
        totals = scores[..., None] + never_said(log_probabilities).view(len(active), beam, -1)
        searches = [sentences[i] for i in active]
        scores, parents, words = _best(totals, searches, length)
        best = scores.max(dim=1).values.tolist()
        running = torch.tensor(
            [not search.done(score, length + 1) for search, score in zip(searches, best, strict=True)]
        )
        rows = running.repeat_interleave(beam).nonzero()[:, 0]
        words, parents, scores = words[rows], parents[rows], scores[running]
        history.weights.append(weights.float().numpy())
        history.words.append(words.numpy())
        history.parents.append(parents.numpy())
        if not len(rows):
            break
        state = state.select(parents)
        if not running.all():
            active = [i for i, runs in zip(active, running.tolist(), strict=True) if runs]
            steps = steps.select(running.nonzero()[:, 0])
    return [
        [history.hypothesis(entry, int(keys)) for entry in sentence.ended]
        for sentence, keys in zip(sentences, lengths, strict=True)
    ]


def _best(totals: Tensor, searches: list[_Sentence], length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the k best continuations of each sentence, and put aside those that end.

    Args:
        totals: (A, k, V), the log-probability of each continuation; written to.
        searches: the A sentences.
        length: how many tokens each hypothesis has so far.

    Returns:
        log-probabilities (A, k), the rows they continue and the words they continue with, (A · k,) both.
    """
    beam, vocabulary = totals.shape[1:]
    for place, search in enumerate(searches):
        if length >= search.limit:
            totals[place, :, :END] = totals[place, :, END + 1 :] = float("-inf")
    scores, flat = totals.flatten(1).topk(min(2 * beam, beam * vocabulary), dim=1)
    words = flat % vocabulary
    rows = flat // vocabulary + torch.arange(len(searches))[:, None] * beam
    ends = words == END
    possible = ends[:, :beam] & (scores[:, :beam] > float("-inf"))
    for place, rank in possible.nonzero().tolist():
        searches[place].end(float(scores[place, rank]), length, int(rows[place, rank]))
    scores, kept = scores.masked_fill(ends, float("-inf")).topk(beam, dim=1)
    return scores, rows.gather(1, kept).flatten(), words.gather(1, kept).flatten()
