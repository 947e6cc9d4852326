"""Words that must be said: each step keeps hypotheses that have said none, some and all of them.

The k places of a beam are shared among hypotheses by how many required tokens they have said, so that some
always get on with them while others wait for a better moment; who has not said all may not end. A phrase
counts when it stands between word boundaries, as its tokens one after the other. Where the room is only just
enough for what is missing, nothing else may be said.

Source: Post and Vilar 2018, arXiv:1804.06609.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.data.tokenization import END
from regard.decoding.beam import Continued, largest
from regard.decoding.constraints import NEVER, Place, Rules
from regard.decoding.spelling import Spelling


@dataclass(frozen=True, eq=False)
class Progress:
    """How far rows have come.

    Args:
        sentences: (R,), which sentence of the batch each says.
        positions: (R, M), how many tokens of each phrase are said; one more where its last word has ended.
        last: (R,), the last token; −1 before the first.
    """

    sentences: Tensor
    positions: Tensor
    last: Tensor


class RequiredPhrases:
    """A rule: whoever has not said all phrases may not end. `choose` shares the beam.

    Args:
        spelling: what tokens spell.
        phrases: the tokens of each phrase of each sentence of the batch.
    """

    def __init__(self, spelling: Spelling, phrases: Sequence[Sequence[Sequence[int]]]) -> None:
        self.spelling = spelling
        flat = [list(phrase) for required in phrases for phrase in required]
        known = sorted({token for phrase in flat for token in phrase})
        self.symbols = torch.zeros(len(spelling.texts), dtype=torch.long)
        self.symbols[known] = torch.arange(1, len(known) + 1)
        most, longest = max(map(len, phrases), default=0), max(map(len, flat), default=0)
        self.lengths = torch.zeros(len(phrases), most, dtype=torch.long)  # 0: there is no such phrase
        self.tokens = torch.full((len(phrases), most, longest + 2), -1)
        self.table = torch.zeros(len(phrases), most, longest + 2, len(known) + 1, dtype=torch.long)
        for sentence, required in enumerate(phrases):
            for number, phrase in enumerate(required):
                self.lengths[sentence, number] = len(phrase)
                self.tokens[sentence, number, : len(phrase)] = torch.tensor(phrase)
                self._fill(self.table[sentence, number], phrase, known)

    def _fill(self, table: Tensor, phrase: Sequence[int], known: Sequence[int]) -> None:
        """How far a phrase has come after a token (position, symbol): how much of it stands there at last."""
        for position in range(len(phrase) + 1):
            for symbol, token in enumerate(known, start=1):
                said = [*phrase[:position], token]
                for start in range(len(said)):
                    rest = said[start:]
                    if rest == list(phrase[: len(rest)]) and self._may_start(said, start):
                        table[position, symbol] = len(rest)
                        break

    def _may_start(self, said: Sequence[int], start: int) -> bool:
        return start == 0 or bool(self.begins(torch.tensor(said[start - 1]), torch.tensor(said[start])))

    def begins(self, before: Tensor, words: Tensor) -> Tensor:
        """Whether words begin a word after others, −1 being none, or behind a space."""
        spaced = self.spelling.blank[before.clamp(min=0)]
        return (before < 0) | spaced | self.spelling.begins(before.clamp(min=0), words)

    def moved(self, sentences: Tensor, positions: Tensor, before: Tensor, words: Tensor) -> Tensor:
        """Positions (N, M) of each phrase after words (N,), which stand behind others."""
        lengths = self.lengths[sentences]
        phrases = torch.arange(lengths.shape[1])
        inside = positions.minimum(lengths)
        after = self.table[sentences[:, None], phrases, inside, self.symbols[words][:, None]]
        begins = self.begins(before, words)[:, None]
        after = torch.where((after == 1) & ~begins, 0, after)
        met = (positions > lengths) | ((positions == lengths) & begins)
        return torch.where(met, lengths + 1, after)

    def start(self, sentences: Tensor) -> Progress:
        """Nothing is said yet."""
        lengths = self.lengths[sentences]
        none = torch.where(lengths == 0, 1, 0)  # what is not there has been said
        return Progress(sentences, none, torch.full_like(sentences, -1))

    def advance(self, remembered: Progress, parents: Tensor, words: Tensor) -> Progress:
        """Each parent with a token more."""
        sentences, before = remembered.sentences[parents], remembered.last[parents]
        return Progress(sentences, self.moved(sentences, remembered.positions[parents], before, words), words)

    def apply(self, log_probabilities: Tensor, remembered: Progress, place: Place) -> None:
        """Forbid the end before all is said, and all else where there is no more room than is needed."""
        lengths = self.lengths[remembered.sentences]
        unmet = remembered.positions < lengths
        log_probabilities[unmet.any(dim=1), END] = NEVER
        anew = torch.where(remembered.positions <= lengths, lengths + 1, 0).sum(dim=1)
        for row in ((anew > 0) & (place.left <= anew + 2)).nonzero()[:, 0].tolist():
            log_probabilities[row] = log_probabilities[row].masked_fill(~self._useful(remembered, row), NEVER)

    def _needed(self, positions: Tensor, lengths: Tensor) -> Tensor:
        """(N,), how many tokens the missing phrases take, with a space between each two."""
        missing = torch.where(positions < lengths, lengths + 1, 0).sum(dim=1)
        waiting = torch.where(positions == lengths, 1, 0) * (lengths > 0)
        started = torch.where(positions < lengths, positions, 0).amax(dim=1)
        return missing + waiting.sum(dim=1) - started

    def _useful(self, remembered: Progress, row: int) -> Tensor:
        """(V,), which tokens bring a row nearer to having said all, or at least begin a word."""
        words = torch.arange(len(self.symbols))
        sentences = remembered.sentences[row].expand(len(words))
        lengths = self.lengths[sentences]
        positions = remembered.positions[row].expand(len(words), -1)
        after = self.moved(sentences, positions, remembered.last[row].expand(len(words)), words)
        useful = self._needed(after, lengths) < self._needed(positions, lengths)
        useful[END] = True  # unless something is missing, which `apply` has seen
        return useful if useful.sum() > 1 else useful | self.spelling.opens

    def choose(self, totals: Tensor, rules: Rules, remembered: tuple, place: Place) -> Continued:
        """Share the k places of each sentence among those that have said more and less of what is required.

        A continuation is considered if it is among the 2k likeliest of its sentence, the likeliest of its
        hypothesis, or says a token that is required next.
        """
        progress: Progress = remembered[list(rules.rules).index(self)]
        count, beam, vocabulary = totals.shape
        flat_totals = totals.flatten(1)
        flat = self._candidates(totals, progress)
        scores = flat_totals.gather(1, flat)
        repeated = torch.zeros_like(flat, dtype=torch.bool)
        repeated[:, 1:] = flat[:, 1:] == flat[:, :-1]  # they are sorted
        scores, order = scores.masked_fill(repeated, NEVER).sort(dim=1, descending=True, stable=True)
        flat = flat.gather(1, order)
        words, rows = flat % vocabulary, flat // vocabulary + torch.arange(count)[:, None] * beam
        said = self._tokens_said(progress, rows, words)
        required = self.lengths[progress.sentences[::beam]].sum(dim=1)
        ends, possible = words == END, scores > NEVER
        everything = (said == required[:, None]) & possible
        ended = ends & everything & (everything.cumsum(dim=1) <= beam)
        kept, kept_scores = _shared_out(scores.masked_fill(ends, NEVER), said, required, beam)
        first = torch.where(ended, scores, NEVER).topk(min(beam, scores.shape[1]), dim=1)
        return Continued(
            kept_scores,
            rows.gather(1, kept),
            words.gather(1, kept),
            first.values,
            rows.gather(1, first.indices),
        )

    def _candidates(self, totals: Tensor, progress: Progress) -> Tensor:
        """(A, N) places in (k · V) of the continuations that are considered, sorted."""
        count, beam, vocabulary = totals.shape
        _, likeliest = largest(totals.flatten(1), min(2 * beam, beam * vocabulary))
        each = torch.arange(beam) * vocabulary
        best = totals.argmax(dim=2) + each
        lengths = self.lengths[progress.sentences]
        following = self.tokens[
            progress.sentences[:, None], torch.arange(lengths.shape[1]), progress.positions.minimum(lengths)
        ].view(count, beam, -1)
        asked = torch.where(following >= 0, following + each[:, None], best[..., None]).flatten(1)
        return torch.cat([likeliest, best, asked], dim=1).sort(dim=1).values

    def _tokens_said(self, progress: Progress, rows: Tensor, words: Tensor) -> Tensor:
        """How many required tokens continuations (A, N) have said."""
        parents = rows.flatten()
        sentences = progress.sentences[parents]
        after = self.moved(sentences, progress.positions[parents], progress.last[parents], words.flatten())
        lengths = self.lengths[sentences]
        over = (progress.positions[parents] == lengths) & (words.flatten() == END)[:, None]
        return torch.where(over, lengths, after.minimum(lengths)).sum(dim=1).view_as(rows)


def _shared_out(scores: Tensor, said: Tensor, required: Tensor, beam: int) -> tuple[Tensor, Tensor]:
    """Which k of N continuations are kept, each bank getting its share, the likeliest of it first.

    Args:
        scores: (A, N), falling but for those that are impossible.
        said: (A, N), how many required tokens each has said: its bank.
        required: (A,), how many there are.
        beam: k.

    Returns:
        places and scores (A, k), in falling order.
    """
    banks = torch.arange(int(required.max()) + 1)
    member = (said[..., None] == banks) & (scores > NEVER)[..., None]
    available = member.sum(dim=1)
    places = torch.where(banks <= required[:, None], (beam // (required + 1))[:, None], 0)
    places = places + torch.where(banks == required[:, None], (beam % (required + 1))[:, None], 0)
    over = (places - available).clamp(min=0).sum(dim=1)
    places = places.minimum(available)
    for bank in range(len(banks) - 1, -1, -1):  # what is left over goes to those that have said most
        more = over.minimum(available[:, bank] - places[:, bank])
        places[:, bank] += more
        over = over - more
    rank = member.cumsum(dim=1)
    chosen = (member & (rank <= places[:, None])).any(dim=2)
    kept_scores = torch.where(chosen, scores, NEVER)
    if kept_scores.shape[1] < beam:
        missing = beam - kept_scores.shape[1]
        kept_scores = torch.nn.functional.pad(kept_scores, (0, missing), value=NEVER)
    values, kept = kept_scores.topk(beam, dim=1)
    return kept.clamp(max=scores.shape[1] - 1), values
