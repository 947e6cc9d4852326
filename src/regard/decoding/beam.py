"""Beam search over a batch of sentences at once, with the alignment of every hypothesis.

At each step every sentence keeps its k likeliest unfinished hypotheses; those that end are put aside with the
score

    log P(y | x) / |y|^α

and a sentence is done when it has as many of them as are wanted and no unfinished one can overtake the last
of these, or at its limit. So the best one is found in fewer steps than the best k, and is the same one.

Source: Graves 2012, arXiv:1211.3711; the length penalty is that of fairseq, `transformers` and CTranslate2;
with α = 1 hypotheses are ranked by their mean log-probability: Jean et al. 2015, arXiv:1412.2007.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from regard.data.tokenization import END, START
from regard.decoding.constraints import NEVER, Place, Rules
from regard.decoding.hypothesis import Hypothesis, require_numbers
from regard.models.interface import EncoderDecoder

NO_RULES = Rules()
BLOCK = 64
"""How many words are compared by their largest alone before any of them is looked at."""
FEW = 0.75
"""When no more of the sentences are left, those that are done are taken out of the batch."""


def length_penalty(length: int, alpha: float) -> float:
    """What a log-probability of so many tokens, the end included, is divided by."""
    return float(max(length, 1)) ** alpha


@dataclass(frozen=True, eq=False)
class Continued:
    """How k hypotheses of each of A sentences go on.

    Args:
        scores: (A, k), log-probabilities; −∞ where there are fewer than k.
        rows: (A, k), the rows they continue, of A · k; words: (A, k), what they continue with.
        ended_scores, ended_rows: (A, E), the same of hypotheses that ended here; −∞ where none did.
    """

    scores: Tensor
    rows: Tensor
    words: Tensor
    ended_scores: Tensor
    ended_rows: Tensor


class Chooser(Protocol):
    """Which continuations are kept; see `likeliest`."""

    def __call__(self, totals: Tensor, rules: Rules, remembered: tuple, place: Place) -> Continued:
        """From the log-probability of each continuation (A, k, V) to the ones that are kept."""
        ...


def likeliest(totals: Tensor, rules: Rules, remembered: tuple, place: Place) -> Continued:
    """The k likeliest that go on, and those that end of the k likeliest that do either."""
    beam, vocabulary = totals.shape[1:]
    scores, flat = largest(totals.flatten(1), min(2 * beam, beam * vocabulary))
    words = flat % vocabulary
    rows = flat // vocabulary + torch.arange(len(totals))[:, None] * beam
    ends = words == END
    ended = torch.where(ends, scores, NEVER)[:, :beam]
    scores, kept = scores.masked_fill(ends, NEVER).topk(beam, dim=1)
    return Continued(scores, rows.gather(1, kept), words.gather(1, kept), ended, rows[:, :beam])


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest values of each row (A, N) and where they are, (A, count) both, in falling order.

    They lie in the `count` blocks with the largest maxima, and to find these is one pass over the memory.
    """
    blocks = values.shape[1] // BLOCK
    if blocks <= count:
        return values.topk(count, dim=1)
    whole = blocks * BLOCK
    chosen = (
        values[:, :whole].unflatten(1, (blocks, BLOCK)).amax(dim=2).topk(count, dim=1, sorted=False).indices
    )
    places = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK)).flatten(1)
    if whole < values.shape[1]:
        rest = torch.arange(whole, values.shape[1]).expand(len(values), -1)
        places = torch.cat([places, rest], dim=1)
    found, kept = values.gather(1, places).topk(count, dim=1)
    return found, places.gather(1, kept)


class _Ended:
    """The best ended hypotheses of each of B sentences so far, (B, k) each, the best first.

    Attributes:
        scores, log_probabilities: −∞ where there are fewer than k.
        lengths: tokens without the end.
        rows: of the last token, as it goes into the step that ends the hypothesis.
    """

    def __init__(self, sentences: int, beam: int, wanted: int, dtype: torch.dtype, penalties: Tensor) -> None:
        self.wanted, self.penalties = wanted, penalties.to(dtype)
        self.scores = torch.full((sentences, beam), NEVER, dtype=dtype)
        self.log_probabilities = self.scores.clone()
        self.lengths = torch.zeros(sentences, beam, dtype=torch.long)
        self.rows = torch.zeros(sentences, beam, dtype=torch.long)

    def add(self, places: Tensor, log_probabilities: Tensor, rows: Tensor, length: int) -> None:
        """Put hypotheses aside that ended after `length` tokens.

        Args:
            places: (A,), which sentences they are of.
            log_probabilities, rows: (A, E); −∞ where there is none.
        """
        touched = (log_probabilities > NEVER).any(dim=1).nonzero()[:, 0]
        if not len(touched):
            return
        at, log_probabilities, rows = places[touched], log_probabilities[touched], rows[touched]
        beam = self.scores.shape[1]
        scores = log_probabilities / self.penalties[length + 1]
        scores, kept = torch.cat([self.scores[at], scores], 1).sort(dim=1, descending=True, stable=True)
        kept = kept[:, :beam]
        self.scores[at] = scores[:, :beam]
        lengths = torch.full_like(rows, length)
        for mine, new in (
            (self.log_probabilities, log_probabilities),
            (self.lengths, lengths),
            (self.rows, rows),
        ):
            mine[at] = torch.cat([mine[at], new], dim=1).gather(1, kept)

    def overtaken(self, places: Tensor, best: Tensor, length: int, limits: Tensor) -> Tensor:
        """Of which sentences nothing that still runs, `length` tokens long, can come among those wanted.

        Args:
            places: (A,), which sentences.
            best: (A,), log-probability of the likeliest that runs.
            limits: (A,), the most tokens it may come to.
        """
        latest = self.penalties[limits.clamp(min=length) + 1]
        reach = torch.maximum(best / self.penalties[length + 1], best / latest)
        return (best == NEVER) | (reach <= self.scores[places, self.wanted - 1])


