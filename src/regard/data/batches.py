"""Batches of a few fixed shapes, in an order that a seed repeats.

Each shape a processor has not seen yet costs it a compilation, and each padded position costs as much as a
real one. So target lengths are rounded up to a multiple of four, pairs of one rounded length are sorted by
source length inside, rows come in multiples of eight, and what is left over of one length is filled up with
the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.data.tokenization import END, PAD, START

LENGTH_STEP = 4
ROW_STEP = 8


@dataclass(frozen=True)
class Batch:
    """Some pairs as rectangles of token ids, padded behind.

    Args:
        rows: (B,), which pairs of the corpus these are.
        source: (B, S); source_lengths: (B,).
        given: (B, T), what the decoder is given: the start token, then the target.
        wanted: (B, T), what it shall say: the target, then the end token.
    """

    rows: np.ndarray
    source: np.ndarray
    source_lengths: np.ndarray
    given: np.ndarray
    wanted: np.ndarray

    @property
    def tokens(self) -> int:
        """Real target tokens, end tokens included."""
        return int(np.count_nonzero(self.wanted != PAD))


def rectangle(rows: Sequence[Sequence[int]], width: int | None = None) -> np.ndarray:
    """Token ids of different lengths as one array, padded behind to ``width`` or to the longest."""
    width = max(map(len, rows), default=0) if width is None else width
    array = np.full((len(rows), width), PAD, dtype=np.int64)
    for row, ids in zip(array, rows, strict=True):
        row[: len(ids)] = ids
    return array


def _rounded_up(length: Any) -> Any:
    """A length, or an array of them, rounded up to `LENGTH_STEP`."""
    return -(-length // LENGTH_STEP) * LENGTH_STEP


class Batches:
    """The pairs of a corpus, ready to be dealt out epoch after epoch.

    Args:
        sources, targets: token ids of each pair, without start and end.
        tokens: about how many positions a batch has on its longer side.
        seed: of the order; epoch n of one seed is always the same.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        tokens: int,
        seed: int = 0,
    ) -> None:
        self.sources, self.targets = sources, targets
        self.tokens, self.seed = tokens, seed
        self.source_lengths = np.array([len(ids) for ids in sources], dtype=np.int64)
        self.target_lengths = np.array([len(ids) + 1 for ids in targets], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.sources)

    def epoch(self, number: int) -> list[np.ndarray]:
        """The pairs of each batch of an epoch, in the order in which they are to be trained on."""
        random = np.random.default_rng([self.seed, number])
        shuffled = random.permutation(len(self))
        level = _rounded_up(self.target_lengths)[shuffled]
        plan: list[np.ndarray] = []
        left_over = np.array([], dtype=np.int64)
        for target in np.unique(level):
            waiting = np.concatenate([left_over, shuffled[level == target]])
            waiting = waiting[np.argsort(-self.source_lengths[waiting], kind="stable")]
            while len(waiting) and len(waiting) >= (count := self._rows(waiting[0], int(target))):
                plan.append(waiting[:count])
                waiting = waiting[count:]
            left_over = waiting
        if len(left_over):
            plan.append(left_over)
        return [plan[i] for i in random.permutation(len(plan))]

    def _rows(self, longest_source: int, target: int) -> int:
        """How many pairs make a batch in which this pair has the longest source."""
        longest = max(target, _rounded_up(int(self.source_lengths[longest_source])))
        return max(ROW_STEP, self.tokens // longest // ROW_STEP * ROW_STEP)

    def batch(self, rows: np.ndarray) -> Batch:
        """The rectangle of these pairs."""
        lengths = self.source_lengths[rows]
        source_width = _rounded_up(int(lengths.max()))
        target_width = _rounded_up(int(self.target_lengths[rows].max()))
        return Batch(
            rows=rows,
            source=rectangle([self.sources[i] for i in rows], source_width),
            source_lengths=lengths,
            given=rectangle([[START, *self.targets[i]] for i in rows], target_width),
            wanted=rectangle([[*self.targets[i], END] for i in rows], target_width),
        )