@dataclass
class _History:
    """What each step said and where it looked. Rows are numbered as they go into the next step."""

    words: list[np.ndarray] = field(default_factory=list)
    parents: list[np.ndarray] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    def follow(self, rows: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow n hypotheses back to their start.

        Args:
            rows, lengths: (n,), the row of the last token of each, and how many it has.

        Returns:
            tokens (n, T) and weights (n, T, S), as many of each as the length says.
        """
        count, longest = len(rows), int(lengths.max(initial=0))
        keys = self.weights[0].shape[1]
        tokens = np.zeros((count, longest), dtype=np.int64)
        weights = np.zeros((count, longest, keys), dtype=np.float32)
        rows = rows.copy()
        for step in range(longest - 1, -1, -1):
            said = np.flatnonzero(lengths > step)
            at = rows[said]
            tokens[said, step] = self.words[step][at]
            before = rows[said] = self.parents[step][at]
            weights[said, step] = self.weights[step][torch.from_numpy(before)].float().numpy()
        return tokens, weights


@torch.inference_mode()
def beam_search(
    model: EncoderDecoder,
    source: Tensor,
    lengths: Tensor,
    limits: Tensor,
    *,
    beam: int = 5,
    alpha: float = 1.0,
    nbest: int | None = None,
    lookahead: int = 0,
    rules: Rules = NO_RULES,
    choose: Chooser = likeliest,
) -> list[list[Hypothesis]]:
    """The best hypotheses of each sentence, at most `beam` of them, best first.

    Args:
        model: in evaluation mode.
        source: (B, S) tokens, padded behind; lengths: (B,).
        limits: (B,), the most tokens each output may have.
        beam: k, hypotheses kept at each step.
        alpha: α of the length penalty; 0 for none.
        nbest: how many to return at most; None for k.
        lookahead: within how many more tokens an unfinished hypothesis must be able to overtake to be waited
            for; 0 for any number up to its limit.
        rules: what outputs keep to. Where nothing can be said that does, a sentence has no hypotheses.
        choose: which continuations are kept.
    """
    most, wanted = int(limits.max()), beam if nbest is None else min(nbest, beam)
    penalties = torch.tensor([length_penalty(n, alpha) for n in range(most + 3)], dtype=torch.float64)
    places = torch.arange(len(source))
    steps, state = model.start(model.encode(source, lengths))
    state = state.select(places.repeat_interleave(beam))
    remembered = rules.start(places.repeat_interleave(beam))
    words = torch.full((len(source) * beam,), START)
    scores, ended = torch.empty(0), None
    history = _History()
    for length in range(most + 1):
        said, weights, state = model.step(steps, state, words)
        if ended is None:
            ended = _Ended(len(source), beam, wanted, said.dtype, penalties)
            scores = torch.full((len(source), beam), NEVER, dtype=said.dtype)
            scores[:, 0] = 0.0
        place = Place(
            length, places.repeat_interleave(beam), (limits[places] - length).repeat_interleave(beam)
        )
        rules.apply(said, remembered, place)
        totals = said.view(len(places), beam, -1).add_(scores[..., None])
        found = choose(totals, rules, remembered, place)
        ended.add(places, found.ended_scores, found.ended_rows, length)
        scores = found.scores
        require_numbers(scores)
        within = limits[places].clamp(max=length + 1 + lookahead) if lookahead else limits[places]
        running = ~ended.overtaken(places, scores[:, 0], length + 1, within)
        history.weights.append(weights)
        left = int(running.sum())
        if not left:
            break
        if left <= FEW * len(places):
            kept = running.nonzero()[:, 0]
            places, scores, steps = places[kept], scores[kept], steps.select(kept)
            parents, words = found.rows[kept].flatten(), found.words[kept].flatten()
        else:
            scores = scores.masked_fill(~running[:, None], NEVER)
            parents, words = found.rows.flatten(), found.words.flatten()
        history.words.append(words.numpy())
        history.parents.append(parents.numpy())
        state = state.select(parents)
        remembered = rules.advance(remembered, parents, words)
    assert ended is not None
    return _hypotheses(ended, history, lengths.tolist(), wanted)


def _hypotheses(ended: _Ended, history: _History, keys: list[int], nbest: int) -> list[list[Hypothesis]]:
    """The best of each sentence, whose sources have so many keys."""
    scores = ended.scores[:, :nbest]
    real = scores > NEVER
    counts = real.sum(dim=1).tolist()
    parts = (ended.log_probabilities, ended.lengths, ended.rows)
    log_probabilities, lengths, rows = (part[:, :nbest][real].numpy() for part in parts)
    tokens, weights = history.follow(rows, lengths)
    flat = zip(
        scores[real].tolist(), log_probabilities.tolist(), lengths.tolist(), tokens, weights, strict=True
    )
    return [
        [
            Hypothesis(said[:n].tolist(), log_probability, score, looked[:n, :width].copy())
            for _, (score, log_probability, n, said, looked) in zip(range(count), flat, strict=False)
        ]
        for count, width in zip(counts, keys, strict=True)
    ]
